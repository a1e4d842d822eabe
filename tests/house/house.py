#!/usr/bin/env python3
"""The laws of the house: who includes whom, what is exported, how long things are, who talks to
the system, and what the library depends on."""

import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402

SOURCE = os.path.abspath(os.environ.get("top_srcdir", "."))
BUILD = os.path.abspath(os.environ.get("top_builddir", "."))
LIBRARY = os.path.join(BUILD, ".libs", "libhpmalloc.so")
COMPAT = os.path.join(BUILD, ".libs", "libhpmalloc_compat.so")

FILE_LINES_MAX, FUNCTION_LINES_MAX = 600, 60

# What each floor may include; base's rooms also keep the order in which they are built.
FLOORS = {
    "base": {"base"},
    "heap": {"base", "heap"},
    "prof": {"base", "prof"},
    "report": {"base", "heap", "prof", "report"},
    "api": {"base", "heap", "prof", "report", "api"},
}
BASE_ROOMS = ["base", "os", "print", "sort", "lock", "meta", "shared", "options"]
REPORT_USES_OF_HEAP = {"stats"}
MEMORY_CALLS = r"\b(mmap|mmap64|munmap|mremap|madvise|mprotect|sbrk|brk)\s*\("
UNDONE = r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b"
FOLDERS = ["include", "src", "compat", "tests", "tools", "bench", "man"]
TEXT_ENDINGS = (".c", ".h", ".cc", ".py", ".sh", ".bash", ".am", ".md")

reporter = tap.Reporter("house")
report = reporter.report
skip = reporter.skip


def files(folders, endings):
    for folder in folders:
        for place, names, found in os.walk(os.path.join(SOURCE, folder)):
            names[:] = sorted(n for n in names if n not in ("cache", ".libs", ".deps"))
            for name in sorted(found):
                if name.endswith(endings):
                    yield os.path.relpath(os.path.join(place, name), SOURCE)


def lines_of(path):
    with open(os.path.join(SOURCE, path), errors="replace") as file:
        return file.read().splitlines()


def includes_of(path):
    for number, line in enumerate(lines_of(path), 1):
        found = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if found:
            yield number, found.group(1)


def include_fault(path, included):
    """Why a file may not include another, or None."""
    floor, room = path.split("/")[1], os.path.basename(path).split(".")[0]
    if included == "hpmalloc.h":
        return None if floor in ("api", "report") else "the public header is the upper floors'"
    if "/" not in included:
        return "not by its floor"
    other, other_room = included.split("/")[0], os.path.basename(included).split(".")[0]
    if other not in FLOORS[floor]:
        return "%s may not know %s" % (floor, other)
    if floor == "report" and other == "heap" and room not in REPORT_USES_OF_HEAP:
        return "only statistics look at the heap"
    if floor == other == "base" and BASE_ROOMS.index(other_room) > BASE_ROOMS.index(room):
        return "base's rooms are built in order: " + " ".join(BASE_ROOMS)
    return None


def check_includes():
    faults = []
    for path in files(["src"], (".c", ".h")):
        for number, included in includes_of(path):
            fault = include_fault(path, included)
            if fault:
                faults.append("%s:%d includes %s: %s" % (path, number, included, fault))
    report("floors include only what is below them", faults)


def check_compat_includes():
    own = {"hpmalloc.h"} | {os.path.basename(path) for path in files(["compat"], (".h",))}
    report("compat is built on the public header alone",
           ["%s:%d includes %s" % (path, number, included)
            for path in files(["compat"], (".c", ".h"))
            for number, included in includes_of(path) if included not in own])


def check_folders():
    found = {path.split("/")[1] for path in files(["src"], (".c", ".h"))}
    report("src has the five floors and no other folder",
           [] if found == set(FLOORS) else [" ".join(sorted(found))])


def check_lengths():
    faults = []
    for path in files(FOLDERS, TEXT_ENDINGS):
        length = len(lines_of(path))
        if length > FILE_LINES_MAX:
            faults.append("%s has %d lines" % (path, length))
    report("no file has more than %d lines" % FILE_LINES_MAX, faults)


def functions_of(path):
    """(first line, length) of what begins with a brace at the left edge and ends with one."""
    start = None
    for number, line in enumerate(lines_of(path), 1):
        if line.startswith("{"):
            start = number
        elif line.startswith("}") and start is not None:
            yield start, number - start + 1
            start = None


def check_functions():
    faults = ["%s:%d has a function of %d lines" % (path, start, length)
              for path in files(["src", "compat", "tests", "tools", "bench"], (".c", ".h", ".cc"))
              for start, length in functions_of(path) if length > FUNCTION_LINES_MAX]
    report("no function has more than %d lines" % FUNCTION_LINES_MAX, faults)


def grep(pattern, paths):
    return ["%s:%d: %s" % (path, number, line.strip())
            for path in paths for number, line in enumerate(lines_of(path), 1)
            if re.search(pattern, line)]


def check_system_calls():
    paths = [p for p in files(["src"], (".c", ".h")) if p != "src/base/os.c"]
    faults = [f for f in grep(MEMORY_CALLS, paths) if not re.search(r": *(/\*|\*|//)", f)]
    report("only base/os makes system calls for memory", faults)


