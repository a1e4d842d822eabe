/* What a report says of leaks, as JSON: verdicts where there are snapshots enough, else suspects by
 * age where the file carries ages.
 *
 *   findings, labels of samples  -->  evidence  --JSON-->  report
 *
 * A stack is named by its innermost call in the report's tree of calls. */
#ifndef HPPROF_EVIDENCE_H
#define HPPROF_EVIDENCE_H

#include <stdio.h>

#include "model.h"

/* A profile of a report. */
struct shot {
    struct profile *profile;
    uint32_t *innermost; // calls, by sample; MODEL_NONE: left out
    size_t given;        // as which argument
};

/* {"said":..., "stacks":[...]}, or null where there are too few. */
void evidence_put_verdicts(FILE *file, const struct shot *shots, size_t count);

/* [{"call":..., "bytes":...}, ...], or null where the profile carries no ages. */
void evidence_put_suspects(FILE *file, const struct shot *shot);

/* [calls, median ages in nanoseconds], or null. */
void evidence_put_ages(FILE *file, const struct shot *shot);

#endif
