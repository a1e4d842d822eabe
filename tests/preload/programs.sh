#!/bin/bash
# Real programs say the same, write the same and end the same with the library and without it.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/common.bash"

inputs=$work/inputs
mkdir "$inputs"

# record FOLDER COMMAND...: runs in an empty folder; keeps output, errors and status beside it.
record()
{
    local folder=$work/$1
    shift
    rm -rf "$folder"
    mkdir -p "$folder/files"
    (cd "$folder/files" && "$@" >"$folder/output" 2>"$folder/errors" </dev/null)
    echo $? >"$folder/status"
}

is_same_run()
{
    is "$(cat "$work/plain/status")" 0 && diff -r "$work/plain" "$work/ours"
}

# All are run hardened with PROGRAMS_HARDENED=1; else a few, for it takes its time.
is_to_be_hardened()
{
    [ -n "${PROGRAMS_HARDENED:-}" ] || [[ $1 == @(python3|perl|sqlite3|awk) ]]
}

# same NAME TOOL COMMAND...: once without the library, once with it, once with many samples, once
# hardened.
same()
{
    local name=$1 tool=$2
    shift 2
    if ! has "$tool"; then
        skip "$name gives the same output" "there is no $tool"
        return
    fi
    record plain timeout 100 "$@"
    record ours ours 100 "$@"
    check "$name gives the same output" is_same_run
    record ours ours 100 HPMALLOC_SAMPLE_INTERVAL=8k "$@"
    check "$name gives the same output with a sample each 8 KiB" is_same_run
    is_to_be_hardened "$tool" || return
    record ours ours 600 HPMALLOC_HARDENED=1 HPMALLOC_SAMPLE_INTERVAL=64k "$@"
    check "$name gives the same output, hardened" is_same_run
}

cat >"$inputs/threads.py" <<'END'
import json, re, threading, hashlib
from concurrent.futures import ThreadPoolExecutor

def work(seed):
    rows = [{"id": i, "name": "row %d" % (i * seed), "tags": [str(i), str(seed)]} for i in range(4000)]
    text = json.dumps(rows)
    back = json.loads(text)
    found = re.findall(r'"name": "row (\d+)"', text)
    words = re.sub(r"(\d)(\d)", r"\2\1", text)
    table = {}
    for row in back:
        table.setdefault(row["name"][-1], []).append(row)
    digest = hashlib.sha256(words.encode()).hexdigest()
    return seed, len(found), {k: len(v) for k, v in sorted(table.items())}, digest

with ThreadPoolExecutor(8) as pool:
    for answer in pool.map(work, range(1, 25)):
        print(answer)
lines = []
threads = [threading.Thread(target=lambda n=n: lines.append(sum(len(str(i)) for i in range(n * 1000)))) for n in range(40)]
[t.start() for t in threads]
[t.join() for t in threads]
print(sorted(lines))
END

cat >"$inputs/words.pl" <<'END'
use strict;
my (%count, @lines);
for my $i (1 .. 60000) {
    my $line = join " ", map { "word" . (($i * $_) % 977) } 1 .. 8;
    push @lines, $line;
    $count{$_}++ for split / /, $line;
}
(my $text = join "\n", @lines) =~ s/word(\d)(\d*)/drow$2$1/g;
print length($text), "\n";
print "$_ $count{$_}\n" for sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count;
print scalar(reverse(substr($text, 1000, 200))), "\n";
END

cat >"$inputs/sales.sql" <<'END'
CREATE TABLE sales (id INTEGER PRIMARY KEY, shop TEXT, item TEXT, amount INTEGER);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 80000)
INSERT INTO sales SELECT i, 'shop' || (i * 7919 % 101), 'item' || (i * 104729 % 997), i * 31 % 1000 FROM n;
CREATE INDEX by_shop ON sales (shop, amount);
SELECT shop, count(*), sum(amount), max(item) FROM sales GROUP BY shop ORDER BY 3 DESC, 1;
SELECT a.item, count(*) FROM sales a JOIN sales b ON a.id = b.id + 1 WHERE a.amount < b.amount GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 50;
DELETE FROM sales WHERE id % 3 = 0;
SELECT count(*), group_concat(id) FROM sales WHERE amount = 500;
END

cat >"$inputs/heavy.cpp" <<'END'
#include <algorithm>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <random>
#include <regex>
#include <sstream>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>
template <int N> struct Node { std::map<int, std::vector<std::string>> table; std::unique_ptr<Node<N - 1>> next; };
template <> struct Node<0> { std::unordered_map<std::string, std::variant<int, double, std::string>> leaf; };
template <int N> int fill(Node<N> &node) {
    node.next = std::make_unique<Node<N - 1>>();
    for (int i = 0; i < N; i++) node.table[i].push_back(std::to_string(i * N));
    std::sort(node.table[0].begin(), node.table[0].end(), std::greater<std::string>());
    if constexpr (N > 1) return fill(*node.next) + int(node.table.size());
    else return int(node.table.size());
}
int main() {
    Node<60> node;
    std::regex pattern("([a-z]+)([0-9]*)");
    std::smatch match;
    std::string text = "abc123";
    std::cout << fill(node) << std::regex_match(text, match, pattern) << match[1] << "\n";
}
END