def check_undone():
    report("nothing is marked as undone", grep(UNDONE, files(FOLDERS, TEXT_ENDINGS)))


def output_of(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def exported(library):
    rows = [line.split() for line in output_of("nm", "-D", "--defined-only", library).splitlines()]
    return {row[-1].split("@")[0] for row in rows if row[-2] not in "Aa"}


def check_exports():
    wanted = set(lines_of("tests/house/exports.txt"))
    is_ = exported(LIBRARY)
    if "malloc" not in is_:
        wanted = {name for name in wanted if name.startswith("hpm_")}
    report("the library exports its interface and nothing else",
           differences(is_, wanted, "exports.txt"))


def differences(is_, wanted, listed):
    return (["exported, but not in %s: %s" % (listed, name) for name in sorted(is_ - wanted)] +
            ["in %s, but not exported: %s" % (listed, name) for name in sorted(wanted - is_)])


def check_compat_exports():
    wanted = set(lines_of("tests/house/exports_compat.txt"))
    declared = set(re.findall(r"^HPM_COMPAT .*?(\w+)\(", "\n".join(
        lines_of("compat/hpmalloc_compat.h")), re.M))
    is_ = exported(COMPAT)
    report("compat exports what its header declares",
           differences(is_, wanted, "exports_compat.txt") + differences(is_, declared, "its header"))


def check_versions():
    """A program wants malloc@GLIBC_2.2.5, and is given a malloc without version, or the C library's."""
    faults = []
    for line in output_of("nm", "-D", "--defined-only", LIBRARY).splitlines():
        kind, full = line.split()[-2:]
        name, _, version = full.partition("@@")
        if kind not in "Aa" and version != ("HPMALLOC_0" if name.startswith("hpm_") else ""):
            faults.append(full)
    report("its own names are of version HPMALLOC_0, the C library's of none", faults)


def check_symbols_of_packages():
    faults = []
    for package, listed in ("libhpmalloc0", "exports.txt"), ("libhpmalloc-compat0", "exports_compat.txt"):
        path = "debian/%s.symbols" % package
        known = {line.split("@")[0].strip() for line in lines_of(path) if line.startswith(" ")}
        faults += ["not in both %s and %s: %s" % (path, listed, name)
                   for name in sorted((known - {"HPMALLOC_0"}) ^ set(lines_of("tests/house/" + listed)))]
    report("Debian's packages know the exported names", faults)


def check_numbers():
    """The version stands in four places."""
    wanted = re.search(r"AC_INIT\(\[hpmalloc\], \[(.*?)\]", "\n".join(lines_of("configure.ac"))).group(1)
    places = {"include/hpmalloc.h": 'HPM_VERSION "%s"', "debian/changelog": "hpmalloc (%s)",
              "packaging/hpmalloc.spec.in": "> - %s-"}
    report("all places name the same version",
           ["%s does not say %s" % (path, text % wanted) for path, text in places.items()
            if text % wanted not in "\n".join(lines_of(path))])


def check_contact():
    """Whom to write to: in the newest entry, of a changelog."""
    found = {}
    for path in "debian/control", "debian/changelog", "packaging/hpmalloc.spec.in":
        named = re.search(r"[^\s:*-][^:*<>\n]* <\S+@\S+>", "\n".join(lines_of(path)))
        found[path] = re.sub(r".*\d{4} ", "", named.group(0)) if named else "nobody"
    report("all packages name the same maintainer",
           ["%s names %s" % item for item in found.items()] if len(set(found.values())) > 1 else [])


def check_dependencies():
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", output_of("readelf", "-d", LIBRARY))
    allowed = r"(libc\.so|libc\.musl|ld-linux|ld-musl|libpthread\.so|libunwind|lib.*san\.so)"
    report("the library needs the C library only",
           ["it needs " + name for name in needed if not re.match(allowed, name)])


def check_soname():
    names = re.findall(r"\(SONAME\).*\[(.*)\]", output_of("readelf", "-d", LIBRARY))
    report("its soname is libhpmalloc.so.0", [] if names == ["libhpmalloc.so.0"] else names or ["none"])


def check_undefined():
    """What the library calls of the C library: nothing that allocates behind its back."""
    rows = output_of("nm", "-D", "--undefined-only", LIBRARY).split()
    banned = {"malloc", "calloc", "realloc", "free", "printf", "fprintf", "snprintf", "strdup",
              "fopen", "getline", "qsort", "backtrace", "exp", "log", "log1p"}
    report("the library calls nothing that allocates",
           sorted(banned & {name.split("@")[0] for name in rows}))


def main():
    check_folders()
    check_includes()
    check_compat_includes()
    check_lengths()
    check_functions()
    check_system_calls()
    check_undone()
    check_symbols_of_packages()
    check_numbers()
    check_contact()
    if not os.path.exists(LIBRARY):
        skip("the library", "there is no " + LIBRARY)
    elif shutil.which("nm") is None or shutil.which("readelf") is None:
        skip("the library", "there is no nm or readelf")
    else:
        check_exports()
        check_versions()
        check_dependencies()
        check_soname()
        check_undefined()
        if os.path.exists(COMPAT):
            check_compat_exports()
    return reporter.finish()


if __name__ == "__main__":
    sys.exit(main())
