/* Leases of shared addresses' ports: changes by domain 0, and their ends by the clock. */
#ifndef SERAI_SVC_VFR_LEASES_H
#define SERAI_SVC_VFR_LEASES_H

#include "core/vfr_lease.h"

/* (readers: any, at any time) Before the first change there is no shared address in it. */
extern struct vfr_leases vfr_leases;

/*
 * Checks an order, and carries it out. Errors: core/vfr_lease.h; -XEN_ENOMEM. *events: what it made
 * true (VFR_LEASE_PORTS_80...). -XEN_ENOBUFS: the audit log is full.
 */
int vfr_leases_change(struct vfr_lease_order *o, bool check_only, u32 *events) must_check;
/* The next one from *cursor on; false: there is none. */
bool vfr_leases_list(u32 *cursor, struct vfr_lease_info *info) must_check;
/* What leases' times are to be compared with: now, and when the first order came. */
void vfr_leases_clock(ns_t *now, ns_t *epoch);
/* An interface goes, and gives back what it has. -XEN_ENOBUFS: some not yet, the audit log is full. */
int vfr_leases_free_all(const u8 uuid[16], u16 vif) must_check;

void vfr_leases_init(void);

#endif
