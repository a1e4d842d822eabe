#!/usr/bin/env python3
"""The record: a program that says what it holds is killed at random moments, or stopped, and a profile
of its record agrees with it. What a record must not do to files, to other processes, or to its own; and
records that are damaged in every way."""

import math
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]
import profileproto  # noqa: E402
import tap  # noqa: E402

BUILD = os.path.abspath(os.environ.get("top_builddir", "."))
HELPER, HPPROF = (os.path.join(BUILD, p) for p in ("tests/prof/record_helper", "hpprof"))
REPLACES_MALLOC = os.path.exists(os.path.join(BUILD, "tests/api/.libs/plugin.so"))
PLUGIN_SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "torture_plugin.c")
ROUNDS = int(os.environ.get("KILL_ROUNDS", "20"))
INTERVAL, ERRORS = 16384, 5

reporter = tap.Reporter("record")
report = reporter.report
skip = reporter.skip


class Program:
    """A helper at work in a folder of its own."""

    def __init__(self, *arguments, record="record", folder=None, **options):
        self.folder = folder or tempfile.mkdtemp(dir=WORK)
        self.record = os.path.join(self.folder, record)
        environment = dict(os.environ, HPMALLOC_RECORD=record, HPMALLOC_SAMPLE_BUDGET="off",
                           HPMALLOC_SAMPLE_INTERVAL=str(INTERVAL))
        self.log = os.path.join(self.folder, "stderr")
        self.process = subprocess.Popen([HELPER, "said", *map(str, arguments)], cwd=self.folder,
                                        env=environment, stderr=open(self.log, "a"), **options)

    def said(self):
        """Bytes held, and changes made."""
        try:
            with open(os.path.join(self.folder, "said"), "rb") as file:
                return struct.unpack("qq", file.read(16))
        except (OSError, struct.error):
            return 0, 0

    def wait_for_changes(self, changes):
        limit = time.monotonic() + 20
        while self.said()[1] < changes:
            if time.monotonic() > limit or self.process.poll() is not None:
                raise SystemExit("not ok - record: the helper does not work")
            time.sleep(0.001)

    def end(self, number=signal.SIGKILL):
        self.process.send_signal(number)
        self.process.wait(20)
        return self

    def lines(self):
        return open(self.log).read().splitlines()


