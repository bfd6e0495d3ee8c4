#include "hot.h"
#include "core/pte.h"
#include "guest/frame.h"
#include "guest/mmu.h"
#include "kern/tlb.h"

static struct frame table[HOT_FRAMES];

struct frame *frames = table;
u64 max_mfn = HOT_FRAMES;
unsigned hot_flushes, hot_validations;

/* ---- what guest/frame.c calls: nothing of it is on an uncontended path ---- */

u64 tlb_clock(void)
{
    return HOT_CLOCK;
}

void tlb_flush_since(u64 stamp, u32 owner, bool tables)
{
    hot_flushes++;
}

void tlb_relax(void)
{
}

void vcpu_yield(struct vcpu *to)
{
}

void frame_release(mfn_t mfn, u64 ref)
{
}

int mmu_validate_table(u16 owner, mfn_t mfn, enum frame_type t)
{
    hot_validations++;
    return 0;
}

void mmu_devalidate_table(mfn_t mfn, enum frame_type t)
{
}

int mmu_validate_descriptors(mfn_t mfn)
{
    return 0;
}

/* ---- measured ---- */

__noinline int measured_take_and_drop(u16 owner, mfn_t mfn, enum frame_type t)
{
    int rc = frame_type_get(owner, mfn, t);

    if (!rc)
        frame_type_put(mfn);
    return rc;
}

__noinline bool measured_get_and_put(u16 owner, mfn_t mfn)
{
    if (!frame_get(owner, mfn))
        return false;
    frame_put(mfn);
    return true;
}

__noinline bool measured_pte_store(const u8 *bytes, struct pte_store *out)
{
    return pte_store_decode(bytes, out);
}

__noinline int measured_decode(const u8 *bytes, struct insn *out)
{
    return insn_decode(bytes, INSN_MAX_LEN, out);
}

__noinline int measured_emulate(const u8 *bytes, struct insn_regs *regs, u64 *slot)
{
    struct insn_result res;
    struct insn insn;
    int rc = insn_decode(bytes, INSN_MAX_LEN, &insn);

    if (rc || insn_effective_address(&insn, regs) != (u64)slot)
        return -XEN_EINVAL;
    rc = insn_compute(&insn, regs, *slot, &res);
    if (rc)
        return rc;
    *slot = res.new;
    insn_commit(&insn, regs, &res);
    return 0;
}

__noinline const struct port *measured_port_get(const struct port_table *t, u32 port)
{
    return port_get(t, port);
}

__noinline bool measured_pte(u64 *pte)
{
    if (!pte_flags_ok(*pte, 1, false))
        return false;
    *pte = pte_adjust(*pte, 1);
    return true;
}

__noinline bool measured_lease_owns(const struct vfr_leases *l, u16 vif, struct vfr_addr addr,
                                    u8 proto, u16 port)
{
    return vfr_lease_owns(l, vif, addr, vfr_lease_class(proto), port);
}
