/* Sorting in place, without recursion and without memory.
 * Signal: async-signal-safe. */
#ifndef HPM_BASE_SORT_H
#define HPM_BASE_SORT_H

#include "base/base.h"

/* Smallest first. To sort other things, put what decides into the upper bits and the thing's
 * index into the lower ones. */
void sort_words(uint64_t *words, size_t count);

#endif
