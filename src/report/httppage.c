#define _GNU_SOURCE
#include "report/httppage.h"

#include <errno.h>
#include <unistd.h>

#include "report/output.h"
#include "report/stats.h"

static struct output page;

static const char head[] =
    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>hpmalloc</title>\n"
    "<style>body{font:16px/1.5 sans-serif;margin:2em}td{padding:0 2em 0 0}"
    "td.n{text-align:right}code{background:#eee}</style></head><body>\n";

static const char links[] = "<h2>Profiles</h2>\n<table>\n"
#define ROW(name, what)                                                                            \
    "<tr><td><a href=\"/debug/pprof/" name "\">" name "</a></td>"                                  \
    "<td><a href=\"/debug/pprof/" name "?debug=2\">to read</a></td>"                               \
    "<td><a href=\"/debug/pprof/" name "?debug=1\">legacy</a></td><td>" what "</td></tr>\n"
    ROW("heap", "what is live") ROW("allocs", "what was ever allocated") ROW(
        "peak", "what was live when live bytes stood highest") ROW("lifetime",
                                                                   "how long objects lived")
        ROW("pinned",
            "free memory that cannot go back to the system") "</table>\n<p><code>?seconds=30</"
                                                             "code> what changes in so many "
                                                             "seconds; <code>?gc=1</code> gives "
                                                             "caches back first; "
                                                             "<code>?symbols=1</code> with "
                                                             "function names inside, "
                                                             "<code>0</code> without."
                                                             "</p>\n<p><a "
                                                             "href=\"/metrics\">/metrics</a> for "
                                                             "Prometheus, <a "
                                                             "href=\"/stats.json\">/stats.json"
                                                             "</a> the same as JSON, <a "
                                                             "href=\"/debug/pprof/delta_heap\">/"
                                                             "debug/pprof/delta_heap</a> what was "
                                                             "allocated since it was last asked "
                                                             "for.</p>\n</body></html>\n";
#undef ROW

static void put_name(const char *name)
{
    for (; *name != '\0'; name++) {
        if (*name == '<' || *name == '&')
            output_text(&page, *name == '<' ? "&lt;" : "&amp;");
        else
            output_write(&page, name, 1);
    }
}

static void put_bytes(const char *what, uint64_t bytes)
{
    output_print(&page, "<tr><td>%s</td><td class=\"n\">%.1f MiB</td></tr>\n", what,
                 (double)bytes / (double)MiB);
}

static void put_count(const char *what, uint64_t count)
{
    output_print(&page, "<tr><td>%s</td><td class=\"n\">%lu</td></tr>\n", what, count);
}

int httppage_write(int fd)
{
    static struct hpm_stats stats;
    stats_collect(&stats);
    output_begin(&page, fd);
    output_text(&page, head);
    output_text(&page, "<h1>");
    put_name(program_invocation_short_name);
    output_print(&page, " <small>pid %d</small></h1>\n<table>\n", (int)getpid());
    put_bytes("resident", stats.resident_bytes);
    put_bytes("live", stats.live_bytes);
    put_count("live objects", stats.live_objects);
    put_count("samples taken", stats.samples);
    put_count("bytes between samples", stats.sample_interval_bytes);
    output_text(&page, "</table>\n");
    output_text(&page, links);
    return output_finish(&page) ? 0 : -errno;
}
