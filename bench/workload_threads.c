/* Several threads: on their own, short-lived, inheriting from the dead, and a server's mix. */
#include "workload.h"

#include <stdlib.h>

/* Replaces members of a live set, in a range of one's own. */
static void replace(struct worker *worker, void **object, size_t live, size_t repeats)
{
    while (repeats-- > 0) {
        size_t i = random_below(worker, live);
        drop(worker, object[i]);
        object[i] = make(worker, random_bytes(worker, 16, 1024));
    }
}

static void *parallel_thread(void *argument)
{
    enum { LIVE = 4000 };
    struct thread_args *args = argument;
    void **object = take_zeroed(LIVE, sizeof *object);
    struct worker worker;
    worker_init(&worker, 500 + args->index);
    replace(&worker, object, LIVE, scaled(args->scale, 3400000));
    for (size_t i = 0; i < LIVE; i++)
        drop(&worker, object[i]);
    free(object);
    worker_end(&worker);
    return NULL;
}

static void run_parallel(double scale)
{
    run_threads(4, parallel_thread, scale, NULL);
}

static void run_parallel_32(double scale)
{
    run_threads(32, parallel_thread, scale / 8, NULL);
}

/* Threads that live for a millisecond, eight at a time, and leave a few objects to the others. */
enum { CHURN_THREADS = 8, CHURN_LEFT = 64 };
struct churn {
    _Atomic(void *) left[CHURN_LEFT];
    size_t wave;
};

static void *churn_thread(void *argument)
{
    enum { LIVE = 300, REPEATS = 3000 };
    struct thread_args *args = argument;
    struct churn *churn = args->shared;
    void *object[LIVE] = {NULL};
    struct worker worker;
    worker_init(&worker, churn->wave * CHURN_THREADS + args->index);
    replace(&worker, object, LIVE, REPEATS);
    for (int i = 0; i < LIVE; i++) {
        void *last = object[i];
        if (i < CHURN_LEFT / CHURN_THREADS)
            last = atomic_exchange_explicit(&churn->left[random_below(&worker, CHURN_LEFT)], last,
                                            memory_order_acq_rel);
        drop(&worker, last);
    }
    worker_end(&worker);
    return NULL;
}

static void run_churn(double scale)
{
    struct churn churn = {.wave = 0};
    struct worker worker;
    for (size_t waves = scaled(scale, 380); waves > 0; waves--) {
        churn.wave++;
        run_threads(CHURN_THREADS, churn_thread, scale, &churn);
    }
    worker_init(&worker, 510);
    for (int i = 0; i < CHURN_LEFT; i++)
        drop(&worker, churn.left[i]);
    worker_end(&worker);
}

/* Lanes of objects outlive their threads: each generation replaces what the last one left, in the
 * lane of another. */
enum { LANES = 4, LANE_OBJECTS = 5000 };
struct lanes {
    void *object[LANES][LANE_OBJECTS];
    size_t generation;
};

static void *generation_thread(void *argument)
{
    struct thread_args *args = argument;
    struct lanes *lanes = args->shared;
    struct worker worker;
    worker_init(&worker, 600 + lanes->generation * LANES + args->index);
    void **lane = lanes->object[(lanes->generation + args->index) % LANES];
    replace(&worker, lane, LANE_OBJECTS, LANE_OBJECTS * 4);
    worker_end(&worker);
    return NULL;
}

static void run_generations(double scale)
{
    struct lanes *lanes = take_zeroed(1, sizeof *lanes);
    struct worker worker;
    for (size_t n = scaled(scale, 70); n > 0; n--) {
        lanes->generation++;
        run_threads(LANES, generation_thread, scale, lanes);
    }
    worker_init(&worker, 610);
    for (int lane = 0; lane < LANES; lane++)
        for (int i = 0; i < LANE_OBJECTS; i++)
            drop(&worker, lanes->object[lane][i]);
    free(lanes);
    worker_end(&worker);
}

/* A server: sessions that live for some requests, requests made of short temporaries, a cache that
 * all threads share and that keeps some answers for long, a busy phase and a quiet one. */
