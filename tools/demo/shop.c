/* The server of docs/walk-through.md: its memory climbs. It knows nothing of hpmalloc.
 *
 * Orders are read, booked and freed. The catalogue is cached until it is whole. A report is made
 * now and then, and takes much memory while it is. And there is a leak. Built with -DSHOP_MENDED it
 * has none. A second stands for a minute of a server in earnest. */
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))

enum {
    CLERKS = 3,
    ORDERS_PER_NAP = 5,
    NAP_MILLISECONDS = 5,
    ITEMS_BYTES = 3000,
    ARTICLES = 6000,
    ARTICLE_BYTES = 2000,
    REPORT_ROWS = 40000,
    REPORT_SECONDS = 8,
};

struct order {
    unsigned number;
    char *customer, *items;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *catalogue[ARTICLES];
static unsigned order_count;

static void nap(long milliseconds)
{
    nanosleep(&(struct timespec){milliseconds / 1000, milliseconds % 1000 * 1000000}, NULL);
}

static inline __attribute__((always_inline)) void *allocate(size_t bytes)
{
    void *memory = malloc(bytes);
    if (memory == NULL)
        abort();
    return memset(memory, 1, bytes);
}

static NOINLINE char *items_read(unsigned number)
{
    char *items = allocate(ITEMS_BYTES);
    snprintf(items, ITEMS_BYTES, "%u articles", number % 7);
    return items;
}

static NOINLINE struct order *order_read(unsigned number)
{
    struct order *order = allocate(sizeof(*order));
    *order =
        (struct order){.number = number, .customer = allocate(40), .items = items_read(number)};
    return order;
}

static NOINLINE void order_free(struct order *order)
{
    free(order->customer);
    free(order->items);
    free(order);
}

/* One in eight is for nothing. */
static bool order_is_valid(const struct order *order)
{
    return order->number * 2654435761u >> 29 != 0;
}

#ifdef SHOP_MENDED
static NOINLINE void order_reject(struct order *order)
{
    order_free(order);
}
#else
static NOINLINE void order_reject(struct order *order)
{
    snprintf(order->customer, 40, "order %u rejected", order->number);
}
#endif

static NOINLINE void article_find(unsigned article)
{
    pthread_mutex_lock(&lock);
    if (catalogue[article] == NULL)
        catalogue[article] = allocate(ARTICLE_BYTES);
    pthread_mutex_unlock(&lock);
}

static NOINLINE void order_handle(unsigned number)
{
    struct order *order = order_read(number);
    if (!order_is_valid(order)) {
        order_reject(order);
        return;
    }
    article_find(number % ARTICLES);
    order_free(order);
}

static void *take_orders(void *unused)
{
    for (;;) {
        for (int i = 0; i < ORDERS_PER_NAP; i++)
            order_handle(__atomic_fetch_add(&order_count, 1, __ATOMIC_RELAXED));
        nap(NAP_MILLISECONDS);
    }
    return unused;
}

/* Much memory, but all of it goes back. */
static NOINLINE void *report_sales(void *unused)
{
    static char *rows[REPORT_ROWS];
    for (;;) {
        nap(REPORT_SECONDS * 600);
        for (int i = 0; i < REPORT_ROWS; i++)
            rows[i] = allocate(500);
        nap(REPORT_SECONDS * 400);
        for (int i = 0; i < REPORT_ROWS; i++)
            free(rows[i]);
    }
    return unused;
}

static void start(void *(*run)(void *))
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, NULL) != 0)
        abort();
    pthread_detach(thread);
}

static long resident_mebibytes(void)
{
    long size = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%ld %ld", &size, &resident) != 2)
        resident = 0;
    if (file != NULL)
        fclose(file);
    return resident * sysconf(_SC_PAGESIZE) >> 20;
}

int main(int count, char **arguments)
{
    int seconds = count > 1 ? atoi(arguments[1]) : 24;
    for (int i = 0; i < CLERKS; i++)
        start(take_orders);
    start(report_sales);
    for (int second = 1; second <= seconds; second++) {
        nap(1000);
        if (second % 4 == 0)
            printf("%u orders, %ld MiB resident\n", order_count, resident_mebibytes());
    }
    return 0;
}
