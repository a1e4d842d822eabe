#include "report/suspects.h"

#define SECOND_NS 1000000000u

struct part {
    size_t samples;
    double bytes;
};

/* The list ends with the oldest. */
static struct part as_old_as(struct age_list list, uint64_t limit_ns)
{
    struct part part = {0, 0};
    for (size_t i = list.count; i > 0 && list.first[i - 1].ns >= limit_ns; i--) {
        part.samples++;
        part.bytes += (double)list.first[i - 1].bytes;
    }
    return part;
}

static bool has_outlived(struct suspect *suspect, struct age_list list,
                         const struct lifetimes *lifetimes)
{
    enum { PATIENCE = 4 };
    uint64_t usual = lifetimes_quantile_ns(lifetimes, 0.99);
    if (usual > UINT64_MAX / PATIENCE)
        return false;
    uint64_t limit = PATIENCE * usual;
    struct part old = as_old_as(list, limit > SECOND_NS ? limit : SECOND_NS);
    *suspect = (struct suspect){
        .bytes = old.bytes, .usual_ns = usual, .freed_objects = lifetimes->total};
    return old.samples >= SUSPECTS_SAMPLES;
}

static bool keeps_coming(struct suspect *suspect, struct age_list list)
{
    uint64_t oldest = ages_oldest_ns(list);
    if (list.count < GROWTH_SAMPLES || oldest < SECOND_NS)
        return false;
    size_t in_younger_half = list.count - as_old_as(list, oldest / 2).samples;
    size_t in_youngest_quarter = list.count - as_old_as(list, oldest / 4).samples;
    *suspect = (struct suspect){.bytes = as_old_as(list, 0).bytes};
    return in_younger_half * 4 >= list.count && in_youngest_quarter * 8 >= list.count;
}

bool suspects_judge(struct suspect *suspect, struct age_list list,
                    const struct lifetimes *lifetimes)
{
    bool is_one = lifetimes->samples >= LIFETIMES_NEEDED
                      ? has_outlived(suspect, list, lifetimes)
                      : lifetimes->samples == 0 && keeps_coming(suspect, list);
    suspect->oldest_ns = ages_oldest_ns(list);
    return is_one;
}

void suspects_offer(struct suspects *suspects, const struct suspect *suspect)
{
    size_t at = suspects->count < SUSPECTS_MAX ? suspects->count++ : SUSPECTS_MAX - 1;
    if (at == SUSPECTS_MAX - 1 && suspects->first[at].bytes >= suspect->bytes)
        return;
    for (; at > 0 && suspects->first[at - 1].bytes < suspect->bytes; at--)
        suspects->first[at] = suspects->first[at - 1];
    suspects->first[at] = *suspect;
}
