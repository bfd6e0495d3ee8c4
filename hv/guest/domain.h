/*
 * Domains and their virtual CPUs.
 *
 * A vcpu runs on a hypervisor stack of its own, so a long hypercall can be preempted where it
 * stands (preempt_point()) and no operation needs to be restartable.
 *
 * Locking is tagged per field: (own) only the vcpu itself, on its CPU; (boot) written before the
 * domain runs; (events), (pirq) the domain's lock of that name; (atomic).
 */
#ifndef SERAI_GUEST_DOMAIN_H
#define SERAI_GUEST_DOMAIN_H

#include "base/types.h"
#include "core/evtchn.h"
#include "kern/lock.h"
#include "kern/timer.h"
#include "x86/entry.h"
#include "x86/layout.h"
#include <xen/xen.h>
#include <xen/vcpu.h>

struct domain;

/* Where the guest wants one of its exceptions handled. */
struct trap_gate {
    u64 address; /* 0: none */
    u8 flags;    /* bits 0-1: lowest ring that may 'int n', bit 2: mask events */
};

struct callback {
    u64 address; /* 0: none */
    bool mask_events;
};

struct vcpu {
    struct guest_entry entry; /* first: entry.S finds it through the stack */
    struct domain *domain;
    unsigned id;
    u8 *stack;    /* STACK_SIZE bytes */
    bool running; /* has a context and was brought up */

    mfn_t kernel_table; /* (own) page table in CR3 in guest kernel mode, type and ref held */
    mfn_t user_table;   /* (own) 0: none */
    u64 kernel_ss;      /* (own) */
    struct trap_gate traps[256];                        /* (own) */
    struct callback event_cb, syscall_cb, syscall32_cb; /* (own) */

    u32 gdt_entries; /* (own) */
    mfn_t gdt_frames[GUEST_GDT_PAGES];
    u64 ldt_base; /* (own) guest linear address, page aligned */
    u32 ldt_entries;
    mfn_t ldt_frames[16]; /* pages faulted in so far; 0: not */

    u64 cr0_ts; /* (own) CR0_TS when the guest set it */
    u64 cr4;    /* (own) the guest's view */
    u64 xcr0;
    u64 dr[8];
    u8 iopl;
    u64 iobitmap; /* guest linear address of the I/O bitmap, 0: none */
    u32 iobitmap_ports;

    mfn_t info_mfn;  /* page of the registered vcpu_info, 0: still in shared_info */
    u64 runstate_va; /* 0: none */
    struct vcpu_runstate_info runstate;
    u64 time_area_va;
    struct timer singleshot;
    struct timer periodic;
    ns_t period;
    struct timer poll_timer;
    bool poll_timed_out;
    bool blocked; /* asleep in vcpu_block() or poll */
    bool nmi_pending;
    u16 virq_port[NR_VIRQS]; /* (events) per-vcpu virtual interrupts; 0: unbound */
};

#define MAX_PIRQS 512

struct pirq; /* guest/pirq.h */

struct domain {
    u16 id;
    bool is_hardware; /* (boot) domain 0 */
    bool crashed;     /* (atomic) */
    unsigned max_vcpus;
    struct vcpu *vcpus[XEN_LEGACY_MAX_VCPUS];
    u64 tot_pages; /* (atomic) frames owned */
    u64 max_pages;
    struct shared_info *shared;
    mfn_t shared_mfn;
    u64 vm_assist; /* (atomic) bits per VMASST_TYPE */

    struct spinlock event_lock;
    struct port_table ports;   /* (events) */
    u16 global_virq[NR_VIRQS]; /* (events) port in vcpu 0's name; 0: unbound */

    struct spinlock pirq_lock;
    struct pirq *pirqs[MAX_PIRQS]; /* (pirq) */
    u64 *pirq_eoi_map;             /* guest page: bit set = EOI hypercall needed */
    mfn_t pirq_eoi_mfn;

    void *grant_frames[4]; /* (own) hypervisor pages shared with the guest */
    unsigned nr_grant_frames;
};

extern struct domain *dom0;

struct domain *domain_create(u16 id, u64 max_pages);
struct vcpu *vcpu_create(struct domain *d, unsigned id);

static inline struct vcpu *current_vcpu(void)
{
    return (struct vcpu *)stack_info()->guest;
}

static inline struct vcpu_info *vcpu_info(const struct vcpu *v)
{
    return (struct vcpu_info *)v->entry.info;
}

static inline bool vcpu_is_kernel(const struct vcpu *v)
{
    return v->entry.kernel_mode;
}

static inline bool vm_assist_on(const struct domain *d, unsigned type)
{
    return d->vm_assist & BIT(type);
}

/*
 * The domain cannot go on: remembers and logs the first reason with the registers of the vcpu
 * and returns normally; the vcpu stops before it would re-enter the guest.
 */
void domain_crash(struct domain *d, const char *fmt, ...) __printf(2, 3);

/* Called on the way to the guest when the domain has crashed or shut down; for domain 0 this
 * ends the machine. */
__noreturn void domain_stop(struct domain *d);

/* SCHEDOP_shutdown: for domain 0 the machine follows. */
__noreturn void domain_shutdown(struct domain *d, unsigned reason);

/* Moves to the vcpu's stack, calls 'first' there, and leaves to the guest with these registers. */
__noreturn void vcpu_start(struct vcpu *v, const struct cpu_user_regs *regs,
                           void (*first)(void));

/* Interrupts are taken and softirqs run; the vcpu may lose its CPU here. No locks held. */
void preempt_point(void);

/* Sleeps until some interrupt or softirq happened: the caller's condition may have changed. */
void vcpu_wait(struct vcpu *v);
/* Sleeps until an event is pending for the vcpu (SCHEDOP_block). */
void vcpu_block(struct vcpu *v);
/* Something the vcpu may be waiting for has happened. Any context. */
void vcpu_wake(struct vcpu *v);

#endif
