#!/usr/bin/env python3
"""hpprof watch, and the line of hpprof run: what they show of a program, in a terminal and without,
over each way to ask, and that they leave everything as it was."""

import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402
from tap import equal, holds, soon  # noqa: E402

BUILD = os.path.abspath(os.environ.get("top_builddir", "."))
SOURCE = os.path.abspath(os.environ.get("top_srcdir", "."))
LIBRARY = os.path.join(BUILD, ".libs", "libhpmalloc.so")
HPPROF = os.path.join(BUILD, "hpprof")
TOKEN = "a-token-of-24-characters"
ROUNDS_TO_LEAK = 60  # then what is forgotten is three times the cache

os.environ.pop("LD_PRELOAD", None)
for variable in [name for name in os.environ if name.startswith("HPMALLOC_")] + ["TMUX", "NO_COLOR"]:
    os.environ.pop(variable, None)
os.environ["LC_ALL"] = "C.UTF-8"

reporter = tap.Reporter("watch", faults_shown=30)
work = tempfile.mkdtemp(prefix="watch-test.")
os.makedirs(os.path.join(work, "tmp"))
os.environ["TMPDIR"] = os.path.join(work, "tmp")
PROGRAM = os.path.join(work, "watched")
children = []


class Watched:
    """The program under the library, in a folder of its own; options without HPMALLOC_."""

    def __init__(self, rounds=1000000, serves=True, has_twin=False, **options):
        self.folder = tempfile.mkdtemp(dir=work)
        environment = dict(os.environ, LD_PRELOAD=LIBRARY, HPMALLOC_SAMPLE_INTERVAL="16k",
                           HPMALLOC_SAMPLE_BUDGET="off",
                           **{"HPMALLOC_" + name: str(value) for name, value in options.items()})
        with open(os.path.join(self.folder, "err"), "w") as errors:
            self.process = subprocess.Popen([PROGRAM, str(rounds)] + ["twin"] * has_twin, env=environment,
                                            cwd=self.folder, stdin=subprocess.DEVNULL, stderr=errors)
        children.append(self.process)
        self.pid = str(self.process.pid)
        if "HTTP" in options and serves:
            holds(soon(lambda: "serving" in self.said()), self.said())
        holds(soon(lambda: self.rounds() >= ROUNDS_TO_LEAK), self.said())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def said(self):
        with open(os.path.join(self.folder, "err")) as file:
            return file.read()

    def rounds(self):
        """It waits once in each."""
        with open("/proc/%s/status" % self.pid) as file:
            return int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)", file.read(), re.M).group(1))

    def url(self):
        return re.search(r"serving profiles at (\S+)", self.said()).group(1)

    def files(self):
        return sorted(name for name in os.listdir(self.folder) if name != "err")


