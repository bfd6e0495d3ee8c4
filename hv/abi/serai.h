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

/* Scheduling; what the words mean: docs/scheduling.md. */
#define SERAI_OP_SCHED_DOMAIN 2 /* struct serai_sched_domain */
#define SERAI_OP_SCHED_VCPU   3 /* struct serai_sched_vcpu */
#define SERAI_OP_SCHED_CPU    4 /* struct serai_sched_cpu */
#define SERAI_OP_SCHED_POOL   5 /* struct serai_sched_pool */
#define SERAI_OP_SCHED_TRACE  6 /* struct serai_sched_trace */

/* Memory; docs/memory.md. */
#define SERAI_OP_MEMORY 7 /* struct serai_memory */

/* The Virtual Firewall Router; abi/vfr.h. */
#define SERAI_OP_VFR_VIF     8  /* struct serai_vfr_vif */
#define SERAI_OP_VFR_RULES   9  /* struct serai_vfr_rules */
#define SERAI_OP_VFR_LEASE   10 /* struct serai_vfr_lease; abi/vfr_lease.h */
#define SERAI_OP_VFR_LOG     12 /* struct serai_vfr_log; abi/vfr_log.h */
#define SERAI_OP_VFR_SET     16 /* struct serai_vfr_set; abi/vfr_set.h */
#define SERAI_OP_VFR_EXPLAIN 17 /* struct serai_vfr_explain; abi/vfr_explain.h */

/* Virtual interrupt to domain 0 (VIRQ_ARCH_7): an instruction about memory has ended. */
#define SERAI_VIRQ_MEMORY 23

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

/*
 * Each of the following reads, and with 'set' other than 0 changes first; then -XEN_EINVAL means
 * a value out of range, and nothing has changed. -XEN_ESRCH: no such domain; -XEN_ENOENT: no
 * such vcpu, CPU or pool. Times are nanoseconds.
 */

/* A vcpu is off, blocked, ready (waiting for a CPU), running, or parked (its cap is used up). */
#define SERAI_SCHED_STATES    5
#define SERAI_SCHED_DISTANCES 5  /* same CPU, core, cache, node, farther */
#define SERAI_SCHED_LATENCIES 16 /* within 2^(n + 10) ns; the last one: or later */

struct serai_sched_domain {
    uint16_t domid;           /* in */
    uint8_t set;              /* in: take over the parameters up to 'pool' */
    uint8_t gang;             /* 0 off, 1 on, 2 auto, 3 strict */
    uint8_t latency;          /* class: 0 low, 1 normal, 2 batch */
    uint8_t pool;             /* whose CPUs it runs on */
    uint16_t nr_vcpus;        /* out */
    uint32_t weight;          /* 1 to 65535; -XEN_EINVAL otherwise */
    uint32_t cap_ppm;         /* 1000000: one whole CPU; 0: none */
    uint32_t reservation_ppm; /* -XEN_ENOSPC: beyond 90 % of the pool together with others' */
    uint32_t reserved;
    /* out, sums over its vcpus */
    uint64_t time[SERAI_SCHED_STATES];
    uint64_t picks;
    uint64_t migrations[SERAI_SCHED_DISTANCES];
    uint64_t latencies[SERAI_SCHED_LATENCIES]; /* of wake-ups */
    uint64_t forced_idle;   /* threads kept empty beside its vcpus, gang mode strict */
    uint64_t gang_windows;  /* slots in which its vcpus had their CPUs together */
    uint64_t window_breaks; /* a vcpu of class low went into one */
    uint64_t skew_samples, skew_sum, skew_max;
};

struct serai_sched_vcpu {
    uint16_t domid, vcpu; /* in */
    uint8_t set;          /* in: take over the affinities */
    uint8_t state;        /* out, and all below except the affinities */
    uint16_t cpu;         /* runs there, or ran there last */
    uint64_t hard, soft;  /* a bit per CPU: may run there; had better run there */
    uint64_t time[SERAI_SCHED_STATES];
    uint64_t picks;
    uint64_t migrations[SERAI_SCHED_DISTANCES];
    uint64_t latencies[SERAI_SCHED_LATENCIES];
};

