#!/usr/bin/env python3
"""What is in a program's memory, on its command line and in its environment is in nothing that the
library writes: dumps of all kinds, the record, lines, answers over HTTP, reports of errors."""

import glob
import gzip

from httpclient import *

IN_MEMORY, IN_ARGUMENT, IN_ENVIRONMENT = (b"secret-in-" + where for where in
                                          (b"memory", b"argument", b"environment"))
SECRETS = (IN_MEMORY, IN_ARGUMENT, IN_ENVIRONMENT)

# Its secret is nowhere as it stands but in objects of all sizes, live, freed and at their ends.
KEEPS = """
import sys, time
secret = b"secret" + b"-in-" + b"memory"
kept = [secret * (1 + i % 4000) for i in range(6000)]
del kept[::3]
open(sys.argv[2], "w").close()
while True: time.sleep(1)
"""

PATHS = ["/", "/debug/pprof/", "/metrics", "/stats.json", "/debug/pprof/delta_heap",
         "/debug/pprof/symbol", "/debug/pprof/cmdline", "/nothing"] + [
    "/debug/pprof/" + kind + query for kind in ("heap", "allocs", "peak", "lifetime", "pinned")
    for query in ("", "?debug=1", "?debug=2", "?symbols=1")]


def check_clean(name, data):
    for part in (data, gzip.decompress(data) if data[:2] == b"\x1f\x8b" else b""):
        for secret in SECRETS:
            holds(secret not in part, name, "has the", secret.decode())


def check_files(pattern, at_least):
    names = glob.glob(os.path.join(work, pattern))
    holds(len(names) >= at_least, "only", names)
    for name in names:
        with open(name, "rb") as file:
            check_clean(name, file.read())


def keeper(**options):
    """A server of profiles that holds the secrets."""
    ready = os.path.join(work, "ready")
    if os.path.exists(ready):
        os.remove(ready)
    os.environ["SECRET"] = IN_ENVIRONMENT.decode()
    try:
        server = Server(program=[sys.executable, "-c", KEEPS, IN_ARGUMENT.decode(), ready],
                        SAMPLE_INTERVAL="8k", **options)
    finally:
        del os.environ["SECRET"]
    holds(soon(lambda: os.path.exists(ready), 30), "it does not come to hold its secrets")
    return server


def the_program_has_the_secrets():
    with keeper() as server:
        for name, secret in (("cmdline", IN_ARGUMENT), ("environ", IN_ENVIRONMENT)):
            with open("/proc/%d/%s" % (server.pid, name), "rb") as file:
                holds(secret in file.read(), name, "lacks it")


def no_answer_over_http_has_them():
    with keeper() as server:
        for path in PATHS:
            status, fields, body = server.get(path)
            check_clean(path, repr(fields).encode() + body)
            equal(status, {"/debug/pprof/cmdline": 403, "/nothing": 404}.get(path, 200))


def no_answer_over_a_socket_has_them():
    with keeper(http="unix:" + os.path.join(work, "socket")) as server:
        for path in PATHS:
            check_clean(path, server.get(path)[2])


def the_command_line_is_for_those_with_the_token():
    with keeper(HTTP_TOKEN_FILE=token_file()) as server:
        path = "/debug/pprof/cmdline"
        holds(IN_ARGUMENT in server.get(path, "Authorization: Bearer " + TOKEN)[2])
        for fields in ([], ["Authorization: Bearer a-token-of-24-charactery"]):
            status, _, body = server.get(path, *fields)
            equal(status, 401)
            check_clean(path, body)


def no_dump_has_them_and_no_record():
    with keeper(http=None, wait=False, DUMP_SIGNAL="USR2", DUMP_PATH=os.path.join(work, "dump.%n"),
                DUMP_FORMAT="pprof,text,legacy,collapsed", SYMBOLIZE="on", STATS="text",
                DUMP_PROFILE="heap,allocs,peak,lifetime,pinned",
                RECORD=os.path.join(work, "record")) as server:
        server.process.send_signal(signal.SIGUSR2)
        holds(soon(lambda: len(server.lines()) >= 20, 30), server.said())
        check_clean("stderr", server.said().encode())
    check_files("dump.*", 20)
    check_files("record", 1)


def no_report_of_an_error_has_them():
    crime = os.path.join(BUILD, "tests", "crime", "crime")
    if not os.path.exists(crime):
        raise Skip("there is no " + crime)
    for name, options in (("free_twice_small", {}), ("overflow_by_8", {"HARDENED": "1"}),
                          ("write_after_free", {"GUARD": "1", "SAMPLE_INTERVAL": "1"})):
        with Server(http=None, wait=False, program=["env", "SECRET=" + IN_ENVIRONMENT.decode(),
                                                    crime, name], **options) as server:
            holds(server.process.wait(30) < 0, name, "is not found")
            holds("hpmalloc: " in server.said(), name, "is not told")
            check_clean(name, server.said().encode())


if __name__ == "__main__":
    sys.exit(run_all([the_program_has_the_secrets, no_answer_over_http_has_them,
                      no_answer_over_a_socket_has_them,
                      the_command_line_is_for_those_with_the_token, no_dump_has_them_and_no_record,
                      no_report_of_an_error_has_them]))
