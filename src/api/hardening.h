/* malloc and free of HPMALLOC_HARDENED, which the slow paths hand on to: every call comes there,
 * for nothing is ever on a thread's lists.
 *
 *   malloc  --call-->  hardening  --object-->  heap/hardened
 *                             \------sample-->  sampling
 */
#ifndef HPM_API_HARDENING_H
#define HPM_API_HARDENING_H

#include "api/thread.h"
#include "heap/span.h"

/* `bytes` is at most SMALL_MAX_BYTES. The thread may be NULL. NULL: no memory. */
void *hardening_alloc(struct thread *thread, size_t bytes, size_t alignment);

/* Frees what begins at the address in a hardened slab. */
void hardening_free(struct span *slab, void *address);

/* Dies when the block was asked for with another size or alignment; 0: it is not told. Of what is
 * no block of ours free is to speak. */
enum { HARDENING_NO_SIZE = -1, HARDENING_NO_ALIGNMENT = 0 };
void hardening_check_sized(const void *address, size_t bytes, size_t alignment);

#endif
