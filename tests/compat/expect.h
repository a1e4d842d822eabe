/* What the programs of this folder ask: it has to be so, or they end with status 1. */
#ifndef HPM_TESTS_COMPAT_EXPECT_H
#define HPM_TESTS_COMPAT_EXPECT_H

#include <stdio.h>
#include <stdlib.h>

#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            printf("line %d: not so: %s\n", __LINE__, #condition);                                 \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

#endif
