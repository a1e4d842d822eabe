/* Compiled by seeds.py for its unwind table and its symbols: functions whose rules differ. */
#include <alloca.h>
#include <setjmp.h>
#include <string.h>

extern void hold(void *);

int leaf(int x)
{
    return x * x;
}

/* A frame address that is kept in the frame pointer. */
int with_alloca(int size)
{
    char *bytes = alloca((unsigned)size);
    hold(bytes);
    return bytes[0];
}

/* A frame of more alignment than the stack's. */
int with_alignment(int size)
{
    char bytes[256] __attribute__((aligned(128)));
    memset(bytes, size, sizeof(bytes));
    hold(bytes);
    return bytes[size & 15];
}

/* Many saved registers, and more than one way out: states are remembered and restored. */
long with_many(long a, long b, long c, long d)
{
    long kept[6] = {a, b, c, d, a + b, c + d};
    hold(kept);
    if (kept[0] < 0)
        return b;
    for (long i = 0; i < kept[1]; i++) {
        hold(kept + i % 6);
        a += kept[i % 6] * b + c * d;
    }
    return a + b + c + d;
}

static void put_back(char **place)
{
    hold(place);
}

/* With -fexceptions, a table that names a personality routine and landing pads. */
int with_cleanup(void)
{
    char *place __attribute__((cleanup(put_back))) = 0;
    hold(&place);
    return place != 0;
}

#if defined(__x86_64__)
/* Rules no compiler gives these functions: expressions, and the frame of a signal. */
__asm__(".text\n.globl with_expression\n.type with_expression,@function\nwith_expression:\n"
        ".cfi_startproc\n.cfi_escape 0x0f,3,0x76,0x78,6\n.cfi_escape 0x10,6,2,0x76,0\n"
        "nop\n.cfi_adjust_cfa_offset 8\n.cfi_register rbx, rax\n.cfi_undefined rip\nret\n"
        ".cfi_endproc\n.size with_expression,.-with_expression\n"
        ".globl like_signal\n.type like_signal,@function\nlike_signal:\n"
        ".cfi_startproc\n.cfi_signal_frame\nnop\nret\n.cfi_endproc\n"
        ".size like_signal,.-like_signal\n");
#endif
