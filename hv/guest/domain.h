/*
 * Domains and their virtual CPUs: what they consist of, which there are, sleeping and waking.
 * How they come up, stop and go: guest/lifecycle.h.
 *
 * A vcpu runs on a hypervisor stack of its own, so a long hypercall can be preempted where it
 * stands (preempt_point()) and no operation needs to be restartable.
 *
 * Locking is tagged per field: (own) only the vcpu itself, on its CPU, or whoever initialises it
 * before it runs; (boot) written before the domain runs; (events), (pirq), (life) the domain's
 * lock of that name, (grant) and (memory) likewise; (switch) guest/switch.c; (atomic).
 *
 * A vcpu stops for others only at the border to its guest, with nothing of the hypervisor's in
 * its hands: while there is a reason to (domain.stop, or it is not VCPU_UP) vcpu_stop_point() on
 * the way out keeps it, and 'stopped' says so. Sleeps end for such a reason, so that the vcpu
 * comes there; a guest sees such a sleep end early, as it may for any reason.
 */
#ifndef SERAI_GUEST_DOMAIN_H
#define SERAI_GUEST_DOMAIN_H

#include "base/types.h"
#include "core/evtchn.h"
#include "guest/device.h"
#include "core/memtarget.h"
#include "core/pte_store.h"
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

struct dirty_map; /* core/dirtymap.h */

/* Registers that only switching touches. */
struct vcpu_registers {
    u64 fs_base, gs_base, kernel_gs_base; /* as they are, whichever mode the guest was in */
    u64 tsc_aux;
    u16 ds, es, fs, gs;
    u8 *fpu; /* a page: XSAVE or FXSAVE area */
};

/* The last walk through kernel_table as far as the L1; valid while nothing changed (guest/mmu.c). */
struct walk {
    u64 root, region; /* frame of the L4; the 2 MiB of addresses */
    u64 changes;
    u64 entry; /* the L2 entry; RW: all levels grant it */
};

/* Code that wrote to a page table, and what it means; no length: none yet. */
struct seen_store {
    u64 words[2];
    struct pte_store store;
};

struct vcpu {
    struct guest_entry entry; /* first: entry.S finds it through the stack */
    struct domain *domain;
    unsigned id;
    u8 *stack;           /* STACK_SIZE bytes */
    u32 life;            /* (life; read by any) enum vcpu_life */
    bool stopped;        /* (life) at the border, and the scheduler does not run it */
    struct runnable run; /* kern/dispatch.h */

    struct vcpu_registers regs; /* (switch) */
    u32 loaded_cpu;             /* (atomic) whose registers hold ours, CPU_NONE: 'regs' does */
    u32 on_cpu;                 /* (atomic) where it runs, CPU_NONE: nowhere */
    u32 flush_pending;          /* (atomic) flush before it runs again */

    struct walk walk;            /* (own) */
    struct walk runstate_walk;   /* (switch) to the area at runstate_va */
    struct seen_store stores[4]; /* (own) by address */
    mfn_t kernel_table; /* (own) page table in CR3 in guest kernel mode, type and ref held */
    mfn_t user_table;   /* (own) 0: none */
    struct trap_gate traps[256];                        /* (own) */
    struct callback event_cb, syscall_cb, syscall32_cb; /* (own) */
    struct callback failsafe_cb; /* (own) for whoever asks: never entered */

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
    u32 sleeping;      /* (atomic) in vcpu_sleep(): whoever has news must wake it */
    bool nmi_pending;  /* (atomic) */
    bool in_multicall; /* (own) */
    bool in_nmi;       /* (own) its handler runs: until the next iret no other is delivered */
    u32 polled[2];     /* (atomic) lowest and highest port it polls for; 1, 0: none */
    u16 virq_port[NR_VIRQS]; /* (events) per-vcpu virtual interrupts; 0: unbound */
};

#define MAX_PIRQS 512

/* Unless domain 0 wants it otherwise. */
#define GRANT_FRAMES_DEFAULT    64
#define MAPTRACK_FRAMES_DEFAULT 1024

#define GUEST_MAP_ENTRIES 32

#define NR_VCPUS_MAX XEN_LEGACY_MAX_VCPUS

struct pirq;         /* guest/pirq.h */
struct cpu_policy;   /* core/cpu_policy.h */
struct event_queues; /* guest/event_queue.h */

