#include "base/string.h"
#include "guest/access.h"
#include "guest/balloon.h"
#include "guest/frame.h"
#include "guest/lifecycle.h"
#include "guest/m2p_list.h"
#include "guest/machine_map.h"
#include "hcall/hcall.h"
#include "hcall/memory.h"
#include "x86/paging.h"
#include <xen/memory.h>

/* The upper part of the command is where a stopped operation goes on; guests may use it too. */
#define MEMOP_EXTENT_SHIFT 6
#define MEMOP_CMD_MASK     ((1U << MEMOP_EXTENT_SHIFT) - 1)

/* An extent of up to 2 MiB at a time: the bound of one uninterrupted step. */
#define MAX_EXTENT_ORDER 9
#define CHUNK_FRAMES     BIT(MAX_EXTENT_ORDER)

static bool is_self(const struct vcpu *v, u16 domid)
{
    return domid == DOMID_SELF || domid == v->domain->id;
}

static u64 limit_of(u32 mem_flags)
{
    u32 bits = XENMEMF_get_address_bits(mem_flags);

    return bits == 0 || bits >= 64 ? ~0UL : bits <= PAGE_SHIFT ? 0 : BIT(bits - PAGE_SHIFT);
}

/* Frames taken at a time: the heap is locked once for so many. */
#define BATCH_ORDER  6
#define BATCH_FRAMES BIT(BATCH_ORDER)

/* Nothing but the pin uses the page table: two references, the allocation's and the type's. */
static bool only_pinned(mfn_t mfn)
{
    u64 typ = __atomic_load_n(&frames[mfn.n].typ, __ATOMIC_RELAXED);

    return typ & TYP_PINNED && typ_count(typ) == 1 &&
           ref_count(__atomic_load_n(&frames[mfn.n].ref, __ATOMIC_RELAXED)) == 2;
}

/* With a page table goes its pin: GNU Mach gives its first tables back so. */
static int release_frame(const struct domain *d, mfn_t mfn)
{
    int rc = frame_unassign(d->id, mfn);

    if (rc == -XEN_EBUSY && only_pinned(mfn) && !frame_unpin(d->id, mfn))
        rc = frame_unassign(d->id, mfn);
    return rc;
}

/* Gives frames of the domain back, as far as nothing else uses them; how many that were. */
static u64 release_frames(struct domain *d, const u64 *list, u64 n)
{
    u64 i;

    for (i = 0; i < n && !release_frame(d, MFN(list[i])); i++)
        m2p[list[i]] = M2P_INVALID;
    heap_free_list(list, i);
    domain_sub_pages(d, i);
    return i;
}

static bool release_extent(struct domain *d, u64 start, u64 size)
{
    u64 list[BATCH_FRAMES], n;

    for (u64 i = 0; i < size; i += n) {
        n = MIN(size - i, BATCH_FRAMES);
        for (u64 k = 0; k < n; k++)
            list[k] = start + i + k;
        if (release_frames(d, list, n) != n)
            return false;
    }
    return true;
}

static s64 release_extents(struct vcpu *v, struct domain *d,
                           const struct xen_memory_reservation *r)
{
    u64 start, i;

    for (i = 0; i < r->nr_extents; i++) {
        if (copy_array_from_guest(&start, r->extent_start.p, i, sizeof(start)) ||
            !release_extent(d, start, BIT(r->extent_order)))
            break;
        preempt_point();
        if (hcall_may_stop(v))
            return (s64)i + 1;
    }
    return (s64)i;
}

/* Single frames, as balloon drivers give them. */
static s64 release_singles(struct vcpu *v, struct domain *d,
                           const struct xen_memory_reservation *r)
{
    u64 list[BATCH_FRAMES], n, done, i;

    for (i = 0; i < r->nr_extents; i += n) {
        n = MIN(r->nr_extents - i, BATCH_FRAMES);
        /* What lies before the end of the guest's memory counts: then one by one. */
        if (copy_from_guest(list, r->extent_start.p + i, n * sizeof(list[0]))) {
            n = 1;
            if (copy_from_guest(list, r->extent_start.p + i, sizeof(list[0])))
                break;
        }
        done = release_frames(d, list, n);
        if (done < n)
            return (s64)(i + done);
        preempt_point();
        if (hcall_may_stop(v))
            return (s64)(i + n);
    }
    return (s64)i;
}

