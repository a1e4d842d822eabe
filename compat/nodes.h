/* The values that mallctl reads and writes, by their names in jemalloc. */
#ifndef HPM_COMPAT_NODES_H
#define HPM_COMPAT_NODES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum node_kind { NODE_CALL, NODE_BOOL, NODE_UNSIGNED, NODE_SIZE, NODE_SSIZE, NODE_U64, NODE_TEXT };

union node_value {
    bool flag;
    unsigned number;
    size_t size;
    ssize_t ssize;
    uint64_t u64;
    const char *text;
};

/* In a name, "#" stands for a number. Without `get` it cannot be read, without `set` not written.
 */
struct node {
    const char *name;
    enum node_kind kind;
    union node_value (*get)(void);

    /* NULL: it was called without a value. Returns 0 or an errno value. */
    int (*set)(const union node_value *given);
};

extern const struct node nodes[];
extern const unsigned node_count;

size_t node_bytes(enum node_kind kind);

#endif
