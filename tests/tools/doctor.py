#!/usr/bin/env python3
"""hpprof doctor on patients of known trouble, each made for real: it finds that and no other, and
nothing where all is well."""

import json
import os
import pwd
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402

BUILD = os.path.abspath(os.environ.get("top_builddir", "."))
SOURCE = os.path.abspath(os.environ.get("top_srcdir", "."))
LIBRARY = os.path.join(BUILD, ".libs", "libhpmalloc.so")
HPPROF = os.path.join(BUILD, "hpprof")
COMPILER = os.environ.get("CC", "cc").split()
IS_ROOT = os.geteuid() == 0
CLEAN = {name: value for name, value in os.environ.items()
         if not name.startswith(("HPMALLOC_", "LD_"))}

reporter = tap.Reporter("doctor")
report, skip = reporter.report, reporter.skip


class Untroubled(Exception):
    """The patient could not get into this trouble here."""


class Patient:
    """A process in trouble, until the end of the block."""

    def __init__(self, place, *arguments, preload=LIBRARY, options=None, cwd=None, user=None,
                 prepare=None, wrapper=()):
        environment = dict(CLEAN, HPMALLOC_QUIET="1", **(options or {}))
        if preload is not None:
            environment["LD_PRELOAD"] = preload
        program = arguments[0] if arguments and arguments[0].startswith("/") else None
        command = list(arguments) if program else [os.path.join(place, "patient"), *arguments]
        self.process = subprocess.Popen([*wrapper, *command], env=environment, cwd=cwd or place,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, preexec_fn=prepare, user=user,
                                        group=user, extra_groups=[] if user else None)
        self.pid = self.process.pid

    def __enter__(self):
        if self.process.stdout.readline() != b"ready\n":
            self.end()
            raise Untroubled("no such trouble is to be had on this system")
        return self

    def end(self):
        self.process.kill()
        self.process.communicate()

    def __exit__(self, *_):
        self.end()


def ask(*words, user=None, environment=None):
    return subprocess.run([HPPROF, "doctor", *map(str, words)], stdout=subprocess.PIPE, timeout=60,
                          stderr=subprocess.PIPE, text=True, user=user, group=user,
                          env=environment or CLEAN, extra_groups=[] if user else None)


def codes_of(text):
    """Of the lines of the text: those of findings, and of notes."""
    lines = text.splitlines()[1:]
    notes = {line.split(": ")[1] for line in lines if line.startswith("note: ")}
    return {line.split(": ")[0] for line in lines if not line.startswith("note: ")}, notes


def faults_of(found, said, findings, notes):
    faults = []
    is_, are_notes = codes_of(found.stdout)
    if is_ != set(findings) or not set(notes) <= are_notes:
        faults.append("found: %s; notes: %s" % (sorted(is_), sorted(are_notes)))
    if found.returncode != int(bool(findings)) or said.returncode != found.returncode:
        faults.append("exit status %d, and %d" % (found.returncode, said.returncode))
    if ("nothing is wrong" in found.stdout) != (not findings):
        faults.append("it says that nothing is wrong, or does not")
    read = json.loads(said.stdout)
    if ({row["code"] for row in read["findings"]}, {row["code"] for row in read["notes"]}) != \
            (is_, are_notes) or ("next" in read) != (not findings):
        faults.append("--json says something else: " + said.stdout)
    for row in read["findings"] + read["notes"]:
        if not any(row["what"] + "; " + row["remedy"] in line for line in found.stdout.splitlines()):
            faults.append("not one line: %s" % row)
    return faults + ([found.stdout + found.stderr] if faults else [])


def expect(sentence, words, findings, notes=(), **how):
    """Both the text and --json, of which each says the same; asked at once, for a dump that does not
    come takes its time."""
    words = words if isinstance(words, list) else [words]
    with ThreadPoolExecutor() as pool:
        said = pool.submit(ask, "--json", *words, **how)
        found = ask(*words, **how)
    try:
        faults = faults_of(found, said.result(), findings, notes)
    except ValueError:
        faults = ["no JSON; " + found.stdout + found.stderr]
    report(sentence, faults)


def expect_of(sentence, place, trouble, findings, notes=(), words=(), **how):
    """`trouble`: how the patient is started."""
    try:
        with Patient(place, *trouble, **how) as patient:
            expect(sentence, [*words, patient.pid], findings, notes)
    except Untroubled as reason:
        skip(sentence, str(reason))


