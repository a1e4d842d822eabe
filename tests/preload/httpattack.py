#!/usr/bin/env python3
"""Who tries to get what is not theirs, or to disturb the program that serves, and the beginnings and
ends of serving."""

import os
import random
import re
import socket
import subprocess
import sys
import threading
import time

from httpclient import *

GET = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n"
BEARER = "Authorization: Bearer "


def works(server):
    equal(server.status("/metrics"), 200)


def code(answer):
    found = re.match(rb"HTTP/1\.1 (\d+) ", answer)
    return int(found.group(1)) if found else None


def without_the_token_nothing_is_told():
    with Server(HTTP_TOKEN_FILE=token_file()) as server:
        wrong = ["", BEARER + TOKEN[:-1], BEARER + TOKEN + "x", BEARER, "Authorization: " + TOKEN,
                 "Authorization: Basic " + TOKEN, BEARER + TOKEN.upper(), BEARER + "\t" + TOKEN + "\t.",
                 "X-Authorization: Bearer " + TOKEN]
        for field in wrong:
            for path in "/", "/metrics", "/x", "/debug/pprof/heap", "/debug/pprof/cmdline":
                status, fields, body = server.get(path, *([field] if field else []))
                equal((field, path, status), (field, path, 401))
                equal(fields["www-authenticate"], "Bearer")
                equal(body, b"this needs the bearer token")
        twice = server.get("/metrics", BEARER + TOKEN, BEARER + TOKEN)
        equal(twice[0], 400)


def with_the_token_all_is_told_but_not_the_token():
    with Server(HTTP_TOKEN_FILE=token_file()) as server:
        for path in "/", "/metrics", "/stats.json", "/debug/pprof/heap?debug=2", "/debug/pprof/heap?debug=1":
            status, fields, body = server.get(path, BEARER + TOKEN)
            equal((path, status), (path, 200))
            holds(TOKEN.encode() not in body and TOKEN not in str(fields) and b"time.sleep" not in body)
        equal(server.status("/metrics", "authorization: bearer " + TOKEN), 200)
        holds(b"time.sleep" in server.get("/debug/pprof/cmdline", BEARER + TOKEN)[2])
        equal(server.status("/control/release", BEARER + TOKEN, method="POST"), 200)
        with open("/proc/%d/environ" % server.pid) as file:
            holds(TOKEN not in file.read())
        holds(TOKEN not in server.said())


def a_token_that_others_may_read_or_guess_is_refused():
    bad = {"read": token_file(mode=0o644, name="read"), "written": token_file(mode=0o620, name="written"),
           "short": token_file("short\n", name="short"), "empty": token_file("", name="empty"),
           "blank": token_file("a token of 24 characters", name="blank"),
           "long": token_file("x" * 513, name="long"), "none": work + "/none", "folder": work}
    if os.geteuid() == 0:
        bad["foreign"] = token_file(name="foreign")
        os.chown(bad["foreign"], 12345, 12345)
    for name, path in bad.items():
        with Server(HTTP_TOKEN_FILE=path, wait=False) as server:
            holds(soon(lambda: server.lines()), name)
            time.sleep(0.1)
            holds(server.lines()[0].startswith("hpmalloc: not serving at 127.0.0.1:0: "), name, server.said())
            equal((name, len(server.lines()), server.serves()), (name, 1, False))
    for mode in 0o400, 0o440, 0o640:
        with Server(HTTP_TOKEN_FILE=token_file(mode=mode, name="%o" % mode)) as server:
            equal(server.status("/metrics", BEARER + TOKEN), 200)


def a_token_files_name_that_is_no_option_is_no_leave_to_go_without():
    with Server(HTTP_TOKEN_FILE=work + "/" + "x" * 4000, wait=False) as server:
        holds(soon(lambda: "not serving" in server.said()), server.said())
        equal(server.serves(), False)


