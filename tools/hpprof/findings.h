/* Several snapshots of one process, and for each stack what their course says of it.
 *
 *   model, model, ...  --stacks-->  trend  -->  findings  -->  leaks, report */
#ifndef HPPROF_FINDINGS_H
#define HPPROF_FINDINGS_H

#include "stacks.h"
#include "trend.h"

struct moment_taken {
    struct profile *profile;
    int type;
    size_t given;   // as which of those handed over
    double seconds; // since the first
};

struct finding {
    const struct stack_row *row; // its cells are in the order of time
    struct trend trend;
    double last, most;
};

struct findings {
    struct moment_taken *taken; // by time: the profile's own, or else the file's
    size_t taken_count;
    struct stacks stacks;
    struct finding *all; // leaks first, and what grows fastest or is most
    size_t count;
};

/* `types`: the column of each profile. The profiles have to stay until findings_free. */
void findings_build(struct findings *findings, struct profile *const *profiles, const int *types,
                    size_t count);
void findings_free(struct findings *findings);

/* From the first to the last. */
double findings_seconds(const struct findings *findings);

/* How many leak, grow and so on, in half a sentence. */
void findings_say(const struct findings *findings, char *text, size_t size);

#endif