def compile_to(path, text, *flags, compiler=COMPILER):
    subprocess.run([*compiler, "-x", "c", "-", "-o", path, *flags], input=text, text=True,
                   check=True)
    return path


READY = """
#include <stdlib.h>
#include <unistd.h>
int main(void) { char c; return write(1, "ready\\n", 6) == 6 && read(0, &c, 1) > 0; }
"""


def check_well(place):
    for trouble in ("", "half-blocked"):
        expect_of("nothing is wrong with a patient that is %s" % (trouble or "well"), place,
                  [trouble], [])
    expect_of("a dump proves it", place, [""], [], ["no-samples"], words=["--dump"])
    expect_of("other options are no trouble", place, [""], [], options={
        "HPMALLOC_SAMPLE_INTERVAL": "64k", "HPMALLOC_PROGRAM": "pat*",
        "HPMALLOC_DUMP_SIGNAL": "RTMIN+3", "HPMALLOC_HTTP": "unix:" + place + "/%e.%p",
        "HPMALLOC_DUMP_PATH": place + "/%e.%p.%n"})


def check_preload(place):
    with Patient(place, "", preload=None) as patient:
        expect("a program without LD_PRELOAD", patient.pid, ["preload-unset"])
    expect_of("LD_PRELOAD of something else", place, [""], ["preload-unset"],
              preload="/nowhere/libother.so")
    expect_of("LD_PRELOAD of a file that is not there", place, [""], ["preload-missing"],
              preload="/nowhere/libhpmalloc.so")
    expect_of("LD_PRELOAD of a name without a folder", place, [""], ["preload-bare-name"],
              preload="libhpmalloc.so.17")
    broken = os.path.join(place, "libhpmalloc.so.broken")
    with open(broken, "w") as file:
        file.write("no library\n")
    expect_of("LD_PRELOAD of a file that is no library", place, [""], ["preload-broken"],
              preload=broken)


def check_programs(place):
    static = compile_to(os.path.join(place, "static"), READY, "-static")
    expect_of("a static program", place, [static], ["static-program"])
    expect("a static program that does not run yet", [static], ["static-program"])
    linked = os.path.join(place, "linked")
    archive = os.path.join(BUILD, ".libs", "libhpmalloc.a")
    if os.path.exists(archive):
        flags = ["-static", "-g", "-x", "none", archive, "-lpthread",
                 *os.environ.get("HPM_LIBS", "").split()]
        compile_to(linked, READY.replace("char c;", "char c = *(char *)malloc(9);"), *flags)
        expect_of("a static program that has the library linked in is well", place, [linked], [],
                  preload=None)
        subprocess.run(["strip", linked], check=True)
        expect_of("so it is when stripped", place, [linked], [], ["no-debug-file"], preload=None)
    expect("a program that does not run yet, and may", [os.path.join(place, "patient")], [])
    expect("arguments of a program are its own", ["--", os.path.join(place, "patient"), "--json"],
           [])
    script = os.path.join(place, "script")
    with open(script, "w") as file:
        file.write("#!" + static + " x\n")
    os.chmod(script, 0o755)
    expect("of a script, what runs it", [script], ["static-program"])
    with open(script, "w") as file:
        file.write("#!" + os.path.join(place, "patient") + "\n")
    first = ask(script).stdout.split("\n")[0]
    report("a script is called by its name", [] if first ==
           "%s, a script that %s/patient runs: nothing is wrong; for a profile: hpprof run -- %s" %
           (script, place, script) else [first])
    first = ask(os.path.join(place, "patient")).stdout.split("\n")[0]
    report("a program is to be run as it was asked for",
           [] if first.endswith(": hpprof run -- %s/patient" % place) else [first])
    check_other_machines(place)


def patched(place, name, offset, byte):
    """The patient's program with one byte changed."""
    with open(os.path.join(place, "patient"), "rb") as file:
        bytes_ = bytearray(file.read())
    bytes_[offset] = byte
    path = os.path.join(place, name)
    with open(path, "wb") as file:
        file.write(bytes_)
    os.chmod(path, 0o755)
    return path


def check_other_machines(place):
    expect("a 32-bit program", [patched(place, "narrow", 4, 1)], ["wrong-architecture"])
    expect("a program of another machine", [patched(place, "other", 18, 2)],
           ["wrong-architecture"])
    if shutil.which("musl-gcc"):
        musl = compile_to(os.path.join(place, "musl"), READY, "-Wl,--build-id",
                          compiler=["musl-gcc"])
        expect("a program of musl, a library of glibc", [musl], ["wrong-libc"])
    else:
        skip("a program of musl, a library of glibc", "there is no musl-gcc")
    if shutil.which("go"):
        expect("a Go program", [os.path.realpath(shutil.which("go"))], ["go-program"])
    else:
        skip("a Go program", "there is no go")


