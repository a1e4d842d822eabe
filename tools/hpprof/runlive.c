#define _GNU_SOURCE
#include "runlive.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "background.h"
#include "folder.h"
#include "prof/profile.h"
#include "prof/sampler.h"
#include "record_reader.h"
#include "units.h"

enum { TICK_MS = 500, LINE_BYTES = 160, LEFT_FREE = 20, RECORD_BYTES = PATH_MAX + 32 };

/* What is on the terminal, and what is known. */
struct line {
    char record[RECORD_BYTES]; // "": none, and no line
    struct timespec begin;
    struct background reader;
    bool is_known;
    unsigned column; // where the line begins; 0: there is none
    double live_bytes;
    unsigned long samples;
    runlive_look *look;
    void *argument;
};

static bool has_terminal(void)
{
    const char *terminal = getenv("TERM");
    return isatty(STDERR_FILENO) && terminal != NULL && *terminal != '\0' &&
           strcmp(terminal, "dumb") != 0;
}

/* Memory rather than a disk, which the program would wait for. */
void runlive_open(struct runlive *live)
{
    if (!has_terminal() || !folder_make(live->folder, "/dev/shm"))
        live->folder[0] = '\0';
}

void runlive_close(struct runlive *live)
{
    if (live->folder[0] != '\0')
        folder_remove(live->folder);
    live->folder[0] = '\0';
}

/* A record that was asked for stays where it was asked for, and then there is no second. */
bool runlive_prepare(const struct runlive *live)
{
    char pattern[RECORD_BYTES];
    snprintf(pattern, sizeof(pattern), "%s/%%p", live->folder);
    return live->folder[0] == '\0' || setenv("HPMALLOC_RECORD", pattern, 0) == 0;
}

/* In a child, for a record is read into the tables of who reads it. */
static int read_record(const void *argument)
{
    const struct line *line = argument;
    struct record_reader reader;
    static struct snapshot snapshot;
    int status = record_reader_load(&reader, line->record);
    if (status != STATUS_DONE)
        return status;
    sampler_set_interval(reader.header->interval_bytes);
    if (!snapshot_take(&snapshot))
        return STATUS_FAILED;
    fprintf(stderr, "%.0f %lu\n", snapshot.total.inuse.bytes,
            (unsigned long)snapshot.total.alloc.samples);
    return STATUS_DONE;
}

static void end_reading(struct line *line, int status)
{
    if (status == STATUS_DONE &&
        sscanf(line->reader.said, "%lf %lu", &line->live_bytes, &line->samples) == 2)
        line->is_known = true;
}

/* Not in the background, and not while the program has the terminal to itself, as an editor. */
static bool is_ours_to_write(void)
{
    struct termios settings;
    return tcgetpgrp(STDERR_FILENO) == getpgrp() && tcgetattr(STDERR_FILENO, &settings) == 0 &&
           (settings.c_lflag & ICANON) != 0;
}

/* The cursor stays where the program has left it. Behind the text a column is left free, for a
 * terminal's last one is not like the others. */
static void put_text(struct line *line, const char *text)
{
    char escapes[LINE_BYTES + 64];
    struct winsize size;
    size_t length = strlen(text);
    if (!is_ours_to_write() || ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 ||
        size.ws_col <= length + LEFT_FREE)
        return;
    unsigned column = size.ws_col - (unsigned)length;
    unsigned from = line->column != 0 && line->column < column ? line->column : column;
    int bytes = snprintf(escapes, sizeof(escapes), "\0337\033[%uG\033[K\033[%uG%s\0338", from,
                         column, text);
    if (write(STDERR_FILENO, escapes, (size_t)bytes) == bytes)
        line->column = length != 0 ? column : 0;
}

static void wipe(struct line *line)
{
    if (line->column != 0)
        put_text(line, "");
}

static void show(struct line *line)
{
    char text[LINE_BYTES], elapsed[UNITS_TEXT_MAX], live[UNITS_TEXT_MAX];
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    units_seconds(elapsed, (double)(now.tv_sec - line->begin.tv_sec));
    if (line->is_known)
        snprintf(text, sizeof(text), "[%s, %s live, %lu samples]", elapsed,
                 units_bytes(live, line->live_bytes), line->samples);
    else
        snprintf(text, sizeof(text), "[%s]", elapsed);
    put_text(line, text);
}

static void begin_reading(struct line *line)
{
    if (line->reader.child == 0 && access(line->record, R_OK) == 0)
        background_start(&line->reader, read_record, line);
}

static void note_child(int number)
{
    (void)number;
}

/* The signal of the child's end comes only while we wait here, so that none is missed. */
static void wait_a_bit(struct line *line, const sigset_t *mask)
{
    static const struct timespec tick = {.tv_nsec = TICK_MS * 1000000};
    struct pollfd polled = {.fd = line->reader.child != 0 ? line->reader.fd : -1, .events = POLLIN};
    int status, ready = ppoll(&polled, 1, &tick, mask);
    if (ready > 0 && background_step(&line->reader, &status))
        end_reading(line, status);
    if (ready != 0)
        return;
    if (line->record[0] != '\0') {
        show(line);
        begin_reading(line);
    }
    if (line->look != NULL)
        line->look(line->argument);
}

static bool wait_and_show(struct line *line, pid_t child, int *status, const sigset_t *mask)
{
    pid_t ended;
    clock_gettime(CLOCK_MONOTONIC, &line->begin);
    while ((ended = waitpid(child, status, WNOHANG)) == 0)
        wait_a_bit(line, mask);
    background_kill(&line->reader);
    wipe(line);
    return ended == child;
}

bool runlive_wait(const struct runlive *live, pid_t child, int *status, runlive_look *look,
                  void *argument)
{
    struct line line = {.look = look, .argument = argument};
    struct sigaction noted = {.sa_handler = note_child}, before;
    sigset_t block, mask;
    if (live->folder[0] != '\0')
        snprintf(line.record, sizeof(line.record), "%s/%ld", live->folder, (long)child);
    else if (look == NULL) {
        pid_t ended;
        while ((ended = waitpid(child, status, 0)) < 0 && errno == EINTR)
            ;
        return ended == child;
    }
    sigemptyset(&block);
    sigaddset(&block, SIGCHLD);
    sigprocmask(SIG_BLOCK, &block, &mask);
    sigdelset(&mask, SIGCHLD);
    sigaction(SIGCHLD, &noted, &before);
    bool done = wait_and_show(&line, child, status, &mask);
    sigaction(SIGCHLD, &before, NULL);
    sigprocmask(SIG_SETMASK, &mask, NULL);
    return done;
}
