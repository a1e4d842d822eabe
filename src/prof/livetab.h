/* The samples that are live, each with what is known of it, found by a small number.
 *
 *   profile  --sample-->  livetab  --tag-->  profile
 *
 * Lock:  one, rank LOCK_LIVETAB.
 * Fails: alloc returns 0 when there is no memory, or LIVE_SAMPLES_MAX are live. */
#ifndef HPM_PROF_LIVETAB_H
#define HPM_PROF_LIVETAB_H

#include "base/base.h"
#include "prof/stacktab.h"

/* Those of 4 TiB at an interval of 64 KiB. */
#define LIVE_SAMPLES_MAX ((size_t)1 << 26)

struct sample {
    struct site *_Atomic site; // NULL: the record is free, or not filled in yet
    double weight;     // 1/p when it was taken
    size_t requested_bytes;
    uint64_t birth_ns; // os_clock_coarse_ns
    uint32_t next_free;
};

/* A new record's tag, never 0; *sample points at it, its contents are undefined. */
uint32_t livetab_alloc(struct sample **sample);
struct sample *livetab_get(uint32_t tag);
void livetab_free(uint32_t tag);

size_t livetab_count(void);

/* Every live record has a tag from 1 to this. */
uint32_t livetab_last_tag(void);

/* Copies a record while others come and go. False: there is none under this tag, or it is just
 * coming or going. Whoever fills a record in calls livetab_publish last. */
bool livetab_peek(uint32_t tag, struct sample *copy);
void livetab_publish(struct sample *sample, struct site *site);

void livetab_fork_prepare(void);
void livetab_fork_parent(void);
void livetab_fork_child(void);

#endif
