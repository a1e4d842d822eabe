/* libFuzzer's target for the allocator: an input is a sequence of calls, played against the oracle
 * (tests/stress/oracle.h) in one thread. Its first byte says how densely is sampled. Nothing is left
 * at the end. */
#include "report/stats.h"

/* Where the oracle looks is no news of the allocator: followed, its comparisons of byte after byte
 * would take most of the time, and most of what is taken for new. */
#pragma clang attribute push(__attribute__((no_sanitize("coverage"))), apply_to = function)
#include "stress/oracle.h"

enum { BYTES_MAX = 1 << 20 };

static struct oracle_player player;

/* By the allocator's own counts: the kernel is not asked what is resident, which takes as long as
 * the calls of an input. */
static size_t live_bytes(void)
{
    struct hpm_stats stats;
    stats_count(&stats);
    return (size_t)stats.live_bytes;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    static const size_t intervals[] = {0, 1, 256, 4096, 64 << 10, 512 << 10};
    if (size < 1)
        return 0;
    size_t before = live_bytes();
    hpm_profile_set_interval(intervals[*input % (sizeof(intervals) / sizeof(intervals[0]))]);
    player.input = input + 1;
    player.input_end = input + size;
    player.bytes_max = BYTES_MAX;
    while (player.input < player.input_end)
        oracle_step(&player);
    oracle_free_all(&player);
    oracle_empty_mailboxes(&player);
    if (live_bytes() > before + 64 * 1024)
        oracle_fail("something is left", &player.slots[0], live_bytes() - before);
    return 0;
}
#pragma clang attribute pop
