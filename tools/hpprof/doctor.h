/* Why a process gives no profile, or poor stacks: who is examined, and what was found.
 *
 *   process, binary  -->  doctor_loading, doctor_options, doctor_signals, doctor_folder,
 *                         doctor_http, doctor_stacks, doctor_profile  -->  doctor
 *
 * Each examination adds what it finds. It sees the process from outside, through /proc, and
 * changes nothing. */
#ifndef HPPROF_DOCTOR_H
#define HPPROF_DOCTOR_H

#include <limits.h>

#include "binary.h"
#include "memory.h"
#include "process.h"

/* A finding is wrong; a note may explain something, and is no reason to complain. */
struct finding {
    const char *code; // for scripts: "signal-blocked"
    const char *what, *remedy;
    bool is_note;
};

struct doctor {
    /* The patient. A program that does not run yet would inherit what hpprof itself has: then the
     * process is hpprof. */
    struct process process;
    bool is_planned;
    const char *program;  // as the library knows it: without its folder
    const char *asked;    // as it was asked for, where it is planned
    bool is_script;       // and then `path` is what runs it
    char path[PATH_MAX];  // of the program's file, as it is reached from here
    struct binary binary; // that file
    bool is_preloaded;    // the library is in the process, and the program is not linked with it
    const char *library;  // where it is; NULL: not there
    const char *status;   // of /proc
    const char *maps;     // "" for one that is planned
    bool has_options;     // the environment is what it began with, and is looked at

    struct finding *findings;
    size_t count, capacity, finding_count; // finding_count: without notes
    struct pool pool;
};

void doctor_find(struct doctor *doctor, const char *code, const char *remedy, const char *format,
                 ...) __attribute__((format(printf, 4, 5)));
void doctor_note(struct doctor *doctor, const char *code, const char *remedy, const char *format,
                 ...) __attribute__((format(printf, 4, 5)));
bool doctor_has(const struct doctor *doctor, const char *code);

/* Takes a finding back that was proved wrong. */
void doctor_forget(struct doctor *doctor, const char *code);

/* Text that lives as long as the doctor. */
const char *doctor_text(struct doctor *doctor, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A line of the status, behind its name; "" where there is none. */
const char *doctor_status(const struct doctor *doctor, const char *name);
uint64_t doctor_status_bits(const struct doctor *doctor, const char *name); // hexadecimal

/* A path of the patient's as it is reached from here. */
const char *doctor_reach(struct doctor *doctor, const char *path);

/* What access(2) of the path (the patient's) would tell the patient: 0, or errno. */
int doctor_access(const struct doctor *doctor, const char *path, int mode);

/* Whether the two share a namespace: "mnt", "net". */
bool doctor_shares(const struct doctor *doctor, const char *kind);

/* The next line of maps that begins at *at: its name ("" where it has none) into `path`, which ends
 * before " (deleted)". False at the end. */
struct doctor_mapping {
    uint64_t start, limit;
    bool is_executable, is_deleted;
    char path[PATH_MAX];
};
bool doctor_next_mapping(const char **at, struct doctor_mapping *mapping);

/* Whether the library is in the process; else why not. */
bool doctor_loading(struct doctor *doctor);
void doctor_allocators(struct doctor *doctor);
void doctor_options(struct doctor *doctor);
void doctor_signals(struct doctor *doctor);
void doctor_folder(struct doctor *doctor);
void doctor_http(struct doctor *doctor);
void doctor_stacks(struct doctor *doctor);

/* A profile of the patient's: one there is, or one that it is asked for now (the name is set then).
 * False: it could not be read, and one line said why. */
bool doctor_profile(struct doctor *doctor, const char *path);
const char *doctor_ask(struct doctor *doctor);

#endif
