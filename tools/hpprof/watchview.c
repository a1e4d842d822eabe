#include "watchview.h"

#include <math.h>
#include <string.h>

#include "style.h"
#include "units.h"

enum {
    VALUE_COLUMNS = 10,
    HEAD_LINES = 5,
    ROWS_USUAL = 20,
    SPARK_COLUMNS = 60,
    SPARK_LABEL_COLUMNS = 32,
    WIDE_COLUMNS = 72,   // from here on with objects
    MIDDLE_COLUMNS = 60, // and with both changes
};

const char *const watchview_orders[ORDER_COUNT] = {
    [ORDER_SIZE] = "size",
    [ORDER_CHANGE] = "change",
    [ORDER_OBJECTS] = "objects",
    [ORDER_NAME] = "name",
};

const char *watchview_format(const struct watchview *view, char text[UNITS_TEXT_MAX], double value)
{
    if (strcmp(view->unit, "bytes") == 0)
        return units_bytes(text, value);
    int64_t whole = (int64_t)fmin(fmax(value, -9e18), 9e18);
    return units_format(text, units_auto(view->unit, whole), whole);
}

static const char *format_change(const struct watchview *view, char text[UNITS_TEXT_MAX],
                                 double change)
{
    char plain[UNITS_TEXT_MAX - 1];
    if (fabs(change) < 0.5)
        return strcpy(text, "0");
    memcpy(plain, watchview_format(view, text, change), sizeof(plain));
    plain[sizeof(plain) - 1] = '\0';
    snprintf(text, UNITS_TEXT_MAX, "%s%s", change > 0 ? "+" : "", plain);
    return text;
}

static enum style style_of(double change)
{
    return change > 0 ? STYLE_RED : STYLE_GREEN;
}

static void put_title(FILE *out, const struct watchview *view)
{
    const struct source *source = view->source;
    char seconds[UNITS_TEXT_MAX];
    fprintf(out, "%s%s%s", style_text(STYLE_BOLD), source->has_process ? "process " : "",
            source->name);
    if (source->program[0] != '\0')
        fprintf(out, " (%s)", source->program);
    fprintf(out, "%s  %s", style_text(STYLE_PLAIN), view->type);
    if (view->sights->count > 1)
        fprintf(out, ", every %g s, for %s", view->interval_seconds,
                units_seconds(seconds, view->seconds));
    fputs(view->is_paused ? ", paused\n" : "\n", out);
}

static void put_totals(FILE *out, const struct watchview *view)
{
    const struct sights *sights = view->sights;
    double rate = sights_rate(sights), change = sights->now_total - sights->first_total;
    char total[UNITS_TEXT_MAX], text[UNITS_TEXT_MAX];
    fprintf(out, "total %s%s%s", style_text(STYLE_BOLD),
            watchview_format(view, total, sights->now_total), style_text(STYLE_PLAIN));
    if (sights->count > 1) {
        fprintf(out, "  %s%s/s%s", style_text(rate == 0 ? STYLE_PLAIN : style_of(rate)),
                format_change(view, text, rate), style_text(STYLE_PLAIN));
        fprintf(out, "  since start %s", format_change(view, text, change));
    }
    putc('\n', out);
}

static void put_counts(FILE *out, const struct sight_counts *counts)
{
    char text[UNITS_TEXT_MAX];
    const char *between = "";
    if (counts->live_bytes >= 0) {
        fprintf(out, "live %s in %.0f objects, exactly", units_bytes(text, counts->live_bytes),
                counts->live_objects);
        between = "  ";
    }
    if (counts->resident_bytes > 0)
        fprintf(out, "%sresident %s", between, units_bytes(text, counts->resident_bytes));
    putc('\n', out);
}

static void put_spark(FILE *out, const struct watchview *view)
{
    static const char *const blocks[] = {"\u2581", "\u2582", "\u2583", "\u2584",
                                         "\u2585", "\u2586", "\u2587", "\u2588"};
    static const char *const plain[] = {"_", ".", ":", "-", "=", "+", "*", "#"};
    const struct sights *sights = view->sights;
    char low[UNITS_TEXT_MAX], high[UNITS_TEXT_MAX];
    unsigned columns = view->size.columns == 0 ? SPARK_COLUMNS
                       : view->size.columns > SPARK_LABEL_COLUMNS + 8
                           ? view->size.columns - SPARK_LABEL_COLUMNS
                           : 8;
    size_t count = sights->history_count < columns ? sights->history_count : columns;
    const double *values = sights->history + sights->history_count - count;
    double least = INFINITY, most = -INFINITY;
    for (size_t i = 0; i < count; i++) {
        least = fmin(least, values[i]);
        most = fmax(most, values[i]);
    }
    for (size_t i = 0; i < count; i++) {
        double share = most > least ? (values[i] - least) / (most - least) : 0;
        unsigned level = (unsigned)(share * 7.999);
        fputs(view->has_utf8 ? blocks[level] : plain[level], out);
    }
    fprintf(out, "  %s to %s\n", watchview_format(view, low, least),
            watchview_format(view, high, most));
}

static bool has_objects(const struct watchview *view)
{
    return view->size.columns == 0 || view->size.columns >= WIDE_COLUMNS;
}

static bool has_both_changes(const struct watchview *view)
{
    return view->size.columns == 0 || view->size.columns >= MIDDLE_COLUMNS;
}

