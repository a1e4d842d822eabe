#!/usr/bin/env python3
"""Our gzip against others' gunzip: whatever goes in comes out, and it packs about as well as zlib."""

import os
import random
import shutil
import subprocess
import sys
import zlib

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402

PROGRAM = os.path.join(os.environ.get("top_builddir", "."), "tests/prof/pack")
SEEDS = int(os.environ.get("GZIP_SEEDS", "150"))

reporter = tap.Reporter("gzip", 10)
report = reporter.report


def pack(data, piece=1 << 20):
    return subprocess.run([PROGRAM, str(piece)], input=data, stdout=subprocess.PIPE, timeout=60,
                          check=True).stdout


def make_words(chance, length):
    """Text of words that come back, some often and some once."""
    words = [chance.randbytes(chance.randint(1, 40)) for _ in range(chance.randint(1, 400))]
    data = bytearray()
    while len(data) < length:
        data += words[int(len(words) * chance.random() ** 3)]
    return bytes(data[:length])


def make_steep(chance, length):
    """Each symbol half as often as the one before: the longest words Huffman's code can have."""
    data = bytearray()
    for symbol in range(40):
        data += bytes([symbol]) * int(1.62 ** (24 - symbol) + 1)
    data = data[:length]
    chance.shuffle(data)
    return bytes(data)


def make_records(chance, length):
    """Messages as in profile.proto: tags, rising numbers, values."""
    data, number = bytearray(), 0
    while len(data) < length:
        number += chance.randint(1, 3)
        data += bytes([0x12, 24, 10, 8]) + number.to_bytes(8, "little") + b"\x12\x08"
        data += chance.getrandbits(chance.choice([8, 16, 40])).to_bytes(8, "big")
    return bytes(data[:length])


def make_input(seed):
    chance = random.Random(seed)
    length = chance.choice([0, 1, 2, 3, 257, 258, 259, 32767, 32768, 32769, 65536, 98304,
                            chance.randint(0, 1000), chance.randint(0, 300000)])
    makers = [lambda: chance.randbytes(length), lambda: bytes([chance.getrandbits(8)]) * length,
              lambda: make_words(chance, length), lambda: make_steep(chance, length),
              lambda: make_records(chance, length),
              lambda: make_words(chance, length // 2) + chance.randbytes(length // 2)]
    return makers[seed % len(makers)](), chance.choice([1 << 20, 65536, 4096, 999])


def check_round_trips():
    faults, grown = [], []
    for seed in range(SEEDS):
        data, piece = make_input(seed)
        packed = pack(data, piece)
        try:
            back = zlib.decompress(packed, 31)
        except zlib.error as error:
            back = error
        if back != data:
            faults.append("seed %d: %d bytes do not come back: %.60s" % (seed, len(data), back))
        if len(packed) > len(data) * 1.02 + 200:
            grown.append("seed %d: %d bytes become %d" % (seed, len(data), len(packed)))
    report("zlib unpacks what went in, of %d inputs" % SEEDS, faults)
    report("nothing grows by more than a fiftieth", grown)


def check_gzip_tests():
    if shutil.which("gzip") is None:
        report("gzip -t accepts", [], "there is no gzip")
        return
    faults = []
    for seed in range(0, SEEDS, 5):
        data, piece = make_input(seed)
        answer = subprocess.run(["gzip", "-t"], input=pack(data, piece), stderr=subprocess.PIPE)
        if answer.returncode != 0 or answer.stderr:
            faults.append("seed %d: %s" % (seed, answer.stderr))
    report("gzip -t accepts", faults)


def check_size():
    """On what a profile is made of."""
    faults = []
    for maker in make_words, make_records:
        data = maker(random.Random(7), 200000)
        ours, theirs = len(pack(data)), len(zlib.compress(data, 9))
        if ours > theirs * 1.04:
            faults.append("%s: %d bytes, zlib makes %d" % (maker.__name__, ours, theirs))
    report("files are at most a twenty-fifth larger than zlib's smallest", faults)


def main():
    if not os.path.exists(PROGRAM):
        print("1..0 # SKIP there is no " + PROGRAM)
        return 0
    check_round_trips()
    check_gzip_tests()
    check_size()
    return reporter.finish()


if __name__ == "__main__":
    sys.exit(main())