def hpprof(*arguments, seconds=30, **environment):
    return subprocess.run([HPPROF, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=seconds, cwd=work,
                          env=dict(os.environ, **environment))


def is_one_line(done, status, *texts):
    equal((done.returncode, done.stdout, done.stderr.count("\n")), (status, "", 1), done.stderr)
    holds(done.stderr.startswith("hpprof: "), done.stderr)
    for text in texts:
        holds(text in done.stderr, done.stderr)


def first_row(picture):
    """(function, caller) below the heading, of the first stack that is not cut short."""
    lines = picture.splitlines()
    at = [i for i, line in enumerate(lines) if "function < caller" in line]
    rows = [line for line in lines[at[0] + 1:] if "[truncated]" not in line] if at else []
    row = rows[0] if rows else ""
    found = re.search(r"  (\w+) < (\w+)\s*$", row)
    return found.groups() if found else (row, "")


LEAK = ("forget_parcel", "serve_client")


# ---- each way to ask ----

def a_process_is_asked_over_its_unix_socket():
    with Watched(HTTP="unix:%s/%%e.%%p.sock" % work) as program:
        for what in program.pid, program.url():
            done = hpprof("watch", "--once", what)
            equal((done.returncode, done.stderr, first_row(done.stdout)), (0, "", LEAK), done.stdout)
            holds(re.search(r"^live [0-9.]+ .iB in \d+ objects, exactly  resident", done.stdout, re.M),
                  done.stdout)
        holds("signal" not in program.said(), program.said())


def a_process_is_asked_over_HTTP_with_its_token():
    token = os.path.join(work, "token")
    with open(token, "w") as file:
        file.write(TOKEN + "\n")
    os.chmod(token, 0o600)
    with Watched(HTTP="127.0.0.1:0", HTTP_TOKEN_FILE=token) as program:
        url = program.url()
        for arguments in ([program.pid], ["--token-file", token, url], ["--token-file=" + token, url],
                          [url + "/?token=" + TOKEN], [url + "/debug/pprof/heap?token=" + TOKEN]):
            done = hpprof("watch", "--once", *arguments)
            equal((done.returncode, done.stderr, first_row(done.stdout)), (0, "", LEAK), arguments)
            holds(" exactly " in done.stdout and TOKEN not in done.stdout, done.stdout)
        done = hpprof("watch", "--once", url, HPMALLOC_HTTP_TOKEN_FILE=token)
        equal((done.returncode, first_row(done.stdout)), (0, LEAK))
        is_one_line(hpprof("watch", "--once", url), 1, url, "asks for a token", "--token-file")
        wrong = hpprof("watch", "--once", url + "?token=b" + TOKEN)
        is_one_line(wrong, 1, "is not it")
        holds(TOKEN not in wrong.stderr, wrong.stderr)
        holds("signal" not in program.said(), program.said())


def a_process_that_serves_nothing_is_asked_by_its_signal():
    with Watched() as program:
        done = hpprof("watch", "--once", program.pid)
        equal((done.returncode, done.stderr, first_row(done.stdout)), (0, "", LEAK), done.stdout)
        equal((program.files(), program.said().count("(signal)")), ([], 1))
        holds(re.search(r"^resident [0-9.]+ .iB$", done.stdout, re.M), done.stdout)
    for options in {"DUMP_FORMAT": "text,pprof", "DUMP_PROFILE": "peak,heap"}, {"DUMP_FORMAT": "legacy"}, \
            {"DUMP_PATH": "%n.prof", "DUMP_AT_EXIT": "1", "DUMP_SIGNAL": "RTMIN+1"}:
        with Watched(**options) as program:
            done = hpprof("watch", "--once", program.pid)
            equal((done.returncode, first_row(done.stdout), program.files()), (0, LEAK, []), options)


def what_it_would_have_to_spoil_is_not_asked_by_signal():
    for name, value in ("DUMP_KEEP", "2"), ("DUMP_EVERY", "10m"), ("DUMP_ON_GROWTH", "500m"):
        with Watched(**{name: value}) as program:
            before = program.said().count("(signal)")
            is_one_line(hpprof("watch", program.pid), 1, "HPMALLOC_%s=%s" % (name, value), "HPMALLOC_HTTP")
            equal(program.said().count("(signal)"), before)
    for name, value in ("DUMP_FORMAT", "text"), ("DUMP_PROFILE", "peak"):
        with Watched(**{name: value}) as program:
            is_one_line(hpprof("watch", program.pid), 1, name)
    with Watched(DUMP_SIGNAL="none") as program:
        is_one_line(hpprof("watch", program.pid), 1, "HPMALLOC_DUMP_SIGNAL=none")


def another_process_that_has_the_socket_too_is_not_mistaken():
    """One that is told the same path, and one that was forked behind the library's back and holds it open."""
    path = "unix:" + os.path.join(work, "one.sock")
    with Watched(HTTP=path) as one, Watched(HTTP=path, serves=False) as other:
        done = hpprof("watch", "--once", other.pid)
        equal(done.returncode, 0, done.stderr)
        holds(" exactly " not in done.stdout and "(signal)" in other.said(), done.stdout)
        holds("(signal)" not in one.said())
    with Watched(HTTP="unix:" + os.path.join(work, "two.sock"), has_twin=True) as one:
        with open("/proc/%s/task/%s/children" % (one.pid, one.pid)) as file:
            twin = file.read().strip()
        holds(" exactly " in hpprof("watch", "--once", one.pid).stdout)
        done = hpprof("watch", "--once", twin)
        holds(" exactly " not in done.stdout and twin in done.stdout + done.stderr, done)


# ---- what is said ----

def what_is_no_program_to_watch_is_one_line():
    gone = subprocess.Popen(["true"])
    gone.wait()
    is_one_line(hpprof("watch", str(gone.pid)), 1, "there is no process %d" % gone.pid)
    is_one_line(hpprof("watch", str(os.getpid())), 1, "does not run under hpmalloc")
    is_one_line(hpprof("watch", "http://127.0.0.1:1"), 1, "http://127.0.0.1:1: Connection refused")
    is_one_line(hpprof("watch", "unix:/nowhere"), 1, "unix:/nowhere: No such file")
    for word in ("redis", "https://a", "http://", "http://a:b", "http://a:99999", "http://a/?token=short",
                 "unix:", "http://u@a", "-1"):
        is_one_line(hpprof("watch", word), 2, "--help")
    for arguments in (["--interval", "0", "1"], ["--interval", "x", "1"], ["--top", "0", "1"], ["--json", "1"],
                      ["--top"], ["1", "2"], []):
        is_one_line(hpprof("watch", *arguments), 2, "--help")
    holds("Example: " in hpprof("watch", "--help").stdout)
    with Watched() as program:
        is_one_line(hpprof("watch", "--once", "--sample", "x", program.pid), 1, "inuse_space", program.pid)


class Impostor:
    """A server that answers with what it is given, byte for byte, and then closes, or does not."""

    def __init__(self, answer, stays=False):
        self.answer, self.stays = answer, stays
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            peer = self.listener.accept()[0]
            try:
                peer.recv(4096)
                peer.sendall(self.answer)
                if self.stays:
                    time.sleep(60)
            except OSError:
                pass
            peer.close()


def what_answers_otherwise_is_one_line():
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
    for answer, said in ((b"", "does not speak HTTP"), (b"\0" * 100000, "HTTP"), (b"SSH-2.0\r\n\r\n", "HTTP"),
                         (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20000, "HTTP"),
                         (head % 100 + b"x", "answer was cut off"),
                         (head % 3 + b"abc", ""), (head % (1 << 40) + b"x", "too long"), (head % 0, "empty"),
                         (b"HTTP/1.1 404 Not Found\r\n\r\nno \033[31msuch page\r\nmore", "404: no ?[31msuch page")):
        done = hpprof("watch", "--once", Impostor(answer).url)
        is_one_line(done, 1, said, "http://127.0.0.1:")
    begin = time.monotonic()
    is_one_line(hpprof("watch", "--once", Impostor(b"HTTP/1.1 ", stays=True).url), 1, "does not answer")
    holds(time.monotonic() - begin < 15)


class Others(Impostor):
    """A server of profiles that knows no other path."""

    def serve(self):
        while True:
            peer = self.listener.accept()[0]
            found = b"GET /app/debug/pprof/heap" in peer.recv(4096)
            peer.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + self.answer if found else b"HTTP/1.0 404 No\r\n\r\n")
            peer.close()


