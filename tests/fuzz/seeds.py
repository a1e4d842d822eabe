#!/usr/bin/env python3
"""Seeds for the fuzzers, from what this machine's compiler makes of seed.c.

seeds.py SOURCE FOLDER makes FOLDER/cfi, FOLDER/elf and so on, a folder for each target."""

import gzip
import os
import random
import struct
import subprocess
import sys

WAYS = {
    "plain": ["-O2", "-fomit-frame-pointer"],
    "frames": ["-O0", "-fno-omit-frame-pointer"],
    "exceptions": ["-O2", "-fexceptions", "-fomit-frame-pointer"],
}
PT_LOAD, PT_GNU_EH_FRAME = 1, 0x6474E550


def compile_seed(source, target, options):
    subprocess.run([os.environ.get("CC", "cc").split()[0], "-shared", "-fPIC", "-nostdlib", "-s",
                    "-Wl,-z,undefs,-z,noseparate-code", *options, "-o", target, source], check=True)
    with open(target, "rb") as file:
        return file.read()


REQUESTS = {
    "get": b"GET /debug/pprof/heap?seconds=30&debug=0 HTTP/1.1\r\nHost: localhost:6060\r\n"
           b"Authorization: Bearer a-token\r\nConnection: keep-alive, close\r\n\r\n",
    "post": b"POST /debug/pprof/symbol HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 7\r\n"
            b"Expect: 100-continue\r\nOrigin: null\r\nSec-Fetch-Site: cross-site\r\n\r\n0x1+0x2",
    "old": b"\r\nHEAD / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
}


OPTIONS = ["512k", "60s", "4g", "90%", "USR2", "RTMIN+3", "pprof,text", "heap,peak", "auto", "never",
           "127.0.0.1:6060", "[::1]:6060", "unix:/run/%e.%p.socket", "localhost:1", "0.5", "-1",
           "18446744073709551615", "redis-*\0redis-server", "*a?b*\0xaybz"]

PROFILES = {
    "legacy": b"heap profile: 2: 96 [3: 144] @ heap_v2/524288\n 1: 48 [2: 96] @ 0x1234 0x5678\n"
              b"1: 48 [1: 48] @ 0x1234\n\nMAPPED_LIBRARIES:\n"
              b"00001000-00009fff r-xp 00000000 00:00 0 /nowhere\n",
    "jemalloc": b"heap_v2/65536\n  t*: 9: 4096 [20: 8192]\n@ 0x1234 0x5678\n  t*: 9: 4096 [20: 8192]\n"
                b"MAPPED_LIBRARIES:\n00001000-00009fff r-xp 00000000 00:00 0 /nowhere\n",
    "folded": b"main;work;malloc 4096\nmain;rest 7\n",
    "proto": b"\x0a\x04\x08\x01\x10\x02\x12\x06\x0a\x01\x01\x12\x01\x05\x22\x06\x08\x01\x22\x02"
             b"\x08\x01\x2a\x04\x08\x01\x10\x03\x32\x00\x32\x05space\x32\x05bytes\x32\x04main",
}


def segments_of(elf):
    offset, = struct.unpack_from("<Q", elf, 0x20)
    size, count = struct.unpack_from("<HH", elf, 0x36)
    for i in range(count):
        yield struct.unpack_from("<IIQQQQQQ", elf, offset + i * size)


def cfi_seed(elf):
    """Five words and the bytes from .eh_frame_hdr to the end of its segment."""
    segments = list(segments_of(elf))
    table = next(s for s in segments if s[0] == PT_GNU_EH_FRAME)
    end = next(s[2] + s[5] for s in segments
               if s[0] == PT_LOAD and s[2] <= table[2] < s[2] + s[5])
    content = elf[table[2]:end]
    first, = struct.unpack_from("<i", content, 12)
    return struct.pack("<iiiiI", first, first + 9, first + 64, -first, 0) + content


def write(folder, kind, name, content):
    os.makedirs(os.path.join(folder, kind), exist_ok=True)
    with open(os.path.join(folder, kind, name), "wb") as file:
        file.write(content)


def main():
    source, folder = sys.argv[1:3]
    os.makedirs(folder, exist_ok=True)
    for name, options in WAYS.items():
        target = os.path.join(folder, name + ".so")
        elf = compile_seed(source, target, options)
        write(folder, "elf", name, elf)
        write(folder, "cfi", name, cfi_seed(elf))
        os.remove(target)
    with open("/proc/self/maps", "rb") as maps:
        write(folder, "maps", "self", maps.read())
    for number, text in enumerate(OPTIONS):
        for option in range(24):
            write(folder, "options", f"{number}.{option}", bytes([option]) + text.encode())
    for name, profile in PROFILES.items():
        write(folder, "profile", name, profile)
    write(folder, "profile", "gzip", gzip.compress(PROFILES["proto"], mtime=0))
    for number in range(8):
        calls = random.Random(number).randbytes(125 << number % 4)
        write(folder, "operations", str(number), calls)
    for name, request in REQUESTS.items():
        write(folder, "http", name, request)
    write(folder, "maps", "line", b"00400000-00401000 r-xp 00000000 08:01 42 /usr/bin/a (deleted)\n")


if __name__ == "__main__":
    main()
