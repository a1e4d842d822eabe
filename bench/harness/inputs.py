"""What the real programs read: generated, the same on every machine, kept in a cache folder."""

import hashlib
import json
import os
import random
import subprocess

from harness import allocators

WORDS = [a + b + c for a in ("al", "be", "cor", "den", "es", "fru", "gra", "hol", "im", "jun")
         for b in ("a", "en", "il", "or", "u") for c in ("", "ble", "der", "ling", "mo", "st")]


def _version():
    """Of the generators: other generators write into another folder."""
    with open(__file__, "rb") as source:
        return hashlib.sha256(source.read()).hexdigest()[:8]


class Inputs:
    """Files in a folder that names scale and version; each is written once, whole or not at all."""

    def __init__(self, cache, scale):
        self.scale = scale
        self.folder = os.path.join(os.path.abspath(cache), f"inputs-{scale:g}-{_version()}")
        os.makedirs(self.folder, exist_ok=True)

    def path(self, name):
        return os.path.join(self.folder, name)

    def count(self, n):
        return max(1, int(n * self.scale))

    def file(self, name, lines):
        """The path of a file with what lines(count, source) yields; count(n) scales n."""
        path = self.path(name)
        if not os.path.exists(path):
            with open(path + ".new", "w", encoding="ascii") as out:
                out.writelines(lines(self.count, random.Random(name)))
            os.rename(path + ".new", path)
        return path

    def repository(self):
        """A git repository made by fast-import, so its objects are the same everywhere."""
        path = self.path("repository")
        if os.path.exists(path):
            return path
        stream = self.file("history", history_lines)
        git = allocators.system_tool("git")
        subprocess.run([git, "init", "-q", "--bare", path + ".new"], check=True)
        with open(stream, "rb") as source:
            subprocess.run([git, "-C", path + ".new", "fast-import", "--quiet"], stdin=source,
                           check=True)
        os.rename(path + ".new", path)
        return path

    def pages(self):
        """A folder for a web server: a page, and the parts that it includes."""
        path = self.path("pages")
        if os.path.exists(path):
            return path
        source = random.Random("pages")
        os.makedirs(path + ".new", exist_ok=True)
        for name, body in page_parts(source):
            with open(os.path.join(path + ".new", name), "w", encoding="ascii") as out:
                out.write(body)
        os.rename(path + ".new", path)
        return path


def sentence(source, words):
    return " ".join(source.choices(WORDS, k=words))


def sql_lines(count, source):
    yield "create table item(id integer primary key, name text, kind text, price real);\n"
    yield "create table sale(id integer primary key, item integer, day text, note text);\n"
    yield "begin;\n"
    for i in range(count(24000)):
        yield (f"insert into item values({i}, '{sentence(source, 3)}', "
               f"'{source.choice(WORDS)}', {source.random() * 100:.2f});\n")
    for i in range(count(90000)):
        yield (f"insert into sale values({i}, {source.randrange(count(24000))}, "
               f"'day {source.randrange(365)}', '{sentence(source, source.randrange(1, 12))}');\n")
    yield "commit;\ncreate index by_item on sale(item);\ncreate index by_kind on item(kind);\n"
    for _ in range(8):
        yield ("select kind, count(*), round(sum(price)) from item join sale on item.id = item "
               "group by kind order by 3 desc limit 5;\n")
        yield ("select group_concat(upper(substr(note, 1, 9)), '; ') from (select note from sale "
               f"where note like '%{source.choice(WORDS)}%' order by note limit 50);\n")
    yield "update sale set note = note || ' seen' where id % 3 = 0;\n"
    yield "delete from sale where id % 4 = 1;\nselect count(*), sum(length(note)) from sale;\n"


def xml_lines(count, source):
    yield '<?xml version="1.0"?>\n<library>\n'
    for i in range(count(60000)):
        yield f'  <book id="b{i}" shelf="{source.choice(WORDS)}">\n'
        yield f"    <title>{sentence(source, 4)}</title>\n"
        yield f"    <year>{source.randrange(1900, 2030)}</year>\n"
        for _ in range(source.randrange(1, 4)):
            yield f'    <author role="{source.choice(WORDS)}">{sentence(source, 2)}</author>\n'
        yield "  </book>\n"
    yield "</library>\n"


def json_lines(count, source):
    for i in range(count(50000)):
        record = {
            "id": i, "name": sentence(source, 2), "tags": source.choices(WORDS, k=4),
            "place": {"x": source.randrange(1000), "y": round(source.random(), 4)},
        }
        yield json.dumps(record) + "\n"


def text_lines(count, source):
    for i in range(count(500000)):
        yield f"{source.randrange(10 ** 9)} {sentence(source, 5)} {i}\n"


def history_lines(count, source):
    """A fast-import stream: commits that each change some lines of a few of many files."""
    files = [[sentence(source, 8) for _ in range(120)] for _ in range(60)]
    for number in range(count(1200)):
        message = sentence(source, 6)
        yield f"commit refs/heads/master\ncommitter A <a@b> {1000000000 + number * 60} +0000\n"
        yield f"data {len(message)}\n{message}\n"
        for _ in range(3):
            which = source.randrange(len(files))
            for _ in range(6):
                files[which][source.randrange(120)] = sentence(source, 8)
            body = "\n".join(files[which]) + "\n"
            yield f"M 100644 inline folder{which % 7}/file{which}\ndata {len(body)}\n{body}\n"


def postscript_lines(count, source):
    yield "%!PS\n/pick { rand 1000 mod 1000 div } def 7 srand\n"
    for _ in range(count(24)):
        yield "/Times-Roman findfont 9 scalefont setfont 0 setgray\n"
        for line in range(70):
            yield f"40 {760 - line * 10} moveto ({sentence(source, 14)}) show\n"
        yield "400 { pick pick pick setrgbcolor newpath pick 600 mul pick 800 mul moveto\n"
        yield "  3 { 3 { pick 600 mul pick 800 mul } repeat curveto } repeat closepath\n"
        yield "  pick 0.5 gt { fill } { stroke } ifelse } repeat\n"
        yield "/d 500 dict def 0 1 499 { 20 string cvs cvn d exch 9 array put } for\n"
        yield "showpage\n"


def page_parts(source):
    """Yields name and text of each file."""
    parts = [f"part{i}.html" for i in range(12)]
    for name in parts:
        yield name, "".join(f"<p>{sentence(source, 40)}</p>\n" for _ in range(8))
    yield "index.html", "<html><body>\n" + "".join(
        f'<!--# include virtual="/{name}" -->\n' for name in parts) + "</body></html>\n"


def smt_lines(count, source):
    """Puzzles over integers, arrays and functions, each in a scope of its own."""
    yield "(set-option :smt.random_seed 1)\n(declare-fun f (Int) Int)\n"
    yield "(declare-const a (Array Int Int))\n"
    for i in range(40):
        yield f"(declare-const x{i} Int)(assert (and (< 0 x{i}) (< x{i} 60)))\n"
    for _ in range(count(16)):
        yield "(push)\n"
        for _ in range(50):
            one, two, three = (f"x{i}" for i in source.sample(range(40), 3))
            low, shift = source.randrange(1, 9), source.randrange(20)
            yield f"(assert (or (< (+ {one} {low}) {two}) (= (f {three}) (+ {one} {shift}))))\n"
            yield f"(assert (or (> (select a {one}) {two}) (distinct (f {two}) {three} {one})))\n"
        yield "(check-sat)\n(pop)\n"
