/* Other programs, for what they know better: names are undone by c++filt, lines found by
 * llvm-symbolizer or addr2line. A crash of theirs is none of ours. */
#ifndef HPPROF_CHILD_H
#define HPPROF_CHILD_H

#include <stdbool.h>
#include <stddef.h>

/* Runs a program found in PATH with `input` as its standard input; returns what it wrote, to
 * free, NUL-terminated, and how much in *output_bytes; NULL when it cannot be run or fails. Its
 * stderr goes nowhere. */
char *child_filter(char *const *arguments, const char *input, size_t input_bytes,
                   size_t *output_bytes);

bool child_exists(const char *program);

#endif
