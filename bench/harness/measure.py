"""One run of one program: wall time, processor time, peak memory, and what it printed."""

import hashlib
import os
import signal
import subprocess
import tempfile
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
        with tempfile.TemporaryFile(dir=self.scratch) as output:
            return self._run([preload, *argv], environment, stdin, folder, output)

    def read(self, argv, preload="", environment=None):
        """What a program prints. Raises Failed when it does not end well."""
        with tempfile.TemporaryFile(dir=self.scratch) as output:
            self._run([preload, *argv], environment, os.devnull, None, output)
            output.seek(0)
            return output.read().decode(errors="replace")

    def _run(self, command, environment, stdin, folder, output):
        with open(stdin, "rb") as source, tempfile.TemporaryFile(dir=self.scratch) as errors:
            report = self._start(command, source, output, errors, environment, folder)
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
