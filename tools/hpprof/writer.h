/* Profiles into files. Fails: false, and one line said why. */
#ifndef HPPROF_WRITER_H
#define HPPROF_WRITER_H

#include "model.h"

/* Which format; from a name (pprof, legacy, collapsed) or a file's ending. */
enum format { FORMAT_PPROF, FORMAT_PPROF_PLAIN, FORMAT_LEGACY, FORMAT_COLLAPSED, FORMAT_NONE };
enum format writer_format(const char *name, const char *path);

/* `path` "-" is standard output. `type`: the column, where the format holds but one. */
bool writer_save(const struct profile *profile, const char *path, enum format format, int type);

#endif
