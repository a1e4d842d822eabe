#include "api/hardening.h"

#include "api/guarding.h"
#include "api/malloc.h"
#include "api/probes.h"
#include "api/sampling.h"
#include "base/print.h"
#include "heap/hardened.h"
#include "heap/large.h"

/* A list's allowance is used up one by one, as none is handed out. */
HPM_API static void *take_sample(struct thread *thread, unsigned class, size_t bytes,
                                 size_t alignment)
{
    struct tcache_list *list = &thread->cache.lists[class];
    void *sample = NULL;
    if (list->allowance <= 0 || sampling_is_void(&thread->cache))
        sample = sampling_renew(thread, class, bytes, alignment);
    if (sample == NULL)
        list->allowance--;
    return sample;
}

HPM_API_SLOW void *hardening_alloc(struct thread *thread, size_t bytes, size_t alignment)
{
    unsigned class = hardened_class_of(bytes, alignment);
    if (class == SIZECLASS_NONE)
        return malloc_large_aligned(bytes, alignment);
    void *sample = thread != NULL ? take_sample(thread, class, bytes, alignment) : NULL;
    if (sample != NULL)
        return sample;
    void *object = hardened_alloc(bytes, alignment, class, 0);
    return object != NULL ? object : malloc_none();
}

void hardening_free(struct span *slab, void *address)
{
    sample_tag tag = hardened_get(slab, address).tag;
    if (tag != 0)
        probe_free(address);
    hardened_free(slab, address);
    profile_forget(tag);
}

static void check_size(const void *address, size_t bytes, size_t asked)
{
    if (bytes != (size_t)HARDENING_NO_SIZE && bytes != asked)
        die("sized free of %p: object of %zu bytes, freed as one of %zu bytes", address, asked,
            bytes);
}

static void check_alignment(const void *address, size_t alignment, size_t asked)
{
    if (alignment != HARDENING_NO_ALIGNMENT && max_size(alignment, OBJECT_ALIGNMENT) != asked)
        die("aligned free of %p: object aligned to %zu bytes, freed as aligned to %zu", address,
            asked, alignment);
}

void hardening_check_sized(const void *address, size_t bytes, size_t alignment)
{
    struct span *span = pagemap_find(address);
    if (!hardened_is_on() || span == NULL)
        return;
    if (span->kind == SPAN_HARDENED) {
        struct hardened_record record = hardened_get(span, address);
        check_size(address, bytes, record.bytes);
        check_alignment(address, alignment, (size_t)1 << record.alignment_shift);
    } else if (span->kind == SPAN_GUARDED) {
        check_size(address, bytes, guarding_usable_bytes(address));
    } else if ((span->kind == SPAN_LARGE || span->kind == SPAN_HUGE) && address == span->start &&
               span->canary_bytes != 0) {
        check_size(address, bytes, large_usable_bytes(span) - span->canary_bytes);
    }
}
