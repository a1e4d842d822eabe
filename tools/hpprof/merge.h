/* Profiles added up into one: the same stack, in the same binaries, with the same labels, is one
 * sample. Addresses are those of the first process; binaries are the same by build id, else path.
 */
#ifndef HPPROF_MERGE_H
#define HPPROF_MERGE_H

#include "model.h"

/* False: their types of values differ; one line said so. */
bool merge_add(struct profile *sum, const struct profile *profile);

#endif
