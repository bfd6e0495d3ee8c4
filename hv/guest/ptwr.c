/*
 * Page-table writes by ordinary instructions: the guest kernel maps its L1 tables read-only, the
 * write faults, and we perform it as a checked update. Linux unmaps, forks and write-protects
 * this way, so the walk is kept short.
 */
#include "core/insn.h"
#include "core/pte.h"
#include "core/pte_store.h"
#include "guest/access.h"
#include "guest/mmu.h"
#include "guest/regs.h"
#include "guest/trap.h"
#include "x86/cpu.h"
#include "x86/guest_mem.h"
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

/* The faulting instruction, of any form the decoder knows, on one entry. */
static int perform(struct vcpu *v, const struct insn *insn, struct insn_regs *r, u64 *slot,
                   u64 va)
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

static bool emulate_any(struct vcpu *v, struct cpu_user_regs *regs, u64 *table, u64 va)
{
    u8 bytes[INSN_MAX_LEN];
    struct insn insn;
    struct insn_regs r;
    u64 address;

    if (insn_decode(bytes, guest_fetch(regs->rip, bytes), &insn) || insn.op != INSN_MEM_WRITE)
        return false;
    regs_to_insn(regs, &r);
    /* The operand must be what faulted, and lie within one entry. */
    address = insn_effective_address(&insn, &r);
    if ((address ^ va) & ~7UL || (address & 7) + insn.size > 8)
        return false;
    if (perform(v, &insn, &r, &table[(address & (PAGE_SIZE - 1)) >> 3], address))
        return false;
    regs_from_insn(regs, &r);
    return true;
}

/* Flags after an AND of one byte (Intel SDM volume 1, 3.4.3.1). */
static u64 and_flags(u64 rflags, u8 result)
{
    rflags &= ~(RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF);
    return rflags | (result ? 0 : RFLAGS_ZF) | (result & 0x80 ? RFLAGS_SF : 0) |
           (__builtin_parity(result) ? 0 : RFLAGS_PF);
}

/* One of the common forms at rip; NULL: it is none, or cannot be read. */
static const struct pte_store *common_store(struct vcpu *v, u64 rip)
{
    /* A kernel has few places that write its tables. */
    struct seen_store *seen = &v->stores[rip >> 3 & (ARRAY_SIZE(v->stores) - 1)];
    u64 words[2];

    if (!guest_range_ok(rip, sizeof(words)) ||
        !guest_read_pair((const void *)rip, &words[0], &words[1]))
        return NULL;
    if (likely(seen->words[0] == words[0] && seen->words[1] == words[1] && seen->store.len))
        return &seen->store;
    seen->words[0] = words[0];
    seen->words[1] = words[1];
    if (pte_store_decode((const u8 *)seen->words, &seen->store))
        return &seen->store;
    seen->store.len = 0;
    return NULL;
}

enum common_result { COMMON_DONE, COMMON_REFUSED, COMMON_OTHER };

static inline u64 stored_over(const struct pte_store *st, u64 entry, u64 reg)
{
    return st->op == PTE_STORE_AND8 ? entry & (~0xffUL | st->imm) : reg;
}

static __noinline int store_slowly(u16 id, const struct pte_store *st, u64 reg, u64 *slot,
                                   u64 *entry)
{
    const struct pte_update u = {.table_owner = id, .target_owner = id};
    int rc;

    *entry = __atomic_load_n(slot, __ATOMIC_RELAXED);
    do
        rc = mmu_update_entry(&u, 1, slot, stored_over(st, *entry, reg), entry);
    while (rc == -XEN_EAGAIN);
    return rc;
}

/* The three common forms on a whole, aligned entry. */
static enum common_result emulate_common(struct vcpu *v, struct cpu_user_regs *regs, u64 *slot)
{
    const u16 id = v->domain->id;
    const struct pte_store *st = common_store(v, regs->rip);
    u64 entry, was, *reg;

    if (!st)
        return COMMON_OTHER;
    reg = regs_gpr(regs, st->gpr);
    entry = __atomic_load_n(slot, __ATOMIC_RELAXED);
    if (unlikely(!mmu_update_simply(id, id, slot, entry, stored_over(st, entry, *reg)))) {
        if (store_slowly(id, st, *reg, slot, &was))
            return COMMON_REFUSED;
        entry = was;
    }
    if (st->op == PTE_STORE_XCHG)
        *reg = entry;
    else if (st->op == PTE_STORE_AND8)
        regs->rflags = and_flags(regs->rflags, (u8)stored_over(st, entry, *reg));
    regs->rip += st->len;
    regs->rflags &= ~RFLAGS_RF;
    return COMMON_DONE;
}

/* A use as an L1 of a frame that is one, of this domain. */
static bool hold_l1(const struct vcpu *v, mfn_t mfn)
{
    return likely(frame_use_again(v->domain->id, mfn, TYPE_L1)) ||
           (frame_type_of(mfn) == TYPE_L1 && !frame_type_get(v->domain->id, mfn, TYPE_L1));
}

bool mmu_emulate_write(struct vcpu *v, struct cpu_user_regs *regs, u64 va)
{
    u64 pte = mmu_walk_kernel(v, &v->walk, va), *table;
    mfn_t mfn = pte_mfn(pte);
    enum common_result result = COMMON_OTHER;
    bool done;

    /*
     * The faulting address must be mapped, read-only, to an L1 of this domain. The mapping may
     * change at any time; what counts is that the frame written is such an L1 while we write.
     */
    if (!(pte & GPTE_P) || mfn.n >= max_mfn)
        return false;
    if (pte & GPTE_RW) {
        /* Writable meanwhile: the translation was stale, the guest just tries again. */
        return frame_type_of(mfn) == TYPE_WRITABLE;
    }
    if (!hold_l1(v, mfn))
        return false;
    table = mfn_to_virt(mfn);
    if (!(va & 7))
        result = emulate_common(v, regs, &table[(va & (PAGE_SIZE - 1)) >> 3]);
    done = result == COMMON_DONE || (result == COMMON_OTHER && emulate_any(v, regs, table, va));
    frame_type_put_inline(mfn);
    if (done)
        count(COUNT_PTE_EMULATED);
    return done;
}
