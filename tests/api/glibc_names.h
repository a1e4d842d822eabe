/* What glibc's <malloc.h> and <dlfcn.h> say of names that the library has with every C library,
 * for tests with one that does not declare them. */
#ifndef HPM_TESTS_API_GLIBC_NAMES_H
#define HPM_TESTS_API_GLIBC_NAMES_H

#ifndef __GLIBC__
#include <stddef.h>
#include <stdio.h>

enum { M_MMAP_THRESHOLD = -3, RTLD_DEEPBIND = 0 };

struct mallinfo2 {
    size_t arena, ordblks, smblks, hblks, hblkhd, usmblks, fsmblks, uordblks, fordblks, keepcost;
};

struct mallinfo {
    int arena, ordblks, smblks, hblks, hblkhd, usmblks, fsmblks, uordblks, fordblks, keepcost;
};

struct mallinfo2 mallinfo2(void);
struct mallinfo mallinfo(void);
int mallopt(int parameter, int value);
int malloc_trim(size_t keep_bytes);
int malloc_info(int options, FILE *stream);
void malloc_stats(void);
void *pvalloc(size_t bytes);
#endif

#endif