cat >"$inputs/history.sh" <<'END'
set -e
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org
git init -q -b main repository
cd repository
git config gc.auto 0
for i in $(seq 1 30); do
    for j in $(seq 1 12); do
        seq $((i * j)) $((i * j + 400)) >file$j
    done
    git add .
    GIT_AUTHOR_DATE="2020-01-01T00:00:$i +0000" GIT_COMMITTER_DATE="2020-01-01T00:00:$i +0000" git commit -q -m "commit $i"
done
git log --stat -p | cksum
git -c pack.threads=2 repack -q -a -d --depth=20 --window=10
git fsck --full
git diff HEAD~20 HEAD | cksum
git blame file3 | cksum
cd ..
rm -rf repository
END

cat >"$inputs/server.js" <<'END'
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');
function work(seed) {
    const rows = [];
    for (let i = 0; i < 20000; i++) rows.push({ id: i, name: 'row ' + (i * seed) % 977, tags: [i, seed] });
    const text = JSON.stringify(rows);
    const found = (text.match(/"name":"row (\d+)"/g) || []).length;
    const buffers = rows.map((r) => Buffer.alloc(r.id % 3000, r.name));
    return [seed, text.length, found, buffers.reduce((sum, b) => sum + b.length, 0), JSON.parse(text).length];
}
if (isMainThread) {
    console.log(work(1));
    const answers = [];
    for (let i = 2; i < 5; i++)
        new Worker(__filename, { workerData: i }).on('message', (m) => {
            answers.push(m);
            if (answers.length === 3) console.log(answers.sort((a, b) => a[0] - b[0]));
        });
} else parentPort.postMessage(work(workerData));
END

cat >"$inputs/page.php" <<'END'
<?php
$rows = [];
for ($i = 0; $i < 30000; $i++) $rows[] = ['id' => $i, 'name' => 'row ' . ($i * 7919 % 977)];
$text = json_encode($rows);
echo strlen($text), ' ', count(json_decode($text, true)), "\n";
echo preg_match_all('/"name":"row (\d+)"/', $text, $found), ' ', md5(implode(',', $found[1])), "\n";
$all = get_loaded_extensions();
sort($all);
echo implode(' ', $all), "\n";
foreach (array_filter(['mb_strtoupper', 'ctype_alpha', 'iconv_strlen'], 'function_exists') as $f) echo $f, ' ', var_export($f('abc'), true), "\n";
if (class_exists('DOMDocument')) { $d = new DOMDocument; $d->loadXML('<a><b>text</b></a>'); echo $d->saveXML(); }
if (class_exists('PDO')) echo implode(' ', PDO::getAvailableDrivers()), "\n";
if (function_exists('curl_version')) { $c = curl_init('http://127.0.0.1:9/'); curl_setopt($c, CURLOPT_TIMEOUT, 1); curl_close($c); echo "curl\n"; }
if (function_exists('gzcompress')) echo md5(gzuncompress(gzcompress($text))), "\n";
END

cat >"$inputs/shell.sh" <<'END'
declare -A table
for ((i = 0; i < 4000; i++)); do
    table[key$((i * 7919 % 997))]+="$i,"
done
for key in "${!table[@]}"; do echo "$key ${#table[$key]}"; done | sort
text=$(printf '%s\n' {1..20000})
echo "${#text} ${text//1/one}" | cksum
( exit 3 ); echo $?
while read -r line; do [[ $line =~ ^1(.*)9$ ]] && echo "${BASH_REMATCH[1]}"; done <<<"$text" | tail -n 5
END

seq 1 250000 | awk '{ print ($1 * 7919) % 1000003, "line", $1 }' >"$inputs/lines"
mkdir "$inputs/folder"
for i in 1 2 3 4 5 6 7 8; do
    seq "$i" 40000 >"$inputs/folder/file$i"
done

same "python3 with threads, json and re" python3 python3 -I "$inputs/threads.py"
same "perl" perl perl "$inputs/words.pl"
same "sqlite3" sqlite3 sqlite3 -batch data.db ".read $inputs/sales.sql"
same "g++ -O2 of a large file" g++ g++ -std=c++17 -O2 -c -o heavy.o "$inputs/heavy.cpp"
same "git on a repository of 30 commits" git bash "$inputs/history.sh"
same "sort --parallel" sort sort --parallel=4 -S 8M "$inputs/lines"
same "node with workers" node node "$inputs/server.js"
same "java -version" java java -Xmx256m -version
same "php with all its extensions" php php "$inputs/page.php"
same "bash" bash bash "$inputs/shell.sh"
same "tar with xz of two threads" xz tar -C "$inputs" --sort=name --mtime=@0 --owner=0 --group=0 \
    -I 'xz -1 -T2 --block-size=256KiB' -cf folder.tar.xz folder
same "gzip" gzip gzip -nc "$inputs/lines"
same "awk" awk awk '{ count[$1 % 1000] += $3 } END { for (i = 0; i < 1000; i++) print i, count[i] }' \
    "$inputs/lines"
finish
