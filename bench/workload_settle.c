/* What stays resident: a peak and what it leaves, a change of phase, threads that came and went,
 * threads that wait. Each calls settle() where it holds what it means to keep. */
#include "workload.h"

#include <stdlib.h>

/* Returns how many it took to come to so many bytes. */
static size_t objects_made(struct worker *worker, void **object, size_t most, size_t bytes)
{
    size_t count = 0, made = 0;
    while (count < most && made < bytes) {
        size_t one = random_bytes(worker, 16, random_below(worker, 64) ? 1024 : 256 * KIB - 1);
        object[count++] = make(worker, one);
        made += one;
    }
    return count;
}

/* Builds up 256 MiB, then drops at random until one of `kept` is left; 0 keeps none. */
static void run_peak(double scale, size_t kept)
{
    enum { PEAK_BYTES = 256 * MIB, MOST = 1024 * KIB };
    void **object = take_zeroed(MOST, sizeof *object);
    struct worker worker;
    worker_init(&worker, 800 + kept);
    for (size_t round = scaled(scale, 2); round > 0; round--) {
        size_t count = objects_made(&worker, object, MOST, PEAK_BYTES);
        for (size_t i = 0; i < count; i++) {
            size_t other = i + random_below(&worker, count - i);
            void *dropped = object[other];
            object[other] = object[i];
            object[i] = kept && i % kept == 0 ? dropped : NULL;
            if (!object[i])
                drop(&worker, dropped);
        }
        settle();
        for (size_t i = 0; i < count; i++)
            drop(&worker, object[i]);
    }
    free(object);
    worker_end(&worker);
}

static void run_peak_all(double scale)
{
    run_peak(scale, 0);
}

static void run_peak_tenth(double scale)
{
    run_peak(scale, 10);
}

/* Each phase fills the same room with objects of another size, and drops all of the last one's. */
static void run_phase_swap(double scale)
{
    static const size_t phase_bytes[] = {48, 200, 80, 1000, 32, 3000, 120, 500};
    enum { PHASES = sizeof phase_bytes / sizeof phase_bytes[0], FILL_BYTES = 64 * MIB };
    void **object = take_memory(FILL_BYTES / 32 * sizeof *object);
    size_t count = 0;
    struct worker worker;
    worker_init(&worker, 810);
    for (size_t round = scaled(scale, 1); round > 0; round--) {
        for (int phase = 0; phase < PHASES; phase++) {
            while (count > 0)
                drop(&worker, object[--count]);
            while (count < FILL_BYTES / phase_bytes[phase])
                object[count++] = make(&worker, phase_bytes[phase]);
        }
        settle();
    }
    while (count > 0)
        drop(&worker, object[--count]);
    free(object);
    worker_end(&worker);
}

/* Short-lived threads renew a table that outlives them all. */
enum { TABLE_SLOTS = 200000, TABLE_THREADS = 8 };
struct table {
    _Atomic(void *) slot[TABLE_SLOTS];
    size_t wave;
};

static void *table_thread(void *argument)
{
    enum { RENEWED = 8000 };
    struct thread_args *args = argument;
    struct table *table = args->shared;
    struct worker worker;
    worker_init(&worker, 1000 + table->wave * TABLE_THREADS + args->index);
    for (int n = 0; n < RENEWED; n++) {
        void *object = make(&worker, random_bytes(&worker, 16, 1024));
        size_t i = random_below(&worker, TABLE_SLOTS);
        drop(&worker, atomic_exchange_explicit(&table->slot[i], object, memory_order_acq_rel));
    }
    worker_end(&worker);
    return NULL;
}

static void run_churn_table(double scale)
{
    struct table *table = take_zeroed(1, sizeof *table);
    struct worker worker;
    for (table->wave = 0; table->wave < scaled(scale, 50); table->wave++)
        run_threads(TABLE_THREADS, table_thread, scale, table);
    settle();
    worker_init(&worker, 820);
    for (int i = 0; i < TABLE_SLOTS; i++)
        drop(&worker, table->slot[i]);
    free(table);
    worker_end(&worker);
}

