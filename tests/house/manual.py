#!/usr/bin/env python3
"""What can be called, set or typed is in the manual, and is used by a test: public functions, options,
hpprof's commands with what they take, and paths over HTTP.

Used means that the name stands where a test uses such a thing; tests of this folder do not count."""

import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402

SOURCE = os.path.abspath(os.environ.get("top_srcdir", "."))
BUILD = os.path.abspath(os.environ.get("top_builddir", "."))
HPPROF = os.path.join(BUILD, "hpprof")

# Files of tests: what runs, and what runs with it.
TEST_ENDINGS = (".c", ".cc", ".h", ".py", ".sh", ".bash")
# A command and its option are in one call when so few characters lie between them.
CALL_CHARACTERS = 300

reporter = tap.Reporter("manual")
report = reporter.report


def text_of(path):
    with open(os.path.join(SOURCE, path), errors="replace") as file:
        return file.read()


def page(path):
    return plain(text_of(path))


def plain(source):
    """A page as it reads, without the marks of its language."""
    text = re.sub(r"\\f[BIPR]|\\[|&/^]", "", source).replace("\\-", "-").replace("\\ ", " ")
    lines = [re.sub(r"^\.(?:[BI]R?|R[BI]|IP|TP|SS|SH|PP|I[BR]) ?", "", line).replace('"', "")
             for line in text.splitlines() if not line.startswith('.\\"')]
    return "\n".join(lines)


def all_tests():
    found = {}
    for place, names, files in os.walk(os.path.join(SOURCE, "tests")):
        names[:] = sorted(set(names) - {"house", "kept", "cache", ".libs", ".deps"})
        for name in sorted(files):
            if name.endswith(TEST_ENDINGS):
                path = os.path.relpath(os.path.join(place, name), SOURCE)
                found[path] = text_of(path)
    return found


def has_word(text, word):
    return re.search(r"(?<![\w-])%s(?![\w-])" % re.escape(word), text) is not None


def missing(names, text):
    return [name for name in sorted(names) if not has_word(text, name)]


def declared(path, mark):
    """Functions of a header, by the mark that makes them public."""
    return set(re.findall(r"^%s\b[^;(]*?(\w+)\(" % mark, text_of(path), re.M))


def check_functions(tests):
    code = "\n".join(text for path, text in tests.items() if path.endswith((".c", ".cc", ".h", ".py")))
    for name, header, mark, manual in (
            ("hpmalloc", "include/hpmalloc.h", "HPM_PUBLIC", "man/hpmalloc.3"),
            ("hpmalloc_compat", "compat/hpmalloc_compat.h", "HPM_COMPAT", "man/hpmalloc_compat.3")):
        functions = declared(header, mark)
        report("%s(3) has every function of its header" % name, missing(functions, page(manual)))
        report("a test calls every function of %s.h" % name, missing(functions, code))
    replaced = {name for name in text_of("tests/house/exports.txt").split()
                if not name.startswith(("_", "hpm_"))} - NOT_MALLOC
    report("hpmalloc(3) has every function that is replaced",
           missing(replaced, page("man/hpmalloc.3")))
    report("a test calls every function that is replaced", missing(replaced, code))


# Stood in front of, to see what they do: the C library does the work.
NOT_MALLOC = {"daemon", "dlclose", "dlopen", "fork", "forkpty", "sigaction", "signal"}


def check_constants(tests):
    constants = set(re.findall(r"^    (HPM_[A-Z_]+),", text_of("include/hpmalloc.h"), re.M))
    report("hpmalloc(3) has every profile and format", missing(constants, page("man/hpmalloc.3")))
    report("a test uses every profile and format", missing(constants, "\n".join(tests.values())))


def check_options(tests):
    options = re.findall(r'\.name = "([A-Z_]+)"', text_of("src/base/options.c"))
    manual, code = page("man/hpmalloc.3"), "\n".join(tests.values())
    report("hpmalloc(3) has every option",
           ["HPMALLOC_" + name for name in options if not has_word(manual, "HPMALLOC_" + name)])
    unused = [name for name in options if not has_word(code, "HPMALLOC_" + name) and
              not has_word(code, "--" + name.lower().replace("_", "-"))]
    report("a test sets every option", ["HPMALLOC_" + name for name in unused])