def dump(record, *arguments):
    return subprocess.run([HPPROF, "dump", "--record", record, *arguments], timeout=60,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def text_of(record):
    return dump(record, "--format", "text", "-o", "-").stdout.decode()


def profile_of(record, *arguments):
    done = dump(record, "-o", record + ".pb.gz", *arguments)
    if done.returncode != 0:
        raise ValueError(done.stderr.decode())
    profile = profileproto.Profile(record + ".pb.gz")
    os.unlink(record + ".pb.gz")
    return profile


def deviation(profile, truth):
    """How many standard errors the sum is off: n objects of s bytes, each sampled with p, are
    estimated with a variance of n (1-p)/p."""
    is_ = variance = 0
    for _, values, object_bytes in profile.samples:
        p = -math.expm1(-object_bytes / INTERVAL)
        is_ += values["inuse_space"]
        variance += object_bytes ** 2 * values["inuse_objects"] * (1 - p) / p
    return (is_ - truth) / math.sqrt(variance + INTERVAL ** 2)


def disagreement(program, record=None):
    """Faults of its record, or [] with its deviation noted."""
    try:
        profile = profile_of(record or program.record)
    except ValueError as error:
        return [str(error)]
    off = deviation(profile, program.said()[0])
    deviations.append(off)
    faults = [] if abs(off) < ERRORS else ["off by %.1f standard errors" % off]
    for name in ("take_small", "take_large"):
        if not profile.total("inuse_space", name):
            faults.append("nothing is of " + name)
    return faults


def check_kills():
    faults = []
    for seed in range(ROUNDS):
        program = Program(seed)
        program.wait_for_changes(3000)
        time.sleep(random.Random(seed).random() * 0.05)
        faults += ["round %d: %s" % (seed, f) for f in disagreement(program.end())]
        shutil.rmtree(program.folder)
    report("killed at %d random moments, each time it is right" % ROUNDS, faults)
    mean = sum(deviations) / len(deviations)
    report("nor are they off together",
           [] if abs(mean) < 5 / math.sqrt(len(deviations)) else ["by %.2f on average" % mean])


def check_hung():
    program = Program(7)
    program.wait_for_changes(30000)
    program.process.send_signal(signal.SIGSTOP)
    os.waitpid(program.process.pid, os.WUNTRACED)
    before = program.said()
    faults = disagreement(program)
    text = text_of(program.record)
    time.sleep(1.2)
    later = text_of(program.record)
    faults += [] if text == later else ["it is another a while later"]
    faults += [] if "are live" in text and "take_small" in text else ["text: " + text]
    faults += [] if program.said() == before else ["it ran"]
    program.process.send_signal(signal.SIGCONT)
    program.wait_for_changes(before[1] + 1000)
    report("a process that hangs is read from outside, and goes on", faults)
    faults = []
    for _ in range(20):
        done = dump(program.record, "-o", "-")
        faults += [] if done.returncode == 0 else [done.stderr.decode()]
    report("so is one that runs", faults)
    program.end()


def check_profiles():
    program = Program(3, "peak")
    program.wait_for_changes(100000)
    program.end()
    heap, allocs, peak = (profile_of(program.record, "--profile", p)
                          for p in ("heap", "allocs", "peak"))
    faults = [] if heap.total("inuse_space") == allocs.total("inuse_space") else ["allocs differ"]
    faults += [] if heap.total("inuse_space", "take_peak") == 0 else ["of the peak something lives"]
    for name, is_ in (("peak", peak.total("inuse_space", "take_peak")),
                      ("allocated", allocs.total("alloc_space", "take_peak"))):
        faults += [] if 27e6 < is_ < 35e6 else ["%s: %d" % (name, is_)]
    if peak.total("inuse_space") < heap.total("inuse_space"):
        faults.append("the peak was lower")
    report("the peak, and what was ever allocated, are in it too", faults)
    strings = set(peak.strings)
    report("so are labels", [] if {"phase", "rise"} <= strings else sorted(strings))
    faults = []
    for arguments, word in ((("--profile", "lifetime", "--format", "text"), b"mean of the freed"),
                            (("--format", "legacy"), b"heap profile: "),
                            (("--format", "collapsed"), b";take_large ")):
        done = dump(program.record, "-o", "-", *arguments)
        if done.returncode != 0 or word not in done.stdout:
            faults.append("%s: %s %s" % (arguments, done.stderr, done.stdout[:200]))
    report("lifetimes are, and it is written in every format", faults)
    names = [dump(program.record).stdout.decode().strip() for _ in range(2)]
    report("each dump has a name of its own",
           [] if names == [program.record + ".%d.pb.gz" % i for i in (1, 2)] else names)


def check_children():
    sentence = "a child of fork writes nothing into its parent's"
    if tap.is_emulated():
        skip(sentence, "qemu tells a process another time of its start than others")
    else:
        program = Program(5, "fork")
        program.wait_for_changes(60000)
        report(sentence, disagreement(program.end()))
    program = Program(6, "fork", record="record.%p")
    program.wait_for_changes(60000)
    program.end()
    own = os.path.join(program.folder, "record.%d" % program.process.pid)
    others = [os.path.join(program.folder, name) for name in os.listdir(program.folder)
              if name.startswith("record.") and not name.endswith(str(program.process.pid))]
    faults = disagreement(program, own)
    if len(others) != 1 or profile_of(others[0]).total("inuse_space", "run_child") < 55e6:
        faults.append("the child's: " + " ".join(others))
    report("with %p in the name it has one of its own", faults)


def check_daemon():
    program = Program(8, "daemon", start_new_session=True)
    program.process.wait(20)
    limit = time.monotonic() + 20
    while time.monotonic() < limit and not os.path.exists(program.record + ".old"):
        time.sleep(0.05)
    changes = program.said()[1]
    while program.said()[1] < changes + 10000 and time.monotonic() < limit:
        time.sleep(0.01)
    os.killpg(program.process.pid, signal.SIGKILL)
    time.sleep(0.2)
    report("a child whose parent is gone takes the name over", disagreement(program))


def refused(prepare, word, **options):
    """The program runs on, says why in one line, and what was there is as it was."""
    folder = tempfile.mkdtemp(dir=WORK)
    path = os.path.join(folder, "record")
    prepare(path)
    before = os.lstat(path) if os.path.lexists(path) else None
    program = Program(1, folder=folder, **options)
    program.wait_for_changes(20000)
    lines = program.end().lines()
    faults = [] if len(lines) == 1 and word in lines[0] else ["it said: %s" % lines]
    after = os.lstat(path) if os.path.lexists(path) else None
    if (before and (before.st_ino, before.st_size)) != (after and (after.st_ino, after.st_size)):
        faults.append("the file is another: %s %s" % (before, after))
    return faults


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


def check_refusals():
    report("a file that is none of ours is left alone",
           refused(lambda path: write(path, "precious " * 1000), "no record of ours"))
    report("an empty file is", refused(lambda path: write(path, ""), "no record of ours"))
    report("a symbolic link is not followed",
           refused(lambda path: os.symlink("elsewhere", path), "no record of ours"))
    report("a FIFO is not waited for", refused(os.mkfifo, "no record of ours"))
    report("a missing folder is said",
           refused(lambda path: None, "no such folder", record="missing/record"))


def check_limits():
    def limit():
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))
    report("a limit on file sizes is no signal",
           refused(lambda path: None, "limit on file sizes", preexec_fn=limit))
    sentence = "a disk that is full is no fault"
    script = 'mount -t tmpfs -o size=%s none "$1" || exit 77; cd "$1" && exec "$2" "$3/said" 1 much'
    for size, faults in (("512k", []), ("1100k", [])):
        folder = tempfile.mkdtemp(dir=WORK)
        disk = os.path.join(folder, "disk")
        os.mkdir(disk)
        program = Program.__new__(Program)
        program.folder, program.log = folder, os.path.join(folder, "stderr")
        program.process = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", script % size, "sh", disk, HELPER, folder],
            stderr=open(program.log, "a"),
            env=dict(os.environ, HPMALLOC_RECORD="record", HPMALLOC_SAMPLE_INTERVAL="64",
                     HPMALLOC_SAMPLE_BUDGET="off"))
        time.sleep(0.3)
        if program.process.poll() in (1, 77):
            skip(sentence, "no right to mount")
            return
        program.wait_for_changes(50000)
        if size == "1100k":
            inside = "/proc/%d/root%s/record" % (program.process.pid, disk)
            done = dump(inside, "-o", "-")
            faults += [] if b"no room" in done.stderr else [done.stderr.decode()]
        lines = program.end().lines()
        faults += [] if size != "512k" or (len(lines) == 1 and "no space" in lines[0]) else lines
        report("%s (%s)" % (sentence, size), faults)