/* One thread makes, the other keeps the last of what it got for a while. Both end. */
enum { WINDOW_OBJECTS = 200000 };
struct window {
    struct queue queue;
    void *object[WINDOW_OBJECTS];
};

static void window_produce(struct worker *worker, struct queue *queue, size_t batches)
{
    while (batches-- > 0) {
        struct batch *batch = take_memory(sizeof *batch);
        batch->count = BATCH_OBJECTS;
        for (unsigned i = 0; i < BATCH_OBJECTS; i++)
            batch->object[i] = make(worker, random_bytes(worker, 16, 1024));
        queue_put(queue, batch);
    }
    queue_put(queue, NULL);
}

static void window_consume(struct worker *worker, struct window *window)
{
    struct batch *batch;
    size_t at = 0;
    while ((batch = queue_take(&window->queue)) != NULL) {
        for (unsigned i = 0; i < batch->count; i++, at = (at + 1) % WINDOW_OBJECTS) {
            drop(worker, window->object[at]);
            window->object[at] = batch->object[i];
        }
        free(batch);
    }
}

static void *window_thread(void *argument)
{
    struct thread_args *args = argument;
    struct window *window = args->shared;
    struct worker worker;
    worker_init(&worker, 830 + args->index);
    if (args->index == 0)
        window_produce(&worker, &window->queue, scaled(args->scale, 50000));
    else
        window_consume(&worker, window);
    worker_end(&worker);
    return NULL;
}

static void run_window(double scale)
{
    struct window *window = take_zeroed(1, sizeof *window);
    struct worker worker;
    queue_init(&window->queue);
    run_threads(2, window_thread, scale, window);
    settle();
    worker_init(&worker, 840);
    for (int i = 0; i < WINDOW_OBJECTS; i++)
        drop(&worker, window->object[i]);
    free(window);
    worker_end(&worker);
}

/* Many threads that each work for a moment, and then wait with little in hand for all the others:
 * what an allocator keeps for a thread, it keeps 64 times. */
enum { WAITING_THREADS = 64 };
struct waiting {
    pthread_barrier_t all_worked, may_end;
};

static void *waiting_thread(void *argument)
{
    enum { LIVE = 1000, KEPT = 100 };
    struct thread_args *args = argument;
    struct waiting *waiting = args->shared;
    void *object[LIVE] = {NULL};
    struct worker worker;
    worker_init(&worker, 900 + args->index);
    for (size_t n = scaled(args->scale, 60000); n > 0; n--) {
        size_t i = random_below(&worker, LIVE);
        drop(&worker, object[i]);
        object[i] = make(&worker, random_bytes(&worker, 16, 4096));
    }
    for (int i = KEPT; i < LIVE; i++)
        drop(&worker, object[i]);
    pthread_barrier_wait(&waiting->all_worked);
    if (args->index == 0)
        settle();
    pthread_barrier_wait(&waiting->may_end);
    for (int i = 0; i < KEPT; i++)
        drop(&worker, object[i]);
    worker_end(&worker);
    return NULL;
}

static void run_waiting(double scale)
{
    struct waiting waiting;
    pthread_barrier_init(&waiting.all_worked, NULL, WAITING_THREADS);
    pthread_barrier_init(&waiting.may_end, NULL, WAITING_THREADS);
    run_threads(WAITING_THREADS, waiting_thread, scale, &waiting);
}

const struct workload settle_workloads[] = {
    {"peak-all", 1, "up to 256 MiB, then everything dropped in random order", run_peak_all, 1},
    {"peak-tenth", 1, "up to 256 MiB, then a random tenth is left", run_peak_tenth, 1},
    {"phase-swap", 1, "64 MiB of one size give way to another size, eight times", run_phase_swap,
     1},
    {"churn-table", 8, "short-lived threads renew a table that outlives them", run_churn_table, 1},
    {"window", 2, "one thread makes, one keeps the last 200000, both end", run_window, 1},
    {"waiting", 64, "64 threads work for a moment, then wait with little in hand", run_waiting, 1},
    {NULL, 0, NULL, NULL, 0},
};