static s64 decrease_reservation(struct vcpu *v, struct domain *d,
                                const struct xen_memory_reservation *r)
{
    s64 done = r->extent_order ? release_extents(v, d, r) : release_singles(v, d, r);

    balloon_given_back(d);
    return done;
}

/* Zeroed frames, and the domain's. False: it may not have so many, or there are none. */
static bool add_extent(struct domain *d, unsigned order, u64 limit, mfn_t *mfn)
{
    u64 size = BIT(order);

    if (!domain_add_pages(d, size))
        return false;
    if (!heap_alloc_frames(order, limit, &d->claimed_pages, mfn)) {
        domain_sub_pages(d, size);
        return false;
    }
    frames_assign(d, *mfn, size);
    return true;
}

/* Another domain may be taken apart meanwhile; what is apart must not get anything any more. */
static bool add_extent_to(const struct vcpu *v, struct domain *d, unsigned order, u64 limit,
                          mfn_t *mfn)
{
    bool done;

    if (d == v->domain)
        return add_extent(d, order, limit, mfn);
    lifecycle_control_begin(d);
    done = !(d->stop & STOP_DYING) && add_extent(d, order, limit, mfn);
    lifecycle_control_end(d);
    return done;
}

/* What the frames from 'mfn' on are to the domain, which has got them just now. */
static void name_frames(const struct domain *d, mfn_t mfn, const u64 *pfns, u64 n)
{
    for (u64 k = 0; k < n; k++) {
        m2p[mfn.n + k] = pfns[k];
        frame_note_write(d->id, MFN(mfn.n + k));
    }
}

/* The same of an extent: the pages from 'pfn' on, or M2P_INVALID: none, any of them. */
static void name_extent(const struct domain *d, mfn_t mfn, u64 n, u64 pfn)
{
    const u64 step = pfn != M2P_INVALID;

    for (u64 *name = &m2p[mfn.n], *end = name + n; name < end; name++, pfn += step)
        *name = pfn;
    if (unlikely(__atomic_load_n(&frame_logs, __ATOMIC_RELAXED)))
        for (u64 k = 0; k < n; k++)
            frame_note_write_slow(d->id, MFN(mfn.n + k));
}

/*
 * As many single frames as make a small block at once, from where the reservation stands now; 0:
 * they must be had one by one. *lost: the guest cannot be told of them.
 */
static u64 populate_block(const struct vcpu *v, struct domain *d,
                          const struct xen_memory_reservation *r, u64 i, bool has_pfns,
                          bool *lost)
{
    u64 list[BATCH_FRAMES];
    mfn_t mfn;

    if (r->extent_order || r->nr_extents - i < BATCH_FRAMES)
        return 0;
    memset(list, 0xff, sizeof(list)); /* M2P_INVALID */
    if (has_pfns && copy_from_guest(list, r->extent_start.p + i, sizeof(list)))
        return 0;
    if (!add_extent_to(v, d, BATCH_ORDER, limit_of(r->mem_flags), &mfn))
        return 0;
    name_frames(d, mfn, list, BATCH_FRAMES);
    for (u64 k = 0; k < BATCH_FRAMES; k++)
        list[k] = mfn.n + k;
    *lost = r->extent_start.p && copy_to_guest(r->extent_start.p + i, list, sizeof(list));
    return BATCH_FRAMES;
}

static u64 populate_extent(const struct vcpu *v, struct domain *d,
                           const struct xen_memory_reservation *r, u64 i, bool has_pfns,
                           bool *lost)
{
    u64 pfn = M2P_INVALID;
    mfn_t mfn;

    if (has_pfns && copy_array_from_guest(&pfn, r->extent_start.p, i, sizeof(pfn)))
        return 0;
    if (!add_extent_to(v, d, r->extent_order, limit_of(r->mem_flags), &mfn))
        return 0;
    name_extent(d, mfn, BIT(r->extent_order), pfn);
    *lost =
        r->extent_start.p && copy_array_to_guest(r->extent_start.p, i, &mfn.n, sizeof(mfn.n));
    return 1;
}

