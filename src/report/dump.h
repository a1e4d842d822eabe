/* Profiles leave the process: a descriptor, a file, a file by the configured pattern.
 *
 *   control, lifecycle  --profile, format-->  dump  --snapshot-->  pprof, text
 *
 * A file is written under a temporary name in its folder (mode 0600, O_EXCL, no link followed) and
 * takes its final name by a link that fails when the name exists, so that it appears whole or not
 * at all and never over another file. Each dump says so in one line on stderr.
 *
 * Lock:   one, rank LOCK_DUMP, held while a dump is written; no lock that malloc takes is.
 * Fails:  a negative errno.
 * Signal: dump_request is made for handlers: under 1 KiB of stack, all buffers static. */
#ifndef HPM_REPORT_DUMP_H
#define HPM_REPORT_DUMP_H

#include "base/base.h"

/* Numbered as the choices of OPTION_DUMP_PROFILE and OPTION_DUMP_FORMAT. */
int dump_to_fd(unsigned profile, unsigned format, int fd);

/* `path` is a pattern with % directives; NULL is the configured one. `reason` is one word. */
int dump_to_path(unsigned profile, unsigned format, const char *path, const char *reason);

/* All configured profiles in all configured formats. While another thread dumps, the request is
 * remembered and answered by that thread with one more dump. */
void dump_request(const char *reason);

/* After the options are read: remembers program name, pattern, host. */
void dump_init(void);

void dump_fork_prepare(void);
void dump_fork_parent(void);
void dump_fork_child(void); // sequence numbers start anew

#endif
