/* The inline fast paths as functions, compiled with the hypervisor's flags. */
#ifndef SERAI_BENCH_HOT_H
#define SERAI_BENCH_HOT_H

#include "core/evtchn.h"
#include "core/frame.h"
#include "core/insn.h"
#include "core/pte_store.h"
#include "core/vfr_lease.h"

#define HOT_OWNER  1
#define HOT_FRAMES 8
#define HOT_CLOCK  77 /* of flushes */

/* frame_type_get() and frame_type_put() together; what the first said. */
int measured_take_and_drop(u16 owner, mfn_t mfn, enum frame_type t);
/* frame_get() and frame_put(). */
bool measured_get_and_put(u16 owner, mfn_t mfn);
bool measured_pte_store(const u8 *bytes, struct pte_store *out);
int measured_decode(const u8 *bytes, struct insn *out);
/* The same, and what follows it for a write to memory. */
int measured_emulate(const u8 *bytes, struct insn_regs *regs, u64 *slot);
const struct port *measured_port_get(const struct port_table *t, u32 port);
/* Flags judged, entry adjusted. */
bool measured_pte(u64 *pte);
bool measured_lease_owns(const struct vfr_leases *l, u16 vif, struct vfr_addr addr, u8 proto,
                         u16 port);

extern unsigned hot_flushes, hot_validations;

#endif