/* Fresh zeroed frames for the pfns in the array; their numbers are written back over them. */
static s64 populate_physmap(struct vcpu *v, struct domain *d,
                            const struct xen_memory_reservation *r, bool has_pfns)
{
    bool lost = false;
    u64 i, n;

    /* A bad array is the guest's loss, it owns the frames all the same. */
    for (i = 0; i < r->nr_extents && !lost; i += n) {
        n = populate_block(v, d, r, i, has_pfns, &lost);
        if (!n)
            n = populate_extent(v, d, r, i, has_pfns, &lost);
        if (!n)
            break;
        preempt_point();
        if (hcall_may_stop(v))
            return (s64)(i + n);
    }
    return (s64)i;
}

/* A domain that the caller may name, with a reference: itself, or for domain 0 any other. */
static int find_domain(const struct vcpu *v, u16 id, struct domain **d)
{
    if (!is_self(v, id) && !v->domain->is_hardware)
        return -XEN_EPERM;
    *d = domain_get(is_self(v, id) ? v->domain->id : id);
    return *d ? 0 : -XEN_ESRCH;
}

static s64 change_reservation(struct vcpu *v, struct domain *d, unsigned cmd,
                              const struct xen_memory_reservation *r)
{
    if (cmd == XENMEM_decrease_reservation)
        return decrease_reservation(v, d, r);
    return populate_physmap(v, d, r, cmd == XENMEM_populate_physmap);
}

/* The guest makes the call again, and goes on behind the extents that are done. */
static s64 again_from(struct vcpu *v, unsigned cmd, u64 done)
{
    if (!v->in_multicall)
        guest_regs()->rdi = cmd | done << MEMOP_EXTENT_SHIFT;
    return hcall_again(v, __HYPERVISOR_memory_op);
}

static s64 reservation_op(struct vcpu *v, unsigned cmd, u64 u_arg, u64 start)
{
    struct xen_memory_reservation r;
    struct domain *d;
    u64 done = start;
    int rc;

    if (copy_from_guest(&r, (const void *)u_arg, sizeof(r)))
        return -XEN_EFAULT;
    rc = find_domain(v, r.domid, &d);
    if (rc)
        return rc;
    if (r.extent_order <= MAX_EXTENT_ORDER && r.nr_extents <= BIT(32) && start < r.nr_extents &&
        guest_range_ok((u64)r.extent_start.p, r.nr_extents * sizeof(u64))) {
        r.extent_start.p += start;
        r.nr_extents -= start;
        done += (u64)change_reservation(v, d, cmd, &r);
        if (done < start + r.nr_extents && hcall_may_stop(v)) {
            domain_put(d);
            return again_from(v, cmd, done);
        }
    }
    domain_put(d);
    return (s64)done;
}

/* Sets free frames aside for a domain that is about to be filled. */
static s64 claim_pages(struct vcpu *v, u64 u_arg)
{
    struct xen_memory_reservation r;
    struct domain *d;
    int rc;

    if (!v->domain->is_hardware)
        return -XEN_EPERM;
    if (copy_from_guest(&r, (const void *)u_arg, sizeof(r)))
        return -XEN_EFAULT;
    if (r.extent_start.p || r.extent_order || r.mem_flags)
        return -XEN_EINVAL;
    rc = find_domain(v, r.domid, &d);
    if (rc)
        return rc;
    lifecycle_control_begin(d);
    if (r.nr_extents && (r.nr_extents <= d->tot_pages || r.nr_extents > d->max_pages))
        rc = -XEN_EINVAL;
    else
        rc = heap_claim(&d->claimed_pages, r.nr_extents ? r.nr_extents - d->tot_pages : 0);
    lifecycle_control_end(d);
    domain_put(d);
    return rc;
}

/* One chunk of an exchange: 2^order frames in, as many out. */
struct exchange {
    u64 order; /* of the chunk */
    unsigned out_order;
    u64 limit;
    u64 *in; /* CHUNK_FRAMES each */
    u64 *out;
    bool same; /* the frames given already are what is wanted */
};

/* Frames that are contiguous, aligned and low enough may simply stay. */
static bool already_fits(const struct exchange *x)
{
    u64 n = BIT(x->order), block = BIT(x->out_order);

    for (u64 i = 0; i < n; i++)
        if (x->in[i] != x->in[i & ~(block - 1)] + (i & (block - 1)) || x->in[i] >= x->limit)
            return false;
    for (u64 i = 0; i < n; i += block)
        if (x->in[i] & (block - 1))
            return false;
    return true;
}

