/* A snapshot made by hand: stacks of given frames, rows of given sums. */
#ifndef HPM_TESTS_FAKE_SNAPSHOT_H
#define HPM_TESTS_FAKE_SNAPSHOT_H

#include <stdlib.h>
#include <string.h>

#include "prof/profile.h"

static inline struct stack *fake_stack(const uintptr_t *frames, size_t depth, bool is_truncated)
{
    static _Alignas(struct stack) char space[1 << 16];
    static size_t used;
    size_t bytes = sizeof(struct stack) + depth * sizeof(*frames);
    if (bytes > sizeof(space) - used)
        abort();
    struct stack *stack = (struct stack *)(void *)(space + used);
    used += round_up(bytes, _Alignof(struct stack));
    stack->depth = (uint16_t)depth;
    stack->end = is_truncated ? STACK_TOO_DEEP : STACK_WHOLE;
    memcpy(stack->frames, frames, depth * sizeof(*frames));
    return stack;
}

/* `objects` live, twice as many ever allocated, all of `object_bytes`. */
static inline struct profile_row fake_row(const struct stack *stack, size_t object_bytes,
                                          double objects)
{
    double bytes = (double)object_bytes;
    return (struct profile_row){.stack = stack,
                                .object_bytes = object_bytes,
                                .alloc.objects = 2 * objects,
                                .alloc.bytes = 2 * objects * bytes,
                                .inuse.objects = objects,
                                .inuse.bytes = objects * bytes,
                                .inuse.requested_bytes = objects * bytes / 2,
                                .inuse.bytes_variance = bytes * bytes,
                                .alloc.bytes_variance = 2 * bytes * bytes,
                                .inuse.objects_variance = 1,
                                .alloc.samples = 4,
                                .inuse.samples = 2};
}

/* In place: a test of the dump measures its stack. */
static inline void fake_snapshot_into(struct snapshot *snapshot, struct profile_row *rows,
                                      size_t count)
{
    memset(snapshot, 0, sizeof(*snapshot));
    snapshot->rows = rows;
    snapshot->row_count = count;
    snapshot->calibration = 1;
    snapshot->interval_bytes = snapshot->asked_interval_bytes = 524288;
    snapshot->wall_clock_ns = 1700000000000000000u;
    snapshot->lost_samples = 7;
    snapshot->other_samples = 3;
    snapshot->stack_count = count;
    for (size_t i = 0; i < count; i++)
        profile_row_add(&snapshot->total, &rows[i]);
}

static inline struct snapshot fake_snapshot(struct profile_row *rows, size_t count)
{
    struct snapshot snapshot;
    fake_snapshot_into(&snapshot, rows, count);
    return snapshot;
}

#endif