def check_two():
    first = Program(1)
    first.wait_for_changes(20000)
    second = Program(2, folder=first.folder)
    second.wait_for_changes(first.said()[1] + 20000)
    second.end()
    lines = first.lines()
    faults = [] if len(lines) == 1 and "%d, which runs" % first.process.pid in lines[0] else lines
    faults += [] if os.stat(first.record).st_mode & 0o777 == 0o600 else ["its mode"]
    report("the record of a process that runs is not taken from it, and private", faults)
    first.end()
    old = os.stat(first.record).st_ino
    third = Program(3, folder=first.folder)
    third.wait_for_changes(first.said()[1] + 20000)
    third.end()
    faults = [] if os.stat(first.record + ".old").st_ino == old else ["it is not there"]
    faults += [] if profile_of(first.record + ".old").samples else ["it is empty"]
    report("what a crash has left is set aside by the next", faults)


def compile_plugin(path, frame_bytes):
    """With what musl-gcc, unlike a musl system's own compiler, does not ask the linker for."""
    compiler = os.environ.get("CC", "cc").split()
    subprocess.run([*compiler, "-shared", "-fPIC", "-O1", "-Wl,--build-id,--eh-frame-hdr", "-o", path,
                    "-DFRAME_BYTES=%d" % frame_bytes, PLUGIN_SOURCE], check=True, timeout=60)


def check_plugin():
    sentence, other = "code that was loaded later has names", "but not those of another file"
    if not REPLACES_MALLOC:
        skip(sentence, "malloc is not replaced")
        return
    plugin = os.path.join(WORK, "plugin.so")
    compile_plugin(plugin, 16)
    program = Program(4, "plugin", plugin)
    program.process.wait(20)
    is_ = profile_of(program.record).total("inuse_space", "plugin_allocate")
    report(sentence, [] if 18e6 < is_ < 24e6 else ["%d bytes" % is_])
    compile_plugin(plugin, 400)
    names = {name for stack, _, _ in profile_of(program.record).samples for name in stack}
    report(other, sorted(name for name in names if name.startswith("plugin")))


def damaged(data, chance):
    data = bytearray(data)
    kind = chance.randrange(4)
    if kind == 0:
        return data[:chance.randrange(len(data))]
    for _ in range(chance.choice((1, 4, 64))):
        at = chance.randrange(len(data) if kind == 1 else 20000)
        if kind == 3:
            at &= ~7
            data[at:at + 8] = struct.pack("Q", chance.choice((
                0, 1, 2 ** 32 - 1, 2 ** 63, 2 ** 64 - 1, 0x7ff0000000000000, 0x7ff8000000000000,
                0x43d0000000000000, len(data), chance.getrandbits(64), chance.randrange(1 << 20))))
        else:
            data[at] = chance.randrange(256)
    return data


def check_damage():
    program = Program(9)
    program.wait_for_changes(20000)
    data = open(program.end().record, "rb").read()
    chance, faults, refusals = random.Random(1), [], 0
    path = os.path.join(WORK, "damaged")
    for i in range(int(os.environ.get("DAMAGE_ROUNDS", 15 * ROUNDS))):
        with open(path, "wb") as file:
            file.write(damaged(data, chance))
        done = dump(path, "-o", "-", "--format", chance.choice(("text", "pprof")))
        lines = done.stderr.decode(errors="replace").splitlines()
        refusals += done.returncode == 1
        if done.returncode not in (0, 1) or \
                (done.returncode == 1 and (len(lines) != 1 or not lines[0].startswith("hpprof: "))):
            faults.append("damage %d: %d %s" % (i, done.returncode, lines[:5]))
            shutil.copy(path, path + ".%d" % i)
    report("damaged ones cost a line and never a fault",
           faults or ([] if refusals else ["none was refused"]))


deviations = []
WORK = tempfile.mkdtemp()
try:
    check_kills()
    check_hung()
    check_profiles()
    check_children()
    check_daemon()
    check_two()
    check_refusals()
    check_limits()
    check_plugin()
    check_damage()
finally:
    if not os.environ.get("KEEP"):
        shutil.rmtree(WORK, ignore_errors=True)
sys.exit(reporter.finish())
