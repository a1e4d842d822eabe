#include "report/crime.h"

#include <errno.h>
#include <unistd.h>

#include "base/lock.h"
#include "base/print.h"
#include "prof/symbols.h"
#include "report/dump.h"
#include "report/frames.h"
#include "report/output.h"

enum { FRAMES_MAX = 128 };

/* One report at a time: a second thread's waits. */
static struct lock lock = LOCK_INITIAL(LOCK_CRIME);
static struct output output;
static uintptr_t addresses[FRAMES_MAX];

static void put_stacks(const struct symbol_table *table, const struct crime_stack *stacks,
                       size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (stacks[i].depth != 0)
            output_print(&output, "    %s\n", stacks[i].title);
        for (size_t frame = 0; frame < stacks[i].depth; frame++) {
            uintptr_t address = frames_call_address(stacks[i].frames[frame]);
            frames_put_line(&output, table, symbols_find(table, address), address);
        }
    }
}

static size_t collect(const struct crime_stack *stacks, size_t count)
{
    size_t collected = 0;
    for (size_t i = 0; i < count; i++) {
        for (size_t frame = 0; frame < stacks[i].depth && collected < FRAMES_MAX; frame++)
            addresses[collected++] = frames_call_address(stacks[i].frames[frame]);
    }
    return collected;
}

/* Where a dump is being made, it has what finds names: addresses have to do. */
static void report_locked(const char *line, const struct crime_stack *stacks, size_t count)
{
    struct symbol_table table = {0};
    size_t collected = collect(stacks, count);
    bool has_names = dump_try_pause();
    if (has_names)
        symbols_resolve(&table, addresses, collected, true);
    output_begin(&output, STDERR_FILENO);
    output_print(&output, "hpmalloc: %s\n", line);
    put_stacks(&table, stacks, count);
    output_finish(&output);
    if (has_names) {
        symbols_free(&table);
        dump_resume();
    }
}

void crime_report(const char *line, const struct crime_stack *stacks, size_t count)
{
    int saved = errno;
    if (print_has_stderr()) {
        lock_acquire(&lock);
        report_locked(line, stacks, count);
        lock_release(&lock);
    }
    errno = saved;
}

void crime_fork_prepare(void)
{
    lock_acquire(&lock);
}

void crime_fork_parent(void)
{
    lock_release(&lock);
}

void crime_fork_child(void)
{
    lock_reset(&lock);
}
