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

/* Numbered as the choices of OPTION_DUMP_PROFILE and OPTION_DUMP_FORMAT. */
int dump_to_fd(unsigned profile, unsigned format, int fd);

/* `path` may have % directives and is otherwise taken as it is; NULL is the configured pattern.
 * `reason` is one word. */
int dump_to_path(unsigned profile, unsigned format, const char *path, const char *reason);

/* All configured profiles in all configured formats. While another thread dumps, the request is
 * remembered and answered by that thread with one more dump. `reason` must stay readable. */
void dump_request(const char *reason);

/* The same, but waits for its turn. True: all files were written. Not for handlers. */
bool dump_all(const char *reason);

/* What was live, by estimate, when configured profiles were last written; before the first, and in
 * the child of a fork before its first, what was live as it began. */
uint64_t dump_last_live_bytes(void);

/* After the options are read: remembers program name, pattern, host. */
void dump_init(void);

void dump_fork_prepare(void);
void dump_fork_parent(void);
void dump_fork_child(void); // sequence numbers start anew

#endif
