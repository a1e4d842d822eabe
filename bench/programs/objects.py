"""Dictionaries, JSON, regular expressions, sorting, threads: what scripts spend memory on."""

import json
import re
import sys
import threading
from random import Random

SCALE = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0


def records(count, source):
    return [{"id": i, "name": f"user {source.randrange(count)}", "tags": ["x" * (i % 30), str(i)],
             "score": source.random()} for i in range(count)]


def count_words(text):
    counts = {}
    for word in re.findall(r"[a-z]+|\d+", text):
        counts[word] = counts.get(word, 0) + 1
    return counts


def work(seed, results):
    source = Random(seed)
    rows = records(int(30000 * SCALE) + 1, source)
    again = json.loads(json.dumps(rows))
    again.sort(key=lambda row: (row["name"], row["score"]))
    text = " ".join(row["name"] + ":" + row["tags"][0] for row in again)
    counts = count_words(text)
    text = re.sub(r"user (\d+)", lambda match: "u" + match[1][::-1], text)
    groups = {}
    for row in again:
        groups.setdefault(row["name"][:7], []).append(row)
    results[seed] = (len(again), len(counts), len(text), sorted(map(len, groups.values()))[-3:])


def main():
    results = {}
    for _ in range(2):
        threads = [threading.Thread(target=work, args=(seed, results)) for seed in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    print(sorted(results.items()))


main()
