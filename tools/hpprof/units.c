#include "units.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

struct unit {
    const char *suffix, *names[3];
    double factor;
};

static const struct unit sizes[] = {
    {"B", {"b", "byte"}, 1},
    {"kB", {"kb", "kbyte", "kilobyte"}, 0x1p10},
    {"MB", {"mb", "mbyte", "megabyte"}, 0x1p20},
    {"GB", {"gb", "gbyte", "gigabyte"}, 0x1p30},
    {"TB", {"tb", "tbyte", "terabyte"}, 0x1p40},
    {"PB", {"pb", "pbyte", "petabyte"}, 0x1p50},
};

static const struct unit times[] = {
    {"ns", {"ns", "nanosecond"}, 1},    {"us", {"us", "microsecond"}, 1e3},
    {"ms", {"ms", "millisecond"}, 1e6}, {"s", {"s", "sec", "second"}, 1e9},
    {"hrs", {"hour", "hr"}, 3600e9},
};

static const struct kind {
    const struct unit *units;
    size_t count, usual;
} kinds[] = {{sizes, array_count(sizes), 0}, {times, array_count(times), 3}};

/* An 's' at the end says nothing, but where it is all there is. */
static bool is_name(const char *name, const char *text)
{
    size_t length = strlen(text);
    if (length > 2 && tolower((unsigned char)text[length - 1]) == 's')
        length--;
    return name != NULL && strlen(name) == length && strncasecmp(name, text, length) == 0;
}

static const struct unit *find_unit(const char *text, const struct kind **kind)
{
    for (size_t k = 0; k < array_count(kinds); k++) {
        for (size_t i = 0; i < kinds[k].count; i++) {
            const struct unit *unit = &kinds[k].units[i];
            for (size_t n = 0; n < array_count(unit->names); n++) {
                if (is_name(unit->names[n], text)) {
                    *kind = &kinds[k];
                    return unit;
                }
            }
        }
    }
    return NULL;
}

struct scale units_auto(const char *text, int64_t value)
{
    const struct kind *kind;
    const struct unit *unit = find_unit(text, &kind);
    if (unit == NULL)
        return (struct scale){.divisor = 0, .suffix = ""};
    const struct unit *best = NULL;
    for (size_t i = 0; i < kind->count; i++) {
        if (fabs((double)value) * unit->factor / kind->units[i].factor >= 1)
            best = &kind->units[i];
    }
    if (best == NULL)
        best = &kind->units[kind->usual];
    return (struct scale){unit->factor, best->factor, best->suffix};
}

struct scale units_choose(const char *unit, int64_t smallest, int64_t largest)
{
    if (smallest == 0)
        smallest = largest;
    struct scale low = units_auto(unit, smallest), high = units_auto(unit, largest);
    int64_t hundredfold = (int64_t)((uint64_t)smallest * 100);
    bool differ = strcmp(low.suffix, high.suffix) != 0;
    return differ && hundredfold < largest ? units_auto(unit, hundredfold) : low;
}

const char *units_format(char text[UNITS_TEXT_MAX], struct scale scale, int64_t value)
{
    double shown = (double)value;
    if (scale.divisor > 0)
        shown = shown * scale.factor / scale.divisor;
    int length = snprintf(text, UNITS_TEXT_MAX - 8, "%.2f", shown);
    if (length > 3 && strcmp(text + length - 3, ".00") == 0)
        text[length - 3] = '\0';
    if (strcmp(text, "0") == 0 || strcmp(text, "-0") == 0)
        return strcpy(text, "0");
    return strcat(text, scale.suffix);
}

const char *units_percent(char text[UNITS_TEXT_MAX], int64_t value, int64_t total)
{
    double percent = total != 0 ? fabs((double)value / (double)total) * 100 : 0;
    if (percent >= 99.95 && percent <= 100.05)
        return strcpy(text, "  100%");
    snprintf(text, UNITS_TEXT_MAX, percent >= 1 ? "%5.2f%%" : "%5.2g%%", percent);
    return text;
}

const char *units_bytes(char text[UNITS_TEXT_MAX], double bytes)
{
    static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;
    for (; unit + 1 < array_count(names) && fabs(bytes) >= 1024; unit++)
        bytes /= 1024;
    snprintf(text, UNITS_TEXT_MAX, unit == 0 ? "%.0f %s" : "%.1f %s", bytes, names[unit]);
    return text;
}

const char *units_seconds(char text[UNITS_TEXT_MAX], double seconds)
{
    static const struct {
        const char *name;
        double seconds;
    } units[] = {{"s", 1}, {"min", 60}, {"h", 3600}, {"d", 86400}};
    size_t unit = 0;
    while (unit + 1 < array_count(units) && seconds >= 2 * units[unit + 1].seconds)
        unit++;
    if (seconds < 1)
        snprintf(text, UNITS_TEXT_MAX, "%.0f ms", seconds * 1000);
    else
        snprintf(text, UNITS_TEXT_MAX, "%.1f %s", seconds / units[unit].seconds, units[unit].name);
    return text;
}