struct serai_sched_cpu {
    uint16_t cpu;   /* in */
    uint8_t set;    /* in: take over 'online' */
    uint8_t online; /* may run vcpus; the last one of a pool with domains cannot leave */
    uint8_t thread, core, cache, package, node; /* out, and all below */
    uint8_t pool;
    uint16_t nr_cpus;
    uint16_t domid, vcpu; /* what runs there; 0xffff: nothing */
    uint64_t picks, steals, spreads, idle;
};

struct serai_sched_pool {
    uint16_t pool; /* in */
    uint8_t set;   /* in: give it these CPUs, taken from the pools that had them */
    uint8_t reserved[5];
    uint64_t cpus;
};

/* One event of the scheduler, as in hv/core/sched_trace.h. */
struct serai_sched_event {
    int64_t time;
    uint64_t arg, more;
    uint16_t kind, cpu, domid, vcpu;
};

/* Records events from when 'set' is 1, with 'capacity' the size of the ring, a power of two. */
struct serai_sched_trace {
    uint8_t set; /* in: 0 read, 1 start anew, 2 stop */
    uint8_t reserved[3];
    uint32_t capacity; /* in: of 'entries' when reading; at most 16384 when starting */
    uint64_t next;  /* in and out: number of the first event wanted; then of the one to come */
    uint32_t count; /* out: events stored; they end before 'next' */
    uint32_t lost;  /* out: wanted, and overwritten before they were read */
    uint64_t entries; /* in: address of struct serai_sched_event[capacity] */
};

/*
 * What a domain has of memory, and the instruction to have less: own no more than 'pages' pages
 * within a time, or else 'otherwise' happens. Pages are of 4 KiB, moments nanoseconds since boot,
 * as 'now', 0: has not happened. A reserved field is 0.
 *
 * -XEN_EINVAL: a field out of range, or for domain 0 an 'otherwise'; -XEN_ESRCH: no such domain
 * (reading on: none any more), or it is being destroyed; -XEN_ENOENT: nothing to cancel.
 */
#define SERAI_MEMORY_READ   0
#define SERAI_MEMORY_NEXT   1 /* reads the first domain that is not below domid */
#define SERAI_MEMORY_SET    2 /* in place of an instruction that is there; then reads */
#define SERAI_MEMORY_CANCEL 3 /* cap, pause and limit are as before; then reads */
#define SERAI_MEMORY_CHECK  4 /* what SET would say, and reads */

enum { SERAI_MEMORY_NONE, SERAI_MEMORY_PENDING, SERAI_MEMORY_COMPLIED, SERAI_MEMORY_MISSED };
enum { SERAI_ELSE_NOTHING, SERAI_ELSE_CAP, SERAI_ELSE_PAUSE, SERAI_ELSE_DESTROY };

struct serai_memory {
    uint16_t domid;    /* in; out with NEXT */
    uint8_t op;        /* in: SERAI_MEMORY_ as above */
    uint8_t state;     /* out: none, pending, complied, missed */
    uint8_t otherwise; /* in: nothing, a cap of CPU time, pause, or end as if crashed */
    uint8_t in_force;  /* out: the consequence has come, and nobody has lifted it since */
    uint16_t reserved;
    uint32_t cap_ppm; /* in: with the cap; 1000000: one whole CPU; else 0 */
    uint32_t number;  /* out: of instructions to this domain so far */
    uint64_t pages;   /* in: 1 to what the machine has */
    uint64_t within;  /* in: 1 ms to 30 days, from now; out: from 'started' */
    /* out: the domain */
    uint64_t pages_now, pages_max, pages_claimed;
    uint64_t pages_max_before; /* the limit that CANCEL would restore */
    /* out: the instruction; 'lowest' up to when it complied, 'deadline' if it was missed */
    uint64_t pages_start, pages_lowest, pages_deadline;
    uint64_t now, started, deadline, complied, acted;
    /* out: the machine */
    uint64_t free, claimed;
};

#endif