def others_that_serve_profiles_are_watched_too():
    server = Others(b"heap profile: 3: 300 [4: 400] @ heapprofile\n2: 200 [3: 300] @ 0x10 0x20\n"
                    b"1: 100 [1: 100] @ 0x30\n")
    done = hpprof("watch", "--once", "--json", server.url + "/app/")
    equal((done.returncode, done.stderr), (0, ""))
    equal((json.loads(done.stdout)["total"], "live_bytes" in done.stdout), (300, False), done.stdout)


def once_as_JSON_is_for_scripts():
    with Watched(HTTP="127.0.0.1:0") as program:
        done = hpprof("watch", "--once", "--json", "--top", "1", program.pid)
        equal((done.returncode, done.stderr), (0, ""))
        read = json.loads(done.stdout)
        equal((read["source"], read["program"], read["sample_type"]), (program.pid, "watched", "inuse_space"))
        holds(0.8 < read["total"] / read["live_bytes"] < 1.25 and read["resident_bytes"] > 1e6, read)
        equal([(row["function"], row["caller"]) for row in read["stacks"]], [LEAK])
        read = json.loads(hpprof("watch", "--once", "--json", "--sample", "alloc_objects", program.pid).stdout)
        holds(read["unit"] == "count" and {row["function"] for row in read["stacks"]} >=
              {"forget_parcel", "fill_cache"}, read)


