#include "api/sampling.h"

#include "api/guarding.h"
#include "api/probes.h"
#include "prof/budget.h"
#include "heap/hardened.h"
#include "prof/cost.h"

#ifndef HPM_NO_PROFILING
#include "report/keeper.h"

/* While the profiler works for a thread, what it allocates itself is no sample. */
HPM_API static sample_tag record(struct thread *thread, size_t bytes, size_t charged_bytes,
                                 double probability)
{
    thread->is_sampling = true;
    uint64_t begun = cost_begin();
    sample_tag tag = profile_record(bytes, charged_bytes, probability);
    if (cost_end(begun))
        budget_look();
    thread->is_sampling = false;
    return tag;
}

HPM_API static void *place_sample(struct thread *thread, unsigned class, size_t bytes,
                                  size_t alignment, sample_tag tag)
{
    void *object = guarding_alloc(thread, class, bytes, alignment, tag);
    if (object == NULL && hardened_is_on())
        return hardened_alloc(bytes, alignment, class, tag);
    return object != NULL ? object : central_take_tagged(tcache_self->shard, class, tag);
}

HPM_API static void *alloc_sample(struct thread *thread, unsigned class, size_t bytes,
                                  size_t alignment)
{
    size_t charged_bytes = sizeclass_bytes(class);
    double probability = sampler_probability(thread->interval, charged_bytes);
    sample_tag tag = record(thread, bytes, charged_bytes, probability);
    if (tag == 0)
        return NULL;
    void *object = place_sample(thread, class, bytes, alignment, tag);
    if (object == NULL)
        profile_forget(tag);
    else
        probe_alloc(object, bytes, (double)charged_bytes / probability);
    return object;
}

/* Last of all: to make its thread the keeper may allocate. */
static void look(struct thread *thread)
{
    thread->is_sampling = true;
    keeper_look();
    thread->is_sampling = false;
}

static void draw(struct thread *thread, unsigned class)
{
    int64_t objects = sampler_draw(&thread->sampler, thread->interval, sizeclass_bytes(class));
    thread->cache.lists[class].allowance = objects < 0 ? TCACHE_UNLIMITED : objects;
}

/* An allowance of 0 says that the next object is a sample. */
HPM_API static void *take_due(struct thread *thread, unsigned class, size_t bytes, size_t alignment)
{
    struct tcache_list *list = &thread->cache.lists[class];
    if (list->allowance != 0 || thread->is_sampling)
        return NULL;
    list->allowance = TCACHE_UNSET;
    return alloc_sample(thread, class, bytes, alignment);
}

/* The epoch is read first: an interval that comes later than it is void soon enough. */
static void begin_epoch(struct thread *thread)
{
    thread->cache.allowance_epoch = sampler_epoch();
    atomic_thread_fence(memory_order_acquire);
    thread->interval = sampler_interval();
    tcache_unset_allowances(&thread->cache);
}

/* After a change of the interval, what was handed out before it was by the old one: a sample that
 * comes at the end of that is taken, and weighs as it was drawn. */
HPM_API_SLOW void *sampling_renew(struct thread *thread, unsigned class, size_t bytes,
                                  size_t alignment)
{
    struct tcache_list *list = &thread->cache.lists[class];
    void *object = NULL;
    if (sampling_is_void(&thread->cache)) {
        object = take_due(thread, class, bytes, alignment);
        begin_epoch(thread);
    }
    if (list->allowance == TCACHE_UNSET)
        draw(thread, class);
    if (object == NULL)
        object = take_due(thread, class, bytes, alignment);
    if (list->allowance == TCACHE_UNSET)
        draw(thread, class);
    if (object == NULL && list->allowance == 0)
        list->allowance = 1;
    if (object != NULL)
        look(thread);
    return object;
}

HPM_API_SLOW sample_tag sampling_toss(struct thread *thread, const void *block, size_t bytes,
                                      size_t charged_bytes)
{
    double probability = sampler_probability(sampler_interval(), charged_bytes);
    if (thread->is_sampling || probability <= 0 || !sampler_toss(&thread->sampler, probability))
        return 0;
    sample_tag tag = record(thread, bytes, charged_bytes, probability);
    if (tag != 0)
        probe_alloc(block, bytes, (double)charged_bytes / probability);
    look(thread);
    return tag;
}
#endif