static int take_in(struct domain *d, struct exchange *x)
{
    u64 n = BIT(x->order), i;
    int rc = 0;

    for (i = 0; i < n && !rc; i++)
        rc = frame_unassign(d->id, MFN(x->in[i]));
    if (!rc)
        return 0;
    for (i--; i > 0; i--)
        frame_assign(d, MFN(x->in[i - 1]), 0);
    return rc;
}

static void give_back(struct domain *d, struct exchange *x)
{
    for (u64 i = 0; i < BIT(x->order); i++)
        frame_assign(d, MFN(x->in[i]), 0);
}

static bool alloc_out(struct exchange *x)
{
    u64 block = BIT(x->out_order), n = BIT(x->order), i;
    mfn_t mfn;

    for (i = 0; i < n; i += block) {
        if (!heap_alloc_frames(x->out_order, x->limit, NULL, &mfn))
            break;
        for (u64 k = 0; k < block; k++)
            x->out[i + k] = mfn.n + k;
    }
    if (i == n)
        return true;
    while (i >= block) {
        i -= block;
        heap_free_frames(MFN(x->out[i]), x->out_order);
    }
    return false;
}

static int exchange_frames(struct domain *d, struct exchange *x)
{
    u64 n = BIT(x->order);
    int rc = take_in(d, x);

    if (rc)
        return rc;
    x->same = already_fits(x);
    if (x->same) {
        memcpy(x->out, x->in, n * sizeof(u64));
    } else if (!alloc_out(x)) {
        give_back(d, x);
        return -XEN_ENOMEM;
    } else {
        for (u64 i = 0; i < n; i++) {
            m2p[x->in[i]] = M2P_INVALID;
            heap_free_frames(MFN(x->in[i]), 0);
        }
    }
    for (u64 i = 0; i < n; i++)
        frame_assign(d, MFN(x->out[i]), 0);
    this_cpu()->counters[COUNT_PTE_EXCHANGE] += n;
    return 0;
}

/* Reads the frames of chunk 'c' from the in array (extents of in_order). */
static int read_in(const struct xen_memory_exchange *e, u64 c, struct exchange *x)
{
    u64 extents = BIT(x->order - e->in.extent_order), block = BIT(e->in.extent_order);

    for (u64 i = 0; i < extents; i++) {
        u64 mfn;

        if (copy_array_from_guest(&mfn, e->in.extent_start.p, c * extents + i, sizeof(mfn)))
            return -XEN_EFAULT;
        for (u64 k = 0; k < block; k++)
            x->in[i * block + k] = mfn + k;
    }
    return 0;
}

/* Enters the new frames under the pfns of the out array and writes their numbers over them. */
static int write_out(u16 owner, const struct xen_memory_exchange *e, u64 c,
                     const struct exchange *x)
{
    u64 extents = BIT(x->order - x->out_order), block = BIT(x->out_order);

    for (u64 i = 0; i < extents; i++) {
        u64 pfn, at = c * extents + i;

        if (copy_array_from_guest(&pfn, e->out.extent_start.p, at, sizeof(pfn)))
            return -XEN_EFAULT;
        for (u64 k = 0; k < block; k++) {
            m2p[x->out[i * block + k]] = pfn + k;
            frame_note_write(owner, MFN(x->out[i * block + k]));
        }
        if (copy_array_to_guest(e->out.extent_start.p, at, &x->out[i * block], sizeof(u64)))
            return -XEN_EFAULT;
    }
    return 0;
}

static s64 exchange_chunks(struct vcpu *v, struct xen_memory_exchange *e, struct exchange *x)
{
    u64 chunks = e->in.nr_extents << e->in.extent_order >> x->order;
    u64 in_per_chunk = BIT(x->order - e->in.extent_order);
    s64 rc = 0;

    for (u64 c = e->nr_exchanged / in_per_chunk; c < chunks && !rc; c++) {
        rc = read_in(e, c, x);
        if (!rc)
            rc = exchange_frames(v->domain, x);
        if (rc)
            break;
        e->nr_exchanged += in_per_chunk;
        rc = write_out(v->domain->id, e, c, x);
        preempt_point();
        if (!rc && c + 1 < chunks && hcall_may_stop(v))
            rc = hcall_again(v, __HYPERVISOR_memory_op);
    }
    return rc;
}