def a_pipe_gets_pictures_without_escapes():
    with Watched(250, HTTP="127.0.0.1:0") as program:
        done = hpprof("watch", "--interval", "0.4", "--top", "1", program.pid)
    pictures = done.stdout.split("\n\n")
    equal((done.returncode, done.stderr), (0, ""))
    holds(len(pictures) > 4 and "\033" not in done.stdout, done.stdout)
    for picture in pictures[1:-1]:
        equal(first_row(picture), LEAK)
        holds(re.search(r"^total [0-9.]+ MiB  \+[0-9.]+ MiB/s  since start \+[0-9.]+ .iB$", picture, re.M), picture)
        holds(re.search(r"^ +[0-9.]+ MiB +\+[0-9.]+ .iB +\+[0-9.]+ .iB +\d+  forget", picture, re.M), picture)
    holds("\u2581" in pictures[-2] and "\u2588" in pictures[-2], pictures[-2])
    last = re.search(r"^total (\S+ \S+)", pictures[-2], re.M).group(1)
    holds(re.fullmatch(r"hpprof: process %s has ended; total at last %s \(inuse_space\), [0-9.]+ s after the "
                       r"first picture\n" % (program.pid, re.escape(last)), pictures[-1]), pictures[-1])


def the_end_of_what_is_at_an_address_is_said():
    with Watched(150, HTTP="127.0.0.1:0") as program:
        url = program.url()
        done = hpprof("watch", "--interval", "0.3", url)
    equal(done.returncode, 0, done.stderr)
    holds("hpprof: %s has ended; total at last" % url in done.stdout.splitlines()[-1], done.stdout)


def an_end_leaves_no_files_behind():
    """Signals that are ignored here, as SIGINT is in the background, are not there."""
    with Watched() as program:
        for turn, number in enumerate(4 * [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]):
            process = subprocess.Popen([HPPROF, "watch", "--interval", "0.1", program.pid],
                                       stdout=subprocess.PIPE, text=True,
                                       preexec_fn=lambda: signal.signal(number, signal.SIG_DFL))
            process.stdout.readline()
            holds(os.listdir(os.environ["TMPDIR"]))
            time.sleep(0.1 + turn * 0.011)
            process.send_signal(number)
            process.stdout.read()
            equal(process.wait(10), -number)
            equal((os.listdir(os.environ["TMPDIR"]), program.files()), ([], []))


# ---- in a terminal ----

