/* What a profile says of its own stacks: how many are whole, and where and why others stop.
 *
 *   pprof, text  --snapshot, symbols-->  cuts
 *
 * Counted are samples, of live and of freed objects alike. Signal: async-signal-safe. */
#ifndef HPM_REPORT_CUTS_H
#define HPM_REPORT_CUTS_H

#include "base/base.h"
#include "prof/profile.h"
#include "prof/symbols.h"

enum { CUTS_MAX = 12 }; // beyond, cuts of a kind are taken together

/* Samples whose stacks stop for one reason in one file. */
struct cut {
    enum stack_end end;
    uint32_t mapping; // of the symbol table, or MAPPING_NONE
    uint64_t samples;
};

struct cuts {
    uint64_t samples, whole; // that have a stack of their own; of those, with a whole one
    struct cut cuts[CUTS_MAX];
    size_t count;
};

void cuts_count(struct cuts *cuts, const struct snapshot *snapshot,
                const struct symbol_table *table);

/* A line without its end: the share of whole stacks, and of one cut. Returns its length. */
size_t cuts_print_whole(const struct cuts *cuts, char *line, size_t bytes);
size_t cuts_print(const struct cuts *cuts, size_t index, const struct symbol_table *table,
                  char *line, size_t bytes);

#endif
