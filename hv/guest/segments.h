/*
 * Guest segment descriptors: the GDT frames and LDT pages of a vcpu in its CPU's window, segment
 * bases, selectors.
 */
#ifndef SERAI_GUEST_SEGMENTS_H
#define SERAI_GUEST_SEGMENTS_H

#include "guest/domain.h"

/* 'frames' (at most 14) are the guest's own; each gets a descriptor use. */
int segments_set_gdt(struct vcpu *v, const u64 *gdt_frames, u32 entries) must_check;
int segments_set_ldt(struct vcpu *v, u64 base, u32 entries) must_check;
/* Another page table, another LDT at the same address: its pages are looked up again. */
void segments_forget_ldt_pages(struct vcpu *v);
/* A fault inside the LDT window: maps the guest's page. False when it is not that. */
/* Brings a vcpu's tables into the window of this CPU; the caller flushes the TLB next. */
void segments_load_tables(struct vcpu *v);
bool segments_ldt_fault(struct vcpu *v, u64 address);
/* Writes one descriptor of the guest's by machine address. */
int segments_update_descriptor(struct domain *d, u64 maddr, u64 desc) must_check;
/* SEGBASE_ of xen/arch-x86/xen-x86_64.h. */
int segments_set_base(struct vcpu *v, unsigned which, u64 base) must_check;

#endif
