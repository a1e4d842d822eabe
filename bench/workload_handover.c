/* Several threads that drop what others made. */
#include "workload.h"

#include <stdlib.h>

static struct batch *batch_make(struct worker *worker, unsigned readers, size_t low, size_t high)
{
    struct batch *batch = take_memory(sizeof *batch);
    batch->readers = readers;
    batch->count = 1 + (unsigned)random_below(worker, BATCH_OBJECTS);
    for (unsigned i = 0; i < batch->count; i++)
        batch->object[i] = make(worker, random_bytes(worker, low, high));
    return batch;
}

static void batch_drop(struct worker *worker, struct batch *batch)
{
    for (unsigned i = 0; i < batch->count; i++)
        drop(worker, batch->object[i]);
    free(batch);
}

/* Producers put their messages into one queue and end it with a NULL each; one consumer drops. */
enum { PRODUCED_BATCHES = 90000 };
struct funnel {
    struct queue queue;
    unsigned producers;
};

static void funnel_consume(struct worker *worker, struct funnel *funnel)
{
    for (unsigned open = funnel->producers; open > 0;) {
        struct batch *batch = queue_take(&funnel->queue);
        if (batch)
            batch_drop(worker, batch);
        else
            open--;
    }
}

static void *funnel_thread(void *argument)
{
    struct thread_args *args = argument;
    struct funnel *funnel = args->shared;
    struct worker worker;
    worker_init(&worker, 100 + args->index);
    if (args->index == 0) {
        funnel_consume(&worker, funnel);
    } else {
        size_t batches = scaled(args->scale, PRODUCED_BATCHES / funnel->producers);
        for (size_t n = 0; n < batches; n++)
            queue_put(&funnel->queue, batch_make(&worker, 1, 16, 512));
        queue_put(&funnel->queue, NULL);
    }
    worker_end(&worker);
    return NULL;
}

static void run_funnel(double scale, unsigned producers)
{
    struct funnel funnel = {.producers = producers};
    queue_init(&funnel.queue);
    run_threads(producers + 1, funnel_thread, scale, &funnel);
}

static void run_producer_consumer(double scale)
{
    run_funnel(scale, 1);
}

static void run_many_to_one(double scale)
{
    run_funnel(scale, 4);
}

/* Each thread takes a message from its left neighbour, drops half of its objects, makes others in
 * their place, and passes it on to the right. */
enum { RING_MOST = 8 };
struct ring {
    struct queue queue[RING_MOST];
    unsigned threads;
};

static void batch_renew(struct worker *worker, struct batch *batch)
{
    for (unsigned i = 0; i < batch->count; i++) {
        if (random_next(worker) & (1u << 20))
            continue;
        drop(worker, batch->object[i]);
        batch->object[i] = make(worker, random_bytes(worker, 16, 512));
    }
}

static void *ring_thread(void *argument)
{
    enum { MESSAGES_EACH = 8 };
    struct thread_args *args = argument;
    struct ring *ring = args->shared;
    struct queue *in = &ring->queue[args->index];
    struct queue *out = &ring->queue[(args->index + 1) % ring->threads];
    struct worker worker;
    worker_init(&worker, 200 + args->index);
    for (int i = 0; i < MESSAGES_EACH; i++)
        queue_put(out, batch_make(&worker, 1, 16, 512));
    for (size_t n = scaled(args->scale, 750000 / ring->threads); n > 0; n--) {
        struct batch *batch = queue_take(in);
        batch_renew(&worker, batch);
        queue_put(out, batch);
    }
    for (int i = 0; i < MESSAGES_EACH; i++)
        batch_drop(&worker, queue_take(in));
    worker_end(&worker);
    return NULL;
}

static void run_ring_of(double scale, unsigned threads)
{
    struct ring ring = {.threads = threads};
    for (unsigned i = 0; i < threads; i++)
        queue_init(&ring.queue[i]);
    run_threads(threads, ring_thread, scale, &ring);
}

static void run_ring_2(double scale)
{
    run_ring_of(scale, 2);
}

static void run_ring(double scale)
{
    run_ring_of(scale, 6);
}

/* One writer; every reader reads each message, and the last one drops it. */
enum { READERS = 3 };
struct broadcast {
    struct queue queue[READERS];
};

