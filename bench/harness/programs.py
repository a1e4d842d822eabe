"""The real programs: what each needs, reads, and runs."""

import os
from dataclasses import dataclass, field
from typing import Callable

from harness import allocators, inputs as generate, servers

SOURCES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "programs")


@dataclass
class Program:
    """A program that runs once, reads its input and prints an answer that all runs share."""

    name: str
    tool: str
    stresses: str
    arguments: Callable  # of Inputs: the arguments
    stdin: Callable = lambda inputs: os.devnull
    environment: dict = field(default_factory=dict)
    needs: tuple = ()
    threads: int = 1
    checked: bool = True  # its output is the same in every run

    def missing(self):
        """The first tool that this system has not; empty when all are there."""
        return next((t for t in (self.tool, *self.needs) if not allocators.system_tool(t)), "")

    def prepare(self, inputs):
        """Writes the inputs, so that no measured run does."""
        self.arguments(inputs)
        self.stdin(inputs)

    def run(self, launcher, allocator, inputs):
        tool = allocators.system_tool(self.tool)
        return launcher.run(
            [tool, *self.arguments(inputs)], allocators.preload_for(allocator, tool),
            self.environment | allocator.environment, self.stdin(inputs))


@dataclass
class Served(Program):
    """A server under load: its tool has the preload, the client, the first that it needs, not."""

    run_served: Callable = None  # one of servers.run_*

    def run(self, launcher, allocator, inputs):
        tools = [allocators.system_tool(self.tool), allocators.system_tool(self.needs[0])]
        return self.run_served(launcher, tools, *self.arguments(inputs),
                               allocators.preload_for(allocator, tools[0]), allocator.environment)


def _source(name):
    return os.path.join(SOURCES, name)


def _redis_arguments(inputs):
    return [["-q", "-c", "20", "-P", "16", "-d", "120", "-n", str(inputs.count(70000)), "-r",
             "100000", "-t", "set,get,incr,lpush,lpop,sadd,hset,zadd"]]


def _pgbench_arguments(inputs):
    return [["-n", "-c", "4", "-j", "1", "-t", str(inputs.count(400)), "--random-seed=1",
             "-b", "simple-update@20", "-f", _source("reports.sql") + "@1"]]


def _nginx_arguments(inputs):
    return [inputs.pages(), inputs.count(1500)]


def _compile(inputs):
    return ["-std=c++17", "-O2", "-c", "-o", inputs.path("templates.o"), _source("templates.cpp")]


def _git(*command):
    return lambda inputs: ["-C", inputs.repository(), *command]


GIT_ENVIRONMENT = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}

PROGRAMS = [
    Served("redis", "redis-server", "a server's keys, lists, sets, hashes under redis-benchmark",
           _redis_arguments, needs=("redis-benchmark",), run_served=servers.run_redis),
    Served("postgres", "postgres", "updates by four clients, now and then a report over all rows",
           _pgbench_arguments, needs=("pgbench", "initdb", "pg_isready"), threads=4,
           run_served=servers.run_postgres),
    Served("nginx", "nginx", "pages put together from parts and compressed, under wrk",
           _nginx_arguments, needs=("wrk",), threads=2, run_served=servers.run_nginx),
    Program("sqlite3", "sqlite3", "an in-memory database: inserts, joins, updates",
            lambda inputs: [":memory:"],
            lambda inputs: inputs.file("sales.sql", generate.sql_lines)),
    Program("python3", "python3", "dictionaries, JSON, re, sort, threads; pymalloc in between",
            lambda inputs: [_source("objects.py"), f"{inputs.scale:g}"],
            environment={"PYTHONHASHSEED": "0"}, threads=2),
    Program("python3-malloc", "python3", "the same with every object from malloc",
            lambda inputs: [_source("objects.py"), f"{inputs.scale:g}"],
            environment={"PYTHONHASHSEED": "0", "PYTHONMALLOC": "malloc"}, threads=2),
    Program("perl", "perl", "hashes, growing strings, regular expressions, sort",
            lambda inputs: [_source("text.pl"), f"{inputs.scale:g}"],
            environment={"PERL_HASH_SEED": "0"}),
    Program("ruby", "ruby", "strings, hashes, objects, sort under a garbage collector",
            lambda inputs: [_source("objects.rb"), f"{inputs.scale:g}"]),
    Program("lua", "lua", "tables, strings, closures under a garbage collector",
            lambda inputs: [_source("tables.lua"), f"{inputs.scale:g}"]),
    Program("g++", "g++", "a compile of templates; the preload reaches cc1plus", _compile),
    Program("clang++", "clang++", "the same compile in one process", _compile),
    Program("gs", "gs", "text and curves to pixels",
            lambda inputs: ["-q", "-dBATCH", "-dNOPAUSE", "-dSAFER", "-sDEVICE=ppmraw", "-r50",
                            "-sOutputFile=-", inputs.file("pages.ps", generate.postscript_lines)]),
    Program("z3", "z3", "terms, clauses, lemmas of an SMT solver",
            lambda inputs: [inputs.file("puzzle.smt2", generate.smt_lines)]),
    Program("xmllint", "xmllint", "a document tree of small nodes, built, searched, torn down",
            lambda inputs: ["--xpath", "count(//author[@role='alder'])",
                            inputs.file("library.xml", generate.xml_lines)]),
    Program("jq", "jq", "JSON values, grouped and sorted",
            lambda inputs: ["-s", "-c", "group_by(.tags[0]) | map({t: .[0].tags[0], n: length, "
                            "m: (map(.place.x) | add)}) | sort_by(-.n)",
                            inputs.file("places.json", generate.json_lines)]),
    Program("git-log", "git", "history with patches", _git("log", "-p", "--stat"),
            environment=GIT_ENVIRONMENT),
    Program("git-pack", "git", "delta search over all objects, two threads",
            _git("pack-objects", "--all", "--stdout", "--threads=2", "--no-reuse-delta", "-q"),
            environment=GIT_ENVIRONMENT, threads=2, checked=False),
    Program("shell", "sh", "300 processes that each do next to nothing: what starting takes",
            lambda inputs: ["-c", "i=0; while [ $i -lt " + str(inputs.count(300)) +
                            " ]; do /bin/true; i=$((i + 1)); done"]),
    Program("sort", "sort", "500000 lines, two threads",
            lambda inputs: ["--parallel=2", "-k2", inputs.file("lines", generate.text_lines)],
            environment={"TMPDIR": "."}, threads=2),
]
