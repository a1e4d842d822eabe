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


def check_leak(path, function):
    """The verdicts' leak is where it is, and the account adds up."""
    data = data_of(path)
    found = data["verdicts"]["stacks"] if data["verdicts"] else data["suspects"]
    leaks = [each for each in found if each.get("verdict", "LEAK") == "LEAK"]
    assert len(leaks) == 1 and way_of(data, leaks[0]["call"])[-2:] == (function, "keep_alive"), found
    assert (data["verdicts"] is None) == (len(data["shots"]) < 3)
    for shot in data["shots"]:
        rows = {}
        for comment in shot["comments"]:
            parts = re.match(r"account (\w+): (-?\d+) bytes, ", comment)
            if parts:
                rows[parts[1]] = int(parts[2])
        resident, profiler = rows.pop("resident"), rows.pop("profiler")
        assert sum(rows.values()) == resident > 1 << 20, rows
        assert 0 < profiler, profiler


def check_said(path, text):
    """What a page is told by its data, where there is nothing to judge by."""
    data = data_of(path)
    assert data["verdicts"] is None and data["suspects"] == json.loads(text), data["suspects"]


DRIVES = {
    "leak": """
        const finding = $("findings").querySelector("li"), links = $("findings").querySelectorAll("li:not([hidden]) .function");
        if (!/^\\d+ snapshots over .*: LEAK in 1, .* a minute/.test($("said").textContent)) throw $("said").textContent;
        if (finding.querySelector(".verdict").textContent !== "LEAK" || finding.querySelectorAll("polyline").length !== 1) throw "leak";
        if (!/a minute .*(never freed|nothing of it was freed)/.test(finding.textContent)) throw "no evidence: " + finding.textContent;
        links[0].click();
        if (names[nameOf[state.picked]] !== "keep_alive" || names[nameOf[callerOf[state.picked]]] !== "leak_slowly") throw "link";
        if (document.activeElement !== canvas || !/leak_slowly|keep_alive/.test($("picked").textContent)) throw "not shown";
        if (!boxes.some(function (box) { return box.call === state.picked && box.width > 100; })) throw "too small";
        if (getComputedStyle(canvas).outlineStyle !== "solid") throw "focus is not to be seen";
        key(canvas, "ArrowUp");
        if (names[nameOf[state.picked]] !== "leak_slowly") throw "arrow";
        finding.querySelector(".links a").click();
        if ($("rows").rows.length !== 1 || $("rows").rows[0].cells[$("rows").rows[0].cells.length - 1].querySelector("button").textContent !== "keep_alive")
            throw "link to the table";
        key(document.body, "Escape");
        $("all-findings").click();
        const all = $("findings").querySelectorAll(".function");
        if ($("findings").querySelector("li[hidden]") || all.length !== data.verdicts.stacks.length) throw "all";
        all[0].focus(); key(all[0], "ArrowDown");
        if (document.activeElement !== all[1]) throw "arrow keys among the verdicts";
        let wide = 0;
        for (const piece of $("bar").children) wide += piece.getBoundingClientRect().width;
        if ($("bar").children.length !== 8 || Math.abs(wide - $("bar").clientWidth) > 1) throw "bar " + wide;
        const account = accountOf(last), parts = partsOf(account);
        if (parts.reduce(function (sum, part) { return sum + part.bytes; }, 0) !== account.resident) throw "the parts do not add up";
        if (!/Live.*Slack.*Fragmentation.*Caches.*Free pages.*Profiler.*Allocator.*Not the allocator/.test($("parts").textContent)) throw "parts";
        if (/account resident/.test($("files").textContent)) throw "the account is shown twice";
        const fillOf = function () { return paint().fill(callerOf[data.verdicts.stacks[0].call]); };
        const byChange = fillOf();
        choose("colour", "age");
        if (state.colour !== "age" || !/How old/.test($("legend").textContent) || fillOf() === byChange) throw "age";
        const byAge = fillOf();
        choose("colour", "name");
        if (fillOf() === byChange || fillOf() === byAge || !/^hsl/.test(fillOf())) throw "by function";
        choose("base", last);
        if (state.colour !== "name") throw "colour is forgotten";
        choose("colour", "change");
        choose("base", 0);
        if (state.colour !== "change" || fillOf() !== byChange) throw "change";
        if (!/age/.test($("head").textContent)) throw "no column of ages";
        for (const type of data.types.keys()) {
            choose("type", type);
            if (shown().total <= 0 || $("rows").rows.length < 2) throw "type " + type;
        }
    """,
    "suspect": """
        if (!/^Suspects, by the age/.test($("said").textContent) || $("findings").children.length !== 1) throw $("said").textContent;
        if (!/SUSPECT.*None was ever freed, and more keep coming, the oldest/.test($("findings").textContent)) throw $("findings").textContent;
        if (!$("trend").hidden) throw "trend";
    """,
    "plain": """
        const isBytes = data.types[data.type].unit === "bytes", holders = $("findings").querySelectorAll(".function");
        if (holders.length !== (isBytes ? 3 : 0) || (isBytes && holders[0].textContent !== "three")) throw "holders";
        if ( !/HPMALLOC_DUMP_EVERY.*HPMALLOC_DUMP_LABELS=age/.test($("said").textContent)) throw $("said").textContent;
        if (!$("bar").hidden || !/does not say/.test($("account-note").textContent)) throw "account";
        if (!$("colour-label").hidden) throw "colours";
    """,
    "quick": """
        const took = performance.now(); if (boxes.length < 500) throw "few boxes"; if (took > 2000) throw "slow: " + took;
    """,
    "many": """
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
        const choose = function (id, value) {
            $(id).value = value; $(id).dispatchEvent(new Event("change"));
        };
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
        assert int(rest[1]) <= len(data_of(rest[0])["shots"]) <= int(rest[-1]), len(data_of(rest[0])["shots"])
    elif what == "least":
        data = data_of(rest[0])
        assert sum(data["shots"][-1]["values"][data["type"]][1]) >= int(rest[1]), data["shots"][-1]["values"]
    elif what == "leak":
        check_leak(*rest)
    elif what == "said":
        check_said(*rest)
    elif what == "drive":
        put_driven(*rest)
    else:
        put_framed(*rest)


main(*sys.argv[1:])
