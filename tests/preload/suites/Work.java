// What java does in native code, each answer known beforehand: its own compiler (this file),
// direct buffers, compression, files, child processes, threads that come and go.
import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.Executors;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.zip.Deflater;
import java.util.zip.Inflater;

public class Work {
    static void must(boolean truth, String what) {
        if (!truth)
            throw new AssertionError(what);
    }

    static byte[] deflate(byte[] plain) {
        Deflater deflater = new Deflater(6);
        deflater.setInput(plain);
        deflater.finish();
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        byte[] part = new byte[8192];
        while (!deflater.finished())
            out.write(part, 0, deflater.deflate(part));
        deflater.end();
        return out.toByteArray();
    }

    static byte[] inflate(byte[] packed, int length) throws Exception {
        Inflater inflater = new Inflater();
        inflater.setInput(packed);
        byte[] plain = new byte[length];
        int got = 0;
        while (!inflater.finished())
            got += inflater.inflate(plain, got, length - got);
        inflater.end();
        must(got == length, "inflated length");
        return plain;
    }

    static long buffers(int seed) {
        long sum = 0;
        for (int i = 1; i < 400; i++) {
            ByteBuffer buffer = ByteBuffer.allocateDirect((i * seed * 37) % 60000 + 8);
            buffer.putInt(0, i);
            sum += buffer.getInt(0);
        }
        return sum;
    }

    static long job(int seed) throws Exception {
        String text = IntStream.range(0, 20000).mapToObj(i -> "line " + i * seed)
                .collect(Collectors.joining("\n"));
        byte[] plain = text.getBytes("UTF-8");
        must(new String(inflate(deflate(plain), plain.length), "UTF-8").equals(text), "text");
        Path file = Files.createTempFile("work", ".txt");
        Files.write(file, plain);
        must(Files.readAllLines(file).size() == 20000, "lines");
        Files.delete(file);
        return buffers(seed);
    }

    public static void main(String[] arguments) throws Exception {
        for (int round = 0; round < 3; round++) {
            var pool = Executors.newFixedThreadPool(8);
            List<Callable<Long>> jobs = new ArrayList<>();
            for (int i = 1; i <= 16; i++) {
                int seed = i;
                jobs.add(() -> job(seed));
            }
            for (var answer : pool.invokeAll(jobs))
                must(answer.get() == 399 * 400 / 2, "sum");
            pool.shutdown();
            System.gc();
        }
        for (int i = 0; i < 2000; i++) {
            Thread thread = new Thread(() -> buffers(1));
            if (i % 100 != 0)
                thread = new Thread(() -> { });
            thread.start();
            thread.join();
        }
        var child = new ProcessBuilder("true").start();
        must(child.waitFor() == 0, "child");
    }
}
