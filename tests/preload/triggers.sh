#!/bin/bash
# Dumps that nobody asks for at the moment: after so many bytes, so long, so much growth, near a
# limit; how many files stay; the limit of the heap itself; and what happens when no file can be
# written.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/common.bash"

folder=
fresh_folder()
{
    folder=$(mktemp -d "$work/folder.XXXXXX")
}

# run_here [NAME=VALUE...] PROGRAM...: in a fresh folder, to its end.
run_here()
{
    fresh_folder
    (cd "$folder" && ours 30 "$@" >"$folder.out" 2>"$folder.err")
}

names_here()
{
    find "$folder" -type f -printf '%f\n' | sort
}

# grow MEBIBYTES: a program that comes to hold so much, at 200 MiB a second at most.
grow()
{
    printf 'our @kept; for my $i (1 .. %d) { push @kept, "x" x (1 << 20); %s } %s' "$1" \
        'select undef, undef, undef, 0.005;' 'select undef, undef, undef, 0.3;'
}

# A thread more would show in the first line, its name in the second.
threads_of="perl -ne 'print if /^Threads/' /proc/\$\$/status; cat /proc/\$\$/task/*/comm; true"

no_thread_is_made_unasked()
{
    run_here bash -c "$threads_of" && is "$(tr '\n' ' ' <"$folder.out")" "Threads:	1 bash "
}

a_thread_is_made_on_request()
{
    run_here HPMALLOC_DUMP_EVERY=1h bash -c "$threads_of" &&
        is "$(tr '\n' ' ' <"$folder.out")" "Threads:	2 bash hpm-keeper " &&
        is "$(count_files "$folder")" 0
}

bytes_are_counted()
{
    run_here HPMALLOC_DUMP_EVERY=50m HPMALLOC_DUMP_PATH=%r.%n perl -e "$(grow 300)"
    local count
    count=$(count_files "$folder")
    names_here
    [ "$count" -ge 3 ] && [ "$count" -le 7 ] && is "$(names_here | grep -vc '^every\.')" 0 &&
        is "$(grep -c '^hpmalloc: .*(every) written' "$folder.err")" "$count"
}

time_is_counted()
{
    run_here HPMALLOC_DUMP_EVERY=400ms HPMALLOC_DUMP_PATH=%r.%n /bin/sleep 1.8
    is "$(names_here | tr '\n' ' ')" "every.1.pb.gz every.2.pb.gz every.3.pb.gz every.4.pb.gz "
}

growth_is_seen()
{
    run_here HPMALLOC_DUMP_ON_GROWTH=100m HPMALLOC_DUMP_PATH=%r.%n perl -e "$(grow 250)"
    is "$(names_here | tr '\n' ' ')" "growth.1.pb.gz growth.2.pb.gz "
}

the_heap_limit_comes_near()
{
    run_here HPMALLOC_DUMP_ON_LIMIT=60% HPMALLOC_HEAP_LIMIT=300m HPMALLOC_DUMP_PATH=%r.%n \
        perl -e "$(grow 250)"
    is "$(names_here)" "limit.1.pb.gz"
}


# A group of version 1 or 2 of our own, if we may make one.
group=
make_group()
{
    local parent limit
    for parent in /sys/fs/cgroup/memory /sys/fs/cgroup; do
        limit=memory.max
        [ "$parent" = /sys/fs/cgroup ] || limit=memory.limit_in_bytes
        group=$parent/hpmalloc-test-$$
        if mkdir "$group" 2>/dev/null; then
            echo 300M >"$group/$limit" && [ -w "$group/cgroup.procs" ] && return
            rmdir "$group"
        fi
    done 2>/dev/null
    return 1
}

remove_group()
{
    wait_until 5 rmdir "$group"
}

the_groups_limit_comes_near()
{
    fresh_folder
    (
        cd "$folder" && echo "$BASHPID" >"$group/cgroup.procs" || exit 1
        ours 30 HPMALLOC_DUMP_ON_LIMIT=60% HPMALLOC_DUMP_PATH=%r.%n perl -e "$(grow 250)"
    ) >"$folder.out" 2>"$folder.err"
    is "$(names_here)" "limit.1.pb.gz"
}

