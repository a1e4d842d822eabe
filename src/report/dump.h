/* Profiles leave the process: a descriptor, a file, a file by the configured pattern.
 *
 *   control, lifecycle  --profile, format-->  dump  --snapshot-->  pprof, text, legacy, collapsed
 *                                               \--pattern-->  dumpfile
 *
 * A file appears whole or not at all and never over another (dumpfile). Each dump into one says so
 * in one line on stderr, and so does one that failed: what, why, and what to do.
 *
 * The pattern's ending: one that ends in .pb.gz, .pprof, .prof, .gz, .txt, .heap or .folded keeps
 * it; others get the format's. With several formats, each but the one whose ending
 * the pattern has adds its own; with several profiles, each puts its name before the ending.
 *
 * Of the files by the pattern, the newest HPMALLOC_DUMP_KEEP are kept (retain).
 *
 * A dump neither raises a signal (SIGPIPE, SIGXFSZ) nor ends in a thread's cancellation.
 *
 * Lock:   one, rank LOCK_DUMP, held while a dump is written; no lock that malloc takes is.
 * Fails:  a negative errno; -EDEADLK to a handler that interrupted this library itself.
 * Signal: dump_request is made for handlers: under 1 KiB of stack, all buffers static. */
#ifndef HPM_REPORT_DUMP_H
#define HPM_REPORT_DUMP_H

#include "base/base.h"
#include "prof/profile.h"

/* Numbered as the choices of OPTION_DUMP_PROFILE and OPTION_DUMP_FORMAT. */
int dump_to_fd(unsigned profile, unsigned format, int fd);

/* What else may be wished for of a dump into a descriptor. */
enum dump_names { DUMP_NAMES_AS_OPTION, DUMP_NAMES_NONE, DUMP_NAMES_ALL };

struct dump_order {
    unsigned profile, format;
    enum dump_names names;
    const struct snapshot *to;   // a picture to show; NULL: of now
    const struct snapshot *from; // what has changed since this one; NULL: all of it
    bool keeps_inuse;            // but what is in use as it is
};
int dump_order_to_fd(const struct dump_order *order, int fd);

/* A picture for an order, to be freed by snapshot_free. What is to be subtracted from another must not
 * be calibrated: rows where nothing happened would differ. */
int dump_take_picture(struct snapshot *picture, bool is_calibrated);

/* For each address whose function is known a line `0xaddress name`, after one that says how many
 * symbols there are, as far as `go tool pprof` wants to know it: 1. */
int dump_names_to_fd(const uintptr_t *addresses, size_t count, int fd);

/* `path` may have % directives and is otherwise taken as it is; NULL is the configured pattern.
 * `reason` is one word. */
int dump_to_path(unsigned profile, unsigned format, const char *path, const char *reason);

/* All configured profiles in all configured formats. While another thread dumps, the request is
 * remembered and answered by that thread with one more dump. `reason` must stay readable. */
void dump_request(const char *reason);

/* The same, but waits for its turn. True: all files were written. Not for handlers. */
bool dump_all(const char *reason);

/* Keeps dumps from being made, for who needs what finds names (prof/symbols). False: one is being
 * made. */
bool dump_try_pause(void);
void dump_resume(void);

/* What was live, by estimate, when configured profiles were last written; before the first, and in
 * the child of a fork before its first, what was live as it began. */
uint64_t dump_last_live_bytes(void);

/* After the options are read: remembers program name, pattern, host. */
void dump_init(void);

void dump_fork_prepare(void);
void dump_fork_parent(void);
void dump_fork_child(void); // sequence numbers start anew

#endif
