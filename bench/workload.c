#include "workload.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static _Atomic uint64_t made_total;
static _Atomic uint64_t dropped_total;
static int settling;

void fail(const char *what)
{
    fprintf(stderr, "workloads: %s\n", what);
    _Exit(1);
}

void require(int condition, const char *what)
{
    if (!condition)
        fail(what);
}

size_t scaled(double scale, size_t n)
{
    double count = scale * (double)n;
    return count < 1 ? 1 : (size_t)count;
}

void worker_init(struct worker *worker, uint64_t seed)
{
    *worker = (struct worker){.random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1};
    for (int i = 0; i < 4; i++)
        random_next(worker);
}

void worker_end(struct worker *worker)
{
    atomic_fetch_add(&made_total, worker->made);
    atomic_fetch_add(&dropped_total, worker->dropped);
}

void workers_check(void)
{
    require(made_total == dropped_total, "an object was lost, or dropped twice");
}

/* xorshift, its output multiplied: enough to be without pattern, and cheap beside a malloc. */
uint64_t random_next(struct worker *worker)
{
    uint64_t x = worker->random;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    worker->random = x;
    return x * UINT64_C(0x2545f4914f6cdd1d);
}

size_t random_below(struct worker *worker, size_t bound)
{
    return (size_t)(((random_next(worker) >> 32) * (uint64_t)bound) >> 32);
}

static unsigned log2_floor(size_t n)
{
    return 63 - (unsigned)__builtin_clzll(n);
}

size_t random_bytes(struct worker *worker, size_t low, size_t high)
{
    unsigned first = log2_floor(low), last = log2_floor(high);
    size_t power = (size_t)1 << (first + random_below(worker, last - first + 1));
    size_t bytes = power + random_below(worker, power);
    return bytes < low ? low : bytes > high ? high : bytes;
}

static uint64_t load(const void *object, size_t offset)
{
    uint64_t word;
    memcpy(&word, (const char *)object + offset, sizeof word);
    return word;
}

static void store(void *object, size_t offset, uint64_t word)
{
    memcpy((char *)object + offset, &word, sizeof word);
}

/* Each cache line of a small object, one in eight of a large one. */
static size_t touch_step(size_t bytes)
{
    return bytes <= 4 * KIB ? 64 : 512;
}

static uint64_t scrambled(uint64_t stamp, size_t offset)
{
    return (stamp ^ offset) * UINT64_C(0xd6e8feb86659fd93);
}

void *adopt(struct worker *worker, void *memory, size_t bytes)
{
    require(memory != NULL, "out of memory");
    uint64_t stamp = (random_next(worker) << 32) | bytes;
    size_t last = bytes - sizeof stamp;
    for (size_t offset = 64; offset < last; offset += touch_step(bytes))
        store(memory, offset, scrambled(stamp, offset));
    store(memory, last, scrambled(stamp, last));
    store(memory, 0, stamp);
    worker->made += stamp;
    return memory;
}

void *make(struct worker *worker, size_t bytes)
{
    return adopt(worker, malloc(bytes), bytes);
}

void check(const void *object)
{
    uint64_t stamp = load(object, 0);
    size_t bytes = (uint32_t)stamp;
    require(bytes >= OBJECT_MIN_BYTES, "an object's stamp was overwritten");
    size_t last = bytes - sizeof stamp;
    require(load(object, last) == scrambled(stamp, last), "an object's end was overwritten");
    /* The last touched word may reach into the end's, which was written after it. */
    for (size_t offset = 64; offset + sizeof stamp <= last; offset += touch_step(bytes))
        require(load(object, offset) == scrambled(stamp, offset), "an object was overwritten");
}

void disown(struct worker *worker, void *object)
{
    check(object);
    worker->dropped += load(object, 0);
    store(object, 0, 0);
    /* The compiler knows that nobody reads memory after free, and would leave the store out. */
    __asm__ volatile("" : : "r"(object) : "memory");
}

void drop(struct worker *worker, void *object)
{
    if (object)
        disown(worker, object);
    free(object);
}