/* A star stands at the column that orders the table. */
static void put_heading(FILE *out, const struct watchview *view)
{
    enum sight_order order = view->order;
    fprintf(out, "%s%*s", style_text(STYLE_BOLD), VALUE_COLUMNS,
            order == ORDER_SIZE ? "*size" : "size");
    if (has_both_changes(view))
        fprintf(out, " %*s", VALUE_COLUMNS + 1, "last");
    fprintf(out, " %*s", VALUE_COLUMNS + 1, order == ORDER_CHANGE ? "*change" : "change");
    if (has_objects(view))
        fprintf(out, " %*s", VALUE_COLUMNS, order == ORDER_OBJECTS ? "*objects" : "objects");
    fprintf(out, "  %s%s\n", order == ORDER_NAME ? "*function < caller" : "function < caller",
            style_text(STYLE_PLAIN));
}

/* Dim where chance alone may make it. */
static void put_change(FILE *out, const struct watchview *view, const struct cell *before,
                       const struct cell *after)
{
    char text[UNITS_TEXT_MAX];
    double change = after->value - before->value;
    bool is_sure = sights_is_change(before, after);
    enum style style = fabs(change) < 0.5 ? STYLE_PLAIN : is_sure ? style_of(change) : STYLE_DIM;
    fprintf(out, " %s%*s%s", style_text(style), VALUE_COLUMNS + 1,
            format_change(view, text, change), style_text(STYLE_PLAIN));
}

static void put_row(FILE *out, const struct watchview *view, const struct sight_row *row)
{
    char text[UNITS_TEXT_MAX];
    fprintf(out, "%*s", VALUE_COLUMNS, watchview_format(view, text, row->now.value));
    if (has_both_changes(view))
        put_change(out, view, &row->before, &row->now);
    put_change(out, view, &row->first, &row->now);
    if (has_objects(view)) {
        snprintf(text, sizeof(text), "%.0f", row->objects);
        fprintf(out, " %*s", VALUE_COLUMNS, row->objects >= 0 ? text : "-");
    }
    fprintf(out, "  %s", row->function[0] != '\0' ? row->function : "(no stack)");
    if (row->caller[0] != '\0')
        fprintf(out, " < %s", row->caller);
    putc('\n', out);
}

/* Of a terminal, what the head and the last line leave. */
static size_t row_limit(const struct watchview *view)
{
    unsigned lines = view->size.rows;
    size_t room = view->size.columns == 0  ? ROWS_USUAL
                  : lines > HEAD_LINES + 1 ? lines - HEAD_LINES - 1
                                           : 0;
    return view->most_rows != 0 && (view->size.columns == 0 || view->most_rows < room)
               ? view->most_rows
               : room;
}

static void put_help(FILE *out)
{
    fputs("\n"
          "  s        sort by size, change since the start, objects, name; and from the first on\n"
          "  S C O N  sort by one of these\n"
          "  p        stop asking for profiles, and go on\n"
          "  w        write the last profile to a file in this folder\n"
          "  + -      a longer or a shorter interval\n"
          "  ?        this, or the table\n"
          "  q        quit\n"
          "\n"
          "  A row is a function of the program's own with the one that called it. last: what\n"
          "  changed since the last picture; change: since the first. Changes that chance in\n"
          "  sampling may make are dim.\n",
          out);
}

void watchview_put(FILE *out, const struct watchview *view)
{
    const struct sights *sights = view->sights;
    size_t limit = row_limit(view), count = sights->row_count < limit ? sights->row_count : limit;
    put_title(out, view);
    put_totals(out, view);
    put_counts(out, &sights->counts);
    put_spark(out, view);
    if (view->has_help) {
        put_help(out);
        limit = count = 0;
    } else {
        put_heading(out, view);
    }
    for (size_t i = 0; i < count; i++)
        put_row(out, view, &sights->rows[i]);
    if (view->message == NULL)
        return;
    for (size_t i = count; i < limit && view->size.columns != 0; i++)
        putc('\n', out);
    fprintf(out, "%s%s%s\n", style_text(STYLE_DIM), view->message, style_text(STYLE_PLAIN));
}

static void put_json_count(const char *name, double value)
{
    if (value >= 0)
        json_number(name, (int64_t)value);
}

void watchview_put_json(const struct watchview *view)
{
    const struct sights *sights = view->sights;
    size_t limit = view->most_rows != 0 ? view->most_rows : sights->row_count;
    json_open(NULL, '{');
    json_text("source", view->source->name);
    json_text("program", view->source->program);
    json_text("sample_type", view->type);
    json_text("unit", view->unit);
    json_real("total", sights->now_total);
    put_json_count("live_bytes", sights->counts.live_bytes);
    put_json_count("live_objects", sights->counts.live_objects);
    put_json_count("resident_bytes", sights->counts.resident_bytes);
    json_open("stacks", '[');
    for (size_t i = 0; i < sights->row_count && i < limit; i++) {
        const struct sight_row *row = &sights->rows[i];
        json_open(NULL, '{');
        json_text("function", row->function);
        json_text("caller", row->caller);
        json_real("value", row->now.value);
        put_json_count("objects", row->objects);
        json_close('}');
    }
    json_close(']');
    json_close('}');
}