class Terminal:
    """tmux with a shell in it: what is typed, and what is then to be seen."""

    def __init__(self, columns=100, rows=24, **environment):
        # Of its own: a server that was told to end may take a moment to.
        self.socket = os.path.join(tempfile.mkdtemp(prefix="tmux.", dir=work), "socket")
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(rows), "sh",
                  environment=dict(os.environ, PS1="$ ", **environment))
        self.type("PS1='$ '; cd %s; clear" % work, "Enter")
        self.sees(r"^\$ *$")

    def tmux(self, *arguments, environment=None):
        return subprocess.run(["tmux", "-S", self.socket, *arguments], stdout=subprocess.PIPE, text=True,
                              check=True, timeout=20, env=environment).stdout

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run(["tmux", "-S", self.socket, "kill-server"], stderr=subprocess.DEVNULL)

    def type(self, *keys):
        self.tmux("send-keys", *keys)

    def screen(self):
        return self.tmux("capture-pane", "-p")

    def sees(self, pattern, seconds=15):
        """What is to be seen once the pattern is in it."""
        seen = []

        def found():
            seen.append(self.screen())
            return re.search(pattern, seen[-1], re.M)
        holds(soon(found, seconds), "no '%s' in:\n%s" % (pattern, seen[-1]))
        return seen[-1]

    def is_on_second_screen(self):
        return self.tmux("display-message", "-p", "#{alternate_on} #{cursor_flag}").strip() == "1 0"

    def resize(self, columns, rows):
        self.tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def watch(self, *arguments):
        self.type("stty -a >before; %s watch %s; echo ended with $?" % (HPPROF, " ".join(arguments)), "Enter")
        self.sees(r"q quit$")

    def child(self):
        """What the shell has started."""
        shell = self.tmux("display-message", "-p", "#{pane_pid}").strip()
        with open("/proc/%s/task/%s/children" % (shell, shell)) as file:
            return int(file.read())

    def is_as_before(self):
        holds(not self.is_on_second_screen())
        self.type("stty -a >after; cmp before after && echo as before", "Enter")
        self.sees(r"^as before$")


def keys_sort_pause_write_explain_and_quit():
    with Watched(HTTP="127.0.0.1:0") as program, Terminal() as terminal:
        terminal.watch("--interval", "0.3", program.pid)
        terminal.sees(r" since start \+[1-9]")
        holds(terminal.is_on_second_screen())
        equal(first_row(terminal.sees(r"\*size .* change .* function")), LEAK)
        terminal.type("s")
        equal(first_row(terminal.sees(r"\*change .*function")), LEAK)
        terminal.type("N")
        equal(first_row(terminal.sees(r"\*function")), ("fill_cache", "main"))
        terminal.type("O")
        terminal.sees(r"\*objects")
        terminal.type("S")
        terminal.sees(r"\*size")
        terminal.type("Right", "x", "+")  # an arrow's bytes are no keys, as the C would be; what follows is
        holds("*size" in terminal.sees(r"every 0.6 s"))
        terminal.type("-", "-")
        terminal.sees(r"every 0.15 s")
        terminal.type("p")
        paused = terminal.sees(r", paused$").splitlines()[1]
        time.sleep(1)
        paused = terminal.screen().splitlines()[1]
        time.sleep(1.5)
        equal(terminal.screen().splitlines()[1], paused)
        terminal.type("w")
        name = re.search(r"written: (\S+)", terminal.sees(r"^written: ")).group(1)
        equal(name, "hpprof.watched.%s.1.pb.gz" % program.pid)
        holds("forget_parcel" in hpprof("top", name).stdout, name)
        equal(os.stat(os.path.join(work, name)).st_mode & 0o777, 0o600)
        terminal.type("p", "?")
        terminal.sees(r"^  q +quit$")
        terminal.type("?")
        terminal.sees(r"function < caller")
        terminal.type("q")
        terminal.sees(r"^ended with 0$")
        terminal.is_as_before()