def other_machines_are_served_with_a_token_only():
    for address in "0.0.0.0:0", "[::]:0", "192.0.2.1:0":
        with Server(http=address, wait=False) as server:
            holds(soon(lambda: server.lines()))
            equal(server.lines(), ["hpmalloc: not serving at %s: other machines could reach it; set "
                                   "HPMALLOC_HTTP_TOKEN_FILE (error 13)" % address])
    with Server(http="0.0.0.0:0", HTTP_TOKEN_FILE=token_file()) as server:
        for host in "127.0.0.1", "10.1.2.3:99", "[fe80::1]:80", "localhost:1", socket.gethostname(), \
                socket.gethostname() + ".example.org:6060":
            equal((host, server.status("/metrics", BEARER + TOKEN, host=host)), (host, 200))
        equal(server.status("/metrics", BEARER + TOKEN, host="evil.example"), 403)
        equal(server.status("/metrics", host="127.0.0.1"), 401)


def a_foreign_host_is_refused():
    with Server() as server:
        for host in "evil.example", "evil.example:%d" % server.port, "localhost.evil.example", "", "127.0.0.1x", \
                "10.0.0.1", "[::2]", "127.0.0.1:x", "[127.0.0.1]", "localhost:99999", ":", "[", "]", \
                socket.gethostname() + "x", "127.0.0.1@evil.example", "2130706433":
            equal((host, server.status("/metrics", host=host)), (host, 403))
        for host in "localhost", "LOCALHOST:1", "127.0.0.1", "127.9.9.9:6060", "[::1]:6060", "[::1]":
            equal((host, server.status("/metrics", host=host)), (host, 200))
        equal(code(server.raw(GET + b"Host: localhost\r\n\r\n")), 400)
        equal(code(server.raw(b"GET /metrics HTTP/1.1\r\n\r\n")), 400)
        equal(code(server.raw(b"GET http://localhost/metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")), 400)


def pages_of_other_sites_are_refused():
    with Server() as server:
        for field in "Origin: http://evil.example", "Origin: null", "Origin: http://localhost", \
                "origin:http://127.0.0.1:%d" % server.port, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site":
            equal((field, server.status("/metrics", field)), (field, 403))
        equal(server.status("/metrics", "Sec-Fetch-Site: none"), 200)


def a_megabyte_of_headers_is_cut_off():
    with Server() as server:
        equal(code(server.raw(GET + b"X: " + b"x" * (1 << 20) + b"\r\n\r\n")), 431)
        equal(code(server.raw(GET + b"X: y\r\n" * (1 << 17) + b"\r\n")), 431)
        equal(code(server.raw(b"GET /" + b"x" * (1 << 20))), 431)
        equal(code(server.raw(b"POST /debug/pprof/symbol HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1048577"
                              b"\r\n\r\n")), 413)
        works(server)


