#!/bin/bash
# Each allocation a sample, on stacks that no compiler made: nothing faults, nothing hangs, nothing
# asks the loader.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/../preload/common.bash"

source=$top_srcdir/tests/prof
torture=$work/torture
CC=${CC:-cc}

# plugin NAME FRAME_BYTES [OPTION...]
plugin()
{
    local name=$1 frame=$2
    shift 2
    $CC -O2 -fomit-frame-pointer -fno-builtin -shared -fPIC -DFRAME_BYTES="$frame" "$@" \
        -o "$work/$name.so" "$source/torture_plugin.c"
}

build()
{
    $CC -std=gnu11 -O1 -fno-omit-frame-pointer -fno-optimize-sibling-calls -fno-builtin \
        -rdynamic -pthread -o "$torture" "$source/torture.c" -ldl &&
        plugin small 16 && plugin large 400 && plugin long 16 -DPAD_IN_FILE &&
        plugin short 400 -DPAD_IN_MEMORY || return
    local i
    for i in 1 2 3 4 5 6; do
        plugin "own$i" $((i * 48)) || return
    done
    # So aligned, the one comes to lie where the other was.
    plugin early_long 16 -DPAD_IN_FILE -Wl,-z,max-page-size=0x200000 &&
        plugin early_short 400 -Wl,-z,max-page-size=0x200000 &&
        $CC -std=gnu11 -shared -fPIC -o "$work/early.so" "$source/torture_early.c" -ldl &&
        $CC -std=gnu11 -DPROGRAM -o "$work/early" "$source/torture_early.c" -ldl
}

closes_what_was_opened_early()
{
    timeout 20 env HPMALLOC_SAMPLE_INTERVAL=1 EARLY="$work/early_long.so" \
        LD_PRELOAD="$library $work/early.so" "$work/early" "$work/early_short.so"
}

# torture MODE [ARGUMENT...]: each allocation sampled; leaves what was sampled in all.txt.
torture()
{
    rm -f "$work"/all*.txt
    ours 20 HPMALLOC_SAMPLE_INTERVAL=1 HPMALLOC_DUMP_AT_EXIT=1 HPMALLOC_DUMP_FORMAT=text \
        HPMALLOC_DUMP_PROFILE=heap,allocs HPMALLOC_DUMP_PATH="$work/all.%n" "$torture" "$@"
}

# A test that is not for this machine ends with status 77.
check_torture()
{
    local sentence=$1 status=0
    shift
    ran=yes
    torture "$@" >"$work/torture.log" 2>&1 </dev/null || status=$?
    if [ $status = 77 ]; then
        skip "$sentence" "not on this machine"
        ran=no
    elif [ $status = 0 ] && ls "$work"/all*.txt >/dev/null 2>&1; then
        ok "$sentence"
    else
        (echo "ended with status $status" && cat "$work/torture.log") >"$work/trouble"
        not_ok "$sentence" <"$work/trouble"
    fi
}

# check_stack SENTENCE WORD...: of the program that check_torture ran last.
check_stack()
{
    local sentence=$1
    shift
    if [ "$ran" = yes ]; then
        check "$sentence" has_stack "$@"
    else
        skip "$sentence" "not on this machine"
    fi
}

# has_stack WORD...: a stack of the profile has functions of these names, innermost first.
has_stack()
{
    cat "$work"/all*.txt | tr '\n' ' ' | grep -qE "$(printf '%s.{0,200}' "$@")"
}

loader_is_not_asked()
{
    torture nobody "$work/small.so"
}

# All the library may ask of the loader is the list of loaded objects, once, at start.
nothing_else_is_linked()
{
    nm -D --undefined-only "$library" >"$work/names" || return
    ! grep -E ' (dladdr|dladdr1|_Unwind_|backtrace|dl_find_object|_dl_find_object)' "$work/names"
}

profiler_calls_no_malloc()
{
    nm --undefined-only "$top_builddir/tests/libprof.a" >"$work/names" || return
    ! grep -wE 'malloc|calloc|realloc|free|posix_memalign|fopen|printf|dladdr|dlsym|_Unwind_Backtrace' \
        "$work/names"
}

dl_iterate_phdr_is_called_at_start_only()
{
    is "$(grep -rlw dl_iterate_phdr "$top_srcdir/src" --include='*.c')" \
        "$top_srcdir/src/prof/objects.c" &&
        is "$(grep -c 'dl_iterate_phdr(' "$top_srcdir/src/prof/objects.c")" 1
}

ends_whole()
{
    local file
    for file in "$work"/all*.txt; do
        grep -q . "$file" || return
    done
}

has "${CC%% *}" || skip_all "there is no C compiler"
check "torture: the programs compile" build
[ "$failures" = 0 ] || finish
check_torture "torture: any value may be in the frame pointer" register
check_torture "torture: callers' saved frame pointers and return addresses may be anything" frames
check_torture "torture: all the callers' stack may be anything" stack
check_torture "torture: what looks like a signal's frame may lead nowhere" signal
check_torture "torture: the stack pointer may be at the very top of a stack between guards" top
check_torture "torture: a stack may lose pages between two samples" shrinks
check_torture "torture: 8 KiB fibres between guards are enough" fibres
check_stack "torture: the fibres' stacks were found" fibre_allocates run_fibre
check_torture "torture: eight threads may open and close libraries during samples and dumps" threads \
    "$work/small.so" "$work/small.so" "$work"/own[1-6].so
check_torture "torture: a library may come where another was" turn "$work/small.so" "$work/large.so"
check_stack "torture: its stacks are its own" plugin_inner plugin_allocate calls_plugin main
check_torture "torture: a library's file may be written over after it was closed" replaced \
    "$work/long.so" "$work/short.so"
check "torture: a library that an earlier constructor opened may be closed" \
    closes_what_was_opened_early
if nm -D "$library" | grep -q ' unw_'; then
    skip "torture: a sample asks nobody" "built with libunwind"
else
    check "torture: a sample asks neither the loader nor the compiler's unwinder" loader_is_not_asked
    check "torture: nothing that could ask is linked" nothing_else_is_linked
    check "torture: the loader is asked at start only" dl_iterate_phdr_is_called_at_start_only
fi
if [ -e "$top_builddir/tests/libprof.a" ]; then
    check "torture: the profiler calls no malloc" profiler_calls_no_malloc
else
    skip "torture: the profiler calls no malloc" "there is no tests/libprof.a"
fi
finish
