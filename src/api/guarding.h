/* Guarded objects with their stacks: which samples become one, and what is said of a crime.
 *
 *   sampling, malloc  --object-->  guarding  --object-->  heap/guard
 *                                       \------stacks-->  prof/unwind, report/crime
 */
#ifndef HPM_API_GUARDING_H
#define HPM_API_GUARDING_H

#include "api/thread.h"
#include "prof/profile.h"

/* One in so many samples is guarded from now on; 0: none. */
void guarding_init(uint64_t share);

/* The sample's object, or NULL: it is to be an object like others. */
void *guarding_alloc(struct thread *thread, unsigned class, size_t bytes, size_t alignment,
                     sample_tag tag);

/* Frees what begins at the address, which is in the pool. Dies of what is no live object, or was
 * written around. Returns the object's tag. */
sample_tag guarding_free(void *address);

/* Of the live object that begins there; dies of others. */
size_t guarding_usable_bytes(const void *address);

/* Says what an access was that the processor refused, if it was one to a guarded object.
 * Signal: made for handlers. */
void guarding_explain_fault(const void *address, const char *access);

#endif
