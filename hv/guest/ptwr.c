/*
 * Page-table writes by ordinary instructions: the guest kernel maps its L1 tables read-only, the
 * write faults, and we perform it as a checked update. Linux unmaps, forks and write-protects
 * this way, so the walk is kept short.
 */
#include "core/insn.h"
#include "core/pte.h"
#include "guest/access.h"
#include "guest/mmu.h"
#include "guest/regs.h"
#include "guest/trap.h"
#include "x86/paging.h"

/* The part of the entry that an access of 'size' bytes at va touches. */
static u64 field_of(u64 entry, u64 va, unsigned size)
{
    u64 shifted = entry >> ((va & 7) * 8);

    return size == 8 ? shifted : shifted & ((1UL << (size * 8)) - 1);
}

static u64 merge_field(u64 entry, u64 va, unsigned size, u64 value)
{
    unsigned shift = (va & 7) * 8;
    u64 mask = size == 8 ? ~0UL : ((1UL << (size * 8)) - 1) << shift;

    return (entry & ~mask) | ((value << shift) & mask);
}

static int perform(struct vcpu *v, const struct insn *insn, struct insn_regs *r, u64 *slot, u64 va)
{
    const struct pte_update u = {.table_owner = v->domain->id, .target_owner = v->domain->id};
    struct insn_result res;
    u64 entry = __atomic_load_n(slot, __ATOMIC_RELAXED), source = 0;
    int rc;

    /* The value a string move stores comes from elsewhere. */
    if (insn->mem_op == MEM_MOVS &&
        copy_from_guest(&source, (const void *)insn_source_address(insn, r), insn->size))
        return -XEN_EFAULT;
    do {
        u64 new, old = insn->mem_op == MEM_MOVS ? source : field_of(entry, va, insn->size);

        rc = insn_compute(insn, r, old, &res);
        if (rc)
            return rc;
        new = merge_field(entry, va, insn->size, res.new);
        if (insn->mem_op == MEM_CMPXCHG && new == entry)
            break;
        rc = mmu_update_entry(&u, 1, slot, new, &entry);
    } while (rc == -XEN_EAGAIN);
    if (!rc)
        insn_commit(insn, r, &res);
    return rc;
}

bool mmu_emulate_write(struct vcpu *v, struct cpu_user_regs *regs, u64 va)
{
    u8 bytes[16];
    struct insn insn;
    struct insn_regs r;
    mfn_t l1, table;
    u64 pte, *map_slot, *slot;
    bool done = false;

    /* The faulting address must be mapped read-only, and to an L1 of this domain. */
    map_slot = mmu_l1_slot_get(v, va, &l1);
    if (!map_slot)
        return false;
    pte = __atomic_load_n(map_slot, __ATOMIC_RELAXED);
    frame_put_typed(l1);
    table = pte_mfn(pte);
    if (!(pte & GPTE_P) || !mfn_is_ram(table))
        return false;
    if (pte & GPTE_RW) {
        /* Writable meanwhile: the translation was stale, the guest just tries again. */
        return frame_type_of(table) == TYPE_WRITABLE;
    }
    if (frame_type_of(table) != TYPE_L1 || frame_get_typed(v->domain->id, table, TYPE_L1))
        return false;

    regs_to_insn(regs, &r);
    if (insn_decode(bytes, guest_fetch(regs->rip, bytes), &insn) == 0 && insn.op == INSN_MEM_WRITE &&
        (insn_effective_address(&insn, &r) & ~7UL) == (va & ~7UL) &&
        (va & 7) + insn.size <= 8) {
        va = insn_effective_address(&insn, &r);
        if ((va & 7) + insn.size <= 8) {
            slot = (u64 *)mfn_to_virt(table) + ((va & (PAGE_SIZE - 1)) >> 3);
            done = perform(v, &insn, &r, slot, va) == 0;
        }
    }
    frame_put_typed(table);
    if (done) {
        regs_from_insn(regs, &r);
        count(COUNT_PTE_EMULATED);
    }
    return done;
}
