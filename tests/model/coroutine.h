/*
 * Coroutines for the interleaving explorers: a CPU is a stack, and gives way by leaving it.
 */
#ifndef SERAI_TESTS_COROUTINE_H
#define SERAI_TESTS_COROUTINE_H

#include <stddef.h>

/* Leaves the current stack, *save says where, for the one that was left with 'load'. */
void coroutine_switch(void **save, void *load);
asm(".text\n"
    "coroutine_switch:\n"
    "  push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15\n"
    "  mov %rsp, (%rdi)\n"
    "  mov %rsi, %rsp\n"
    "  pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp\n"
    "  ret\n");

/* What to load to begin 'body', which never returns, on the stack that ends at 'end'. */
static inline void *coroutine_begin(void *end, void (*body)(void))
{
    void **top = end;

    *--top = NULL; /* alignment at entry */
    *--top = (void *)body;
    return top - 6; /* registers */
}

#endif
