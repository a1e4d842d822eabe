"""Servers under load. Only the server has the preload; time is its client's."""

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from harness import allocators
from harness.measure import Failed, Sample, describe_status

READY_SECONDS, STOP_SECONDS = 20, 30


class Server:
    """A program under bench/launch, in a folder of its own. A subclass says how it is started,
    when it is ready, and how it is stopped."""

    def __init__(self, launcher, tool, preload, environment):
        self.launcher, self.tool, self.preload = launcher, tool, preload
        self.environment = allocators.clean_environment() | environment
        self.holder = tempfile.TemporaryDirectory(prefix="hpbench")
        self.folder = self.holder.name
        self.process = self.report = None
        self.user = {}

    def command(self):
        """Argument list; may write what the server reads."""
        raise NotImplementedError

    def is_ready(self):
        raise NotImplementedError

    def stop(self):
        raise NotImplementedError

    def start(self):
        command = self.command()
        reader, writer = os.pipe()
        self.report = open(reader, "rb")
        try:
            self.process = subprocess.Popen(
                [self.launcher, str(writer), self.preload, *command], env=self.environment,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                start_new_session=True, pass_fds=[writer], cwd=self.folder, **self.user)
        finally:
            os.close(writer)
        self._wait_ready()

    def _wait_ready(self):
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            try:
                if self.is_ready():
                    return
            except OSError:
                pass
            if self.process.poll() is not None:
                raise Failed(f"{os.path.basename(self.tool)} ended before it was ready")
            time.sleep(0.02)
        raise Failed(f"{os.path.basename(self.tool)} does not answer")

    def end(self):
        """Stops the server in order; returns processor seconds and peak KiB of its family."""
        self.stop()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failed(f"{os.path.basename(self.tool)} does not shut down") from None
        fields = self.report.read().split()
        if len(fields) != 5:
            raise Failed("the launcher could not run it")
        _, user_us, system_us, peak_kib, status = map(int, fields)
        if status != 0:
            raise Failed(describe_status(status))
        return (user_us + system_us) / 1e6, peak_kib

    def close(self):
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        if self.report:
            self.report.close()
        self.holder.cleanup()

    def _signal_pid_file(self, path, number):
        with open(os.path.join(self.folder, path), encoding="ascii") as file:
            os.kill(int(file.readline()), number)


class Redis(Server):
    @property
    def socket(self):
        return os.path.join(self.folder, "redis")

    def command(self):
        return [self.tool, "--port", "0", "--unixsocket", self.socket, "--save", "",
                "--appendonly", "no", "--daemonize", "no", "--dir", self.folder]

    def ask(self, command):
        """Sends one inline command and returns the first line of the answer."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(self.socket)
            connection.sendall(command.encode() + b"\r\n")
            return connection.recv(200).decode(errors="replace").strip()

    def is_ready(self):
        return self.ask("PING") == "+PONG"

    def stop(self):
        self.ask("SHUTDOWN NOSAVE")


class Postgres(Server):
    """PostgreSQL refuses to run as root, and then runs as somebody who may read nothing of ours:
    the launcher and the library are copied into its folder."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.data = os.path.join(self.folder, "data")
        if os.geteuid() == 0:
            self._become_somebody()
        self._tool("initdb", "-D", self.data, "-A", "trust", "-U", "bench", "-E", "UTF8",
                   "--no-locale", "--no-sync")

    def _become_somebody(self):
        names = [entry.pw_name for entry in pwd.getpwall()]
        somebody = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
        self.user = {"user": somebody.pw_uid, "group": somebody.pw_gid, "extra_groups": []}
        self.launcher = shutil.copy(self.launcher, self.folder)
        if os.path.isfile(self.preload):
            self.preload = shutil.copy(self.preload, self.folder)
        os.chown(self.folder, somebody.pw_uid, somebody.pw_gid)

    def _tool(self, name, *arguments):
        done = subprocess.run(
            [allocators.system_tool(name), *arguments], env=self.environment, cwd=self.folder,
            capture_output=True, text=True, check=False, **self.user)
        if done.returncode != 0:
            raise Failed(f"{name}: {done.stderr.strip()[-200:]}")

    def command(self):
        return [self.tool, "-D", self.data, "-k", self.folder, "-h", "", "-c", "fsync=off",
                "-c", "jit=off", "-c", "shared_buffers=16MB", "-c", "autovacuum=off"]

    def client_arguments(self):
        return ["-h", self.folder, "-U", "bench", "postgres"]

    def is_ready(self):
        return subprocess.run(
            [allocators.system_tool("pg_isready"), "-q", "-h", self.folder],
            check=False).returncode == 0

    def stop(self):
        self._signal_pid_file("data/postmaster.pid", signal.SIGINT)


NGINX_CONFIGURATION = """
daemon off; worker_processes 2; error_log stderr crit; pid {folder}/pid; {user}
events {{ worker_connections 256; }}
http {{
    access_log off; gzip on; gzip_types *; gzip_min_length 100; gzip_proxied any;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{ listen 127.0.0.1:{port}; root {pages}; ssi on; ssi_types *; }}
}}
"""


class Nginx(Server):
    def __init__(self, pages, *arguments):
        super().__init__(*arguments)
        self.pages = pages
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    def command(self):
        path = os.path.join(self.folder, "conf")
        user = f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else ""
        with open(path, "w", encoding="ascii") as file:
            file.write(NGINX_CONFIGURATION.format(folder=self.folder, port=self.port,
                                                  pages=self.pages, user=user))
        return [self.tool, "-p", self.folder, "-c", path, "-e", "stderr"]

    def is_ready(self):
        with socket.create_connection(("127.0.0.1", self.port), timeout=5):
            return True

    def stop(self):
        self._signal_pid_file("pid", signal.SIGQUIT)


def under_load(server, load):
    """Starts server, calls load(server) for the wall seconds, ends it."""
    try:
        server.start()
        wall = load(server)
        return Sample(wall, *server.end())
    except (OSError, ValueError) as error:
        raise Failed(f"{os.path.basename(server.tool)}: {error}") from None
    finally:
        server.close()


def run_redis(launcher, tools, arguments, preload, environment):
    def load(server):
        wall = launcher.run([tools[1], "-s", server.socket, *arguments]).wall
        if server.ask("DBSIZE") == ":0":
            raise Failed("redis-server kept nothing")
        return wall
    return under_load(Redis(launcher.path, tools[0], preload, environment), load)


def run_postgres(launcher, tools, arguments, preload, environment):
    """The tables are filled by the same server; only what comes after is timed."""
    def load(server):
        ends = server.client_arguments()
        launcher.run([tools[1], "-i", "-q", "-s", "2", *ends])
        return launcher.run([tools[1], *arguments, *ends]).wall
    return under_load(Postgres(launcher.path, tools[0], preload, environment), load)


def run_nginx(launcher, tools, pages, requests, preload, environment):
    """wrk runs for a time, not for a number of requests: the time is what these would take."""
    def load(server):
        done = subprocess.run(
            [tools[1], "-t", "2", "-c", "32", "-d", "2", "-H", "Accept-Encoding: gzip",
             f"http://127.0.0.1:{server.port}/index.html"],
            capture_output=True, text=True, check=True, timeout=60)
        rate = re.search(r"Requests/sec:\s*([\d.]+)", done.stdout)
        if not rate or float(rate[1]) == 0 or "Non-2xx" in done.stdout:
            raise Failed("wrk got no good answers")
        return requests / float(rate[1])
    return under_load(Nginx(pages, launcher.path, tools[0], preload, environment), load)
