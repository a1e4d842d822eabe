/* The allocator's own numbers, exact where it says so, gathered in one place.
 *
 * Signal: stats_collect is async-signal-safe on a thread that holds no lock of ours. */
#ifndef HPM_REPORT_STATS_H
#define HPM_REPORT_STATS_H

#include "base/base.h"

struct stats {
    /* Where the memory from the system is. Together they are `mapped_bytes`. */
    size_t live_bytes;         // objects in the program's hands, as their size classes count
    size_t thread_cache_bytes; // in threads' lists
    size_t central_bytes;      // in central lists
    size_t slab_free_bytes;    // free and uncut objects of slabs, and slabs' unusable ends
    size_t span_free_bytes;    // free spans kept, resident
    size_t released_bytes;     // free spans given back to the kernel: address space only
    size_t mapped_bytes;
    size_t meta_bytes; // the library's own, apart from all above

    size_t live_objects;
    size_t live_small_bytes, live_large_bytes;
    size_t thread_count;
    uint64_t memory_calls; // system calls for memory
    uint64_t lock_waits;
    size_t resident_bytes; // of the process, as the kernel counts; 0 when unknown
};

void stats_collect(struct stats *stats);

#endif
