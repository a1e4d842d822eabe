/* Memory that outlives the process: a file of its own, mapped shared. The kernel keeps what was
 * written when the process is killed, and others may read it meanwhile.
 *
 *   record  --bytes-->  shared  --pages of the file-->  os
 *
 * It grows in one reserved range of addresses, so a place in it is an offset, the same in the file.
 * Each page's room on the disk is reserved before it is mapped: a full disk refuses growth, and
 * never faults a write. The file is not kept open, for programs close descriptors that are not
 * theirs; to grow, it is opened anew, if its name still leads to it.
 *
 * Children of fork do not have it: writing to the parent's file would spoil it. That holds without
 * any handler, for the page with the address reads as zeroes in a child.
 * Lock:  the caller's, but for shared_at.
 * Fails: shared_open a negative errno; shared_alloc 0. */
#ifndef HPM_BASE_SHARED_H
#define HPM_BASE_SHARED_H

#include "base/base.h"

#define SHARED_BYTES_MAX ((size_t)256 * MiB)

/* Takes a new and empty file, whose name must stay as it is, and `header_bytes` of it. The caller
 * closes it. */
int shared_open(int fd, const char *path, size_t header_bytes);

/* The offset of zeroed memory, aligned to 16, each behind the one before. */
uint32_t shared_alloc(size_t bytes);

/* In the child of fork: there is none, and another may be opened. */
void shared_fork_child(void);

struct shared_page {
    char *_Atomic start;
};

extern struct shared_page *_Atomic shared_page;

/* NULL: there is none, or this is a child. */
HPM_INLINE void *shared_at(uint32_t offset)
{
    struct shared_page *page = atomic_load_explicit(&shared_page, memory_order_acquire);
    char *start = page != NULL ? atomic_load_explicit(&page->start, memory_order_acquire) : NULL;
    return start != NULL ? start + offset : NULL;
}

#endif
