"""Passes of JSON, regular expressions and dictionaries, all alike, in one thread."""

import json
import re
import sys
from random import Random

WORD = re.compile(r"[a-z]+|\d+")


def records(source, count):
    return [{"id": i, "name": f"user {source.randrange(count)}", "tags": ["x" * (i % 30), str(i)],
             "score": source.random()} for i in range(count)]


def one_pass(source):
    rows = json.loads(json.dumps(records(source, 1500)))
    rows.sort(key=lambda row: (row["name"], row["score"]))
    text = " ".join(row["name"] + ":" + row["tags"][0] for row in rows)
    counts = {}
    for word in WORD.findall(text):
        counts[word] = counts.get(word, 0) + 1
    text = re.sub(r"user (\d+)", lambda match: "u" + match[1][::-1], text)
    groups = {}
    for row in rows:
        groups.setdefault(row["name"][:7], []).append(row)
    return len(counts) + len(text) + len(groups)


def main():
    source, total = Random(1), 0
    for _ in range(int(sys.argv[1])):
        total += one_pass(source)
    print(total)


main()
