#!/usr/bin/env python3
"""Checks of statistics that come from outside the library.

  stats.py json|xml FILE        is it valid, and does it add up?
  stats.py prometheus FILE      has each metric its help and type, once, and its rows together?
  stats.py account FILE SMAPS   does the account of a text profile, or of statistics as text, explain
                                the resident memory, as the kernel's smaps of the same moment has it?
"""

import json
import re
import sys
import xml.etree.ElementTree

PARTS = ("thread_cache_bytes", "central_bytes", "slab_free_bytes", "span_free_bytes",
         "metadata_bytes")


def check_json(path):
    with open(path) as file:
        stats = json.load(file)
    own = stats["live_bytes"] - stats["live_untouched_bytes"] + sum(stats[part] for part in PARTS)
    print("ours %d, resident %d" % (own, stats["resident_bytes"]))
    small = sum(row["live_objects"] * row["object_bytes"] for row in stats["size_classes"])
    return (0 < own < stats["resident_bytes"] and small == stats["live_small_bytes"] and
            stats["live_bytes"] == stats["live_small_bytes"] + stats["live_large_bytes"])


def check_xml(path):
    root = xml.etree.ElementTree.parse(path).getroot()
    sizes = [int(row.get("to")) for row in root.iter("size")]
    inuse = [row for row in root.iter("total") if row.get("type") == "inuse"]
    print("sizes %s" % sizes)
    return root.tag == "malloc" and sizes and sizes == sorted(sizes) and int(inuse[0].get("size")) > 0


def check_prometheus(path):
    helps, types, metrics, rows = [], {}, [], {}
    with open(path) as file:
        for line in file:
            words = line.split()
            if line.startswith("# HELP "):
                helps.append(words[2])
            elif line.startswith("# TYPE "):
                types[words[2]] = words[3]
            else:
                row = re.fullmatch(r"(hpmalloc_[a-z_]+)(\{[^{}]*\})? ([0-9.]+)\n", line)
                metric = row.group(1)
                if [metric] != metrics[-1:]:
                    metrics.append(metric)
                if (types.get(metric) == "counter") != metric.endswith("_total"):
                    print("not of its kind: " + line)
                    return False
                rows[metric, row.group(2)] = float(row.group(3))
    own = sum(value for (metric, _), value in rows.items()
              if metric == "hpmalloc_heap_resident_bytes")
    print("metrics %s, ours %d" % (metrics, own))
    return (len(metrics) > 20 and metrics == helps == list(types) and
            0 < own < rows["hpmalloc_process_resident_bytes", None])


def rows_of_account(path):
    """The rows between the first number at a line's start and the sum: [(bytes, words)]."""
    rows = []
    with open(path) as file:
        for line in file:
            found = re.match(r" *(-?\d+)  [ -] *[\d.]+ [KMGT]?i?B +(\S.*)", line)
            if found:
                rows.append((int(found.group(1)), found.group(2)))
            elif rows:
                return rows
    return rows


def resident_of_smaps(path):
    """Resident bytes of all, and of mappings without a name that do not continue a file's."""
    everything = nameless = file_end = 0
    is_nameless = False
    with open(path) as file:
        for line in file:
            head = re.match(r"([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \S+ *(.*)", line)
            if head:
                is_nameless = not head.group(3) and int(head.group(1), 16) != file_end
                file_end = int(head.group(2), 16) if head.group(3) else file_end
            elif line.startswith("Rss:"):
                bytes_ = int(line.split()[1]) * 1024
                everything += bytes_
                nameless += bytes_ * is_nameless
    return everything, nameless


def is_within_2_percent(what, ours, kernels):
    print("%s: %d, by the kernel %d: %+.2f %%" % (what, ours, kernels, 100 * (ours / kernels - 1)))
    return abs(ours - kernels) * 50 <= kernels


def check_account(path, smaps):
    rows = rows_of_account(path)
    for row in rows:
        print("%d %s" % row)
    own, rest, total = sum(row[0] for row in rows[:-2]), rows[-2][0], rows[-1][0]
    everything, nameless = resident_of_smaps(smaps)
    return all([len(rows) == 10, own + rest == total,
                is_within_2_percent("ours", own, nameless),
                is_within_2_percent("resident", total, everything)])


def main():
    check = {"json": check_json, "xml": check_xml, "prometheus": check_prometheus,
             "account": check_account}[sys.argv[1]]
    return 0 if check(*sys.argv[2:]) else 1


if __name__ == "__main__":
    sys.exit(main())
