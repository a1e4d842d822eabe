"""Programs whose work is counted by callgrind: each does N units of the same work."""

import os
import random
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from typing import Callable

from harness import allocators, callgrind, inputs

SOURCES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "programs")


# Valgrind counts each byte that `rep movsb` copies as an instruction; vector loops count as they cost.
TUNABLES = ("glibc.cpu.x86_rep_movsb_threshold=0x40000000:"
            "glibc.cpu.x86_rep_stosb_threshold=0x40000000")


@dataclass
class Job:
    """One run: what to preload, and where files may lie."""

    library: str
    same_random: str  # library that takes chance out of a program
    interval: str
    folder: str  # of this run alone
    cache: str   # of all
    guard: int = None  # HPMALLOC_GUARD, where there are samples

    def environment(self):
        return allocators.clean_environment() | {
            "PYTHONHASHSEED": "0", "LD_PRELOAD": f"{self.same_random}:{self.library}",
            "HPMALLOC_SAMPLE_INTERVAL": self.interval, "HPMALLOC_DUMP_SIGNAL": "none",
            "GLIBC_TUNABLES": TUNABLES} | (
                {"HPMALLOC_GUARD": str(self.guard)} if self.guard and self.interval != "0" else {})

    def output(self):
        return os.path.join(self.folder, "callgrind.out")

    def read(self):
        with open(self.output(), encoding="utf-8", errors="replace") as lines:
            whole = callgrind.parse_whole(lines)
        if self.interval != "0" and whole.samples == 0:
            raise callgrind.Failed("no call of profile_record: has the library its symbols?")
        return whole


