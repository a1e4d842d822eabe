/* Leak suspects of one profile, by the ages of its live memory.
 *
 *   model  --labels oldest, suspected, usual_lifetime-->  suspicions  -->  leaks
 *
 * The library judges them (report/suspects), for it knows each sample's age; its labels say the
 * outcome for each stack, with HPMALLOC_DUMP_LABELS=age. */
#ifndef HPPROF_SUSPICIONS_H
#define HPPROF_SUSPICIONS_H

#include "model.h"
#include "query.h"

struct suspicion {
    uint32_t sample; // one of the stack's
    double bytes;    // live and suspected
    double oldest_seconds;
    double usual_seconds; // 99 of 100 freed there lived less long; 0: none was ever freed
    double freed_objects; // of that stack
};

struct suspicions {
    struct suspicion *all; // most bytes first
    size_t count, capacity;
    bool has_ages; // the file says how old live memory is, or none is live
};

void suspicions_find(struct suspicions *suspicions, const struct profile *profile);
void suspicions_free(struct suspicions *suspicions);

/* Why it is suspected. */
enum { SUSPICION_TEXT_MAX = 256 };
const char *suspicions_reason(char text[SUSPICION_TEXT_MAX], const struct suspicion *suspicion);

/* The command leaks, of one file. */
int suspicions_report(const struct query *query);

#endif
