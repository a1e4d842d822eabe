/* As a program for gperftools' heap profiler is written: it asks whether the profiler is there,
 * takes profiles around its work, and hands one out as text. It knows nothing of hpmalloc.
 *
 *   gperftools_program PREFIX     ends with status 0, or says what was not so */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "expect.h"

/* Linked, as its headers would have it: -DWEAK= */
#ifndef WEAK
#define WEAK __attribute__((weak))
#endif
extern void HeapProfilerStart(const char *prefix) WEAK;
extern int IsHeapProfilerRunning(void) WEAK;
extern void HeapProfilerStop(void) WEAK;
extern void HeapProfilerDump(const char *reason) WEAK;
extern char *GetHeapProfile(void) WEAK;
extern int MallocExtension_GetNumericProperty(const char *property, size_t *value) WEAK;
extern int MallocExtension_SetNumericProperty(const char *property, size_t value) WEAK;
extern void MallocExtension_GetStats(char *buffer, int length) WEAK;
extern void MallocExtension_ReleaseFreeMemory(void) WEAK;
extern int MallocExtension_MallocMemoryStats(int *blocks, size_t *total, int histogram[64]) WEAK;
extern size_t MallocExtension_GetEstimatedAllocatedSize(size_t size) WEAK;
extern size_t MallocExtension_GetAllocatedSize(const void *p) WEAK;

enum { BLOCKS = 8000, BLOCK_BYTES = 1000 };

static void *volatile kept[BLOCKS];

__attribute__((noinline)) static void hoard(void)
{
    for (int i = 0; i < BLOCKS; i++)
        kept[i] = malloc(BLOCK_BYTES);
}

static size_t property(const char *name)
{
    size_t value = 0;
    EXPECT(MallocExtension_GetNumericProperty(name, &value) != 0);
    return value;
}

static int exists(const char *prefix, int number)
{
    char path[1000];
    snprintf(path, sizeof(path), "%s.%04d.heap", prefix, number);
    FILE *file = fopen(path, "r");
    if (file != NULL)
        fclose(file);
    return file != NULL;
}

static void ask_extension(size_t before)
{
    char text[2000], *block = malloc(100);
    int blocks, histogram[64];
    size_t total;
    EXPECT(property("generic.current_allocated_bytes") >= before + BLOCKS * BLOCK_BYTES);
    EXPECT(property("generic.heap_size") >= property("generic.current_allocated_bytes"));
    EXPECT(!MallocExtension_GetNumericProperty("no.such_property", &total));
    EXPECT(!MallocExtension_SetNumericProperty("tcmalloc.max_total_thread_cache_bytes", 1));
    MallocExtension_GetStats(text, sizeof(text));
    EXPECT(strlen(text) > 200 && strlen(text) < sizeof(text));
    EXPECT(MallocExtension_GetAllocatedSize(block) ==
           MallocExtension_GetEstimatedAllocatedSize(100));
    EXPECT(MallocExtension_MallocMemoryStats(&blocks, &total, histogram));
    EXPECT(blocks >= BLOCKS && total >= BLOCKS * BLOCK_BYTES &&
           histogram[9] + histogram[10] >= BLOCKS);
    free(block);
}

int main(int count, char **arguments)
{
    EXPECT(count == 2);
    EXPECT(HeapProfilerStart != NULL);
    size_t before = property("generic.current_allocated_bytes");
    HeapProfilerDump("before the start: nothing is written");
    EXPECT(!IsHeapProfilerRunning() && !exists(arguments[1], 1));
    HeapProfilerStart(arguments[1]);
    EXPECT(IsHeapProfilerRunning());
    hoard();
    HeapProfilerDump("the hoard is full");
    HeapProfilerDump("once more");
    EXPECT(exists(arguments[1], 1) && exists(arguments[1], 2) && !exists(arguments[1], 3));
    char *text = GetHeapProfile();
    EXPECT(text != NULL && strncmp(text, "heap profile: ", 14) == 0);
    EXPECT(strstr(text, "MAPPED_LIBRARIES:") != NULL);
    free(text);
    ask_extension(before);
    for (int i = 0; i < BLOCKS / 2; i++)
        free(kept[i]);
    MallocExtension_ReleaseFreeMemory();
    HeapProfilerStop();
    EXPECT(!IsHeapProfilerRunning());
    HeapProfilerDump("after the stop: nothing is written");
    EXPECT(!exists(arguments[1], 3));
    HeapProfilerStart(arguments[1]);
    HeapProfilerDump("the numbers start anew, over the file of before");
    EXPECT(!exists(arguments[1], 3));
    return 0; /* the profiler runs: the last profile, number 2, is written at the end */
}