@dataclass
class Program:
    """A command that reads a file, works, and ends."""

    name: str
    tool: str
    units: int
    command: Callable  # of Program, Job and units: the arguments
    stdin: Callable = lambda job, units: os.devnull
    variables: tuple = ()

    def missing(self):
        return "" if self.path() else self.tool

    def path(self):
        return allocators.system_tool(self.tool)

    def count(self, job, units):
        with open(self.stdin(job, units), "rb") as stdin:
            done = subprocess.run(
                callgrind.command_for(self.command(self, job, units), job.output()),
                env=job.environment() | dict(self.variables), stdin=stdin, cwd=job.folder,
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        callgrind.check(done.returncode, done.stderr)
        return job.read()


class Redis(Program):
    """A server; its client sends the same commands in every run, and has no preload."""

    def count(self, job, units):
        path = os.path.join(job.folder, "redis")
        with open(os.path.join(job.folder, "errors"), "w+", encoding="utf-8") as errors:
            server = subprocess.Popen(
                callgrind.command_for(self.command(self, job, units), job.output()),
                env=job.environment(), stdin=subprocess.DEVNULL, cwd=job.folder,
                stdout=subprocess.DEVNULL, stderr=errors)
            try:
                with connect(path, server) as connection:
                    load(connection, units)
                server.wait(60)
            except (OSError, subprocess.TimeoutExpired) as error:
                raise callgrind.Failed(f"redis-server: {error}") from None
            finally:
                if server.poll() is None:
                    server.send_signal(signal.SIGKILL)
                    server.wait()
            errors.seek(0)
            callgrind.check(server.returncode, errors.read())
        return job.read()


def connect(path, server):
    for _ in range(600):
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(path)
            connection.settimeout(60)
            return connection
        except OSError:
            connection.close()
        if server.poll() is not None:
            raise callgrind.Failed(f"redis-server ended with {server.returncode}")
        time.sleep(0.1)
    raise callgrind.Failed("redis-server does not answer")


def commands(units):
    """Strings, counters, lists, sets, hashes, sorted sets: keys that live, change and go."""
    source = random.Random(1)
    key = lambda: source.randrange(4000)
    for _ in range(units):
        value = "v" * source.randrange(20, 400)
        yield from (
            ("SET", f"string:{key()}", value), ("GET", f"string:{key()}"),
            ("INCR", f"counter:{key()}"), ("LPUSH", f"list:{key() % 50}", value[:60]),
            ("RPOP", f"list:{key() % 50}"), ("SADD", f"set:{key() % 50}", f"member:{key()}"),
            ("HSET", f"hash:{key() % 200}", f"field:{key() % 100}", value[:40]),
            ("ZADD", f"sorted:{key() % 20}", str(key()), f"member:{key() % 500}"),
            ("DEL", f"string:{key()}"))


def encode(words):
    return "".join([f"*{len(words)}\r\n"] + [f"${len(w)}\r\n{w}\r\n" for w in words]).encode()


PIPELINE = 18


def load(connection, units):
    """Sends a batch when the one before is answered, so that every run is read alike."""
    answers = connection.makefile("rb")
    batch = []
    for words in commands(units):
        batch.append(encode(words))
        if len(batch) == PIPELINE:
            connection.sendall(b"".join(batch))
            for _ in batch:
                skip_answer(answers)
            batch = []
    connection.sendall(encode(("SHUTDOWN", "NOSAVE")))
    answers.read()


def skip_answer(answers):
    line = answers.readline()
    if line.startswith(b"$") and line != b"$-1\r\n":
        answers.read(int(line[1:]) + 2)
    if line[:1] not in b"+:$" or not line:
        raise callgrind.Failed(f"redis-server answers {line[:80]!r}")


def redis_command(program, job, _units):
    return [program.path(), "--port", "0", "--unixsocket", "redis", "--save", "", "--hz", "1",
            "--activerehashing", "no",
            "--appendonly", "no", "--dir", job.folder]


def written(job, name, text):
    """A file in the cache, whole or not there."""
    path = os.path.join(job.cache, name)
    if not os.path.exists(path):
        new = f"{path}.{os.path.basename(job.folder)}"
        with open(new, "w", encoding="ascii") as out:
            out.writelines(text())
        os.rename(new, path)
    return path


CONTAINERS = """
template <class K, class V> struct tree {
    struct node { K key; V value; node *left, *right; };
    node *root = nullptr;
    template <class F> void walk(node *at, F f)
    {
        if (at == nullptr)
            return;
        walk(at->left, f);
        f(at->key, at->value);
        walk(at->right, f);
    }
    V &find(const K &key)
    {
        node **at = &root;
        while (*at != nullptr && !((*at)->key == key))
            at = key < (*at)->key ? &(*at)->left : &(*at)->right;
        if (*at == nullptr)
            *at = new node{key, V(), nullptr, nullptr};
        return (*at)->value;
    }
};
template <class T> struct list {
    struct link { T value; link *next; };
    link *head = nullptr;
    void push(const T &value) { head = new link{value, head}; }
    template <class U, class F> list<U> map(F f) const
    {
        list<U> out;
        for (link *at = head; at != nullptr; at = at->next)
            out.push(f(at->value));
        return out;
    }
};
template <int N> struct tag { int n[N + 1]; bool operator<(const tag &o) const { return n[0] < o.n[0]; }
                              bool operator==(const tag &o) const { return n[0] == o.n[0]; } };
template <int N> struct sum { enum { value = N + sum<N - 1>::value }; };
template <> struct sum<0> { enum { value = 0 }; };
"""
UNIT = """
long use_{n}()
{{
    tree<tag<{n}>, list<tree<tag<{n} + 1000>, long>>> all;
    for (int i = 0; i < sum<{n}>::value; i++)
        all.find(tag<{n}>{{i % 7}}).push(tree<tag<{n} + 1000>, long>());
    long total = 0;
    all.walk(all.root, [&](const auto &key, const auto &value) {{
        auto mapped = value.template map<tag<{n} + 2000>>(
            [&](const auto &) {{ return tag<{n} + 2000>{{key.n[0]}}; }});
        total += mapped.head != nullptr ? mapped.head->value.n[0] : 0;
    }});
    return total;
}}
"""


def cxx_lines(units):
    yield CONTAINERS
    for n in range(units):
        yield UNIT.format(n=n)


def compile_command(program, job, units):
    """The compiler proper, on a file without #include: g++ would only start it."""
    source = written(job, f"templates-{units}.ii", lambda: cxx_lines(units))
    compiler = subprocess.run([program.path(), "-print-prog-name=cc1plus"], check=True,
                              capture_output=True, text=True).stdout.strip()
    return [compiler, "-quiet", "-std=c++17", "-O1", "-fpreprocessed", source, "-o", os.devnull]


def sql_lines(units):
    source = random.Random(1)
    yield "create table item(id integer primary key, name text, kind text, price real);\n"
    yield "create index by_kind on item(kind);\n"
    for unit in range(units):
        yield "begin;\n"
        for _ in range(300):
            yield (f"insert or replace into item values({source.randrange(3000)}, "
                   f"'{inputs.sentence(source, 3)}', '{source.choice(inputs.WORDS)}', "
                   f"{source.random() * 100:.2f});\n")
        yield "commit;\n"
        yield ("select kind, count(*), round(sum(price)), group_concat(upper(name)) from item "
               f"where id % 20 = {unit % 20} group by kind order by 3 desc limit 5;\n")


def python_command(program, _job, units):
    return [program.path(), os.path.join(SOURCES, "passes.py"), str(units)]


PROGRAMS = [
    Redis("redis", "redis-server", 6000, redis_command),
    Program("python3", "python3", 12, python_command),
    Program("python3-malloc", "python3", 12, python_command,
            variables=(("PYTHONMALLOC", "malloc"),)),
    Program("cc1plus", "g++", 8, compile_command),
    Program("sqlite3", "sqlite3", 40, lambda program, _job, _units: [program.path(), ":memory:"],
            stdin=lambda job, units: written(job, f"items-{units}.sql", lambda: sql_lines(units))),
]
