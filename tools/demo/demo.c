/* A small server with a leak, for `./bootstrap demo`. It knows nothing of hpmalloc.
 *
 * Clients put requests into a queue, workers take and answer them. Pages are kept in a cache of
 * fixed size, as they should be. What a visitor looked at is remembered in a session; a session
 * ends after some requests, and what it remembered is forgotten without being freed. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NOINLINE __attribute__((noinline))

enum {
    CLIENTS = 2,
    WORKERS = 4,
    QUEUE_MAX = 256,
    PAGES = 512,
    PAGE_BYTES = 16 << 10,
    SESSIONS = 64,
    REQUESTS_PER_SESSION = 20,
    REQUESTS_PER_NAP = 16,
};

struct request {
    struct request *next;
    unsigned visitor, page;
    char *path;
};

struct session {
    unsigned count;
    char *seen[REQUESTS_PER_SESSION];
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct request *first, *last;
    unsigned length;
} queue = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static struct {
    pthread_mutex_t lock;
    char *pages[PAGES];
} cache = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct {
    pthread_mutex_t lock;
    struct session *sessions[SESSIONS];
} visitors = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void *allocate(size_t bytes)
{
    void *memory = calloc(1, bytes);
    if (memory == NULL) {
        fputs("demo: out of memory\n", stderr);
        exit(1);
    }
    return memory;
}

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static void queue_put(struct request *request)
{
    pthread_mutex_lock(&queue.lock);
    while (queue.length == QUEUE_MAX)
        pthread_cond_wait(&queue.changed, &queue.lock);
    request->next = NULL;
    if (queue.first == NULL)
        queue.first = request;
    else
        queue.last->next = request;
    queue.last = request;
    queue.length++;
    pthread_cond_broadcast(&queue.changed);
    pthread_mutex_unlock(&queue.lock);
}

static struct request *queue_take(void)
{
    pthread_mutex_lock(&queue.lock);
    while (queue.first == NULL)
        pthread_cond_wait(&queue.changed, &queue.lock);
    struct request *request = queue.first;
    queue.first = request->next;
    queue.length--;
    pthread_cond_broadcast(&queue.changed);
    pthread_mutex_unlock(&queue.lock);
    return request;
}

static NOINLINE char *page_render(unsigned page)
{
    char *text = allocate(PAGE_BYTES);
    snprintf(text, PAGE_BYTES, "<h1>page %u</h1>", page);
    return text;
}

/* Rendered once, kept for ever: live memory that is no leak. */
static NOINLINE const char *page_find(unsigned page)
{
    pthread_mutex_lock(&cache.lock);
    if (cache.pages[page] == NULL)
        cache.pages[page] = page_render(page);
    const char *text = cache.pages[page];
    pthread_mutex_unlock(&cache.lock);
    return text;
}

static NOINLINE void session_end(unsigned visitor)
{
    free(visitors.sessions[visitor]);
    visitors.sessions[visitor] = NULL;
}

/* The leak: session_end frees the session, and nobody what `seen` points at. */
static NOINLINE void session_remember(unsigned visitor, const char *path, const char *text)
{
    pthread_mutex_lock(&visitors.lock);
    if (visitors.sessions[visitor] == NULL)
        visitors.sessions[visitor] = allocate(sizeof(struct session));
    struct session *session = visitors.sessions[visitor];
    size_t bytes = strlen(path) + strlen(text) + 2000;
    char *entry = malloc(bytes);
    if (entry != NULL)
        snprintf(entry, bytes, "%s: %s", path, text);
    session->seen[session->count++] = entry;
    if (session->count == REQUESTS_PER_SESSION)
        session_end(visitor);
    pthread_mutex_unlock(&visitors.lock);
}

static void request_answer(const struct request *request)
{
    const char *text = page_find(request->page);
    size_t bytes = strlen(text) + 4096;
    char *answer = allocate(bytes);
    snprintf(answer, bytes, "200 OK\r\n\r\n%s", text);
    session_remember(request->visitor, request->path, text);
    free(answer);
}

static void *work(void *unused)
{
    (void)unused;
    for (;;) {
        struct request *request = queue_take();
        request_answer(request);
        free(request->path);
        free(request);
    }
    return NULL;
}

static struct request *request_new(unsigned *seed)
{
    struct request *request = allocate(sizeof(*request));
    request->visitor = (unsigned)rand_r(seed) % SESSIONS;
    request->page = (unsigned)rand_r(seed) % PAGES;
    request->path = allocate(64);
    snprintf(request->path, 64, "/visitor/%u/page/%u", request->visitor, request->page);
    return request;
}

static void *ask(void *argument)
{
    unsigned seed = *(unsigned *)argument;
    for (unsigned count = 1;; count++) {
        queue_put(request_new(&seed));
        if (count % REQUESTS_PER_NAP == 0)
            nap();
    }
    return NULL;
}

static void start(void *(*run)(void *), void *argument)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, argument) != 0) {
        fputs("demo: no thread could be started\n", stderr);
        exit(1);
    }
    pthread_detach(thread);
}

int main(int count, char **arguments)
{
    static unsigned seeds[CLIENTS] = {1, 2};
    int seconds = count > 1 ? atoi(arguments[1]) : 60;
    for (int i = 0; i < WORKERS; i++)
        start(work, NULL);
    for (int i = 0; i < CLIENTS; i++)
        start(ask, &seeds[i]);
    time_t end = time(NULL) + seconds;
    while (time(NULL) < end)
        nap();
    return 0;
}
