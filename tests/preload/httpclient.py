"""What the tests of the endpoint share: a program that serves, and bytes to and from it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

SOURCE = os.path.abspath(os.environ.get("top_srcdir", "."))
BUILD = os.path.abspath(os.environ.get("top_builddir", "."))
LIBRARY = os.path.join(BUILD, ".libs", "libhpmalloc.so")
TOKEN = "a-token-of-24-characters"

sys.path[:0] = [os.path.join(SOURCE, "tests", folder) for folder in ("", "prof")]
from tap import equal, holds, soon

# Clients must not run under the library themselves.
os.environ.pop("LD_PRELOAD", None)
for variable in [name for name in os.environ if name.startswith("HPMALLOC_")]:
    del os.environ[variable]

WAITS = "import time\nwhile True: time.sleep(1)\n"
WORKS = """
import threading
def work():
    while True:
        kept = [bytes(1000) for _ in range(1000)]
threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
for thread in threads: thread.start()
""" + WAITS

work = tempfile.mkdtemp(prefix="http-test.")
os.chmod(work, 0o755)
test_count = fail_count = 0


class Skip(Exception):
    pass


def run_all(tests):
    """Each is a function named as the sentence it proves. Prints TAP; returns the exit status."""
    global test_count, fail_count
    if not os.path.exists(LIBRARY):
        print("1..0 # SKIP there is no " + LIBRARY)
        return 0
    names = subprocess.run(["nm", "-D", "--defined-only", LIBRARY], stdout=subprocess.PIPE, text=True)
    if " malloc\n" not in names.stdout:
        print("1..0 # SKIP the library was built to leave malloc alone")
        return 0
    only = sys.argv[1:]
    for test in [t for t in tests if not only or t.__name__ in only]:
        test_count += 1
        note = result = ""
        try:
            test()
        except Skip as reason:
            note = " # SKIP %s" % reason
        except Exception as error:
            fail_count += 1
            result = "not "
            line = error.__traceback__.tb_next.tb_lineno
            print("# line %d: %s: %s" % (line, type(error).__name__, str(error)[:2000].replace("\n", "\n# ")))
        print("%sok %d - http: %s%s" % (result, test_count, test.__name__.replace("_", " "), note), flush=True)
    print("1..%d" % test_count)
    shutil.rmtree(work, ignore_errors=True)
    return fail_count != 0


def token_file(content=TOKEN + "\n", mode=0o600, name="token"):
    path = os.path.join(work, name)
    with open(path, "w") as file:
        file.write(content)
    os.chmod(path, mode)
    return path


class Server:
    """A program under the library; `with` ends it. Options are those of the library without HPMALLOC_."""

    def __init__(self, script=WAITS, http="127.0.0.1:0", program=None, wait=True, **options):
        environment = dict(os.environ, LD_PRELOAD=LIBRARY, HPMALLOC_DUMP_SIGNAL="none")
        if http is not None:
            options["HTTP"] = http
        for name, value in options.items():
            environment["HPMALLOC_" + name] = str(value)
        self.errors = tempfile.NamedTemporaryFile(dir=work, delete=False)
        self.process = subprocess.Popen(program or [sys.executable, "-c", script], env=environment,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=self.errors, cwd=work)
        self.pid = self.process.pid
        self.port, self.path = None, None
        if wait and not soon(lambda: "serving" in self.said() or self.process.poll() is not None):
            raise AssertionError("it does not serve: " + self.said())
        self.read_place()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.errors.close()

    def read_place(self):
        for line in self.said().splitlines():
            if line.startswith("hpmalloc: serving profiles at http"):
                self.port = int(line.rsplit(":", 1)[1])
            elif line.startswith("hpmalloc: serving profiles at unix:"):
                self.path = line.split("unix:", 1)[1]

    def said(self):
        with open(self.errors.name, errors="replace") as file:
            return file.read()

    def lines(self):
        return [line for line in self.said().splitlines() if line.startswith("hpmalloc: ")]

    def threads(self):
        names = []
        for task in os.listdir("/proc/%d/task" % self.pid):
            with open("/proc/%d/task/%s/comm" % (self.pid, task)) as file:
                names.append(file.read().strip())
        return names

    def serves(self):
        return "hpm-http" in self.threads()

    def connect(self, timeout=10.0):
        if self.path is not None:
            peer = socket.socket(socket.AF_UNIX)
            peer.settimeout(timeout)
            peer.connect(self.path)
            return peer
        return socket.create_connection(("127.0.0.1", self.port), timeout)

    def raw(self, data, timeout=10.0, ends=False):
        """All that comes back until the server closes."""
        with self.connect(timeout) as peer:
            try:
                peer.sendall(data)
                if ends:
                    peer.shutdown(socket.SHUT_WR)
            except (BrokenPipeError, ConnectionResetError):
                pass
            return read_to_end(peer)

    def get(self, path, *fields, method="GET", body=b"", host="localhost", timeout=30.0):
        """(status, {field: value}, body)."""
        lines = ["%s %s HTTP/1.1" % (method, path), "Host: " + host, "Connection: close"]
        if body or method == "POST":
            lines.append("Content-Length: %d" % len(body))
        head = "\r\n".join(lines + list(fields)) + "\r\n\r\n"
        return parse(self.raw(head.encode() + body, timeout), method == "HEAD")

    def status(self, *arguments, **named):
        return self.get(*arguments, **named)[0]

    def metric(self, name):
        for line in self.get("/metrics")[2].decode().splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
        return None

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(10)


def read_to_end(peer):
    parts = []
    try:
        while True:
            part = peer.recv(65536)
            if not part:
                break
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def parse(answer, is_head=False):
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    if not lines[0].startswith("HTTP/1.1 "):
        raise AssertionError("no answer: %r" % answer[:200])
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if not is_head and int(fields["content-length"]) != len(body):
        raise AssertionError("%s bytes, said %s" % (len(body), fields["content-length"]))
    return int(lines[0].split()[1]), fields, body


def profile(body):
    from profileproto import Profile
    path = os.path.join(work, "profile.pb.gz")
    with open(path, "wb") as file:
        file.write(body)
    return Profile(path)


def sum_of(read, kind):
    at = read.types.index(kind)
    return sum(list(sample[1].values())[at] for sample in read.samples)


def needs(*programs):
    for program in programs:
        if shutil.which(program) is None:
            raise Skip("there is no " + program)
