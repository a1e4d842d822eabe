#include "report/lives.h"

#include "report/numbers.h"
#include "report/suspects.h"

void lives_put_duration(struct output *output, uint64_t ns)
{
    static const struct {
        const char *name;
        double seconds;
    } units[] = {{"s", 1}, {"min", 60}, {"h", 3600}, {"d", 86400}};
    double seconds = (double)ns / 1e9;
    size_t unit = 0;
    while (unit + 1 < array_count(units) && seconds >= 2 * units[unit + 1].seconds)
        unit++;
    if (seconds < 1)
        output_print(output, "%.0f ms", seconds * 1000);
    else
        output_print(output, "%.1f %s", seconds / units[unit].seconds, units[unit].name);
}

void lives_put_age(struct output *output, const struct snapshot *snapshot,
                   const struct profile_row *row)
{
    struct age_list list = ages_of(&snapshot->ages, row->stack);
    if (list.count == 0)
        return;
    output_text(output, "  age ");
    lives_put_duration(output, ages_median_ns(list));
    output_text(output, ", oldest ");
    lives_put_duration(output, ages_oldest_ns(list));
}

static void put_histogram(struct output *output, const struct ages *ages)
{
    static const struct {
        const char *name;
        uint64_t limit_seconds;
    } parts[] = {{"under 1 s", 1},       {"to 10 s", 10},     {"to 1 min", 60},
                 {"to 10 min", 600},     {"to 1 h", 3600},    {"to 1 d", 86400},
                 {"older", (uint64_t)1 << 34}};
    static double bytes[array_count(parts)];
    double total = 0;
    for (size_t part = 0; part < array_count(parts); part++)
        bytes[part] = 0;
    for (uint32_t i = 0; i < ages->first[ages->stack_count + 1]; i++) {
        size_t part = 0;
        while (ages->all[i].ns >= parts[part].limit_seconds * 1000000000u)
            part++;
        bytes[part] += (double)ages->all[i].bytes;
        total += (double)ages->all[i].bytes;
    }
    if (!(total > 0))
        return;
    output_text(output, "Age of live bytes");
    for (size_t part = 0; part < array_count(parts); part++) {
        if (bytes[part] > 0)
            output_print(output, ": %s %.0f %%", parts[part].name, 100 * bytes[part] / total);
    }
    output_text(output, "\n");
}

static void find_suspects(struct suspects *suspects, const struct snapshot *snapshot,
                          const struct row_set *set, const struct row_order *order)
{
    size_t number = 0;
    suspects->count = 0;
    for (size_t i = 0; i < order->count; i++) {
        static struct lifetimes lifetimes;
        const struct profile_row *row = &set->rows[order->indices[i]];
        static struct suspect suspect;
        if (row->inuse.samples == 0)
            continue;
        number++;
        stacktab_lifetimes(row->stack, &lifetimes);
        if (!suspects_judge(&suspect, ages_of(&snapshot->ages, row->stack), &lifetimes))
            continue;
        suspect.row = number;
        suspects_offer(suspects, &suspect);
    }
}

static void put_suspect(struct output *output, const struct suspect *suspect)
{
    output_text(output, "    ");
    numbers_put_bytes(output, suspect->bytes);
    output_print(output, " of stack %zu: ", suspect->row);
    if (suspect->usual_ns != 0) {
        output_print(output, "of %.0f objects freed there, 99 %% lived less than ",
                     suspect->freed_objects);
        lives_put_duration(output, suspect->usual_ns);
        output_text(output, "; these are four times as old or more");
    } else {
        output_text(output, "none was ever freed, and more keep coming");
    }
    output_text(output, ", the oldest ");
    lives_put_duration(output, suspect->oldest_ns);
    output_text(output, "\n");
}

void lives_put_summary(struct output *output, const struct snapshot *snapshot,
                       const struct row_set *set, const struct row_order *order)
{
    static struct suspects suspects;
    if (snapshot->ages.first == NULL)
        return;
    put_histogram(output, &snapshot->ages);
    find_suspects(&suspects, snapshot, set, order);
    if (suspects.count != 0)
        output_text(output, "Leak suspects, by age:\n");
    for (size_t i = 0; i < suspects.count; i++)
        put_suspect(output, &suspects.first[i]);
    output_text(output, "\n");
}

void lives_put_lifetimes(struct output *output, const struct snapshot *snapshot,
                         const struct profile_row *row)
{
    static struct lifetimes lifetimes;
    static float alive[LIFETIME_BUCKETS];
    double variance;
    stacktab_lifetimes(row->stack, &lifetimes);
    for (unsigned i = 0; i < LIFETIME_BUCKETS; i++)
        alive[i] = 0;
    ages_add_objects(ages_of(&snapshot->ages, row->stack), alive);
    double mean = lifetimes_mean(&lifetimes, &variance);
    uint64_t median = lifetimes_median_ns(&lifetimes, alive);
    output_print(output, "%12.0f freed  %10.0f live  ", lifetimes.total, row->inuse.objects);
    if (lifetimes.samples == 0) {
        output_text(output, "none was freed yet\n");
        return;
    }
    output_text(output, "mean of the freed ");
    lives_put_duration(output, (uint64_t)(mean * 1e9));
    double error = numbers_error_95(lifetimes_mean_spread(&lifetimes, variance));
    if (lifetimes.samples > 1) {
        output_text(output, " \xc2\xb1 ");
        lives_put_duration(output, (uint64_t)(error * 1e9));
    }
    output_text(output, ", 99 % within ");
    lives_put_duration(output, lifetimes_quantile_ns(&lifetimes, 0.99));
    output_text(output, median == UINT64_MAX ? "; more than half of all still live"
                                             : "; half of all within ");
    if (median != UINT64_MAX)
        lives_put_duration(output, median);
    output_text(output, "\n");
}
