/*
 * The log of the pages that a domain writes to, for live migration: a map (core/dirtymap.h) by the
 * guest's own page numbers, kept complete by taking write permission away in its L1 tables.
 *
 *  L1 Switching the log on, and each clean-up of it, takes away RW from every L1 entry of the
 *     domain's on a frame of its own. From then on a frame gets a writable translation only
 *     by a change of an entry, which guest/mmu.c notes (frame_note_write()), or by logdirty_fault().
 *  L2 An entry of the guest kernel's (GPTE_KERNEL) is marked GPTE_LOGGED and keeps its use of the
 *     frame as writable: to the guest nothing has changed, and its write is let through when it
 *     comes. The mark is ours: in what a guest writes it means nothing.
 *  L3 An entry of guest user mode becomes truly read-only. A kernel looks at these (at fork, when
 *     it cleans pages for writing back) and must see what the hardware does; it knows writes to
 *     read-only pages from copy-on-write, and makes them writable again.
 *  L4 A table that this changes is dirty too, and when the log goes off, or the guest has
 *     stopped for the last look, marks become RW again: the mark never leaves this machine.
 *  L5 What the hypervisor itself writes without a look at page tables (vcpu_info, run-state), and
 *     what other domains may write to by a grant, is noted at each look at the log.
 *
 *  L6 Page numbers are the guest's word: one that lies about them spoils its own copy.
 *
 * All but logdirty_fault() run for domain 0, alone in control of the domain, whose vcpus have all
 * stopped (lifecycle_pause()): no CPU has a translation of it then. They take their time.
 */
#ifndef SERAI_GUEST_LOGDIRTY_H
#define SERAI_GUEST_LOGDIRTY_H

#include "guest/domain.h"

/* -XEN_EINVAL: it is on already, or off. */
int logdirty_enable(struct domain *d) must_check;
int logdirty_disable(struct domain *d) must_check;
/* At the domain's end. */
void logdirty_free(struct domain *d);

struct logdirty_look {
    u64 *u_bitmap; /* caller's memory, by page number; NULL: nothing is copied */
    u64 pages;     /* bits in it */
    bool clear;    /* the pages are clean afterwards */
    bool last;     /* the domain will not run any more before the log goes off */
    u32 dirty;     /* result: how many */
    u32 faults;    /* result: writes that were let through since the last time */
};

/* -XEN_EFAULT: and nothing was cleared that was not copied. */
int logdirty_look(struct domain *d, struct logdirty_look *l) must_check;

/*
 * The vcpu, or the hypervisor for it, was refused to write to va. True: not any more. With the
 * guest kernel's page table loaded.
 */
bool logdirty_fault(struct vcpu *v, u64 va) must_check;

#endif
