#!/usr/bin/env python3
"""docs/walk-through.md: its links lead somewhere and its commands are known; with WALK_THROUGH=1 it is
played anew in a copy, and what the commands print is what the page says of them."""

import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402

BUILD = os.path.abspath(os.environ.get("top_builddir", "."))
SOURCE = os.path.abspath(os.environ.get("top_srcdir", "."))
DOCS = os.path.join(SOURCE, "docs")

reporter = tap.Reporter("walk-through")
report = reporter.report


def text_of(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def outputs_of(page):
    """What each command printed, by the command."""
    found, command = {}, None
    for line in page.splitlines():
        if line.startswith("    $ "):
            command = line[6:]
            found[command] = ""
        elif line.startswith("    ") or not line:
            if command:
                found[command] += line + "\n"
        else:
            command = None
    return found


def output_of(outputs, *words):
    """Of the one command that has all of these; where there is none, or are several, nothing."""
    is_it = [command for command in outputs if all(word in command for word in words)]
    return outputs[is_it[0]] if len(is_it) == 1 else "(%d commands have %s)" % (len(is_it), words)


def check_page(sentence, page):
    """Whether the outputs bear out what the text beside them says."""
    outputs = outputs_of(page)
    leaks, mended = (output_of(outputs, "hpprof leaks", name) for name in ("shop.", "mended."))
    listed = output_of(outputs, "hpprof list", "order_handle")
    wanted = [
        (r"LEAK in 1, ", leaks), (r"LEAK .*\n +items_read < order_read", leaks),
        (r"PEAK .*\n +report_sales", leaks), (r"PLATEAU .*\n +article_find", leaks),
        (r"no leak found", mended), (r"order_reject\(order\);", listed),
        (r"MB +\d+ +struct order \*order = order_read", listed),
        (r"sure .*\n +items_read < order_read", output_of(outputs, "hpprof diff")),
        (r"MB +\d+ +char \*items = allocate", output_of(outputs, "hpprof list", "items_read")),
        (r" report_sales\n", output_of(outputs, "hpprof top")),
    ]
    report(sentence, ["%s is not in:\n%s" % each for each in wanted if not re.search(*each)])


def check_links(page):
    pictures = re.findall(r"\]\(([^)]+)\)", page)
    missing = [name for name in pictures if not os.path.exists(os.path.join(DOCS, name))]
    report("every picture is there", missing if pictures else ["there are no pictures"])
    report("the README leads to it",
           [] if "docs/walk-through.md" in text_of(os.path.join(SOURCE, "README.md")) else ["no link"])


def check_commands(page):
    known = subprocess.run([os.path.join(BUILD, "hpprof"), "--help"], stdout=subprocess.PIPE, text=True,
                           check=True).stdout
    names = set(re.findall(r"\bhpprof ([a-z]+) ", page))
    report("every command is one of hpprof's",
           [name for name in sorted(names) if not re.search(r"\b%s\b" % name, known)])


def check_play():
    """In a copy: where the commands run, nothing of the source is written."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(os.path.join(DOCS, "walk-through.md"), folder)
        found = subprocess.run([sys.executable, os.path.join(SOURCE, "tools/demo/walk-through"), BUILD, folder],
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=400)
        is_browserless = "no chromium" in found.stdout
        report("it plays to the end", [] if found.returncode == 0 or is_browserless else [found.stdout])
        if found.returncode == 0:
            check_page("played anew, it comes out as it says", text_of(os.path.join(folder, "walk-through.md")))
            drawn = os.path.join(folder, "pictures", "shop-flame.svg")
            report("its flame graph shows the leak",
                   [] if "items_read" in text_of(drawn) else ["no items_read in " + drawn])


def main():
    if not os.path.exists(os.path.join(BUILD, "hpprof")):
        print("1..0 # SKIP there is no hpprof")
        return 0
    page = text_of(os.path.join(DOCS, "walk-through.md"))
    check_links(page)
    check_commands(page)
    check_page("what its commands printed is what it says of them", page)
    if os.environ.get("WALK_THROUGH"):
        check_play()
    else:
        reporter.skip("it plays to the end", "it takes a minute and a half: WALK_THROUGH=1, or make check-long")
    return reporter.finish()


if __name__ == "__main__":
    sys.exit(main())