ALLOCATOR = """
#include <stddef.h>
static char memory[1 << 20];
static size_t used;
void *malloc(size_t size) { used += (size + 31) & ~15ul; return memory + used - ((size + 15) & ~15ul); }
void free(void *p) { (void)p; }
""" + READY


def check_allocators(place):
    other = compile_to(os.path.join(place, "libjemalloc.so.2"), "int mallctl(void) { return 0; }",
                       "-shared", "-fPIC", "-g")
    for order in (other + ":" + LIBRARY, LIBRARY + ":" + other):
        expect_of("two allocators: " + ":".join(map(os.path.basename, order.split(":"))), place, [""],
                  ["two-allocators"], preload=order)
    linked = compile_to(os.path.join(place, "linked-with-other"), READY, "-g", "-Wl,--no-as-needed",
                        "-x", "none", other)
    expect_of("another allocator that the program is linked with comes after hpmalloc", place,
              [linked], [], ["two-allocators"])
    own = compile_to(os.path.join(place, "own"), ALLOCATOR, "-g", "-fno-builtin", "-rdynamic")
    expect_of("a program with a malloc of its own", place, [own], ["own-allocator"])


def check_options(place):
    for name, value, code in (
            ("SAMPLE_INTERVAL", "0", "sampling-off"), ("SAMPLE_INTERVAL", "4g", "sampling-sparse"),
            ("PROGRAM", "redis-*", "program-pattern"), ("DUMP_SIGNAL", "none", "signal-none"),
            ("DUMP_FORMAT", "prof", "option-refused"), ("SAMPLE_INTERVALL", "1k", "option-unknown")):
        expect_of("HPMALLOC_%s=%s" % (name, value), place, [""], [code],
                  options={"HPMALLOC_" + name: value})
        expect("HPMALLOC_%s=%s for a program that does not run yet" % (name, value),
               [os.path.join(place, "patient")], [code],
               environment=dict(CLEAN, **{"HPMALLOC_" + name: value}))
    expect_of("no signal, but another way to dump", place, [""], [], ["signal-none"],
              options={"HPMALLOC_DUMP_SIGNAL": "none", "HPMALLOC_DUMP_EVERY": "1h"})
    expect_of("a program that writes over its environment", place, ["title"], [],
              ["environment-gone"], options={"HPMALLOC_SAMPLE_INTERVAL": "0"})
    named = []
    for title in "patient: at work", "patient *:6379", "patient unixsocket:/run/s", "/usr/bin/patient /run/s":
        with Patient(place, "title", title) as patient:
            program = json.loads(ask("--json", patient.pid).stdout)["program"]
            named += [] if program == "patient" else ["%s: %s" % (title, program)]
    report("a title is not the program's name", named)


def ignore_signal():
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


def check_signals(place):
    expect_of("a signal that is ignored", place, [""], ["signal-ignored"], prepare=ignore_signal)
    expect_of("a signal whose handler was taken away", place, ["uncaught"], ["signal-uncaught"])
    expect_of("a signal that all threads block", place, ["blocked"], ["signal-blocked"])
    expect_of("a signal that is taken over: --dump tries", place, ["taken"], ["no-dump"],
              words=["--dump"])
    expect_of("a seccomp filter of its own", place, ["filter"], ["seccomp"])
    expect_of("a seccomp filter that forbids a dump: --dump tries", place, ["filter"],
              ["no-dump", "seccomp"], words=["--dump"])
    expect_of("seccomp's strict mode", place, ["strict"], ["seccomp"])


def limit_files():
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


# A file system for the patient alone, at PLACE/mounted.
def mounted(place, options):
    return ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o "$1" none "$2" && cd "$2" && shift 2 '
            '&& exec "$@"', "sh", options, os.path.join(place, "mounted")]


