/* Places where a tracer may attach to samples: USDT probes by the names that OpenTelemetry's
 * profiler looks for.
 *
 *   otel_memory:alloc(object, bytes asked for, bytes that it stands for)
 *   otel_memory:free(object)
 *
 * A probe is an instruction that does nothing, and a note in the file that says where it is and in
 * which registers its arguments are; a tracer puts a trap there. The notes' form is SystemTap's,
 * version 3: name "stapsdt", type 3, the address, the address of `.stapsdt.base` (by which a reader
 * sees whether the file was moved after linking), that of a semaphore (none), then texts. */
#ifndef HPM_API_PROBES_H
#define HPM_API_PROBES_H

#include "base/base.h"

#if defined(__x86_64__) || defined(__aarch64__)
#define PROBE(name, arguments, ...)                                                                \
    __asm__ volatile("990: nop\n"                                                                  \
                     ".pushsection .note.stapsdt, \"\", %%note\n"                                  \
                     ".balign 4\n"                                                                 \
                     ".4byte 992f - 991f, 994f - 993f, 3\n"                                        \
                     "991: .asciz \"stapsdt\"\n"                                                   \
                     "992: .balign 4\n"                                                            \
                     "993: .8byte 990b, _.stapsdt.base, 0\n"                                       \
                     ".asciz \"otel_memory\", \"" name "\", \"" arguments "\"\n"                   \
                     "994: .balign 4\n"                                                            \
                     ".popsection\n"                                                               \
                     ".ifndef _.stapsdt.base\n"                                                    \
                     ".pushsection .stapsdt.base, \"aG\", %%progbits, .stapsdt.base, comdat\n"     \
                     ".weak _.stapsdt.base\n"                                                      \
                     ".hidden _.stapsdt.base\n"                                                    \
                     "_.stapsdt.base: .space 1\n"                                                  \
                     ".size _.stapsdt.base, 1\n"                                                   \
                     ".popsection\n"                                                               \
                     ".endif\n"                                                                    \
                     :                                                                             \
                     : __VA_ARGS__)
#else
#define PROBE(name, arguments, ...) ((void)0)
#endif

HPM_INLINE void probe_alloc(const void *object, uint64_t bytes, double weighted_bytes)
{
    uint64_t weighted = (uint64_t)weighted_bytes;
    PROBE("alloc", "8@%0 8@%1 8@%2", "r"(object), "r"(bytes), "r"(weighted));
    (void)object, (void)bytes, (void)weighted;
}

HPM_INLINE void probe_free(const void *object)
{
    PROBE("free", "8@%0", "r"(object));
    (void)object;
}

#endif