the_newest_are_kept()
{
    run_here HPMALLOC_DUMP_KEEP=2 HPMALLOC_DUMP_EVERY=200ms HPMALLOC_DUMP_AT_EXIT=1 \
        HPMALLOC_DUMP_PATH=%r.%n perl -e 'open my $file, ">", $_ for qw(every.0.pb.gz other);
            select undef, undef, undef, 1.1' || return 1
    local count
    count=$(grep -c '(every) written' "$folder.err")
    is "$(names_here | tr '\n' ' ')" \
        "every.0.pb.gz every.$count.pb.gz exit.$((count + 1)).pb.gz other " && [ "$count" -ge 3 ]
}

# What a heap of at most 100 MiB answers: to much at once, to little by little, and afterwards.
past_the_limit()
{
    cat >"$work/limit.c" <<'END'
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static char *kept[200000];
static size_t fill(size_t bytes)
{
    size_t count = 0;
    errno = 0;
    while ((kept[count] = malloc(bytes)) != NULL && count < 199999)
        memset(kept[count++], 1, bytes);
    int error = errno;
    for (size_t i = 0; i < count; i++)
        free(kept[i]);
    return error == ENOMEM ? count * bytes >> 20 : 0;
}
int main(void)
{
    size_t sizes[] = {1000, 20000, 100000, 40000000, 5000};
    char *volatile big = malloc(200 << 20);
    int is_right = big == NULL;
    for (int i = 0; i < 5; i++) {
        size_t filled = fill(sizes[i]);
        printf("%zu: %zu MiB\n", sizes[i], filled);
        is_right &= filled >= 76 && filled <= 100;
    }
    char *block = malloc(60 << 20);
    is_right &= block != NULL && realloc(block, 150 << 20) == NULL;
    return !is_right;
}
END
    "${CC:-cc}" -O1 -fno-builtin -o "$work/limit" "$work/limit.c" || return 1
    ours 20 HPMALLOC_HEAP_LIMIT=100m "$work/limit" && ! ours 20 HPMALLOC_HEAP_LIMIT=400m "$work/limit"
}

no_folder_is_one_line()
{
    run_here HPMALLOC_DUMP_EVERY=300ms HPMALLOC_DUMP_PATH="$1" \
        perl -e 'select undef, undef, undef, 0.45; print "end\n"' || return 1
    cat "$folder.err"
    is "$(cat "$folder.out")" end && is "$(grep -c "^hpmalloc: .*$2" "$folder.err")" 1 &&
        is "$(count_files "$folder")" 0
}

# The shell makes and enters a file system of 64 KiB, filled up or made read-only, in a name space of
# its own.
a_disk_is_one_line()
{
    fresh_folder
    mkdir "$folder/disk"
    unshare -m bash -c 'mount -t tmpfs -o size=64k none "$0/disk" || exit 77
        cat /dev/zero >"$0/disk/full" 2>/dev/null
        [ "$2" = rw ] || { : >"$0/disk/full"; mount -o remount,ro "$0/disk"; } || exit 77
        cd "$0/disk" && LD_PRELOAD=$1 HPMALLOC_DUMP_AT_EXIT=1 perl -e "print qq(end\n)" 2>"$0/err"
        ls -A "$0/disk"' "$folder" "$library" "$1" >"$folder.out" 2>&1
    local status=$?
    cat "$folder.out" "$folder/err"
    [ "$status" = 0 ] || return 1
    is "$(cat "$folder.out")" "end
full" && is "$(grep -c "^hpmalloc: .*$2" "$folder/err")" 1 && is "$(wc -l <"$folder/err")" 1
}

can_mount()
{
    has unshare && unshare -m sh -c "mount -t tmpfs none '$work'" 2>/dev/null
}