/*
 * Reasons for which none of a domain's vcpus enters the guest (domain.stop). The low half counts
 * the pauses that domain 0 asked for.
 */
#define STOP_PAUSES   0xffffU
#define STOP_SHUTDOWN BIT(16) /* by itself or by a crash; shutdown_code says how */
#define STOP_DYING    BIT(17)

struct domain {
    u16 id;
    bool is_hardware; /* (boot) domain 0: drives the machine and controls the others */
    u8 handle[16];    /* chosen by domain 0 */
    u32 refs;         /* (atomic) see domain_get() */
    struct domain *next_free;

    struct spinlock life_lock; /* vcpus going up and down, reasons to stop */
    u32 stop;                  /* (life; read by any) */
    u8 shutdown_code;          /* (life) SHUTDOWN_ of xen/sched.h */
    bool shutdown_told;        /* (life) all vcpus have stopped and domain 0 knows */
    bool has_run;              /* (life) its first pause was taken away */
    u64 next_block;            /* how far taking it apart has come */
    bool apart;                /* (atomic) taken apart: only frames keep it */
    bool left;                 /* (atomic) the reference of its life is given up */
    u32 in_control;            /* (atomic) a control operation is under way */
    u64 waiters;               /* (atomic) vcpus of domain 0 that wait for ours to stop */

    struct sched_domain sched;
    u64 pollers;              /* (atomic) a bit per vcpu that polls */
    unsigned max_vcpus;       /* (boot) vcpus that exist: ids below it */
    unsigned nr_vcpus_wanted; /* (boot) as the domain was created */
    struct vcpu *vcpus[NR_VCPUS_MAX];
    u64 tot_pages; /* (atomic) frames owned, without those that the hypervisor shares with it */
    u64 max_pages; /* (atomic) */
    struct spinlock memory_lock;
    struct memtarget memtarget; /* (memory) guest/balloon.h */
    struct timer memory_timer;  /* its deadline */
    u64 claimed_pages;          /* (heap lock) set aside for it */
    struct e820_entry {
        u64 addr, size;
        u32 type;
    } packed memory_map[GUEST_MAP_ENTRIES]; /* as domain 0 told it, for the guest to ask */
    unsigned memory_map_entries;
    bool log_dirty;          /* (control) guest/logdirty.h */
    u32 logged_faults;       /* (atomic) */
    struct dirty_map *dirty; /* from the first use of the log to the domain's end */
    u64 *blocks; /* (atomic) a bit per 2 MiB of machine memory: may contain frames of its own */
    struct shared_info *shared;
    mfn_t shared_mfn;
    u64 vm_assist; /* (atomic) bits per VMASST_TYPE */

    /* Written by control operations before it runs. */
    struct cpu_policy *policy; /* NULL: the machine's for guests, see guest/policy.h */
    u32 tsc_mode, tsc_incarnation;
    bool msr_relaxed; /* unknown registers read as 0, and take what is written to them */
    bool restored;    /* its vcpus' state came from elsewhere */
    ns_t tsc_started; /* when its time began, for domain 0 only */

    struct spinlock event_lock;
    struct port_table ports;     /* (events) */
    struct event_queues *queues; /* (events; read by any) guest/event_queue.h; NULL: none */
    s64 time_offset;             /* (boot) of its wall clock, s */
    u16 global_virq[NR_VIRQS];   /* (events) port in vcpu 0's name; 0: unbound */

    struct spinlock pirq_lock;
    struct pirq *pirqs[MAX_PIRQS]; /* (pirq) */
    u64 *pirq_eoi_map;             /* guest page: bit set = EOI hypercall needed */
    mfn_t pirq_eoi_mfn;
    u32 lines_bound;                    /* (pirq) interrupt lines */
    u64 pirq_permitted[MAX_PIRQS / 64]; /* (pirq) lines it may bind; domain 0 may bind all */
    struct device_rights devices;

    struct spinlock grant_lock; /* the two below grow */
    struct grant_table *grants; /* (grant; read by any) guest/grant.h; NULL: none yet */
    struct maptrack *maptrack;  /* (grant; read by any) guest/maptrack.h; NULL: none yet */
    u32 max_grant_frames;       /* (boot) pages the first may have */
    u32 max_maptrack_frames;    /* (boot) and the second */
};

extern struct domain *dom0;

