"""The allocators that are compared: what to preload, and with which environment."""

import glob
import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass, field

PEERS = {
    "jemalloc": r"libjemalloc\.so\.\d+",
    "tcmalloc": r"libtcmalloc_minimal\.so\.\d+",
    "mimalloc": r"libmimalloc\.so\.\d+",
}
RIVALS = re.compile(r"=> (\S*lib(?:jemalloc|tcmalloc|mimalloc)\S*)")
SPEC_HELP = "name=path.so[,VARIABLE=VALUE...]"


@dataclass
class Allocator:
    name: str
    library: str = ""  # empty: whatever the program has
    environment: dict = field(default_factory=dict)


def parse(spec):
    """name=path.so,VARIABLE=VALUE -> Allocator. Raises ValueError with what is wrong."""
    name, equals, rest = spec.partition("=")
    path, *settings = rest.split(",")
    if not (equals and name and path):
        raise ValueError(f"{spec}: expected {SPEC_HELP}")
    if not os.path.isfile(path):
        raise ValueError(f"{name}: no such file: {path}")
    pairs = [setting.partition("=") for setting in settings]
    if not all(equals for _, equals, _ in pairs):
        raise ValueError(f"{spec}: expected {SPEC_HELP}")
    return Allocator(name, os.path.abspath(path), {key: value for key, _, value in pairs})


def clean_environment():
    """The environment of every measured program, before its own settings."""
    kept = {k: v for k, v in os.environ.items() if k not in ("LD_PRELOAD", "LD_BIND_NOW")}
    return kept | {"LC_ALL": "C"}


def system_tool(name):
    """Finds tools in the system's folders first, so that no wrapper of a user's is measured."""
    folders = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"]
    # Debian keeps a server's programs apart, by version: 9 before 15.
    folders += sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=len)[::-1]
    return shutil.which(name, path=":".join(folders)) or shutil.which(name)


def _output(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout


def find_peers():
    """The peers that this system has, newest soname first, as the dynamic loader knows them."""
    kind = {"x86_64": "x86-64", "aarch64": "AArch64"}.get(platform.machine(), "")
    listing = _output(system_tool("ldconfig") or "ldconfig", "-p")
    found = []
    for name, pattern in PEERS.items():
        line = re.compile(r"\s*" + pattern + r" \((.*)\) => (\S+)")
        matches = [m for m in map(line.fullmatch, listing.splitlines()) if m and kind in m[1]]
        if matches:
            found.append(Allocator(name, max(matches, key=lambda m: m[0])[2]))
    return found


def libc_path():
    """The C library that this very process runs on; empty where it cannot be known."""
    with open("/proc/self/maps", encoding="ascii", errors="replace") as maps:
        found = re.search(r"(/\S*/libc\.so\.6)\n", maps.read())
    return found[1] if found else ""


def preload_for(allocator, program):
    """What to preload to give program this allocator. Without a library that is nothing, unless
    the program is linked with an allocator of its own: then the C library goes before it."""
    if allocator.library:
        return allocator.library
    return libc_path() if RIVALS.search(_output("ldd", program)) else ""