def what_can_be_read_in_two_ways_is_refused():
    post = b"POST /debug/pprof/symbol HTTP/1.1\r\nHost: localhost\r\n"
    bad = {b"GET  /metrics HTTP/1.1\r\n\r\n": 400, b"GET /metrics\r\n\r\n": 400, b"\x16\x03\x01\x02\x00": 400,
           b"GET /metrics HTTP/1.1\nHost: localhost\n\n": 400, GET + b"A : b\r\n\r\n": 400,
           GET + b" folded\r\n\r\n": 400, GET + b"A: \x00\r\n\r\n": 400, GET + b"A\r\n\r\n": 400,
           GET + b"A: b\rc\r\n\r\n": 400, GET + b": b\r\n\r\n": 400,
           post + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx": 400,
           post + b"Content-Length: -1\r\n\r\n": 400, post + b"Content-Length: +1\r\n\r\nx": 400,
           post + b"Content-Length: 0x1\r\n\r\nx": 400, post + b"Content-Length: 99999999999999999999\r\n\r\n": 400,
           post + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n": 501,
           post + b"Content-Length: 1\r\nExpect: magic\r\n\r\nx": 417,
           b"GET /metrics HTTP/2.0\r\n\r\n": 505, b"GET /metrics HTTP/1.1 \r\n\r\n": 400,
           b"GET /m\xc3\xa9 HTTP/1.1\r\nHost: localhost\r\n\r\n": 400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n": 400}
    with Server() as server:
        for data, status in bad.items():
            equal((data, code(server.raw(data))), (data, status))
        works(server)


def no_path_leads_out():
    with Server() as server:
        for path in "/../../etc/passwd", "/debug/pprof/../../../etc/passwd", "/debug/pprof/%2e%2e/metrics", \
                "//metrics", "/metrics/", "/metrics%00", "/debug/pprof/..", "/./metrics", "/etc/passwd":
            equal((path, server.status(path)), (path, 404))


def pipelined_garbage_ends_the_connection():
    with Server() as server:
        answer = server.raw(GET + b"\r\n" + b"\x01garbage\r\n\r\n" + GET + b"\r\n")
        equal(re.findall(rb"HTTP/1\.1 (\d+) ", answer), [b"200", b"400"])
        body = b"GET /control/release HTTP/1.1\r\n\r\n"
        answer = server.raw(b"GET /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        equal(re.findall(rb"HTTP/1\.1 (\d+) ", answer), [b"404"])
        works(server)


def who_keeps_all_connections_makes_room_for_others():
    with Server() as server:
        peers = [server.connect() for _ in range(40)]
        try:
            end = time.monotonic() + 4
            served = 0
            while time.monotonic() < end:
                for peer in peers:
                    try:
                        peer.send(b"G" if served % 2 else b"\r")
                    except OSError:
                        pass
                begun = time.monotonic()
                works(server)
                holds(time.monotonic() - begun < 5)
                served += 1
            holds(served >= 2, served)
        finally:
            for peer in peers:
                peer.close()


def who_never_finishes_is_cut_off():
    with Server() as server, server.connect(20) as peer:
        peer.sendall(GET)
        begun = time.monotonic()
        equal(code(read_to_end(peer)), 408)
        holds(4 < time.monotonic() - begun < 9, time.monotonic() - begun)


def half_closed_and_vanishing_peers_are_no_trouble():
    with Server() as server:
        equal(code(server.raw(GET + b"\r\n", ends=True)), 200)
        equal(server.raw(GET, ends=True), b"")
        equal(server.raw(b"", ends=True), b"")
        for data in GET + b"\r\n", b"GET /debug/pprof/heap?seconds=60 HTTP/1.0\r\n\r\n", \
                b"GET /debug/pprof/heap?debug=2 HTTP/1.0\r\n\r\n", GET:
            for _ in range(30):
                peer = server.connect()
                if random.random() < 0.5:
                    linger = b"\x01\0\0\0\0\0\0\0"
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                peer.sendall(data)
                peer.close()
        works(server)
        holds(soon(lambda: descriptors(server) <= 1), descriptors(server))


def descriptors(server):
    """Of the server: all have high numbers."""
    return sum(int(name) >= 600 for name in os.listdir("/proc/%d/fd" % server.pid))


def too_many_that_wait_are_sent_away():
    with Server() as server:
        peers = [server.connect() for _ in range(10)]
        for peer in peers:
            peer.sendall(b"GET /debug/pprof/heap?seconds=2 HTTP/1.0\r\n\r\n")
        codes = sorted(code(read_to_end(peer)) for peer in peers)
        equal(codes, [200] * 8 + [503] * 2)


def random_requests_find_nothing():
    chance = random.Random(int(os.environ.get("HTTP_SEED", "1")))
    count = int(os.environ.get("HTTP_RANDOM", "3000"))
    words = [b"GET", b"POST", b" ", b"/", b"/debug/pprof/heap", b"/debug/pprof/symbol", b"?seconds=", b"debug=", b"&",
             b"HTTP/1.1", b"HTTP/1.0", b"\r\n", b"\r\n\r\n", b"Host: localhost", b"Host:", b"Content-Length: ", b"7",
             b"99999999", b":", b"\0", b"\xff", b"Connection: keep-alive", b"Expect: 100-continue", b"0x12+0x34",
             b"/control/release", b"/control/interval?bytes=1", b"/debug/pprof/cmdline", b"Transfer-Encoding: chunked"]
    codes = {}
    with Server(HTTP_TOKEN_FILE=token_file()) as server:
        for _ in range(count):
            if chance.random() < 0.5:
                data = b"".join(chance.choice(words) for _ in range(chance.randrange(30)))
            else:
                data = bytearray(GET + b"\r\n")
                for _ in range(chance.randrange(6)):
                    data[chance.randrange(len(data))] = chance.randrange(256)
            with server.connect() as peer:
                try:
                    peer.sendall(data)
                    peer.shutdown(socket.SHUT_WR)
                except OSError:
                    pass
                status = code(read_to_end(peer))
            codes[status] = codes.get(status, 0) + 1
        print("# %s" % codes)
        holds(200 not in codes and 401 in codes and 400 in codes, codes)
        equal(server.status("/metrics", BEARER + TOKEN), 200)
        equal(server.get("/metrics", BEARER + TOKEN)[2].count(b"hpmalloc_info{"), 1)
        equal(server.process.poll(), None)


def another_user_is_refused_at_the_socket():
    if os.geteuid() != 0 or shutil.which("runuser") is None:
        raise Skip("only root can become another user")
    path = work + "/mine.sock"
    ask = ["runuser", "-u", "nobody", "--", sys.executable, "-c",
           "import socket; s = socket.socket(socket.AF_UNIX); s.connect(%r); s.sendall(%r); print(s.recv(999))"
           % (path, GET + b"\r\n")]
    if subprocess.run(ask[:4] + [sys.executable, "-c", ""]).returncode != 0:
        ask[4] = "/usr/bin/python3"
    if subprocess.run(ask[:5] + ["-c", ""]).returncode != 0:
        raise Skip("nobody has no python3")
    with Server(http="unix:" + path) as server:
        done = subprocess.run(ask, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        holds("PermissionError" in done.stderr, done.stderr)
        os.chmod(path, 0o666)
        done = subprocess.run(ask, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        holds("HTTP" not in done.stdout and "PermissionError" not in done.stderr, done)
        works(server)


def what_is_at_the_sockets_path_stays():
    target, link, plain = work + "/target", work + "/link.sock", work + "/plain.sock"
    os.symlink(target, link)
    with open(plain, "w") as file:
        file.write("kept")
    for path in link, plain:
        with Server(http="unix:" + path, wait=False) as server:
            holds(soon(lambda: server.lines()))
            equal(server.lines(), ["hpmalloc: not serving at unix:%s: the address is taken; choose another port or "
                                   "path (error 98)" % path])
    holds(os.path.islink(link) and not os.path.exists(target) and open(plain).read() == "kept")
    with Server(http="unix:" + work + "/used.sock") as server, \
            Server(http="unix:" + work + "/used.sock", wait=False) as second:
        holds(soon(lambda: second.lines()) and "taken" in second.said(), second.said())
        works(server)
    with Server(http="unix:" + work + "/used.sock") as server:
        works(server)


def a_bad_address_is_one_line_and_the_program_goes_on():
    with Server() as taken:
        bad = ["127.0.0.1", "localhost", "6060", ":6060", "127.0.0.1:x", "127.0.0.1:70000", "example.org:80", "unix:",
               "unix:relative", "unix:/%x", "unix:/" + "x" * 200, "[::1:80", "http://127.0.0.1:80", "unix:/none/x",
               "192.0.2.1:70", "127.0.0.1:%d" % taken.port, "unix:/proc/x", "x" * 3000]
        for address in bad:
            with Server("print('end')", http=address, wait=False) as server:
                out = server.process.communicate(timeout=20)[0]
                equal((address[:50], out, server.process.returncode, len(server.lines())),
                      (address[:50], b"end\n", 0, 1))
                holds(server.lines()[0].startswith("hpmalloc: not serving at "), server.said())


def a_port_below_1024_needs_rights():
    setpriv = shutil.which("setpriv")
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as file:
        if int(file.read()) == 0 or (os.geteuid() == 0 and setpriv is None):
            raise Skip("everybody may here")
    drop = [setpriv, "--bounding-set=-all", "--inh-caps=-all", "--reuid=65534", "--clear-groups"]
    with Server(http="127.0.0.1:81", program=(drop if os.geteuid() == 0 else []) + ["/bin/sleep", "0.3"],
                PROGRAM="sleep", wait=False) as server:
        equal(server.process.wait(10), 0)
        equal(len(server.lines()), 1)
        holds("permission denied" in server.said(), server.said())


# The library's calls, and a filter that forbids to make threads.
PREAMBLE = """
import ctypes, os, sys, time, signal, socket
hpm = ctypes.CDLL(None)
start = lambda address, token=None, seconds=0: hpm.hpm_http_start(address, token, seconds)
def threads():
    # One that was joined may be seen for a moment yet.
    for _ in range(100):
        count = len(os.listdir('/proc/self/task'))
        if count == 1: break
        time.sleep(0.01)
    return count
"""
FORBID = """
import struct
def forbid_threads():
    code = b''.join(struct.pack('HBBI', *step) for step in
                    [(0x20, 0, 0, 0), (0x15, 2, 0, %d), (0x15, 1, 0, 435), (6, 0, 0, 0x7fff0000), (6, 0, 0, 0x50001)])
    steps = ctypes.create_string_buffer(code)
    program = struct.pack('HxxxxxxQ', 5, ctypes.addressof(steps))
    if hpm.prctl(38, 1, 0, 0, 0) or hpm.prctl(22, 2, ctypes.c_char_p(program), 0, 0): sys.exit(77)
"""


def run_script(script, http=None, **options):
    with Server(PREAMBLE + script, http=http, wait=False, **options) as server:
        out = server.process.communicate(timeout=60)[0].decode()
        print("".join("# %s\n" % line for line in server.said().splitlines()
                      if not line.startswith("hpmalloc: ")), end="")
        return server.process.returncode, out, server.lines()


def it_starts_and_stops_at_run_time():
    script = """
TOKEN = b'a-token-of-24-characters'
print(hpm.hpm_http_stop(), start(None), start(b'127.0.0.1'), start(b'0.0.0.0:0'), start(b'127.0.0.1:0', b'short'))
for _ in range(50):
    assert start(b'127.0.0.1:0') == 0 and start(b'127.0.0.1:0') == -114
    assert hpm.hpm_http_stop() == 0 and hpm.hpm_http_stop() == -114
assert start(b'0.0.0.0:0', TOKEN) == 0
assert hpm.hpm_http_stop() == 0
print(threads(), len(os.listdir('/proc/self/fd')))
"""
    status, out, lines = run_script(script)
    equal((status, out), (0, "-114 -22 -22 -13 -22\n1 4\n"))
    equal(sum("hpmalloc: serving profiles" in line for line in lines), 51)


def its_time_ends():
    with Server(HTTP_TTL="700ms") as server:
        works(server)
        holds(soon(lambda: not server.serves(), 3))
        holds(soon(lambda: "its time is over" in server.said()))
        equal((server.process.poll(), descriptors(server), len(server.lines())), (None, 0, 2))
    script = """
for _ in range(3):
    print(start(b'127.0.0.1:0', None, 1), flush=True)
    time.sleep(1.5)
    print(hpm.hpm_http_stop(), threads(), flush=True)
"""
    status, out, _ = run_script(script)
    equal((status, out), (0, "0\n-114 1\n" * 3))


def a_forked_child_does_not_serve_unless_it_asks():
    script = """
import threading
def fork():
    child = os.fork()
    if child == 0:
        high = [n for n in os.listdir('/proc/self/fd') if int(n) >= 600]
        bad = len(os.listdir('/proc/self/task')) != 1 or high or hpm.hpm_http_stop() != -114
        if not bad and %d:
            bad = start(b'127.0.0.1:0') or hpm.hpm_http_stop()
        os._exit(1 if bad else 0)
    return os.waitpid(child, 0)[1]
print('forks', sum(fork() for _ in range(100)), flush=True)
""" % 1
    with Server(PREAMBLE + script) as server:
        end = threading.Event()

        def ask():
            while not end.is_set() and server.process.poll() is None:
                try:
                    server.get("/debug/pprof/heap?debug=2")
                except (OSError, AssertionError):
                    pass
        askers = [threading.Thread(target=ask) for _ in range(3)]
        for asker in askers:
            asker.start()
        try:
            equal(server.process.communicate(timeout=60)[0], b"forks 0\n")
        finally:
            end.set()
            for asker in askers:
                asker.join()


def the_port_is_free_when_the_parent_is_gone():
    with Server("import os, time\nos.fork()\ntime.sleep(4)") as server:
        port = server.port
        time.sleep(0.3)
        server.end(9)
        with Server(http="127.0.0.1:%d" % port) as second:
            works(second)


def exec_begins_anew_at_the_same_place():
    with Server("import os, sys, time\ntime.sleep(1)\nos.execv(sys.executable, [sys.executable, '-c', "
                "'import time; time.sleep(20)'])", http="unix:" + work + "/exec.%p.sock") as server:
        works(server)
        holds(soon(lambda: len(server.lines()) == 2, 10), server.said())
        equal(server.lines()[0], server.lines()[1])
        works(server)


def exit_while_requests_run_is_clean():
    for i in range(8):
        with Server("import time\nkept = [bytes(3000) for _ in range(30000)]\ntime.sleep(%f)" % (0.3 + 0.01 * i)) \
                as server:
            peers = []
            while server.process.poll() is None:
                try:
                    peer = server.connect()
                    peer.sendall(b"GET /debug/pprof/heap%s HTTP/1.0\r\n\r\n"
                                 % (b"?seconds=9" if len(peers) < 4 else b""))
                    peers.append(peer)
                    if len(peers) > 4:
                        read_to_end(peers.pop())
                except OSError:
                    break
            begun = time.monotonic()
            equal(server.process.wait(10), 0)
            holds(time.monotonic() - begun < 2)
            for peer in peers:
                peer.close()


def a_program_that_closes_all_files_keeps_its_own():
    script = """
import os, socket, time
os.closerange(3, 4096)
files = [os.open('/dev/zero', os.O_RDONLY) for _ in range(3)]
other = socket.socket(); other.bind(('127.0.0.1', 0)); other.listen(); os.dup2(other.fileno(), 600)
time.sleep(3)
other.close()
peer = socket.socket(fileno=600); peer.settimeout(1)
print(peer.getsockname()[0], all(os.read(f, 1) for f in files))
"""
    with Server(script) as server:
        equal(server.process.communicate(timeout=20)[0], b"127.0.0.1 True\n")
        holds("the program has closed its socket" in server.said(), server.said())
        equal(len(server.lines()), 2)


def without_threads_or_files_it_is_one_line():
    script = FORBID % {"x86_64": 56, "aarch64": 220}.get(os.uname().machine, 56) + """
forbid_threads()
print(start(b'127.0.0.1:0'), len(os.listdir('/proc/self/fd')))
"""
    status, out, lines = run_script(script)
    if status == 77:
        raise Skip("seccomp is not to be had")
    equal((status, out, len(lines)), (0, "-1 4\n", 1))
    status, out, lines = run_script("""
import resource as limits
limits.setrlimit(limits.RLIMIT_NOFILE, (3, 3))
print(start(b'127.0.0.1:0'))
""")
    equal((status, out, len(lines)), (0, "-24\n", 1))


def its_thread_takes_no_signal():
    with Server() as server:
        for task in os.listdir("/proc/%d/task" % server.pid):
            with open("/proc/%d/task/%s/status" % (server.pid, task)) as file:
                said = file.read()
            if "hpm-http" in said:
                blocked = int(re.search(r"SigBlk:\s*(\w+)", said).group(1), 16)
                equal(blocked | 1 << 8 | 1 << 18 | 7 << 31, (1 << 64) - 1)
                return
        raise AssertionError("no thread hpm-http")


if __name__ == "__main__":
    sys.exit(run_all([value for value in list(globals().values())
                      if callable(value) and getattr(value, "__module__", "") == "__main__"
                      and value.__name__ not in ("works", "code", "descriptors", "run_script")]))
