#!/bin/bash
# The USDT probes otel_memory:alloc and otel_memory:free: their notes, and what a tracer (gdb) sees there.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/common.bash"

has readelf || skip_all "there is no readelf"
case $(uname -m) in
x86_64 | aarch64) ;;
*) skip_all "probes are for x86-64 and arm64" ;;
esac

notes_name_both()
{
    readelf -n "$library" >"$work/notes"
    grep -A4 stapsdt "$work/notes"
    is "$(grep -A2 'Provider: otel_memory' "$work/notes" | sed -n 's/ *Name: //p' | sort -u | tr '\n' ' ')" \
        "alloc free " && ! grep -q "Location: 0x0000000000000000" "$work/notes"
}

# 2000 small blocks of 5000 bytes and 20 large ones of 3000000, each freed before the next.
compile_program()
{
    cat >"$work/pairs.c" <<'END_OF_PROGRAM'
#include <stdlib.h>
static void pairs(int count, size_t bytes)
{
    for (int i = 0; i < count; i++) {
        char *volatile block = malloc(bytes);
        block[0] = 1;
        free(block);
    }
}
int main(void)
{
    pairs(2000, 5000);
    pairs(20, 3000000);
    return 0;
}
END_OF_PROGRAM
    "${CC:-cc}" -O1 -fno-builtin -o "$work/pairs" "$work/pairs.c"
}

trace()
{
    cat >"$work/script" <<'END_OF_SCRIPT'
set pagination off
set breakpoint pending on
set startup-with-shell off
break main
run
delete
break -probe-stap otel_memory:alloc
commands
silent
printf "alloc %p %lu %lu\n", $_probe_arg0, $_probe_arg1, $_probe_arg2
continue
end
break -probe-stap otel_memory:free
commands
silent
printf "free %p\n", $_probe_arg0
continue
end
continue
END_OF_SCRIPT
    timeout 60 gdb -nx -q -batch -ex "set env LD_PRELOAD=$library" -ex "set env HPMALLOC_SAMPLE_INTERVAL=128k" \
        -x "$work/script" "$work/pairs" >"$work/trace" 2>&1
    grep -c "exited normally" "$work/trace"
}

# What samples stand for adds up to the 70 MB that were allocated, each object is freed after it was
# allocated, and of small ones not each is a sample.
the_trace_adds_up()
{
    awk '$1 == "alloc" { live[$2]++; count++; weighted += $4 }
        $1 == "free" { if (live[$2]-- != 1) wrong++ }
        END { printf "%d samples, %d bytes, %d wrong\n", count, weighted, wrong
              for (object in live) wrong += live[object] != 0
              exit !(wrong == 0 && count > 40 && count < 400 && weighted > 60e6 && weighted < 80e6) }' "$work/trace"
}

check "probes: notes name otel_memory:alloc and free" notes_name_both
if has gdb && has "${CC:-cc}" && compile_program && [ "$(trace)" = 1 ]; then
    check "probes: a tracer sees each sample come and go, and what it stands for" the_trace_adds_up
else
    skip "probes: a tracer sees each sample come and go" "no gdb, no compiler, or it may not trace here"
fi
finish