def check_paths(tests):
    """All but the profiles are in one table; those have the names of the option."""
    text = text_of("src/report/httpanswer.c")
    table = re.search(r"^static const struct place places.*?^};", text, re.M | re.S).group(0)
    below = re.findall(r'PROFILE_PATH "([^"]+)"', table)
    below += re.search(r'choices = "(heap [a-z ]+)"', text_of("src/base/options.c")).group(1).split()
    paths = re.findall(r'\{"(/[^"]+)"', table)
    manual = re.search(r"^PROFILES OVER HTTP$|^Profiles over HTTP$", page("man/hpmalloc.3"), re.M)
    section = page("man/hpmalloc.3")[manual.end():]
    report("hpmalloc(3) has every path over HTTP", missing(below, section) + [p for p in paths if p not in section])
    code = "\n".join(text for name, text in tests.items() if "http" in name)
    report("a test asks for every path over HTTP", missing(below, code) + [p for p in paths if p not in code])


def help_of(*command):
    return subprocess.run([HPPROF, *command, "--help"], stdout=subprocess.PIPE, text=True, check=True).stdout


def commands():
    return re.findall(r"^  ([a-z]+) {2,}", help_of(), re.M)


def flags_of(command):
    """What the command takes beside the library's options, which the manual has elsewhere."""
    library = {"--" + name.lower().replace("_", "-")
               for name in re.findall(r'\.name = "([A-Z_]+)"', text_of("src/base/options.c"))}
    found = re.findall(r"^  (--?[a-z][a-z-]*)", help_of(command), re.M)
    return [flag for flag in found if flag not in library]


def sections():
    """hpprof(1), a text for each command: what follows a tag of its name, up to the next tag."""
    found, current = {}, None
    for tag in re.split(r"^\.TP\n", text_of("man/hpprof.1").split(".SH PROFILES")[0], flags=re.M)[1:]:
        name = re.match(r"\.B ([a-z]+)", tag)
        current = name.group(1) if name else current
        found[current] = found.get(current, "") + plain(tag)
    return found


def documented(command, flag, found, seen=()):
    body = found.get(command, "")
    if has_word(body, flag):
        return True
    others = re.findall(r"(?:options of|those of|that of|as with|as)\s([a-z]+)\b", body)
    return any(documented(other, flag, found, (*seen, command))
               for other in others if other in found and other not in seen and other != command)


def is_tried(command, flag, tests):
    call = re.compile(r"(?<![\w-])%s(?![\w-]).{0,%d}?(?<![\w-])%s(?![\w-])" % (
        command, CALL_CHARACTERS, re.escape(flag)), re.S)
    return any(call.search(text) or
               is_about(path, command) and has_word(text, flag) for path, text in tests.items())


def is_about(path, command):
    """A test of one command, which may call it by a function of its own."""
    return os.path.basename(path).split(".")[0] == command


def check_tool(tests):
    tools = {path: text for path, text in tests.items() if "hpprof" in text}
    names, found = commands(), sections()
    report("hpprof(1) has every command", [name for name in names if name not in found])
    report("a test runs every command", missing(names, "\n".join(tools.values())))
    calls = [(name, flag) for name in names for flag in flags_of(name)]
    # What all commands have in common is under a heading of its own.
    common = {"--json"} if "With --json a command" in page("man/hpprof.1").replace("\n", " ") else set()
    report("hpprof(1) has all that commands take",
           ["%s %s" % call for call in calls if call[1] not in common and not documented(*call, found)])
    report("a test uses all that commands take",
           ["%s %s" % call for call in calls if not is_tried(*call, tools)])


def main():
    tests = all_tests()
    check_functions(tests)
    check_constants(tests)
    check_options(tests)
    check_paths(tests)
    if os.access(HPPROF, os.X_OK):
        check_tool(tests)
    else:
        reporter.skip("hpprof", "there is no " + HPPROF)
    return reporter.finish()


if __name__ == "__main__":
    sys.exit(main())