static bool exchange_ok(const struct vcpu *v, const struct xen_memory_exchange *e)
{
    const struct xen_memory_reservation *in = &e->in, *out = &e->out;

    return is_self(v, in->domid) && is_self(v, out->domid) &&
           in->extent_order <= MAX_EXTENT_ORDER && out->extent_order <= MAX_EXTENT_ORDER &&
           in->nr_extents <= BIT(32) && out->nr_extents <= BIT(32) &&
           in->nr_extents << in->extent_order == out->nr_extents << out->extent_order &&
           e->nr_exchanged <= in->nr_extents;
}

static s64 memory_exchange(struct vcpu *v, u64 u_arg)
{
    struct xen_memory_exchange e;
    struct exchange x;
    u64 *u_done = &((struct xen_memory_exchange *)u_arg)->nr_exchanged;
    s64 rc;

    if (copy_from_guest(&e, (const void *)u_arg, sizeof(e)))
        return -XEN_EFAULT;
    if (!exchange_ok(v, &e))
        return -XEN_EINVAL;
    x.out_order = e.out.extent_order;
    x.order = MAX(e.in.extent_order, e.out.extent_order);
    x.limit = limit_of(e.out.mem_flags);
    if (e.in.nr_extents << e.in.extent_order & (BIT(x.order) - 1) ||
        e.nr_exchanged & (BIT(x.order - e.in.extent_order) - 1))
        return -XEN_EINVAL;
    if (!guest_range_ok((u64)e.in.extent_start.p, e.in.nr_extents * sizeof(u64)) ||
        !guest_range_ok((u64)e.out.extent_start.p, e.out.nr_extents * sizeof(u64)))
        return -XEN_EFAULT;
    x.in = heap_alloc_pages(1);
    if (!x.in)
        return -XEN_ENOMEM;
    x.out = x.in + CHUNK_FRAMES;
    rc = exchange_chunks(v, &e, &x);
    heap_free_pages(x.in, 1);
    if (copy_to_guest(u_done, &e.nr_exchanged, sizeof(e.nr_exchanged)))
        return -XEN_EFAULT;
    return rc;
}

static s64 give_machine_map(struct vcpu *v, u64 u_arg)
{
    struct xen_memory_map m;
    unsigned n;
    const struct mem_region *map = machine_map_get(&n);
    struct packed {
        u64 addr, size;
        u32 type;
    } entry;

    if (!v->domain->is_hardware)
        return -XEN_EPERM;
    if (copy_from_guest(&m, (const void *)u_arg, sizeof(m)))
        return -XEN_EFAULT;
    if (m.nr_entries < n)
        return -XEN_EINVAL;
    for (unsigned i = 0; i < n; i++) {
        entry = (typeof(entry)){map[i].base, map[i].size, map[i].type};
        if (copy_array_to_guest(m.buffer.p, i, &entry, sizeof(entry)))
            return -XEN_EFAULT;
    }
    m.nr_entries = n;
    return copy_to_guest((void *)u_arg, &m, sizeof(m));
}

static s64 machphys_list(const struct vcpu *v, u64 u_arg)
{
    struct xen_machphys_mfn_list list;
    u64 n;

    if (!v->domain->is_hardware)
        return -XEN_EPERM;
    if (copy_from_guest(&list, (const void *)u_arg, sizeof(list)))
        return -XEN_EFAULT;
    n = MIN(m2p_list_length(), list.max_extents);
    for (u64 i = 0; i < n; i++) {
        mfn_t mfn = m2p_list_entry(i);

        if (copy_array_to_guest(list.extent_start.p, i, &mfn.n, sizeof(mfn.n)))
            return -XEN_EFAULT;
    }
    list.nr_extents = (u32)n;
    return copy_to_guest((void *)u_arg, &list, sizeof(list));
}

/* 64 TiB: what a guest says of itself beyond that would only cost who believes it. */
#define MAX_PFN BIT(34)

/* The highest page number that the guest uses, by its own word; 0: it has not said. */
static u64 last_pfn(const struct domain *d)
{
    u64 end = __atomic_load_n(&d->shared->arch.max_pfn, __ATOMIC_RELAXED);

    return end ? MIN(end, MAX_PFN) - 1 : 0;
}

