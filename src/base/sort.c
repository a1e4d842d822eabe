#include "base/sort.h"

/* Lets the word at `at` sink until no child is larger. */
static void sift(uint64_t *words, size_t at, size_t count)
{
    uint64_t word = words[at];
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && words[child + 1] > words[child])
            child++;
        if (words[child] <= word)
            break;
        words[at] = words[child];
    }
    words[at] = word;
}

/* A heap sort: its worst case is its average case, and it needs no stack. */
void sort_words(uint64_t *words, size_t count)
{
    for (size_t at = count / 2; at-- > 0;)
        sift(words, at, count);
    while (count-- > 1) {
        uint64_t largest = words[0];
        words[0] = words[count];
        words[count] = largest;
        sift(words, 0, count);
    }
}
