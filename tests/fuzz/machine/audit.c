#include "fuzz/machine/audit.h"
#include "core/dirtymap.h"
#include "core/pte.h"
#include "guest/event.h"
#include "guest/event_queue.h"
#include "guest/grant.h"
#include "guest/logdirty.h"
#include "kern/dispatch.h"
#include "x86/paging.h"
#include <stdio.h>
#include <string.h>

/* What each frame and each domain should have. */
static struct tally {
    u64 refs[NR_FRAMES], uses[NR_FRAMES];
    u64 owned[AUDIT_IDS], domain_refs[AUDIT_IDS];
} t;

static u64 pages_at_start;

/* ---- who holds what ---- */

static void use(mfn_t mfn)
{
    REQUIRE(mfn.n < NR_FRAMES);
    t.uses[mfn.n]++;
}

static void tally_entry(u64 pte, int level)
{
    mfn_t mfn = pte_mfn(pte);

    if (!(pte & GPTE_P) || (level == 1 && !mfn_is_ram(mfn)))
        return;
    if (level > 1 || pte & (GPTE_RW | GPTE_LOGGED))
        use(mfn);
    else
        t.refs[mfn.n]++;
}

static void tally_frame(u64 i)
{
    const struct frame *f = &frames[i];
    const u64 *table = mfn_to_virt(MFN(i));
    int level = (int)typ_type(f->typ) - TYPE_L1 + 1;

    if (f->ref & REF_ALLOCATED)
        t.refs[i]++;
    if (!(f->typ & TYP_INUSE))
        return;
    t.refs[i]++;
    t.uses[i] += (f->typ & TYP_PINNED) != 0;
    if (!type_is_table(typ_type(f->typ)))
        return;
    REQUIRE(f->typ & TYP_VALID);
    for (unsigned e = 0; e < PT_ENTRIES; e++)
        if (level < 4 || l4_slot_is_guest(e))
            tally_entry(table[e], level);
}

static void tally_vcpu(const struct vcpu *v)
{
    if (v->kernel_table.n)
        use(v->kernel_table);
    if (v->user_table.n)
        use(v->user_table);
    if (v->info_moved)
        use(v->info_mfn);
    for (unsigned i = 0; i < GUEST_GDT_PAGES; i++)
        if (v->gdt_frames[i].n)
            use(v->gdt_frames[i]);
    for (unsigned i = 0; i < ARRAY_SIZE(v->ldt_frames); i++)
        if (v->ldt_frames[i].n)
            use(v->ldt_frames[i]);
}

/* A handle: its pin, its granter, and for a device that writes a use. */
static void tally_map(const struct grant_map *map, void *pins)
{
    struct grant_pin p;

    grant_pin_find(map->granter, map->ref, &p);
    REQUIRE(domain_peek(map->granter->id) == map->granter && pins_any(*p.pins));
    t.domain_refs[map->granter->id]++;
    ++*(u64 *)pins;
    if (map->state & MAP_DEVICE && !(map->state & MAP_READONLY))
        use(p.mfn);
}

/* Each pin has a handle, in whatever domain. */
static u64 tally_grants(struct domain *d)
{
    u64 pins = 0;

    for (u32 ref = 0; ref < grant_nr_frames(d) * GRANTS_PER_FRAME; ref++) {
        struct grant_pin p;

        grant_pin_find(d, ref, &p);
        REQUIRE(!(*p.pins & PINS_BUSY));
        if (!pins_any(*p.pins))
            continue;
        pins += pins_readers(*p.pins) + pins_writers(*p.pins);
        REQUIRE(p.mfn.n < NR_FRAMES && ref_owner(frames[p.mfn.n].ref) == d->id);
        t.refs[p.mfn.n]++;
    }
    return pins;
}

static void tally_queues(const struct event_queues *q)
{
    for (unsigned i = 0; i < q->nr_pages; i++)
        use(q->pages[i].mfn);
    for (unsigned i = 0; i < NR_VCPUS_MAX; i++)
        if (q->of[i].block)
            use(q->of[i].mfn);
}

static void tally_domain(struct domain *d, u64 *handles, u64 *pins)
{
    for (unsigned i = 0; i < d->max_vcpus; i++)
        tally_vcpu(d->vcpus[i]);
    if (d->pirq_eoi_mfn.n)
        use(d->pirq_eoi_mfn);
    if (d->queues)
        tally_queues(d->queues);
    t.domain_refs[d->id] += !d->left;
    maptrack_each(d, tally_map, handles);
    *pins += tally_grants(d);
}

/* ---- is it so? ---- */

static void show_frame(u64 i)
{
    fprintf(stderr, "frame %lu: ref %lx typ %lx, should have %lu references and %lu uses\n", i,
            frames[i].ref, frames[i].typ, t.refs[i], t.uses[i]);
}

/* M4: what is marked covers all that is present. Of what is no table nothing is marked. */
static void check_parts(u64 i)
{
    const struct frame *f = &frames[i];
    const u64 *table = mfn_to_virt(MFN(i));
    const bool is_l4 = typ_type(f->typ) == TYPE_L4;

    if (!(f->typ & TYP_INUSE) || !type_is_table(typ_type(f->typ))) {
        REQUIRE(!ref_parts(f->ref));
        return;
    }
    for (unsigned n = 0; n < PT_ENTRIES; n++)
        REQUIRE(!(table[n] & 1) || (is_l4 && !l4_slot_is_guest(n)) ||
                ref_has_part(f->ref, n / 64));
}

