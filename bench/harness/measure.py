"""One run of one program: wall time, processor time, peak memory, and what it printed."""

import hashlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass

from harness import allocators

TIMEOUT_SECONDS = 180


class Failed(Exception):
    """The run is no measurement: says why."""


@dataclass
class Sample:
    wall: float  # seconds
    cpu: float  # user + system, seconds
    peak: float  # resident KiB
    output: str = ""  # digest of standard output


@dataclass
class Launcher:
    """Starts programs through bench/launch, with their output in a folder for scratch files."""

    path: str
    scratch: str

    def run(self, argv, preload="", environment=None, stdin=os.devnull, folder=None):
        """Returns a Sample, or raises Failed when the program does not end well."""
        with open(stdin, "rb") as source, tempfile.TemporaryFile(dir=self.scratch) as output, \
                tempfile.TemporaryFile(dir=self.scratch) as errors:
            report = self._start(
                [preload, *argv], source, output, errors, environment, folder)
            return _sample(report, output, errors)

    def _start(self, command, source, output, errors, environment, folder):
        reader, writer = os.pipe()
        process = subprocess.Popen(
            [self.path, str(writer), *command], stdin=source, stdout=output, stderr=errors,
            cwd=folder or self.scratch,
            env=allocators.clean_environment() | (environment or {}), start_new_session=True,
            pass_fds=[writer])
        os.close(writer)
        with open(reader, "rb") as report:
            try:
                process.wait(TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                raise Failed(f"not done after {TIMEOUT_SECONDS} s") from None
            finally:
                _end_session(process)
            return report.read().split()


def _end_session(process):
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _first_line(file):
    file.seek(0)
    return file.readline(200).decode(errors="replace").strip()


def _sample(report, output, errors):
    if len(report) != 5:
        raise Failed("the launcher could not run it")
    wall_ns, user_us, system_us, peak_kib, status = map(int, report)
    complaint = _first_line(errors)
    if status != 0:
        raise Failed(f"{describe_status(status)} {complaint}".strip())
    if "cannot be preloaded" in complaint:
        raise Failed(complaint)
    output.seek(0)
    digest = hashlib.sha256()
    while chunk := output.read(1 << 20):
        digest.update(chunk)
    return Sample(wall_ns / 1e9, (user_us + system_us) / 1e6, peak_kib, digest.hexdigest())


def describe_status(status):
    if os.WIFSIGNALED(status):
        return f"killed by {signal.Signals(os.WTERMSIG(status)).name}:"
    return f"exit status {os.WEXITSTATUS(status)}:"


class RedisServer:
    """A redis-server on a socket in a folder of its own; only the server has the preload."""

    def __init__(self, server, preload, environment):
        self.folder = tempfile.TemporaryDirectory(prefix="hpbench")
        self.socket = os.path.join(self.folder.name, "redis")
        variables = allocators.clean_environment() | environment
        if preload:
            variables["LD_PRELOAD"] = preload
        self.process = subprocess.Popen(
            [server, "--port", "0", "--unixsocket", self.socket, "--save", "", "--appendonly",
             "no", "--daemonize", "no", "--dir", self.folder.name],
            env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)

    def ask(self, command):
        """Sends one inline command and returns the first line of the answer."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(self.socket)
            connection.sendall(command.encode() + b"\r\n")
            return connection.recv(200).decode(errors="replace").strip()

    def wait_ready(self):
        for _ in range(400):
            try:
                if self.ask("PING") == "+PONG":
                    return
            except OSError:
                pass
            if self.process.poll() is not None:
                raise Failed(f"redis-server ended with {self.process.returncode}")
            time.sleep(0.02)
        raise Failed("redis-server does not answer")

    def peak_kib(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

    def shut_down(self):
        """Ends the server in order; returns the processor time it took."""
        try:
            self.ask("SHUTDOWN NOSAVE")
        except OSError as error:
            raise Failed(f"redis-server does not shut down: {error}") from None
        _, status, used = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        if status != 0:
            raise Failed(describe_status(status))
        return used.ru_utime + used.ru_stime

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.folder.cleanup()


def run_redis(launcher, server, client, arguments, preload, environment):
    """Time is the client's, processor time and peak are the server's."""
    redis = RedisServer(server, preload, environment)
    try:
        redis.wait_ready()
        sample = launcher.run([client, "-s", redis.socket, *arguments])
        if redis.ask("DBSIZE") == ":0":
            raise Failed("redis-server kept nothing")
        peak = redis.peak_kib()
        return Sample(sample.wall, redis.shut_down(), peak)
    except OSError as error:
        raise Failed(f"redis-server: {error}") from None
    finally:
        redis.close()
