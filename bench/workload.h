/* What every workload is made of: a random source, objects that prove their contents, threads,
 * and a queue to hand objects over.
 *
 *   workloads.c  --table-->  workload_*.c  --objects, threads, queue-->  workload.c
 *
 * An object carries its size and a tag at its start, the same word scrambled at its end, and a word
 * in most cache lines between. drop() checks all of them, then spoils the first, so a block that
 * two owners hold is seen by the second of them. Each worker sums what it made and what it
 * dropped; when all are done the two sums must be one, or an object was lost or seen twice.
 *
 * Only malloc, calloc, realloc, posix_memalign and free are called: what is measured is the
 * allocator that the process has. */
#ifndef BENCH_WORKLOAD_H
#define BENCH_WORKLOAD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum {
    OBJECT_MIN_BYTES = 16,
    KIB = 1024,
    MIB = 1024 * 1024,
};

/* One thread's random state and sums. No two threads share one. */
struct worker {
    uint64_t random;
    uint64_t made;    // sum of the stamps of the objects this worker made
    uint64_t dropped; // and of those it dropped
};

struct workload {
    const char *name;
    unsigned threads;
    const char *stresses;
    void (*run)(double scale);
    int settles; // calls settle()
};

/* The tables, each ended by a row without a name. */
extern const struct workload single_workloads[];
extern const struct workload shape_workloads[];
extern const struct workload handover_workloads[];
extern const struct workload thread_workloads[];
extern const struct workload settle_workloads[];

/* Prints what went wrong and ends the process with status 1. */
_Noreturn void fail(const char *what);
void require(int condition, const char *what);

/* n repetitions at this scale, at least one. */
size_t scaled(double scale, size_t n);

void worker_init(struct worker *worker, uint64_t seed);
/* Adds the worker's sums to the process's. */
void worker_end(struct worker *worker);
/* Fails unless all that was made was dropped. Every worker must have ended. */
void workers_check(void);

uint64_t random_next(struct worker *worker);
/* Uniform in [0, bound). */
size_t random_below(struct worker *worker, size_t bound);
/* Log-uniform in [low, high]: as many between 16 and 32 as between 512 and 1024. */
size_t random_bytes(struct worker *worker, size_t low, size_t high);

/* An object of at least OBJECT_MIN_BYTES, stamped. adopt() stamps memory got by another call. */
void *make(struct worker *worker, size_t bytes);
void *adopt(struct worker *worker, void *memory, size_t bytes);
/* Checks the object, spoils its stamp and frees it. NULL is nothing. */
void drop(struct worker *worker, void *object);
/* The same, short of free: the memory is the caller's again. */
void disown(struct worker *worker, void *object);
/* Reads the object through, as a program that uses it would. */
void check(const void *object);

/* Where a workload has come down from its peak. Timed runs pass through; with --settle the first
 * call waits, prints what stayed resident, and ends the process. No other thread may run. */
void settle(void);
void settle_enable(void);

/* Requested and not freed, now and at most; 0 unless bench/live_alloc.so is preloaded. */
size_t live_bytes(void);
size_t live_most_bytes(void);

/* malloc and calloc for what is not an object; they fail instead of returning NULL. */
void *take_memory(size_t bytes);
void *take_zeroed(size_t count, size_t bytes);

/* Runs body in count threads, each with its own index, and waits for all. */
struct thread_args {
    unsigned index;
    double scale;
    void *shared;
};
void run_threads(unsigned count, void *(*body)(void *), double scale, void *shared);

/* A message: a block of its own that holds some objects. */
enum { BATCH_OBJECTS = 64, QUEUE_BATCHES = 32 };
struct batch {
    _Atomic unsigned readers; // the last one drops it, where it has several
    unsigned count;
    void *object[BATCH_OBJECTS];
};

/* A bounded queue of messages. put() waits for room, take() for a message. Whoever waits is woken
 * when the queue was empty, or has fallen to half: a switch of threads for many messages. */
struct queue {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t head, tail; // taken and put so far
    struct batch *batch[QUEUE_BATCHES];
};
void queue_init(struct queue *queue);
void queue_put(struct queue *queue, struct batch *batch);
struct batch *queue_take(struct queue *queue);

#endif