static void check_frame(u64 i)
{
    const struct frame *f = &frames[i];
    u16 owner = ref_owner(f->ref);

    REQUIRE(frame_check(f));
    if (heap_is_free(f)) {
        REQUIRE(!t.refs[i] && !t.uses[i]);
        return;
    }
    REQUIRE(!(f->typ & TYP_STAMPING));
    check_parts(i);
    if (owner == DOMID_XEN)
        t.refs[i]++;
    if (ref_count(f->ref) != t.refs[i] || typ_count(f->typ) != t.uses[i]) {
        show_frame(i);
        REQUIRE(!"a frame's counts are what its users say");
    }
    if (owner == DOMID_XEN)
        return;
    REQUIRE(owner < AUDIT_IDS && domain_peek(owner));
    if (f->ref & REF_SPECIAL)
        t.domain_refs[owner]++;
    else
        t.owned[owner]++;
    REQUIRE(domain_peek(owner)->blocks[i / BLOCK_FRAMES / 64] & BIT(i / BLOCK_FRAMES & 63));
}

static void check_port(struct domain *d, u32 n, struct port p)
{
    struct domain *other;

    REQUIRE(p.state <= PORT_SERVICE && p.vcpu < MAX(d->max_vcpus, 1));
    switch (p.state) {
    case PORT_INTERDOMAIN:
        other = domain_peek(p.remote_dom);
        REQUIRE(other && port_is_peer(port_look(&other->ports, p.number), d->id, n));
        break;
    case PORT_VIRQ:
        REQUIRE(p.number < NR_VIRQS);
        REQUIRE(virq_is_per_vcpu(p.number) ? d->vcpus[p.vcpu]->virq_port[p.number] == n
                                           : d->global_virq[p.number] == n);
        break;
    case PORT_FREE:
    case PORT_UNBOUND:
    case PORT_PIRQ:
    case PORT_IPI:
    case PORT_SERVICE:
        break;
    }
}

static void check_domain(struct domain *d)
{
    REQUIRE(t.owned[d->id] == d->tot_pages);
    if (d->refs != t.domain_refs[d->id]) {
        fprintf(stderr, "domain %u has %u references instead of %lu\n", d->id, d->refs,
                t.domain_refs[d->id]);
        REQUIRE(!"a domain's references are those that there are");
    }
    REQUIRE(!memtarget_check(&d->memtarget));
    REQUIRE(rangeset_check(&d->devices.ports) && rangeset_check(&d->devices.memory));
    for (u32 n = 1; n < EVTCHN_MAX_PORTS; n++) {
        if (!d->ports.chunks[n / PORTS_PER_CHUNK]) {
            n |= PORTS_PER_CHUNK - 1;
            continue;
        }
        check_port(d, n, port_look(&d->ports, n));
    }
    REQUIRE(!d->apart || !d->claimed_pages);
}

static void check_sched(void)
{
    struct sched *s = dispatch_lock_all();
    int rc = sched_check(s);

    dispatch_unlock_all(CPUSET_NONE);
    if (rc)
        fprintf(stderr, "sched_check: %d\n", rc);
    REQUIRE(!rc);
}

void audit_all(void)
{
    u64 handles = 0, pins = 0, claimed = 0;

    memset(&t, 0, sizeof(t));
    for (u64 i = 0; i < NR_FRAMES; i++)
        tally_frame(i);
    for (u16 id = 0; id < AUDIT_IDS; id++)
        if (domain_peek(id))
            tally_domain(domain_peek(id), &handles, &pins);
    REQUIRE(handles == pins);
    for (u64 i = 0; i < NR_FRAMES; i++)
        check_frame(i);
    for (u16 id = 0; id < AUDIT_IDS; id++) {
        struct domain *d = domain_peek(id);

        if (!d)
            continue;
        check_domain(d);
        claimed += d->claimed_pages;
    }
    REQUIRE(claimed == heap_claimed_count());
    heap_audit();
    check_sched();
}

void audit_begin(void)
{
    pages_at_start = heap_pages_in_use();
    REQUIRE(!heap_objects_in_use());
}

/* What stays: memory for domains to come, and interrupt lines that were in use. */
void audit_end(void)
{
    for (u16 id = 0; id < AUDIT_IDS; id++)
        REQUIRE(!domain_peek(id));
    for (u64 i = 0; i < NR_FRAMES; i++) {
        const struct frame *f = &frames[i];

        REQUIRE(heap_is_free(f) || (ref_owner(f->ref) == DOMID_XEN && ref_count(f->ref) == 1));
        REQUIRE(!(f->typ & TYP_INUSE) || heap_is_free(f));
    }
    REQUIRE(heap_pages_in_use() == pages_at_start + domain_pages_kept());
    REQUIRE(heap_objects_in_use() == lines_kept());
    REQUIRE(!heap_claimed_count());
    heap_audit();
    heap_audit_clean();
    check_sched();
}
