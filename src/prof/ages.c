#include "prof/ages.h"

#include "base/os.h"
#include "prof/livetab.h"

/* What follows `at` in a heap of the oldest on top moves up until order is restored. */
static void sift_down(struct age *list, size_t at, size_t count)
{
    struct age age = list[at];
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && list[child + 1].ns > list[child].ns)
            child++;
        if (list[child].ns <= age.ns)
            break;
        list[at] = list[child];
    }
    list[at] = age;
}

/* Heapsort: no recursion, no memory, no bad case. */
static void sort(struct age *list, size_t count)
{
    for (size_t i = count / 2; i-- > 0;)
        sift_down(list, i, count);
    for (size_t last = count; last-- > 1;) {
        struct age oldest = list[0];
        list[0] = list[last];
        list[last] = oldest;
        sift_down(list, 0, last);
    }
}

static uint32_t stack_number(const struct site *site)
{
    return site->stack != NULL ? site->stack->number : 0;
}

/* first[n + 1] becomes the number of stack n's samples. */
static void count_samples(struct ages *ages, uint32_t last_tag)
{
    struct sample sample;
    for (uint32_t tag = 1; tag <= last_tag; tag++) {
        if (livetab_peek(tag, &sample) && stack_number(sample.site) <= ages->stack_count)
            ages->first[stack_number(sample.site) + 1]++;
    }
}

/* first[n] becomes where stack n's samples begin. Returns how many there are. */
static uint32_t sum_up(struct ages *ages)
{
    for (uint32_t n = 0; n <= ages->stack_count; n++)
        ages->first[n + 1] += ages->first[n];
    return ages->first[ages->stack_count + 1];
}

/* `next` counts what was placed; a stack has no more room than was counted. */
static void place_samples(struct ages *ages, uint32_t *next, uint32_t last_tag, uint64_t now)
{
    struct sample sample;
    for (uint32_t tag = 1; tag <= last_tag; tag++) {
        if (!livetab_peek(tag, &sample) || stack_number(sample.site) > ages->stack_count)
            continue;
        uint32_t n = stack_number(sample.site);
        if (ages->first[n] + next[n] == ages->first[n + 1])
            continue;
        ages->all[ages->first[n] + next[n]++] = (struct age){
            .ns = now > sample.birth_ns ? now - sample.birth_ns : 0,
            .objects = (float)sample.weight,
            .bytes = (float)(sample.weight * (double)sample.site->object_bytes),
        };
    }
}

/* Room that samples left which went between the two passes is at the young end, with no weight. */
static bool fill(struct ages *ages, uint32_t last_tag, uint64_t now)
{
    uint32_t count = sum_up(ages);
    size_t next_bytes = (ages->stack_count + 1) * sizeof(uint32_t);
    ages->all_bytes = max_size(count, 1) * sizeof(struct age);
    ages->all = os_map_whole(ages->all_bytes);
    uint32_t *next = os_map_whole(next_bytes);
    if (ages->all != NULL && next != NULL)
        place_samples(ages, next, last_tag, now);
    if (next != NULL)
        os_unmap(next, next_bytes);
    return ages->all != NULL && next != NULL;
}

bool ages_take(struct ages *ages)
{
    return ages_take_as_of(ages, os_clock_coarse_ns());
}

bool ages_take_as_of(struct ages *ages, uint64_t now_ns)
{
    uint32_t last_tag = livetab_last_tag();
    *ages = (struct ages){.stack_count = (uint32_t)stacktab_stack_count()};
    ages->first_bytes = (ages->stack_count + 2) * sizeof(uint32_t);
    ages->first = os_map_whole(ages->first_bytes);
    if (ages->first == NULL)
        return false;
    count_samples(ages, last_tag);
    if (!fill(ages, last_tag, now_ns)) {
        ages_free(ages);
        return false;
    }
    for (uint32_t n = 0; n <= ages->stack_count; n++)
        sort(&ages->all[ages->first[n]], ages->first[n + 1] - ages->first[n]);
    return true;
}

void ages_free(struct ages *ages)
{
    if (ages->all != NULL)
        os_unmap(ages->all, ages->all_bytes);
    if (ages->first != NULL)
        os_unmap(ages->first, ages->first_bytes);
    *ages = (struct ages){0};
}

struct age_list ages_of(const struct ages *ages, const struct stack *stack)
{
    uint32_t n = stack != NULL ? stack->number : 0;
    if (ages->first == NULL || n > ages->stack_count)
        return (struct age_list){NULL, 0};
    return (struct age_list){&ages->all[ages->first[n]], ages->first[n + 1] - ages->first[n]};
}

uint64_t ages_oldest_ns(struct age_list list)
{
    return list.count != 0 ? list.first[list.count - 1].ns : 0;
}

uint64_t ages_median_ns(struct age_list list)
{
    double bytes = 0, younger = 0;
    for (size_t i = 0; i < list.count; i++)
        bytes += (double)list.first[i].bytes;
    for (size_t i = 0; i < list.count; i++) {
        younger += (double)list.first[i].bytes;
        if (younger * 2 >= bytes)
            return list.first[i].ns;
    }
    return 0;
}

void ages_add_objects(struct age_list list, float alive[static LIFETIME_BUCKETS])
{
    for (size_t i = 0; i < list.count; i++)
        alive[lifetimes_bucket_of(list.first[i].ns)] += list.first[i].objects;
}
