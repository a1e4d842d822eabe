#include "prof/unwind_cache.h"

#include "base/lock.h"
#include "prof/cost.h"
#include "base/sort.h"

struct unwind_cache_entry unwind_cache_entries[1 << UNWIND_CACHE_BITS];
_Atomic uint64_t unwind_cache_mask = UNWIND_CACHE_FIRST_ENTRIES - 1;
_Atomic uint64_t unwind_cache_generation;
_Atomic bool unwind_cache_has_read;
static _Atomic bool has_unloaded;
static struct lock cache_lock = LOCK_INITIAL(LOCK_UNWIND);

static struct step step_of(uint64_t word)
{
    struct step step;
    memcpy(&step, &word, sizeof(step));
    return step;
}

/* The records of the program's .eh_frame, where it has nothing to search them by: the offset of the
 * code in the upper half of a word, that of the record in the lower, sorted. Made when first
 * needed. */
static struct {
    uintptr_t start; // of the object's code
    uint64_t *words;
    size_t count;
} records;

/* Returns how many there are; stores them if there is somewhere to. */
static size_t walk_records(struct loaded_object *object, uint64_t *words)
{
    size_t count = 0;
    uintptr_t at = object->frames, next, start;
    for (; (next = unwind_cfi_next(object, at, &start)) != 0; at = next) {
        if (start < object->start || start >= object->limit)
            continue;
        if (words != NULL)
            words[count] = (uint64_t)(start - object->start) << 32 | (at - object->frames);
        count++;
    }
    return count;
}

static void make_records_locked(struct loaded_object *object)
{
    size_t count = walk_records(object, NULL);
    records.start = object->start;
    records.words = count > 0 ? cost_meta_alloc(count * sizeof(uint64_t)) : NULL;
    if (records.words == NULL)
        return;
    records.count = walk_records(object, records.words);
    sort_words(records.words, records.count);
}

/* The last record whose code begins at or before the address; 0: none. */
static uintptr_t find_record_locked(struct loaded_object *object, uintptr_t address)
{
    if (object->limit - object->start > UINT32_MAX ||
        object->readable_limit - object->frames > UINT32_MAX)
        return 0;
    if (records.start == 0)
        make_records_locked(object);
    if (records.start != object->start)
        return 0;
    uint64_t wanted = (uint64_t)(address - object->start) << 32 | UINT32_MAX;
    size_t low = 0, high = records.count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (records.words[middle] <= wanted)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? object->frames + (uint32_t)records.words[low - 1] : 0;
}

static uintptr_t record_in_locked(struct loaded_object *object, uintptr_t address)
{
    return object->frames != 0 ? find_record_locked(object, address) : 0;
}

static void note_read_locked(void)
{
    atomic_store_explicit(&unwind_cache_has_read, true, memory_order_relaxed);
}

/* After something was unloaded, another object may lie where one is known. What is found right
 * after a look at the mappings is remembered even when it is nothing. */
static struct step find_step_locked(uintptr_t address, bool *is_final)
{
    *is_final = true;
    if (atomic_exchange_explicit(&has_unloaded, false, memory_order_acquire))
        objects_refresh(true);
    struct loaded_object *object = objects_find(address);
    if (object == NULL) {
        *is_final = objects_refresh(false);
        object = objects_find(address);
    }
    if (object == NULL)
        return (struct step){.kind = STEP_UNKNOWN};
    note_read_locked();
    return unwind_cfi_step_at(object, record_in_locked(object, address), address);
}

/* What was remembered by then is looked up once more. */
static void count_entry_locked(void)
{
    static unsigned count;
    if (++count == UNWIND_CACHE_FIRST_ENTRIES / 2)
        atomic_store_explicit(&unwind_cache_mask, ((uint64_t)1 << UNWIND_CACHE_BITS) - 1,
                              memory_order_relaxed);
}

static HPM_NOINLINE struct step get_slow(uintptr_t address)
{
    bool is_final;
    lock_acquire(&cache_lock);
    uint64_t now = atomic_load_explicit(&unwind_cache_generation, memory_order_relaxed);
    struct step step = find_step_locked(address, &is_final);
    count_entry_locked();
    lock_release(&cache_lock);
    if (is_final) {
        struct unwind_cache_entry *entry = unwind_cache_entry_of(address);
        uint64_t word = unwind_step_word(step);
        atomic_store_explicit(&entry->step, word, memory_order_relaxed);
        atomic_store_explicit(&entry->check, address ^ word ^ now, memory_order_relaxed);
    }
    return step;
}

struct step unwind_cache_get(uintptr_t address)
{
    uint64_t word;
    return unwind_cache_find(address, &word) ? step_of(word) : get_slow(address);
}

struct kept_register unwind_cache_kept(uintptr_t address, unsigned number)
{
    struct kept_register kept = {.is_known = false};
    lock_acquire(&cache_lock);
    struct loaded_object *object = objects_find(address);
    if (object != NULL) {
        note_read_locked();
        kept = unwind_cfi_kept_at(object, record_in_locked(object, address), address, number);
    }
    lock_release(&cache_lock);
    return kept;
}

/* At first after each walk, for what small programs need is found by then; later after each 16th. */
void unwind_cache_settle_slow(void)
{
    enum { WALKS_PER_GIVING = 16 };
    static unsigned walks, given;
    lock_acquire(&cache_lock);
    atomic_store_explicit(&unwind_cache_has_read, false, memory_order_relaxed);
    walks++;
    if (walks - given > min_size(walks / WALKS_PER_GIVING, WALKS_PER_GIVING - 1)) {
        given = walks;
        objects_forget_tables();
    }
    lock_release(&cache_lock);
}

HPM_EARLY void unwind_cache_init(void)
{
    objects_init();
}

void unwind_cache_prepare_unload(void)
{
    lock_acquire(&cache_lock);
    objects_distrust_start();
    lock_release(&cache_lock);
}

void unwind_cache_forget(void)
{
    /* Release: pairs with the exchange in find_step_locked. */
    atomic_store_explicit(&has_unloaded, true, memory_order_release);
    atomic_fetch_add_explicit(&unwind_cache_generation, (uint64_t)1 << 48, memory_order_relaxed);
}

void unwind_cache_fork_prepare(void)
{
    lock_acquire(&cache_lock);
}

void unwind_cache_fork_parent(void)
{
    lock_release(&cache_lock);
}

void unwind_cache_fork_child(void)
{
    lock_reset(&cache_lock);
}