enum { SERVER_THREADS = 4, CACHE_SLOTS = 20000, SESSIONS = 400, SESSION_PARTS = 6 };
struct session {
    unsigned requests_left;
    void *part[SESSION_PARTS];
};
struct server {
    _Atomic(void *) cache[CACHE_SLOTS];
};

static void session_end(struct worker *worker, struct session *session)
{
    for (int i = 0; i < SESSION_PARTS; i++) {
        drop(worker, session->part[i]);
        session->part[i] = NULL;
    }
}

static void session_begin(struct worker *worker, struct session *session)
{
    session->requests_left = 2 + (unsigned)random_below(worker, 40);
    for (int i = 0; i < SESSION_PARTS; i++)
        session->part[i] = make(worker, random_bytes(worker, 24, 2048));
}

/* The answer grows as it is written, like a buffer whose length nobody knows beforehand. */
static void *answer_write(struct worker *worker)
{
    size_t bytes = 256, wanted = random_bytes(worker, 256, 16 * KIB);
    char *answer = take_memory(bytes);
    answer[bytes - 1] = 'a';
    while (bytes < wanted) {
        answer = realloc(answer, bytes * 2);
        require(answer && answer[bytes - 1] == 'a', "a grown buffer lost its contents");
        bytes *= 2;
        answer[bytes - 1] = 'a';
    }
    return adopt(worker, answer, wanted);
}

static void request_serve(struct worker *worker, struct server *server)
{
    enum { MOST_FIELDS = 24 };
    void *field[MOST_FIELDS];
    size_t fields = 4 + random_below(worker, MOST_FIELDS - 4);
    void *input = make(worker, random_bytes(worker, 512, 4096));
    for (size_t i = 0; i < fields; i++)
        field[i] = make(worker, random_bytes(worker, 16, 128));
    void *answer = answer_write(worker);
    if (random_below(worker, 8) == 0) {
        size_t i = random_below(worker, CACHE_SLOTS);
        void *kept = make(worker, random_bytes(worker, 64, 1024));
        drop(worker, atomic_exchange_explicit(&server->cache[i], kept, memory_order_acq_rel));
    }
    for (size_t i = 0; i < fields; i++)
        drop(worker, field[i]);
    drop(worker, input);
    drop(worker, answer);
}

static void *server_thread(void *argument)
{
    struct thread_args *args = argument;
    struct session *session = take_zeroed(SESSIONS, sizeof *session);
    struct worker worker;
    worker_init(&worker, 700 + args->index);
    size_t requests = scaled(args->scale, 180000);
    for (size_t n = 0; n < requests; n++) {
        int busy = n * 4 / requests % 2 == 0;
        struct session *one = &session[random_below(&worker, busy ? SESSIONS : SESSIONS / 8)];
        if (one->requests_left == 0)
            session_begin(&worker, one);
        request_serve(&worker, args->shared);
        if (--one->requests_left == 0)
            session_end(&worker, one);
    }
    for (int i = 0; i < SESSIONS; i++)
        session_end(&worker, &session[i]);
    free(session);
    worker_end(&worker);
    return NULL;
}

static void run_server(double scale)
{
    struct server *server = take_zeroed(1, sizeof *server);
    run_threads(SERVER_THREADS, server_thread, scale, server);
    struct worker worker;
    worker_init(&worker, 710);
    for (int i = 0; i < CACHE_SLOTS; i++)
        drop(&worker, server->cache[i]);
    free(server);
    worker_end(&worker);
}

const struct workload thread_workloads[] = {
    {"parallel", 4, "four threads on their own, 16-1024 bytes, random replacement", run_parallel,
     0},
    {"parallel-32", 32, "the same with 32 threads, an eighth of the work each", run_parallel_32, 0},
    {"churn", 8, "threads that live for a millisecond, eight at a time", run_churn, 0},
    {"generations", 4, "threads inherit the live sets of threads that ended", run_generations, 0},
    {"server", 4, "sessions, requests of short temporaries, a shared cache, busy and quiet",
     run_server, 0},
    {NULL, 0, NULL, NULL, 0},
};
