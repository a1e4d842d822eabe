/* Whether the signal that dumps would get through, and the dump's system calls. */
#define _GNU_SOURCE
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "doctor.h"

static const char *name_of(struct doctor *doctor, int number)
{
    return doctor_text(doctor, "signal %d (%s)", number, strsignal(number));
}

/* Dumps that need no signal. */
static const char *other_way(struct doctor *doctor)
{
    static const enum option_id ways[] = {OPTION_HTTP, OPTION_DUMP_EVERY, OPTION_DUMP_ON_GROWTH,
                                          OPTION_DUMP_ON_LIMIT, OPTION_DUMP_AT_EXIT};
    char variable[64];
    for (size_t i = 0; i < array_count(ways); i++) {
        uint64_t number = 0;
        const char *text = process_option(&doctor->process, ways[i], &number);
        if (text != NULL && (ways[i] == OPTION_HTTP || number != 0))
            return doctor_text(doctor, "%s=%s",
                               option_variable(&option_table[ways[i]], variable, sizeof(variable)),
                               text);
    }
    return NULL;
}

static uint64_t mask_of_task(const struct doctor *doctor, const char *task)
{
    char name[300];
    uint64_t mask = 0;
    snprintf(name, sizeof(name), "task/%s/status", task);
    char *text = process_read(doctor->process.pid, name);
    const char *line = text != NULL ? strstr(text, "\nSigBlk:") : NULL;
    if (line != NULL)
        mask = strtoull(line + strlen("\nSigBlk:"), NULL, 16);
    free(text);
    return mask;
}

/* Signals that every thread blocks. */
static uint64_t blocked_by_all(const struct doctor *doctor)
{
    char path[64];
    uint64_t mask = UINT64_MAX;
    snprintf(path, sizeof(path), "/proc/%ld/task", (long)doctor->process.pid);
    DIR *folder = opendir(path);
    if (folder == NULL)
        return doctor_status_bits(doctor, "SigBlk");
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (entry->d_name[0] != '.')
            mask &= mask_of_task(doctor, entry->d_name);
    }
    closedir(folder);
    return mask;
}

static bool has_bit(uint64_t set, int number)
{
    return (set >> (number - 1) & 1) != 0;
}

/* For good: the C library blocks all signals for a moment, as where it makes threads. */
static bool stays_blocked(const struct doctor *doctor, int number)
{
    enum { LOOKS = 5 };
    static const struct timespec pause = {.tv_nsec = 20000000};
    for (int i = 0; i < LOOKS; i++) {
        if (!has_bit(blocked_by_all(doctor), number))
            return false;
        nanosleep(&pause, NULL);
    }
    return true;
}

static void explain_uncaught(struct doctor *doctor, int number, bool is_ignored)
{
    const char *name = name_of(doctor, number);
    if (is_ignored)
        doctor_find(doctor, "signal-ignored",
                    "choose another with HPMALLOC_DUMP_SIGNAL, or start it where this one is not "
                    "ignored",
                    "%s is ignored: it was so as the program began (nohup, a shell's trap ''), or "
                    "the program wants it so",
                    name);
    else
        doctor_find(doctor, "signal-uncaught",
                    "choose another with HPMALLOC_DUMP_SIGNAL, which the program leaves alone",
                    "nothing in the process catches %s: the program has taken the library's "
                    "handler away; the signal would end it",
                    name);
}

static void explain_none(struct doctor *doctor)
{
    const char *way = other_way(doctor);
    if (way != NULL)
        doctor_note(doctor, "signal-none", doctor_text(doctor, "use %s", way),
                    "HPMALLOC_DUMP_SIGNAL=none: no signal makes it dump");
    else
        doctor_find(doctor, "signal-none", "start it without that, or with HPMALLOC_HTTP",
                    "HPMALLOC_DUMP_SIGNAL=none: no signal makes it dump");
}

static void check_signal(struct doctor *doctor, int number)
{
    bool is_ignored = has_bit(doctor_status_bits(doctor, "SigIgn"), number);
    bool is_caught = has_bit(doctor_status_bits(doctor, "SigCgt"), number);
    bool is_waiting = has_bit(doctor_status_bits(doctor, "ShdPnd"), number);
    if (is_ignored || (!is_caught && !doctor->is_planned)) {
        explain_uncaught(doctor, number, is_ignored);
        return;
    }
    if (stays_blocked(doctor, number))
        doctor_find(doctor, "signal-blocked",
                    "choose another with HPMALLOC_DUMP_SIGNAL, or serve with HPMALLOC_HTTP",
                    "%s is blocked in all of its threads%s", name_of(doctor, number),
                    is_waiting ? ", and one waits already" : "");
}

/* Filters of its own: a container's are its parent's too, and let a malloc's work through. */
static bool has_own_filter(const struct doctor *doctor)
{
    struct doctor parent = {.is_planned = true};
    const char *count = doctor_status(doctor, "Seccomp_filters");
    char *status = process_read((pid_t)atol(doctor_status(doctor, "PPid")), "status");
    if (status == NULL)
        return false;
    parent.status = status;
    bool is_more = *count != '\0' ? atol(count) > atol(doctor_status(&parent, "Seccomp_filters"))
                                  : atol(doctor_status(&parent, "Seccomp")) == 0;
    free(status);
    return is_more;
}

static void check_seccomp(struct doctor *doctor)
{
    static const char what[] = "let it open, write, fstat, close and renameat2 (or link), and "
                               "unlink, in a filter; hpprof doctor --dump tries whether it may";
    long mode = atol(doctor_status(doctor, "Seccomp"));
    if (mode == 1)
        doctor_find(doctor, "seccomp", "take the profile before it goes there",
                    "it is in seccomp's strict mode: a dump, which opens a file, would end it");
    else if (mode == 2 && !doctor->is_planned && has_own_filter(doctor))
        doctor_find(doctor, "seccomp", what,
                    "it has a seccomp filter of its own, which may forbid what a dump takes");
    else if (mode == 2)
        doctor_note(doctor, "seccomp", what,
                    "it is under a seccomp filter, as containers are: profiles work unless it is "
                    "stricter than usual");
}

void doctor_signals(struct doctor *doctor)
{
    uint64_t number = 0;
    process_option(&doctor->process, OPTION_DUMP_SIGNAL, &number);
    if (number == 0)
        explain_none(doctor);
    else if (!doctor_has(doctor, "program-pattern"))
        check_signal(doctor, (int)number);
    check_seccomp(doctor);
}
