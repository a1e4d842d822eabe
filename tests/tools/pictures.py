#!/usr/bin/env python3
"""What pictures.sh asks: are a flame graph and a report what the stacks say they should be?"""

import json
import re
import sys
import xml.etree.ElementTree
from collections import Counter
from html.parser import HTMLParser

SVG = "{http://www.w3.org/2000/svg}"
# As hpprof shows names: template arguments are gone already.
HOSTILE = [
    "</script>document.title='run'", "<script>document.title='run'", "<!--", "]]>", "</title>", "<b>x",
    "a < b & \"c\" 'd'", "<img src=x onerror=document.title='run'>", "&lt;amp&amp", "@DATA@",
    "@TITLE@", "@BOXES@", "\\u003c\\", "${1+1}`", "__proto__", "constructor", "\u202eright\u2028",
    "\U0001f600" * 40, "\ufffe", "x" * 3000, "-->",
]


def stacks_of(path):
    """[(functions, outermost first; value)], of a file of collapsed stacks."""
    found = []
    with open(path, encoding="utf-8", errors="replace", newline="\n") as file:
        for line in file.read().split("\n"):
            stack, _, value = line.rpartition(" ")
            if stack and value.isdigit():
                # What has no name is shown as the file it is in.
                names = (re.sub(r"^(.*)\+0x[0-9a-f]+$", r"[\1]", name) for name in stack.split(";"))
                found.append((tuple(names), int(value)))
    return found


def calls_of(stacks):
    """What was allocated below each way to a function."""
    sums = Counter()
    for stack, value in stacks:
        for depth in range(len(stack) + 1):
            sums[stack[:depth]] += value
    return Counter({way: value for way, value in sums.items() if value > 0})


def check_addresses(text):
    """Nothing is asked for from elsewhere; names may say what they like."""
    found = set(re.findall(r"\b(?:https?:|ftp:|//)[\w./]+\.\w+[\w./]*", text))
    assert found <= {"http://www.w3.org/2000/svg"}, found
    assert not re.search(r"<(?:link|iframe|img|object|embed)\b|@import|url\(", text)


def check_svg(path, stacks):
    root = xml.etree.ElementTree.parse(path).getroot()
    check_addresses(re.sub(r"(?s)<g id=\"boxes\">.*?\n</g>", "", open(path, encoding="utf-8").read()))
    boxes = []
    for g in root.iter(SVG + "g"):
        if "b" in (g.get("class") or "").split():
            rect, title = g.find(SVG + "rect"), g.find(SVG + "title").text
            boxes.append((title[:title.rindex(" (")], float(rect.get("x")),
                          float(rect.get("width")), float(rect.get("y"))))
    wanted, total = calls_of(stacks), sum(value for _, value in stacks)
    names = Counter(way[-1] if way else "all" for way in wanted)
    assert Counter(clean(box[0]) for box in boxes) == Counter(
        {clean(name): count for name, count in names.items()}), (names, boxes)
    wide = Counter()
    for name, _, width, _ in boxes:
        wide[clean(name)] += width
    for name in names:
        value = sum(v for way, v in wanted.items() if (way[-1] if way else "all") == name)
        assert abs(wide[clean(name)] - 1180 * value / total) < 0.001 * len(boxes), name
    rows = {}
    for name, x, width, y in boxes:
        assert 9.99 <= x and x + width <= 1190.01, name
        rows.setdefault(y, []).append((x, x + width))
    for row in rows.values():
        row.sort()
        assert all(a[1] <= b[0] + 0.01 for a, b in zip(row, row[1:])), "boxes overlap"


def clean(name):
    return re.sub("[\ufffe\uffff]", "\ufffd", name)


class Page(HTMLParser):
    """The data in a page, and which elements it has."""

    def __init__(self):
        super().__init__()
        self.data, self.is_data, self.tags = "", False, Counter()

    def handle_starttag(self, tag, attributes):
        self.tags[tag] += 1
        self.is_data = ("id", "data") in attributes
        assert not any(name.startswith("on") or name in ("src", "href") for name, _ in attributes)

    def handle_endtag(self, tag):
        self.is_data = False

    def handle_data(self, data):
        if self.is_data:
            self.data += data


def data_of(path):
    page = Page()
    text = open(path, encoding="utf-8").read()
    page.feed(text)
    assert page.tags["script"] == 2 and page.tags["title"] == 1 and page.tags["b"] == 0, page.tags
    check_addresses(text.replace(page.data, ""))
    assert not set(page.data) & set("<>&'"), "names are not escaped"
    return json.loads(page.data)


def way_of(data, call):
    way = []
    while call != 0:
        assert data["caller"][call] < call
        way.append(data["names"][data["name"][call]])
        call = data["caller"][call]
    return tuple(reversed(way))


def check_html(path, stacks, rounding):
    data = data_of(path)
    wanted, found = Counter(), Counter()
    for stack, value in stacks:
        wanted[tuple(clean(name) for name in stack)] += value
    calls, values = data["shots"][-1]["values"][data["type"]]
    assert len(calls) == len(values) == len(set(calls))
    for call, value in zip(calls, values):
        found[tuple(clean(name) for name in way_of(data, call))] += value
    # A profile's values are rounded for each size of object, a line's once.
    off = {way: (found[way], wanted[way]) for way in found | wanted
           if abs(found[way] - wanted[way]) > rounding}
    assert not off, off