static s64 figure_of(const struct domain *d, unsigned cmd)
{
    switch (cmd) {
    case XENMEM_current_reservation:
        return (s64)d->tot_pages;
    case XENMEM_maximum_reservation:
        return (s64)d->max_pages;
    default:
        return (s64)last_pfn(d);
    }
}

static s64 domain_figure(struct vcpu *v, unsigned cmd, u64 u_arg)
{
    struct domain *d;
    domid_t id;
    s64 rc;

    if (copy_from_guest(&id, (const void *)u_arg, sizeof(id)))
        return -XEN_EFAULT;
    rc = find_domain(v, id, &d);
    if (rc)
        return rc;
    rc = figure_of(d, cmd);
    domain_put(d);
    return rc;
}

/* The memory map that domain 0 gave a guest, and that the guest asks for. */
static s64 set_memory_map(struct vcpu *v, u64 u_arg)
{
    struct xen_foreign_memory_map m;
    struct domain *d;
    int rc;

    if (copy_from_guest(&m, (const void *)u_arg, sizeof(m)))
        return -XEN_EFAULT;
    if (m.map.nr_entries > GUEST_MAP_ENTRIES)
        return -XEN_EINVAL;
    rc = find_domain(v, m.domid, &d);
    if (rc)
        return rc;
    lifecycle_control_begin(d);
    if (copy_from_guest(d->memory_map, m.map.buffer.p,
                        m.map.nr_entries * sizeof(d->memory_map[0])))
        rc = -XEN_EFAULT;
    d->memory_map_entries = rc ? 0 : m.map.nr_entries;
    lifecycle_control_end(d);
    domain_put(d);
    return rc;
}

static s64 give_memory_map(struct vcpu *v, u64 u_arg)
{
    const struct domain *d = v->domain;
    struct xen_memory_map m;

    if (!d->memory_map_entries)
        return -XEN_ENOSYS;
    if (copy_from_guest(&m, (const void *)u_arg, sizeof(m)))
        return -XEN_EFAULT;
    m.nr_entries = MIN(m.nr_entries, d->memory_map_entries);
    if (copy_to_guest(m.buffer.p, d->memory_map, m.nr_entries * sizeof(d->memory_map[0])))
        return -XEN_EFAULT;
    return copy_to_guest((void *)u_arg, &m, sizeof(m));
}

HYPERCALL(memory_op)
{
    struct xen_machphys_mapping mapping = {
        .v_start = MACH2PHYS_VIRT_START, .v_end = MACH2PHYS_VIRT_END, .max_mfn = max_mfn - 1};
    unsigned cmd = a1 & MEMOP_CMD_MASK;
    u64 start = a1 >> MEMOP_EXTENT_SHIFT;

    switch (cmd) {
    case XENMEM_increase_reservation:
    case XENMEM_decrease_reservation:
    case XENMEM_populate_physmap:
        return reservation_op(v, cmd, a2, start);
    case XENMEM_exchange:
        return memory_exchange(v, a2);
    case XENMEM_maximum_ram_page:
        return (s64)max_mfn - 1;
    case XENMEM_current_reservation:
    case XENMEM_maximum_reservation:
    case XENMEM_maximum_gpfn:
        return domain_figure(v, cmd, a2);
    case XENMEM_machphys_mapping:
        return copy_to_guest((void *)a2, &mapping, sizeof(mapping));
    case XENMEM_machphys_mfn_list:
        return machphys_list(v, a2);
    case XENMEM_claim_pages:
        return claim_pages(v, a2);
    case XENMEM_memory_map:
        return give_memory_map(v, a2);
    case XENMEM_set_memory_map:
        return set_memory_map(v, a2);
    case XENMEM_get_sharing_freed_pages:
    case XENMEM_get_sharing_shared_pages:
        return 0; /* frames are never shared by content */
    case XENMEM_get_vnumainfo:
        return -XEN_EOPNOTSUPP;
    case XENMEM_machine_memory_map:
        return give_machine_map(v, a2);
    case XENMEM_acquire_resource:
        return memory_acquire_resource(v, a2);
    default:
        return -XEN_ENOSYS;
    }
}
