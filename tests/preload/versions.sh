#!/bin/bash
# Which names of programs the loader binds to the library, by their versions.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/common.bash"
has readelf && has "${CC:-cc}" || skip_all "there is no readelf, or no compiler"

cat >"$work/program.c" <<'END'
#include <malloc.h>
#include <stdlib.h>
int main(void)
{
    void *aligned = NULL;
    if (posix_memalign(&aligned, 64, 100) != 0)
        return 1;
    char *block = realloc(calloc(1, 100), 200);
    size_t usable = malloc_usable_size(block);
    free(block);
    free(aligned);
    free(reallocarray(NULL, 10, 10));
    void *bytes = malloc(usable);
    free(bytes);
    return bytes == NULL;
}
END
names='malloc free calloc realloc reallocarray posix_memalign malloc_usable_size'

builds()
{
    "${CC:-cc}" -fno-builtin -o "$work/program" "$work/program.c"
}

wants_versions()
{
    local name
    for name in $names; do
        readelf --dyn-syms -W "$work/program" | grep " $name@GLIBC_" || {
            echo "$name is wanted without a version"
            return 1
        }
    done
}

# Bound from the program, and from the C library for itself.
binds()
{
    local name
    ours 20 LD_DEBUG=bindings LD_BIND_NOW=1 "$work/program" 2>"$work/bindings" || return
    for name in $names; do
        grep "binding file $work/program .* to $library .*symbol .$name' \[GLIBC_" "$work/bindings" || {
            grep "symbol .$name'" "$work/bindings"
            return 1
        }
    done
    ! grep "to .*/libc\.so.*normal symbol .malloc'" "$work/bindings"
}

cat >"$work/own.c" <<'END'
#include <hpmalloc.h>
int main(void)
{
    void *block = hpm_malloc(10);
    hpm_free(block);
    return block == NULL;
}
END

own_names_are_wanted_by_version()
{
    "${CC:-cc}" -I"$top_srcdir/include" -o "$work/own" "$work/own.c" "$library" || return
    readelf --dyn-syms -W "$work/own" | grep ' hpm_malloc@HPMALLOC_0' &&
        LD_LIBRARY_PATH=$(dirname "$library") timeout 20 "$work/own"
}

is_glibc=$("${CC:-cc}" -dumpmachine | grep -c gnu)
if [ "$is_glibc" = 1 ]; then
    check "a program of the malloc family builds" builds
    check "it wants the C library's names by version" wants_versions
    check "the loader binds them to the library all the same" binds
else
    skip "the loader binds versioned names to the library" "this C library's names have no versions"
fi
check "a program that is linked wants our own names by version" own_names_are_wanted_by_version
finish