def check_folders(place):
    expect_of("a folder for dumps that is not there", place, [""], ["folder-missing"],
              options={"HPMALLOC_DUMP_PATH": "/nowhere/at/all.%p"})
    expect_of("a folder that is a file", place, [""], ["folder-missing"],
              options={"HPMALLOC_DUMP_PATH": os.path.join(place, "patient") + "/x.%p"})
    expect_of("a limit on the size of files", place, [""], ["file-size-limit"],
              prepare=limit_files)
    os.mkdir(os.path.join(place, "mounted"))
    if subprocess.run([*mounted(place, "size=1m"), "true"], stderr=subprocess.DEVNULL).returncode:
        skip("folders in a mount namespace of the patient's own", "no right to make one")
        return
    for options, code in (("size=1m", "folder-full"), ("nr_inodes=1", "folder-full"),
                          ("ro", "folder-read-only"), ("size=64m", None)):
        expect_of("a file system of the patient's own, mounted with " + options, place, [""],
                  [code] if code else [], ["mount-namespace"], wrapper=mounted(place, options))
    check_quota(place)
    hidden = os.path.join(place, "mounted", "libhpmalloc.so")
    shutil.copy(LIBRARY, hidden)
    expect_of("a library that is not in the patient's mount namespace", place, [""],
              ["preload-elsewhere"], preload=hidden, wrapper=mounted(place, "size=64m"))
    expect_of("a library in a file system without execution", place, [""], ["preload-noexec"],
              preload="libhpmalloc.so", wrapper=[
                  "unshare", "-m", "sh", "-c", 'mount -t tmpfs -o noexec none "$1" && cp "$2" '
                  '"$1/" && export LD_PRELOAD="$1/libhpmalloc.so" && shift 2 && exec "$@"', "sh",
                  os.path.join(place, "mounted"), LIBRARY])


def check_quota(place):
    sentence = "a user's quota that is used up"
    options = "usrquota,usrquota_block_hardlimit=1m,size=64m"
    if subprocess.run([*mounted(place, options), "true"], stderr=subprocess.DEVNULL).returncode:
        skip(sentence, "the system's tmpfs has no quotas")
    else:
        expect_of(sentence, place, [""], ["folder-quota"], wrapper=mounted(place, options))


def check_users(place):
    nobody = pwd.getpwnam("nobody").pw_uid
    if not IS_ROOT:
        skip("other users, and raised privileges", "only root can make them")
        return
    private = os.path.join(place, "private")
    os.mkdir(private, 0o755)
    expect_of("a folder in which the patient may not write", place, [""], ["folder-unwritable"],
              user=nobody, cwd=private)
    locked = os.path.join(place, "locked")
    os.mkdir(locked, 0o700)
    shutil.copy(LIBRARY, locked)
    expect_of("a library that the patient may not read", place, [""], ["preload-unreadable"],
              user=nobody, preload=os.path.join(locked, "libhpmalloc.so"))
    raised = os.path.join(place, "raised")
    shutil.copy(os.path.join(place, "patient"), raised)
    os.chown(raised, nobody, nobody)
    os.chmod(raised, 0o4755)
    expect_of("a setuid program", place, [raised], ["secure-execution"])
    expect("a setuid program that does not run yet", [raised], ["secure-execution"])
    with Patient(place, "") as patient:
        expect("a process of another user's", patient.pid, ["not-permitted"], user=nobody)
    open_place = os.path.join(place, "open")
    os.mkdir(open_place)
    os.chmod(open_place, 0o777)
    with Patient(place, "", user=nobody, cwd=open_place) as patient:
        expect("its user may ask, too", patient.pid, [], user=nobody)
    with Patient(place, "undumpable", user=nobody, cwd=open_place) as patient:
        expect("a process that is not dumpable", patient.pid, ["not-permitted"], user=nobody)


def check_http(place):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        expect_of("an address that is taken", place, [""], ["http-in-use"],
                  options={"HPMALLOC_HTTP": address})
        expect("an address that is taken, for a program that does not run yet",
               [os.path.join(place, "patient")], ["http-in-use"],
               environment=dict(CLEAN, HPMALLOC_HTTP=address))
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(os.path.join(place, "socket"))
        taken.listen()
        expect_of("a socket that is taken", place, [""], ["http-in-use"],
                  options={"HPMALLOC_HTTP": "unix:" + place + "/socket"})
    expect_of("another machine's address without a token", place, [""], ["http-token"],
              options={"HPMALLOC_HTTP": "0.0.0.0:0"})
    expect_of("a token's file that is not there", place, [""], ["http-token"],
              options={"HPMALLOC_HTTP": "127.0.0.1:0", "HPMALLOC_HTTP_TOKEN_FILE": "/nowhere"})
    readable = os.path.join(place, "token")
    with open(readable, "w") as file:
        file.write("0123456789abcdef0123456789abcdef\n")
    os.chmod(readable, 0o644)
    expect_of("a token's file that everybody may read", place, [""], ["http-token"],
              options={"HPMALLOC_HTTP": "127.0.0.1:0", "HPMALLOC_HTTP_TOKEN_FILE": readable})
    expect_of("what is no address", place, [""], ["http-address"],
              options={"HPMALLOC_HTTP": "localhost"})
    check_time(place)