a_child_goes_on_under_its_own_pid()
{
    run_here HPMALLOC_DUMP_ON_GROWTH=50m HPMALLOC_DUMP_PATH=%p.%r.%n perl -e '
        our @kept;
        sub grow { push @kept, "x" x (1 << 20) for 1 .. 70; select undef, undef, undef, 0.5 }
        grow; my $pid = fork; grow unless $pid;
        waitpid $pid, 0 if $pid; exit $? >> 8' || return 1
    is "$(names_here | sed 's/^[0-9]*/PID/' | tr '\n' ' ')" "PID.growth.1.pb.gz PID.growth.1.pb.gz "
}

another_program_begins_anew()
{
    run_here HPMALLOC_DUMP_EVERY=200ms HPMALLOC_DUMP_PATH=%e.%n \
        bash -c 'read -r -t 0.5 line <> <(:); exec /bin/sleep 0.5'
    names_here
    names_here | grep -q '^sleep\.1\.' && is "$(find "$folder" -name 'bash.*' -size 0 | wc -l)" 0
}

exit_leaves_whole_files()
{
    local i file
    for i in 0 2 4 6 7 8 9; do
        run_here HPMALLOC_DUMP_EVERY=100ms HPMALLOC_DUMP_AT_EXIT=1 \
            perl -e "select undef, undef, undef, 0.09$i" || return 1
        find "$folder" -name '.*' -type f | grep . && return 1
        for file in "$folder"/*; do
            gzip -t "$file" || return 1
        done
        is "$(grep -c '(exit) written' "$folder.err")" 1 || return 1
    done
}

has_keeper()
{
    cat "/proc/$child/task/"*/comm | grep -q hpm-keeper
}

a_blocked_program_answers()
{
    fresh_folder
    (cd "$folder" && exec env LD_PRELOAD="$library" HPMALLOC_DUMP_EVERY=1h sleep 20 2>"$folder.err") &
    child=$!
    children+=("$child")
    wait_until 5 has_keeper || return 1
    kill -USR2 "$child"
    wait_until 5 test -e "$folder/hpmalloc.sleep.$child.1.pb.gz" && kill "$child"
}

check "no thread is made unless asked for" no_thread_is_made_unasked
check "a time asks for a thread, hpm-keeper" a_thread_is_made_on_request
check "HPMALLOC_DUMP_EVERY counts bytes" bytes_are_counted
check "HPMALLOC_DUMP_EVERY counts time, from one dump to the next" time_is_counted
check "HPMALLOC_DUMP_ON_GROWTH dumps each time so much more is live" growth_is_seen
check "HPMALLOC_DUMP_ON_LIMIT sees the heap's limit" the_heap_limit_comes_near
if make_group; then
    check "HPMALLOC_DUMP_ON_LIMIT sees the control group's limit" the_groups_limit_comes_near
    remove_group
else
    skip "HPMALLOC_DUMP_ON_LIMIT sees the control group's limit" "no group can be made here"
fi
check "HPMALLOC_DUMP_KEEP removes its own old files only" the_newest_are_kept
if has "${CC:-cc}"; then
    check "past HPMALLOC_HEAP_LIMIT malloc answers NULL and ENOMEM, and goes on" past_the_limit
else
    skip "past HPMALLOC_HEAP_LIMIT malloc answers NULL and ENOMEM, and goes on" "no C compiler"
fi
check "a missing folder is one line" no_folder_is_one_line "$work/none/x" "no such folder"
check "a path through a file is one line" no_folder_is_one_line "$here/common.bash/x" "no folder"
check "a folder that takes no files is one line" no_folder_is_one_line /proc/x "not written"
if can_mount; then
    check "a full disk is one line and leaves nothing" a_disk_is_one_line rw "no space left"
    check "a read-only folder is one line" a_disk_is_one_line ro "is read-only"
else
    skip "a read-only folder is one line" "no file system can be mounted here"
    skip "a full disk is one line and leaves nothing" "no file system can be mounted here"
fi
check "a forked child has its own triggers" a_child_goes_on_under_its_own_pid
check "exec begins anew" another_program_begins_anew
check "a program that ends in the middle of a dump leaves whole files" exit_leaves_whole_files
check "a blocked program answers a signal through its keeper" a_blocked_program_answers
finish
