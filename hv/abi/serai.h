/*
 * Serai's own hypercall (__HYPERVISOR_arch_7, number 55): operations that Xen's ABI has no place
 * for. Domain 0 only; others get -XEN_EPERM. Version 1.
 */
#ifndef SERAI_ABI_SERAI_H
#define SERAI_ABI_SERAI_H

#include <stdint.h>

#define SERAI_ABI_VERSION 1

/* serai_op(op, pointer): returns 0 or more, or a negative errno. */
#define SERAI_OP_VERSION  0 /* no argument: SERAI_ABI_VERSION */
#define SERAI_OP_COUNTERS 1 /* struct serai_counters */

/*
 * Counters since boot, summed over CPUs. The caller sets 'capacity' and 'entries'; up to that
 * many are stored and 'count' tells how many there are.
 */
struct serai_counter {
    char name[32];
    uint64_t value;
};

struct serai_counters {
    uint32_t capacity; /* in */
    uint32_t count;    /* out */
    uint64_t entries;  /* in: address of struct serai_counter[capacity] */
};

#endif
