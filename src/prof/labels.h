/* Labels of threads: what a thread's samples say beside their stack.
 *
 *   control  --key, value-->  labels  --set-->  profile, stacktab  --rows-->  report
 *
 * A set of labels is kept once, for ever, and a thread points at one: to take a sample costs one load
 * more. There are LABEL_SETS_MAX at most, so labels are for tenants and kinds of request, not for
 * numbers of requests.
 * Lock:   one, rank LOCK_STACKTAB, for making sets.
 * Signal: labels_current may be called anywhere. */
#ifndef HPM_PROF_LABELS_H
#define HPM_PROF_LABELS_H

#include "base/base.h"

enum { LABELS_MAX = 8, LABEL_TEXT_MAX = 127, LABEL_SETS_MAX = 4096 };

struct label {
    const char *key, *value;
};

struct label_set {
    struct label_set *next; // in the same bucket
    uint32_t number;        // from 0 on
    uint32_t hash;
    size_t count;
    struct label labels[]; // by key
};

/* This thread's; NULL: none. */
const struct label_set *labels_current(void);

/* Gives this thread's samples from now on a label, in place of one with the same key. -EINVAL: a text
 * is empty, longer than LABEL_TEXT_MAX bytes or has control characters; -ENOSPC: LABELS_MAX have been
 * set, or there are LABEL_SETS_MAX sets; -ENOMEM;
 * -EDEADLK: in a handler that interrupted this library. */
int labels_set(const char *key, const char *value);

/* Takes it away; NULL takes all. Nothing when there is none. */
int labels_clear(const char *key);

/* Gives this thread the label `thread` with its name, if that changed. */
void labels_name_thread(void);

size_t labels_set_count(void);

void labels_fork_prepare(void);
void labels_fork_parent(void);
void labels_fork_child(void);

#endif
