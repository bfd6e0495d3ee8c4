/* hv/x86/percpu.h, but where the stack is told by the machine: fibers have the host's stacks. */
#ifndef MACHINE_X86_PERCPU_H
#define MACHINE_X86_PERCPU_H

#define stack_info(x) hardware_stack_info(x)
#define this_cpu(x)   hardware_this_cpu(x)
#define count(x)      hardware_count(x)
#include_next "x86/percpu.h"
#undef stack_info
#undef this_cpu
#undef count

extern struct stack_info *machine_stack;

static inline struct stack_info *stack_info(void)
{
    return machine_stack;
}

static inline struct cpu *this_cpu(void)
{
    return stack_info()->cpu;
}

static inline void count(enum counter c)
{
    this_cpu()->counters[c]++;
}

#endif
