/* Steps through work an instruction at a time, by the processor's trap flag, and does something at one
 * of them: stepper_run(work, n, act) has `act` called after the n-th instruction, from a handler, and
 * returns how many instructions there were until then, or in all. Behind it nothing is stepped. */
#ifndef HPM_TESTS_STEPPER_H
#define HPM_TESTS_STEPPER_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <ucontext.h>

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define STEPPER_WORKS 1

enum { STEPPER_TRAP_FLAG = 0x100 };

/* One thread steps at a time. */
static struct {
    volatile bool is_on;
    volatile size_t steps;
    size_t target;
    greg_t stop_at; // an address that ends it; 0: none
    void (*act)(void);
} stepper;

static inline void stepper_on_trap(int number, siginfo_t *info, void *context)
{
    (void)number, (void)info;
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    registers[REG_EFL] &= ~STEPPER_TRAP_FLAG;
    if (registers[REG_RIP] == stepper.stop_at)
        stepper.is_on = false;
    if (!stepper.is_on)
        return;
    if (++stepper.steps == stepper.target) {
        stepper.is_on = false;
        stepper.act();
        return;
    }
    registers[REG_EFL] |= STEPPER_TRAP_FLAG;
}

/* From here on, until stepper_stop or the target. */
static inline void stepper_start(size_t target, void (*act)(void))
{
    struct sigaction action = {.sa_flags = SA_SIGINFO};
    action.sa_sigaction = stepper_on_trap;
    sigaction(SIGTRAP, &action, NULL);
    stepper.steps = 0;
    stepper.target = target;
    stepper.act = act;
    stepper.is_on = true;
    __asm__ volatile("lea -128(%%rsp), %%rsp\n\tpushfq\n\torq $0x100, (%%rsp)\n\tpopfq\n\tlea 128(%%rsp), %%rsp" ::: "memory", "cc");
}

static inline size_t stepper_stop(void)
{
    stepper.is_on = false;
    __asm__ volatile("nop" ::: "memory");
    return stepper.steps;
}

static inline size_t stepper_run(void (*work)(void), size_t target, void (*act)(void))
{
    stepper_start(target, act);
    work();
    return stepper_stop();
}
#endif
#endif
