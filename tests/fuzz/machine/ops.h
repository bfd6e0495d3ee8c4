/*
 * One step of a guest: an operation made of the input's bytes. Where these end, all are zero.
 */
#ifndef FUZZ_OPS_H
#define FUZZ_OPS_H

#include "fuzz/machine/guests.h"

struct input {
    const u8 *next, *end;
};

extern struct input input;

static inline u8 take(void)
{
    return input.next < input.end ? *input.next++ : 0;
}

static inline u8 take_below(unsigned n)
{
    return (u8)(take() % n);
}

/* A bit in four, and so on: for what should be rare. */
static inline bool take_rare(unsigned n)
{
    return take() % n == n - 1;
}

/* Values of the kinds that hypercalls take, near what is interesting. */
u16 take_domid(const struct vcpu *v);
mfn_t take_mfn(const struct vcpu *v);
u64 take_pte(const struct vcpu *v);
u64 take_va(void);
u64 take_number(const struct vcpu *v);

void op_any(struct vcpu *v);

/* Domain 0's (ops_control.c). */
void op_domctl(struct vcpu *v);
void op_sysctl(struct vcpu *v);
void op_serai(struct vcpu *v);
void op_build(struct vcpu *v);

/* Words of a structure become numbers. */
void sprinkle(const struct vcpu *v, void *data, u64 len);
/* The structure goes to the arguments' pages, and the call is made. */
s64 call_with(struct vcpu *v, unsigned nr, const u64 *a, const void *data, u64 len);

#endif
