/* The operating system behind one contract: memory, clocks, waiting, chance.
 *
 * The only room that makes system calls for memory. No call here changes errno.
 * Fails: calls that return memory return NULL when the kernel gives none.
 * Signal: every call is async-signal-safe. */
#ifndef HPM_BASE_OS_H
#define HPM_BASE_OS_H

#include "base/base.h"

/* Whether the program has rights that whoever started it may lack: set-user-ID, set-group-ID, file
 * capabilities. */
bool os_has_raised_rights(void);

/* Fresh zeroed pages, readable and writable. Sizes are rounded up to whole system pages. */
void *os_map(size_t bytes);

/* The same for what will be used all over: its pages are had at once. Else each costs a fault, and
 * one that is read first a second, with an interrupt of all processors that run the program. */
void *os_map_whole(size_t bytes);

/* The same at an address that is a multiple of `alignment` (a power of two). A free place at or
 * just below `hint` is tried first; NULL means no preference. */
void *os_map_aligned(size_t bytes, size_t alignment, void *hint);

/* Zeroed address space for a sparse table: pages exist once they are written. */
void *os_reserve(size_t bytes);

/* The same, to be read only: os_open what is to be written. The rest costs no memory, not even where
 * the program locks all of its memory, or the kernel counts what could be written. */
void *os_reserve_closed(size_t bytes);

/* The first `bytes` of a file, to read. The file's own pages: should it shrink meanwhile, what lies
 * beyond its new end must not be touched. */
void *os_map_file(int fd, size_t bytes);

/* Puts pages of a file onto pages already mapped, for all to see and to outlive the process. False:
 * nothing changed. */
bool os_map_shared(void *target, int fd, size_t offset, size_t bytes);

/* In children of fork the pages are not there, or read as zeroes. False: they will be shared, or
 * copied. */
bool os_keep_from_children(void *start, size_t bytes);
bool os_clear_in_children(void *start, size_t bytes);

void os_unmap(void *start, size_t bytes);

/* Gives the pages of a mapping back to the kernel; the range reads as zeroes afterwards, and nothing
 * beside it changes: a system page that is only in part in the range stays. False when the kernel
 * refused, and then the contents are as they were. */
bool os_release(void *start, size_t bytes);

/* Whether the range is to lie in huge pages, or never. Advice: nothing comes of it where the system
 * is set up otherwise. */
void os_advise_huge(void *start, size_t bytes, bool is_huge);

/* Takes the pages of a file that was mapped privately, to be read, out of this process's memory; they
 * come again when they are next touched. Nothing is done where memory that is no file's has taken its
 * place since. Not for shared mappings. */
void os_forget_file(void *start, size_t bytes);

/* Takes the right to touch pages away, and gives it back. False: nothing changed; it is so for a
 * range that is not of whole system pages. */
bool os_close(void *start, size_t bytes);
bool os_open(void *start, size_t bytes);

/* Grows or shrinks a mapping where it lies. False: nothing changed. */
bool os_resize(void *start, size_t old_bytes, size_t new_bytes);

/* Moves the pages of a mapping onto `target`, which is mapped and of `new_bytes`. False: nothing
 * changed. */
bool os_move(void *start, size_t old_bytes, void *target, size_t new_bytes);

/* Which pages of the range are in memory: pages[i] is 1 or 0 for each system page. False: part of the
 * range is not mapped, or the kernel does not tell. A page that was read but never written counts. */
bool os_resident_pages(const void *start, size_t bytes, uint8_t *pages);

/* How many bytes of the range are in memory; what is not mapped is not. False: the kernel does not
 * tell. */
bool os_resident_bytes(const void *start, size_t bytes, size_t *resident);

/* The system's page size; how much address space this process may have (RLIMIT_AS), 0 for any; and the
 * memory it could use at most: the lesser of physical memory and that, 0 when unknown. */
size_t os_page_bytes(void);
size_t os_space_limit_bytes(void);
size_t os_memory_limit_bytes(void);
#ifdef HPM_DEBUG
/* For tests: a system of larger pages than this one has. 0: its own. */
void os_act_page_bytes(size_t bytes);
#endif

/* Processors this process may run on; where the system has more than it can tell, many. */
size_t os_cpu_count(void);

/* The processor this thread runs on, or did a moment ago. */
unsigned os_cpu(void);

/* Nanoseconds: since boot; the same from a cheap clock good to some milliseconds; since 1970. */
uint64_t os_clock_ns(void);
uint64_t os_clock_coarse_ns(void);
uint64_t os_cpu_clock_ns(void); // processor time of all threads
uint64_t os_wall_clock_ns(void);

/* The calling thread's, as the kernel knows it. */
enum { OS_THREAD_NAME_BYTES = 16 };
void os_thread_name(char name[static OS_THREAD_NAME_BYTES]);

uint64_t os_random_u64(void);

/* Sleeps while *word == expected, until os_wake. May return early: false when it was not woken. */
bool os_wait(_Atomic uint32_t *word, uint32_t expected);
void os_wait_for(_Atomic uint32_t *word, uint32_t expected, uint64_t nanoseconds);
void os_wake(_Atomic uint32_t *word, int waiters);
void os_yield(void);

/* Opening, reading, writing and closing are where a cancelled thread ends. Between the two calls it
 * does not: it may be inside malloc, hold our locks, or be about to die of an error. */
int os_put_cancel_off(void);
void os_allow_cancel(int before);

/* System calls made so far (statistics). */
enum os_call {
    OS_CALL_MAP,
    OS_CALL_UNMAP,
    OS_CALL_REMAP,
    OS_CALL_RELEASE,
    OS_CALL_PROTECT,
    OS_CALL_RESIDENT,
    OS_CALL_WAIT,
    OS_CALL_WAKE,
    OS_CALL_COUNT
};
uint64_t os_call_count(enum os_call call);

#endif