def signals_leave_the_terminal_as_it_was():
    with Watched(HTTP="127.0.0.1:0") as program, Terminal() as terminal:
        terminal.watch("--interval", "0.3", program.pid)
        terminal.type("C-z")
        terminal.sees(r"Stopped")
        terminal.is_as_before()
        terminal.type("fg", "Enter")
        terminal.sees(r"q quit$")
        holds(terminal.is_on_second_screen())
        terminal.type("N")
        terminal.sees(r"\*function")
        terminal.type("C-c")
        holds(soon(lambda: not terminal.is_on_second_screen()))
        terminal.is_as_before()
        terminal.watch(program.pid)
        os.kill(terminal.child(), signal.SIGTERM)
        terminal.sees(r"^ended with 143$")
        terminal.is_as_before()
        equal(os.listdir(os.environ["TMPDIR"]), [])


def the_end_of_the_program_is_said_below():
    with Watched(300) as program, Terminal() as terminal:
        terminal.watch("--interval", "0.5", program.pid)
        seen = terminal.sees(r"^ended with 0$")
        holds(re.search(r"^hpprof: process %s has ended; total at last [0-9.]+ MiB" % program.pid, seen, re.M), seen)
        terminal.is_as_before()
        equal(program.files(), [])


def each_width_and_height_is_kept_to():
    with Watched(HTTP="127.0.0.1:0") as program, Terminal() as terminal:
        terminal.watch("--interval", "0.3", program.pid)
        for columns, rows in (120, 40), (65, 10), (50, 24), (20, 6), (8, 2):
            terminal.resize(columns, rows)
            begin = ("process " + program.pid)[:columns].rstrip()
            holds(soon(lambda: terminal.screen().startswith(begin)), terminal.screen())
            time.sleep(0.7)
            lines = terminal.screen().rstrip("\n").split("\n")
            holds(len(lines) <= rows and lines[0].startswith(begin), lines)
            holds(rows < 5 or any(line.startswith("total") for line in lines[:2]), lines)
            holds(columns < 40 or "forget_parcel" in terminal.screen(), lines)
        terminal.resize(100, 24)
        terminal.sees(r"q quit$")
        terminal.type("q")
        terminal.sees(r"^ended with 0$")


def bytes_to_a_terminal(seconds, *arguments, hangup=signal.SIG_DFL, **environment):
    """What a terminal gets of it, which is 80 wide and types nothing."""
    child, terminal = pty.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGHUP, hangup)
            os.execve(HPPROF, [HPPROF, *arguments], {**os.environ, "TERM": "xterm", **environment})
        finally:
            os._exit(127)
    got, end = b"", time.monotonic() + seconds
    while time.monotonic() < end:
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                got += os.read(terminal, 65536)
            except OSError:
                break
    os.close(terminal)
    if not soon(lambda: os.waitpid(child, os.WNOHANG)[0] == child):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise AssertionError("it did not end with its terminal")
    return got


def colour_and_characters_are_the_terminals():
    colour = re.compile(rb"\033\[[1-9][0-9]*m")
    with Watched(HTTP="127.0.0.1:0") as program:
        arguments = ["watch", "--interval", "0.3", program.pid]
        got = bytes_to_a_terminal(2, *arguments)
        holds(colour.search(got) and b"\xe2\x96" in got and got.startswith(b"\033[?1049h"), got[:2000])
        got = bytes_to_a_terminal(2, *arguments, NO_COLOR="1")
        holds(not colour.search(got) and b"\xe2\x96" in got, got[:2000])
        got = bytes_to_a_terminal(2, *arguments, LC_ALL="C")
        holds(colour.search(got) and max(got) < 128 and re.search(rb"^_[^ ]*#  ", got, re.M), got[:2000])
        got = bytes_to_a_terminal(2, *arguments, TERM="dumb")
        holds(b"\033" not in got and b"forget_parcel" in got, got[:2000])
        equal(os.listdir(os.environ["TMPDIR"]), [])


def who_ignores_hangups_ends_with_the_terminal_too():
    with Watched(HTTP="127.0.0.1:0") as program:
        got = bytes_to_a_terminal(2, "watch", "--interval", "0.3", program.pid, hangup=signal.SIG_IGN)
        holds(got.startswith(b"\033[?1049h"), got[:2000])
        equal(os.listdir(os.environ["TMPDIR"]), [])