def check_time(place):
    """Served for a while, and then no longer."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = "127.0.0.1:%d" % free.getsockname()[1]
    with Patient(place, "", options={"HPMALLOC_HTTP": address, "HPMALLOC_HTTP_TTL": "100ms"}) as patient:
        wait_for_end_of_server(patient.pid)
        expect("a server whose time is over", patient.pid, ["http-not-serving"])


def wait_for_end_of_server(pid):
    for _ in range(200):
        if len(os.listdir("/proc/%d/task" % pid)) == 1:
            return
        time.sleep(0.05)


MANY = "".join("int f%d(int *a) { int s = %d; for (int i = 0; i < a[0]; i++) s += a[i] * s; return s; }\n"
               % (i, i) for i in range(1500))


def check_stacks(place):
    bare = compile_to(os.path.join(place, "bare"), MANY + READY, "-g",
                      "-fno-asynchronous-unwind-tables", "-fno-unwind-tables")
    expect_of("code without unwind data", place, [bare], ["no-unwind-data"])
    full = compile_to(os.path.join(place, "full"), MANY + READY, "-g")
    expect_of("the same code with it", place, [full], [])
    stripped = compile_to(os.path.join(place, "stripped"), READY, "-s", "-Wl,--build-id=none")
    expect_of("a program without symbols and build id", place, [stripped], ["no-names"])
    stripped = compile_to(os.path.join(place, "named"), READY, "-s", "-Wl,--build-id")
    expect_of("a program without symbols that has a build id", place, [stripped], [],
              ["no-debug-file"])
    expect_of("code made at run time", place, ["code"], ["jit-code"])
    with Patient(place, "") as patient:
        expect("neither addr2line nor llvm-symbolizer", patient.pid, ["no-addr2line"],
               environment=dict(CLEAN, PATH="/nowhere"))
    check_profiles(place)


def check_profiles(place):
    profile = os.path.join(place, "cut.folded")
    with open(profile, "w") as file:
        file.write("[truncated];work;malloc 100\nmain;work;malloc 200\n")
    expect_of("a profile of stacks that end early", place, [""], ["truncated-stacks"],
              words=["--profile", profile])
    with open(profile, "w") as file:
        file.write("[truncated];work;malloc 1\nmain;work;malloc 200\n")
    expect_of("a profile of whole stacks, all but a few", place, [""], [],
              words=["--profile", profile])
    nameless = os.path.join(place, "nameless.heap")
    with open(nameless, "w") as file:
        file.write("heap profile: 3: 300 [3: 300] @ heap_v2/1\n 3: 300 [3: 300] @ 0x10 0x20\n\n"
                   "MAPPED_LIBRARIES:\n00000000-00000fff r-xp 00000000 00:00 0 /nowhere/one\n")
    expect_of("a profile of stacks without names", place, [""], ["nameless-stacks"],
              words=["--profile", nameless])


def misused(sentence, status, *words):
    found = ask(*words)
    is_right = found.returncode == status and found.stdout == "" and found.stderr.count("\n") == 1
    report(sentence, [] if is_right else [str(found)])


def check_misuse():
    misused("no process is a misuse", 2)
    misused("two processes are a misuse", 2, 1, 2)
    misused("an unknown option is a misuse", 2, "--colour", 1)
    misused("--dump of a program is a misuse", 2, "--dump", "true")
    misused("0 is no process", 2, "0")
    misused("a process that is not there", 1, 2147483646)
    misused("a program that is not there", 1, "./nowhere")
    misused("a file that is no program", 1, "/etc/passwd")


def main():
    if not os.path.exists(LIBRARY) or not os.path.exists(HPPROF):
        print("1..0 # SKIP there is no library, or no hpprof")
        return 0
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        subprocess.run([*COMPILER, "-g", "-pthread", "-o", os.path.join(place, "patient"),
                        os.path.join(SOURCE, "tests/tools/patient.c")], check=True)
        for check in (check_well, check_preload, check_programs, check_allocators, check_options,
                      check_signals, check_folders, check_users, check_http, check_stacks):
            check(place)
        check_misuse()
    return reporter.finish()


if __name__ == "__main__":
    sys.exit(main())
