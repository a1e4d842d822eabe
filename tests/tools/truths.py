"""Programs of known truth (truths.c) under the library, and what hpprof leaks says of their profiles."""

import json
import os
import subprocess

BUILD = os.path.abspath(os.environ.get("top_builddir", "."))
SOURCE = os.path.abspath(os.environ.get("top_srcdir", "."))
LIBRARY = os.path.join(BUILD, ".libs", "libhpmalloc.so")
HPPROF = os.path.join(BUILD, "hpprof")


def are_there():
    return os.path.exists(LIBRARY) and os.path.exists(HPPROF)


def compile_with(program, *words):
    """With the compiler of the build, in the source tree."""
    compiler = os.environ.get("CC", "cc").split()
    subprocess.run([*compiler, "-g", "-o", program, *words, "-lm"], cwd=SOURCE, check=True)
    return program


def build(folder):
    return compile_with(os.path.join(folder, "truths"), "-O1", "-pthread", "tests/tools/truths.c")


def start(program, name, steps, milliseconds, path, **options):
    environment = dict(os.environ, LD_PRELOAD=LIBRARY, HPMALLOC_QUIET="1", HPMALLOC_SAMPLE_INTERVAL="32k",
                       HPMALLOC_SAMPLE_BUDGET="off", HPMALLOC_DUMP_PATH=path, **options)
    return subprocess.Popen([program, name, str(steps), str(milliseconds)], env=environment)


def wait_for(children):
    for child in children:
        assert child.wait() == 0


def leaks(*words):
    return subprocess.run([HPPROF, "leaks", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=60)


def stacks_of(*words):
    """What --json says of them: {"stacks": ...}, or {"suspects": ...} of one file."""
    found = leaks("--json", *words)
    assert found.returncode == 0, found
    return json.loads(found.stdout)