def run_shows_how_the_program_does_and_wipes_it():
    said = r"\[[0-9.]+ s, [0-9.]+ MiB live, [1-9][0-9]* samples\]$"
    before = set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()
    with Terminal() as terminal:
        run = "%s run --library %s --sample-interval 16k" % (HPPROF, LIBRARY)
        terminal.type("clear; %s --progress -- %s 300; echo ended with $?" % (run, PROGRAM), "Enter")
        terminal.sees(said)
        seen = terminal.sees(r"^ended with 3$")
        holds("samples]" not in seen, seen)
        terminal.type("clear; %s --report r.html -- %s 300 2>/dev/null; echo ended with $?" % (run, PROGRAM), "Enter")
        seen = terminal.sees(r"^ended with 3$")
        holds("samples]" not in seen, seen)
        terminal.type("clear; %s --report=r.html -- %s 300; echo ended with $?" % (run, PROGRAM), "Enter")
        terminal.sees(said)
        terminal.sees(r"^ended with 3$")
    done = hpprof("run", "--library", LIBRARY, "--progress", "--", PROGRAM, "100")
    equal((done.returncode, done.stdout, done.stderr), (3, "", ""))
    left = set(os.listdir("/dev/shm")) - before if before or os.path.isdir("/dev/shm") else set()
    equal((os.listdir(os.environ["TMPDIR"]), [name for name in left if name.startswith("hpprof.")]), ([], []))


PLAIN = [a_process_is_asked_over_its_unix_socket, a_process_is_asked_over_HTTP_with_its_token,
         a_process_that_serves_nothing_is_asked_by_its_signal, what_it_would_have_to_spoil_is_not_asked_by_signal,
         another_process_that_has_the_socket_too_is_not_mistaken, what_is_no_program_to_watch_is_one_line,
         what_answers_otherwise_is_one_line, others_that_serve_profiles_are_watched_too,
         once_as_JSON_is_for_scripts, a_pipe_gets_pictures_without_escapes,
         the_end_of_what_is_at_an_address_is_said, an_end_leaves_no_files_behind,
         colour_and_characters_are_the_terminals, who_ignores_hangups_ends_with_the_terminal_too]
WITH_TMUX = [keys_sort_pause_write_explain_and_quit, signals_leave_the_terminal_as_it_was,
             the_end_of_the_program_is_said_below, each_width_and_height_is_kept_to,
             run_shows_how_the_program_does_and_wipes_it]


def prove(test):
    try:
        test()
        faults = []
    except (AssertionError, OSError, subprocess.SubprocessError, ValueError, AttributeError, LookupError) as error:
        line = error.__traceback__.tb_next.tb_lineno
        faults = ("line %d: %s: %s" % (line, type(error).__name__, error)).splitlines()
    reporter.report(test.__name__.replace("_", " "), faults)


def main():
    if not os.path.exists(LIBRARY) or not os.path.exists(HPPROF):
        print("1..0 # SKIP there is no library, or no hpprof")
        return 0
    only = sys.argv[1:]
    subprocess.run([*os.environ.get("CC", "cc").split(), "-O1", "-g", "-o", PROGRAM,
                    os.path.join(SOURCE, "tests/tools/watched.c")], check=True)
    try:
        for test in [test for test in PLAIN + WITH_TMUX if not only or test.__name__ in only]:
            if test in WITH_TMUX and shutil.which("tmux") is None:
                reporter.skip(test.__name__.replace("_", " "), "there is no tmux")
            else:
                prove(test)
    finally:
        for child in children:
            child.kill()
            child.wait()
        shutil.rmtree(work, ignore_errors=True)
    return reporter.finish()


if __name__ == "__main__":
    sys.exit(main())