/*
 * Which domains there are, and how long each lives.
 *
 *  1. A domain is freed when nobody holds a reference to it. It holds one itself until it is
 *     taken apart and owns no frame any more (domain.tot_pages); each page that the hypervisor
 *     shares with it (REF_SPECIAL) holds one.
 *  2. Looking up takes no lock: what was a struct domain is only ever used as one again, so a
 *     reader may touch one that is just going, and notices.
 *  3. Ids are handed out in turn, so that one comes back as late as possible.
 */
#define DOMID_NEXT DOMID_INVALID

/*
 * A domain with nothing in it but its shared page; the reference of its life is the caller's to
 * give up if he does not keep it. 'id' DOMID_NEXT: the next free one. NULL: no memory or no id.
 */
struct domain *domain_create(u16 id, u64 max_pages) must_check;

/* A reference to the domain; NULL: none has this id. It may be dying. Any context. */
struct domain *domain_get(u16 id) must_check;
/*
 * Without a reference: it may be gone already, but stays a struct domain, and what guest/event.h
 * says about its parts holds, until the next preemption point. Any context.
 */
struct domain *domain_peek(u16 id) must_check;
/* The one with the lowest id that is not below 'id'. */
struct domain *domain_get_from(u16 id) must_check;

/* One more reference for who has one already. */
static inline void domain_hold(struct domain *d)
{
    __atomic_add_fetch(&d->refs, 1, __ATOMIC_RELAXED);
}

/* With the last one the domain is taken off by SOFTIRQ_DOMAIN: any context. */
void domain_put(struct domain *d);

/* The domains that nobody refers to any more, one at a time; NULL: none. */
struct domain *domain_next_gone(void);
/* Its memory. Vcpus and all that hung on it are gone. */
void domain_free(struct domain *d);

#define DOMAIN_ORDER 1      /* pages of a struct domain, as order */
#define BLOCK_FRAMES BIT(9) /* of domain.blocks */

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

/* What a guest may switch on by vm_assist. */
#define VM_ASSISTS                                                                             \
    (BIT(VMASST_TYPE_4gb_segments) | BIT(VMASST_TYPE_writable_pagetables) |                    \
     BIT(VMASST_TYPE_pae_extended_cr3) | BIT(VMASST_TYPE_architectural_iopl) |                 \
     BIT(VMASST_TYPE_runstate_update_flag) | BIT(VMASST_TYPE_m2p_strict))

static inline bool vm_assist_on(const struct domain *d, unsigned type)
{
    return d->vm_assist & BIT(type);
}

/* The domain will own so many more frames; false: more than it may. */
bool domain_add_pages(struct domain *d, u64 n) must_check;
/* So many less. */
void domain_sub_pages(struct domain *d, u64 n);
/* It is taken apart: with its last frame, or now, its life ends. Once. */
void domain_leave(struct domain *d);

/*
 * The domain cannot go on: logs the first reason with the registers of the current vcpu and
 * returns normally; the vcpus stop at the border. Domain 0's end is the machine's.
 */
void domain_crash(struct domain *d, const char *fmt, ...) __printf(2, 3);

/* The first end of its run, as SHUTDOWN_ of xen/sched.h; false: it had one already. */
bool domain_set_shutdown(struct domain *d, u8 reason);
/* Sets the reasons to stop; all vcpus will look at them. With the life lock. */
void domain_stop(struct domain *d, u32 reasons);

static inline bool vcpu_is_up(const struct vcpu *v)
{
    return __atomic_load_n(&v->life, __ATOMIC_ACQUIRE) == VCPU_UP;
}

/* There is a reason to stop at the border. */
static inline bool vcpu_must_stop(const struct vcpu *v)
{
    return __atomic_load_n(&v->domain->stop, __ATOMIC_SEQ_CST) || !vcpu_is_up(v);
}

/*
 * Interrupts are taken and softirqs run; the vcpu may lose its CPU here and go on on another
 * one. No locks held.
 */
void preempt_point(void);

/* Lets others run first; 'to' is a sibling that should (NULL: whoever). */
void vcpu_yield(struct vcpu *to);

/*
 * Sleeps until vcpu_wake(), unless awake(arg) holds already or the vcpu must go on for another
 * reason: it has to stop at the border, an NMI. Whoever makes 'awake' true calls vcpu_wake() afterwards.
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
