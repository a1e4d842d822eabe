/* Words the whole house shares: units, hints, attributes, the list. Nothing here has state. */
#ifndef HPM_BASE_BASE_H
#define HPM_BASE_BASE_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KiB ((size_t)1 << 10)
#define MiB ((size_t)1 << 20)
#define GiB ((size_t)1 << 30)
#define TiB ((size_t)1 << 40)

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* What is exported is no other function's body: with -flto gcc makes one of two that are equal, and
 * free would jump to operator delete, which a program may replace. */
#if defined(__has_attribute) && !defined(__clang__)
#if __has_attribute(no_icf)
#define HPM_EXPORT __attribute__((visibility("default"), no_icf))
#endif
#endif
#ifndef HPM_EXPORT
#define HPM_EXPORT __attribute__((visibility("default")))
#endif

#define HPM_HIDDEN   __attribute__((visibility("hidden"))) // for externs: no way through the GOT
#define HPM_NOINLINE __attribute__((noinline))
#define HPM_COLD     __attribute__((noinline, cold))
#define HPM_INLINE   static inline __attribute__((always_inline))
#define HPM_WEAK     __attribute__((weak))

/* Code of the profiler that every program runs at its start or end: kept together, beside the
 * allocator's, so that a small program maps few pages of the library. */
#define HPM_EARLY __attribute__((section(".text.startup")))

/* Thread-local storage that works in a library opened late: a few bytes of the static block, no
 * call, no allocation. Keep what is declared with it small (pointers and flags). */
#define HPM_TLS _Thread_local __attribute__((tls_model("initial-exec")))

#define CACHE_LINE_BYTES 64
#define HPM_LINE_ALIGNED __attribute__((aligned(CACHE_LINE_BYTES)))

#define array_count(a) (sizeof(a) / sizeof((a)[0]))

HPM_INLINE size_t round_up(size_t n, size_t power_of_two)
{
    return (n + power_of_two - 1) & ~(power_of_two - 1);
}

HPM_INLINE size_t round_down(size_t n, size_t power_of_two)
{
    return n & ~(power_of_two - 1);
}

HPM_INLINE bool is_power_of_two(size_t n)
{
    return n != 0 && (n & (n - 1)) == 0;
}

HPM_INLINE size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

HPM_INLINE size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* The finalizer of SplitMix64: spreads a weak seed over 64 bits. */
HPM_INLINE uint64_t mix_bits(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* clang's way to say what gcc says. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer) && !defined(__SANITIZE_THREAD__)
#define __SANITIZE_THREAD__ 1
#endif
#if __has_feature(address_sanitizer) && !defined(__SANITIZE_ADDRESS__)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif

/* A word its owner (a thread, or who holds a lock) writes with plain stores and others may read:
 * they see some recent value. Under ThreadSanitizer both sides are declared atomic; elsewhere
 * the owner's side is a plain access, so that `count -= 1` stays one instruction. */
#if defined(__SANITIZE_THREAD__)
#define owner_load(p)     __atomic_load_n((p), __ATOMIC_RELAXED)
#define owner_store(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#else
#define owner_load(p)     (*(p))
#define owner_store(p, v) (*(p) = (v))
#endif
#define peek_load(p) __atomic_load_n((p), __ATOMIC_RELAXED)

typedef _Atomic uint64_t counter;

HPM_INLINE void counter_add(counter *c, uint64_t n)
{
    atomic_fetch_add_explicit(c, n, memory_order_relaxed);
}

HPM_INLINE uint64_t counter_get(counter *c)
{
    return atomic_load_explicit(c, memory_order_relaxed);
}

/* A doubly linked ring: the head is a node of its own, an empty list points at itself. */
struct list {
    struct list *next, *previous;
};

#define list_entry(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))
#define list_walk(node, head) for (struct list *node = (head)->next; node != (head); node = node->next)

HPM_INLINE void list_init(struct list *head)
{
    head->next = head->previous = head;
}

HPM_INLINE bool list_is_empty(const struct list *head)
{
    return head->next == head;
}

HPM_INLINE void list_push(struct list *head, struct list *node)
{
    node->next = head->next;
    node->previous = head;
    head->next->previous = node;
    head->next = node;
}

HPM_INLINE void list_push_last(struct list *head, struct list *node)
{
    list_push(head->previous, node);
}

HPM_INLINE void list_take(struct list *node)
{
    node->previous->next = node->next;
    node->next->previous = node->previous;
    node->next = node->previous = node;
}

#endif