def check_order(path, names):
    data = data_of(path)
    assert [shot["file"] for shot in data["shots"]] == names, data["shots"]
    assert [len(shot["values"]) for shot in data["shots"]] == [4, 4]
    assert data["types"][data["type"]]["type"] == "inuse_space"
    for shot in data["shots"]:
        assert any(text.startswith("interval: 2048 bytes") for text in shot["comments"])
        assert re.match(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC$", shot["time"])


def put_hostile():
    """What C++ and hostile files call things; a line that is no stack would be left out by readers."""
    for i, name in enumerate(HOSTILE):
        print("main;%s;%s %d" % (name, HOSTILE[i - 1], 1000 + i))


def put_many():
    for i in range(20000):
        print("main;%s;leaf%d %d" % (
            ";".join("f%d_%d" % (k, i % (7 * 3 ** k)) for k in range(8)), i, 1 + i % 97))


DRIVES = {
    "many": """
        if (performance.now() > 20000) throw "slow";
        if (boxes.length < 500) throw "few boxes";
        $("search").value = "leaf77$"; $("search").dispatchEvent(new Event("input"));
        if ($("rows").rows.length !== 1 || !$("found").textContent.startsWith("1 found")) throw "search";
        key(document.body, "Escape");
        if ($("rows").rows.length !== 100 || state.found) throw "escape";
        $("more").click(); if ($("rows").rows.length !== 400) throw "more";
        const row = boxes.find(function (box) { return box.row === 2; }), at = canvas.getBoundingClientRect();
        canvas.dispatchEvent(new MouseEvent("click", {clientX: at.left + row.x + 1, clientY: at.top + 2.5 * ROW}));
        if (state.zoom !== row.call || $("back").disabled) throw "zoom";
        $("back").click(); if (state.zoom !== 0) throw "zoom out";
        key(canvas, "ArrowDown"); key(canvas, "ArrowDown"); key(canvas, "ArrowRight"); key(canvas, "Enter");
        if (state.zoom === 0 || callerOf[callerOf[state.zoom]] !== 0) throw "keys";
        $("head").querySelectorAll("th:last-child button")[0].click();
        if ($("rows").rows[0].cells[4].textContent !== "f0_0") throw "sort";
    """,
    "hostile": """
        if (document.querySelectorAll("img, b").length !== 0) throw "markup";
        if ($("rows").rows.length !== names.length - 1) throw "rows " + $("rows").rows.length;
        for (const button of Array.from($("rows").querySelectorAll("td button"))) {
            button.click();
            if ($("rows").rows.length < 1) throw "search for " + button.textContent;
        }
        key(document.body, "Escape");
        for (const box of boxes) zoomTo(box.call);
    """,
    "several": """
        const total = $("rows").rows.length;
        if ($("trend").hidden || $("lines").querySelectorAll("polyline").length < 1) throw "trend";
        if ($("head").cells.length !== 7) throw "no change";
        $("type").value = 0; $("type").dispatchEvent(new Event("change"));
        if (/B$/.test($("rows").rows[0].cells[0].textContent)) throw "type";
        $("base").value = 1; $("base").dispatchEvent(new Event("change"));
        if ($("head").cells.length !== 5) throw "compared with itself";
    """,
}


def put_driven(source, target, name):
    script = """<script>
        const key = function (to, name) {
            to.dispatchEvent(new KeyboardEvent("keydown", {key: name, bubbles: true}));
        };
        try { %s document.title = document.title === "run" ? "ran" : "done"; }
        catch (trouble) { document.title = "trouble: " + trouble; }
        </script></body>""" % DRIVES[name]
    text = open(source, encoding="utf-8").read()
    begin, _, end = text.rpartition("</body>")
    open(target, "w", encoding="utf-8").write(begin + script + end)


def put_framed(source, target, width):
    """The page in a frame: browsers have no window as narrow as a phone."""
    text = open(source, encoding="utf-8").read()
    begin, _, end = text.rpartition("</body>")
    script = """<script>
        const wide = document.documentElement.clientWidth, bad = [];
        for (const each of document.querySelectorAll("body *")) {
            const place = each.getBoundingClientRect();
            if (place.width > 0 && !each.closest(".wide, svg") && (place.right > wide + 0.5 || place.left < 0))
                bad.push(each.tagName + " " + each.id);
        }
        const tables = document.querySelector(".wide");
        parent.postMessage(wide !== %s ? "wide " + wide : bad.length ? bad.join(", ") :
            document.documentElement.scrollWidth > wide ? "scrolls" : "fits", "*");
        </script></body>""" % width
    page = (begin + script + end).replace("&", "&amp;").replace('"', "&quot;")
    open(target, "w", encoding="utf-8").write(
        "<!DOCTYPE html><meta charset=utf-8><title>nothing said</title><script>onmessage = function "
        "(event) { document.title = event.data; };</script><iframe style='border:0' width=%s "
        "height=900 srcdoc=\"%s\"></iframe>" % (width, page))


def main(what, *rest):
    if what == "hostile":
        sys.stdout.reconfigure(encoding="utf-8")
        put_hostile()
    elif what == "many":
        put_many()
    elif what == "holds":
        stacks = stacks_of(rest[0])
        if rest[1]:
            check_svg(rest[1], stacks)
        if len(rest) > 2:
            check_html(rest[2], stacks, int(rest[3]) if len(rest) > 3 else 0)
    elif what == "total":
        data = data_of(rest[0])
        said = json.load(sys.stdin)["total"]
        assert sum(data["shots"][-1]["values"][data["type"]][1]) == said, said
    elif what == "order":
        check_order(rest[0], list(rest[1:]))
    elif what == "count":
        assert len(data_of(rest[0])["shots"]) == int(rest[1])
    elif what == "drive":
        put_driven(*rest)
    else:
        put_framed(*rest)


main(*sys.argv[1:])
