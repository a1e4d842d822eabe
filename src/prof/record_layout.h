/* How a record file is laid out: a header, then items one behind the other, until one of kind
 * RECORD_END. Places are offsets from the beginning of the file. Written by this machine for this
 * machine; a reader of another version refuses it.
 *
 * A process may be killed between any two stores. An item is complete before its kind is set, a
 * sample before its site is. */
#ifndef HPM_PROF_RECORD_LAYOUT_H
#define HPM_PROF_RECORD_LAYOUT_H

#include "base/base.h"
#include "prof/mappings.h"
#include "prof/stacktab.h"

#define RECORD_MAGIC "hpm\r\n\x1arec"

enum {
    RECORD_VERSION = 1,
    RECORD_PROGRAM_BYTES = 64,
    RECORD_BLOCK_SAMPLES = 1024,
    RECORD_MAPPINGS_MAX = 4096
};

struct record_header {
    char magic[8];
    uint32_t version;
    uint32_t site_bytes, sample_bytes; // of the structs below, against mistakes
    _Atomic uint32_t is_whole;         // what was known when it was begun is in it
    uint32_t pid;
    uint64_t process_start; // field 22 of /proc/PID/stat; 0: unknown
    char program[RECORD_PROGRAM_BYTES];

    /* Nanoseconds: since 1970 and since boot (os_clock_coarse_ns) at the beginning; since boot at
     * the last change and at the peak. */
    uint64_t begin_wall_ns, begin_ns;
    _Atomic uint64_t changed_ns, peak_ns;

    _Atomic uint64_t interval_bytes;
    _Atomic uint32_t peak_epoch;
    _Atomic uint32_t mappings_epoch;  // of the newest look at what is mapped
    _Atomic uint64_t lost_samples;    // not recorded by the profile
    _Atomic uint64_t other_samples;   // under `[other]`
    _Atomic uint64_t missing_samples; // for which the file had no room
};

enum record_kind { RECORD_END, RECORD_SITE, RECORD_SAMPLES, RECORD_MAPPING };

struct record_item {
    _Atomic uint32_t kind;
    uint32_t bytes; // with this, a multiple of 16
};

struct record_site {
    struct record_item item;
    uint64_t object_bytes;
    uint16_t depth;
    uint8_t end;          // enum stack_end
    uint8_t is_other;     // `[other]`: there are no frames
    uint16_t label_bytes; // behind the frames: keys and values, each with its NUL
    struct site_mirror mirror;
    uintptr_t frames[];
};

/* A live sample, in the slot of its tag. */
struct record_sample {
    _Atomic uint32_t site; // its struct record_site; 0: the slot is free
    double weight;
    uint64_t requested_bytes, birth_ns;
};

/* Tags from `first_tag` on. */
struct record_samples {
    struct record_item item;
    uint64_t first_tag;
    struct record_sample slots[RECORD_BLOCK_SAMPLES];
};

struct record_mapping {
    struct record_item item;
    uint64_t start, limit, file_offset;
    _Atomic uint32_t epoch; // it was there at this look
    uint16_t path_bytes;    // without a NUL
    uint8_t build_id_bytes;
    uint8_t build_id[BUILD_ID_BYTES_MAX];
    char path[];
};

#endif