static void broadcast_write(struct worker *worker, struct broadcast *broadcast, size_t batches)
{
    while (batches-- > 0) {
        struct batch *batch = batch_make(worker, READERS, 32, 1024);
        for (int i = 0; i < READERS; i++)
            queue_put(&broadcast->queue[i], batch);
    }
    for (int i = 0; i < READERS; i++)
        queue_put(&broadcast->queue[i], NULL);
}

static void broadcast_read(struct worker *worker, struct queue *queue)
{
    struct batch *batch;
    while ((batch = queue_take(queue)) != NULL) {
        for (unsigned i = 0; i < batch->count; i++)
            check(batch->object[i]);
        /* Release: this reader is done. Acquire: the last one sees that all are. */
        if (atomic_fetch_sub_explicit(&batch->readers, 1, memory_order_acq_rel) == 1)
            batch_drop(worker, batch);
    }
}

static void *broadcast_thread(void *argument)
{
    struct thread_args *args = argument;
    struct broadcast *broadcast = args->shared;
    struct worker worker;
    worker_init(&worker, 300 + args->index);
    if (args->index == READERS)
        broadcast_write(&worker, broadcast, scaled(args->scale, 36000));
    else
        broadcast_read(&worker, &broadcast->queue[args->index]);
    worker_end(&worker);
    return NULL;
}

static void run_broadcast(double scale)
{
    struct broadcast broadcast;
    for (int i = 0; i < READERS; i++)
        queue_init(&broadcast.queue[i]);
    run_threads(READERS + 1, broadcast_thread, scale, &broadcast);
}

/* Slots that all threads share: each puts a new object in and drops the one it finds there. */
struct exchange {
    _Atomic(void *) *slot;
    size_t slot_count;
    size_t high_bytes;
};

static void *exchange_thread(void *argument)
{
    enum { OWN = 200, REPEATS = 1600000 };
    struct thread_args *args = argument;
    struct exchange *exchange = args->shared;
    void *own[OWN] = {NULL};
    struct worker worker;
    worker_init(&worker, 400 + args->index);
    for (size_t n = scaled(args->scale, REPEATS); n > 0; n--) {
        void *object = make(&worker, random_bytes(&worker, 16, exchange->high_bytes));
        size_t i = random_below(&worker, exchange->slot_count);
        if (n % 4)
            object = atomic_exchange_explicit(&exchange->slot[i], object, memory_order_acq_rel);
        drop(&worker, own[n % OWN]);
        own[n % OWN] = object;
    }
    for (int i = 0; i < OWN; i++)
        drop(&worker, own[i]);
    worker_end(&worker);
    return NULL;
}

static void run_exchange_of(double scale, size_t slot_count, size_t high_bytes)
{
    struct exchange exchange = {.slot_count = slot_count, .high_bytes = high_bytes};
    exchange.slot = take_zeroed(slot_count, sizeof *exchange.slot);
    run_threads(8, exchange_thread, scale, &exchange);
    struct worker worker;
    worker_init(&worker, 410);
    for (size_t i = 0; i < slot_count; i++)
        drop(&worker, exchange.slot[i]);
    free(exchange.slot);
    worker_end(&worker);
}

static void run_exchange(double scale)
{
    run_exchange_of(scale, 1000, 512);
}

static void run_exchange_large(double scale)
{
    run_exchange_of(scale / 4, 4000, 32 * KIB);
}

const struct workload handover_workloads[] = {
    {"producer-consumer", 2, "one thread makes, one drops", run_producer_consumer, 0},
    {"many-to-one", 5, "four threads make, one drops", run_many_to_one, 0},
    {"ring-2", 2, "two threads renew half of each message and pass it on", run_ring_2, 0},
    {"ring", 6, "six threads renew half of each message and pass it on", run_ring, 0},
    {"broadcast", 4, "one writer, three readers, the last one drops", run_broadcast, 0},
    {"exchange", 8, "16-512 bytes through shared slots, all drop what others made", run_exchange,
     0},
    {"exchange-large", 8, "16 bytes-32 KiB through shared slots", run_exchange_large, 0},
    {NULL, 0, NULL, NULL, 0},
};
