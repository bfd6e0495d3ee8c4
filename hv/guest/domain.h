/*
 * Domains and their virtual CPUs.
 *
 * A vcpu runs on a hypervisor stack of its own, so a long hypercall can be preempted where it
 * stands (preempt_point()) and no operation needs to be restartable.
 *
 * Locking is tagged per field: (own) only the vcpu itself, on its CPU, or whoever initialises it
 * before it runs; (boot) written before the domain runs; (events), (pirq) the domain's lock of
 * that name, (grant) likewise; (switch) guest/switch.c; (atomic).
 */
#ifndef SERAI_GUEST_DOMAIN_H
#define SERAI_GUEST_DOMAIN_H

#include "base/types.h"
#include "core/evtchn.h"
#include "kern/dispatch.h"
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

/* Where in its life a vcpu is; changed by compare-and-swap. */
enum vcpu_life {
    VCPU_EMPTY,   /* no context yet */
    VCPU_FILLING, /* VCPUOP_initialise works on it */
    VCPU_DOWN,
    VCPU_UP,
};

#define CPU_NONE (~0U)

/* Registers that only switching touches. */
struct vcpu_registers {
    u64 fs_base, gs_base, kernel_gs_base; /* as they are, whichever mode the guest was in */
    u64 tsc_aux;
    u16 ds, es, fs, gs;
    u8 *fpu; /* a page: XSAVE or FXSAVE area */
};

struct vcpu {
    struct guest_entry entry; /* first: entry.S finds it through the stack */
    struct domain *domain;
    unsigned id;
    u8 *stack;           /* STACK_SIZE bytes */
    u32 life;            /* (atomic) enum vcpu_life */
    struct runnable run; /* kern/dispatch.h */

    struct vcpu_registers regs; /* (switch) */
    u32 loaded_cpu;             /* (atomic) whose registers hold ours, CPU_NONE: 'regs' does */
    u32 on_cpu;                 /* (atomic) where it runs, CPU_NONE: nowhere */
    u32 flush_pending;          /* (atomic) flush before it runs again */

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

    u32 info_moved;  /* (atomic) out of shared_info, to a page of the guest's */
    mfn_t info_mfn;  /* that page, a writable use held */
    u64 runstate_va; /* 0: none */
    struct vcpu_runstate_info runstate; /* see vtime_runstate_set() */
    u32 runstate_version;               /* odd while it changes */
    u64 time_area_va;
    struct timer singleshot;
    struct timer periodic;
    ns_t period;
    struct timer poll_timer;
    bool poll_timed_out;
    u32 sleeping;     /* (atomic) in vcpu_sleep(): whoever has news must wake it */
    bool nmi_pending; /* (atomic) */
    bool in_nmi;      /* (own) its handler runs: until the next iret no other is delivered */
    u32 polled[2];    /* (atomic) lowest and highest port it polls for; 1, 0: none */
    u16 virq_port[NR_VIRQS]; /* (events) per-vcpu virtual interrupts; 0: unbound */
};

#define MAX_PIRQS 512

#define NR_VCPUS_MAX XEN_LEGACY_MAX_VCPUS

struct pirq; /* guest/pirq.h */

struct domain {
    u16 id;
    bool is_hardware; /* (boot) domain 0 */
    bool crashed;     /* (atomic) */
    struct sched_domain sched;
    u64 pollers;               /* (atomic) a bit per vcpu that polls */
    struct spinlock life_lock; /* vcpus going up and down */
    unsigned max_vcpus;
    struct vcpu *vcpus[NR_VCPUS_MAX];
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

    struct spinlock grant_lock;
    void *grant_frames[4]; /* (grant) hypervisor pages shared with the guest */
    unsigned nr_grant_frames;
};

extern struct domain *dom0;

struct domain *domain_create(u16 id, u64 max_pages);

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

static inline bool vcpu_has_nmi(const struct vcpu *v)
{
    return __atomic_load_n(&v->nmi_pending, __ATOMIC_SEQ_CST) && !v->in_nmi;
}

/* What decides about the fast walk of the iret hypercall has changed. */
static inline void vcpu_update_fast_iret(struct vcpu *v)
{
    v->entry.fast_iret = v->entry.user_cr3 && !v->in_nmi;
}

static inline bool vm_assist_on(const struct domain *d, unsigned type)
{
    return d->vm_assist & BIT(type);
}

/* The domain will own so many more frames; false: more than it may. */
bool domain_claim_pages(struct domain *d, u64 n) must_check;
void domain_give_pages(struct domain *d, u64 n);

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

/* VCPU_DOWN to VCPU_UP and back. The vcpu itself stops in the call, until it is up again. */
void vcpu_up(struct vcpu *v);
void vcpu_down(struct vcpu *v);

static inline bool vcpu_is_up(const struct vcpu *v)
{
    return __atomic_load_n(&v->life, __ATOMIC_ACQUIRE) == VCPU_UP;
}

/*
 * Interrupts are taken and softirqs run; the vcpu may lose its CPU here and go on on another
 * one. No locks held.
 */
void preempt_point(void);

/* Lets others run first; 'to' is a sibling that should (NULL: whoever). */
void vcpu_yield(struct vcpu *to);

/*
 * Sleeps until vcpu_wake(), unless awake(arg) holds already or the guest must run for another
 * reason: the domain crashed, an NMI. Whoever makes 'awake' true calls vcpu_wake() afterwards.
 */
void vcpu_sleep(struct vcpu *v, bool (*awake)(void *arg), void *arg);

/* An unmasked event is pending. */
bool vcpu_has_event(const struct vcpu *v);

/*
 * News for a vcpu: wakes it if it sleeps, interrupts it if it runs elsewhere, so that it passes
 * the way out. Any context.
 */
void vcpu_wake(struct vcpu *v, enum sched_wake why);

/* At boot. */
void domain_init(void);

#endif
