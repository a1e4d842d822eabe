/* Free memory that cannot go back to the system, charged to the stacks whose live objects hold it.
 *
 *   heap, profile  --free slots, live objects-->  pinned  --rows-->  pprof, text
 *
 * What is free in the slabs of a size class is held by the class's live objects, each as much as any
 * other: a row's part is its part of them. So a stack that keeps one object in each slab is charged
 * with nearly all of the slabs, once the objects around are freed. Lists of threads and free pages are
 * not pinned: hpm_release_memory gives them back.
 * Signal: async-signal-safe on a thread that holds no lock of ours. */
#ifndef HPM_REPORT_PINNED_H
#define HPM_REPORT_PINNED_H

#include "prof/profile.h"

/* Sets `pinned` of all rows and of the total. What is held by objects of which no sample is live is in
 * no row; returns it. */
double pinned_charge(struct snapshot *snapshot);

#endif