/* bench/live_alloc.so has them; without it they are NULL. */
extern size_t bench_live_bytes(void) __attribute__((weak));
extern size_t bench_live_most_bytes(void) __attribute__((weak));

size_t live_bytes(void)
{
    return bench_live_bytes ? bench_live_bytes() : 0;
}

size_t live_most_bytes(void)
{
    return bench_live_most_bytes ? bench_live_most_bytes() : 0;
}

/* By system calls: stdio would allocate. */
static long resident_kib(void)
{
    char text[4096];
    int file = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t length = file < 0 ? -1 : read(file, text, sizeof text - 1);
    close(file);
    require(length > 0, "cannot read /proc/self/status");
    text[length] = '\0';
    const char *line = strstr(text, "VmRSS:");
    require(line != NULL, "/proc/self/status has no VmRSS");
    return strtol(line + sizeof "VmRSS:" - 1, NULL, 10);
}

static void sleep_ms(long ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

/* What a program does that has little to do: an allocator that gives memory back as it is called
 * gets its chance. */
static void work_lightly(void)
{
    enum { TICKS = 1000, OBJECTS = 50 };
    struct worker worker;
    worker_init(&worker, 7);
    for (int tick = 0; tick < TICKS; tick++) {
        void *object[OBJECTS];
        for (int i = 0; i < OBJECTS; i++)
            object[i] = make(&worker, random_bytes(&worker, 16, 512));
        for (int i = 0; i < OBJECTS; i++)
            drop(&worker, object[i]);
        sleep_ms(1);
    }
}

void settle_enable(void)
{
    settling = 1;
}

void settle(void)
{
    if (!settling)
        return;
    size_t live = live_bytes();
    long at_once = resident_kib();
    sleep_ms(1000);
    long idle = resident_kib();
    work_lightly();
    printf("live %zu at_once %ld idle %ld after %ld\n", live, at_once, idle, resident_kib());
    fflush(stdout);
    _Exit(0);
}

void *take_memory(size_t bytes)
{
    void *memory = malloc(bytes);
    require(memory != NULL, "out of memory");
    return memory;
}

void *take_zeroed(size_t count, size_t bytes)
{
    void *memory = calloc(count, bytes);
    require(memory != NULL, "out of memory");
    return memory;
}

void run_threads(unsigned count, void *(*body)(void *), double scale, void *shared)
{
    enum { MOST = 64 };
    pthread_t thread[MOST];
    struct thread_args args[MOST];
    require(count <= MOST, "too many threads");
    for (unsigned i = 0; i < count; i++) {
        args[i] = (struct thread_args){.index = i, .scale = scale, .shared = shared};
        require(pthread_create(&thread[i], NULL, body, &args[i]) == 0, "no thread");
    }
    for (unsigned i = 0; i < count; i++)
        pthread_join(thread[i], NULL);
}

void queue_init(struct queue *queue)
{
    pthread_mutex_init(&queue->lock, NULL);
    pthread_cond_init(&queue->changed, NULL);
    queue->head = queue->tail = 0;
}

void queue_put(struct queue *queue, struct batch *batch)
{
    pthread_mutex_lock(&queue->lock);
    while (queue->tail - queue->head == QUEUE_BATCHES)
        pthread_cond_wait(&queue->changed, &queue->lock);
    if (queue->tail == queue->head)
        pthread_cond_broadcast(&queue->changed);
    queue->batch[queue->tail++ % QUEUE_BATCHES] = batch;
    pthread_mutex_unlock(&queue->lock);
}

struct batch *queue_take(struct queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    while (queue->tail == queue->head)
        pthread_cond_wait(&queue->changed, &queue->lock);
    struct batch *batch = queue->batch[queue->head++ % QUEUE_BATCHES];
    if (queue->tail - queue->head == QUEUE_BATCHES / 2)
        pthread_cond_broadcast(&queue->changed);
    pthread_mutex_unlock(&queue->lock);
    return batch;
}
