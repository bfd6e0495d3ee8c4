#include "svc/vfr.h"
#include "core/vfr_route.h"
#include "kern/heap.h"
#include "x86/cpu.h"

#define ROUTES_ORDER 5
#define ROUTES_SIZE  ((PAGE_SIZE << ROUTES_ORDER) / sizeof(struct vfr_route))
#define ETH_HEADER   14
#define VIFS_ORDER   3 /* pages for VFR_VIFS_MAX pointers */

static struct spinlock vfr_lock = SPINLOCK(LOCK_VFR);
static struct vif **vifs; /* (vfr; read by any) VFR_VIFS_MAX; what is there stays */

/* The router's own address on every link: locally administered. */
#define ROUTER_MAC 0x025345524149ull

/*
 * Two tables with the same in them: one is looked into, the other one changed; then they change
 * places, and when nobody can be looking any more the change is made in the first one too.
 */
static struct vfr_routes tables[2];
static struct vfr_routes *routes = &tables[0]; /* (atomic) */
static bool changing;                          /* (atomic) */
static u16 uplink = VFR_NOBODY;                /* (atomic) where everything else goes */

struct vif *vfr_find(u16 index)
{
    struct vif **table = __atomic_load_n(&vifs, __ATOMIC_ACQUIRE);

    return table && index < VFR_VIFS_MAX ? __atomic_load_n(&table[index], __ATOMIC_ACQUIRE)
                                         : NULL;
}

/* With the lock: one that is not in use, made if there is none. */
static struct vif *find_free(void)
{
    for (u32 i = 0; i < VFR_VIFS_MAX; i++) {
        struct vif *f = vifs[i];

        if (f && f->state == VIF_FREE)
            return f;
        if (f)
            continue;
        f = heap_alloc_pages(0);
        if (!f)
            return NULL;
        f->index = (u16)i;
        __atomic_store_n(&vifs[i], f, __ATOMIC_RELEASE);
        return f;
    }
    return NULL;
}

static bool exists(u16 domid, u16 handle)
{
    for (u32 i = 0; i < VFR_VIFS_MAX && vifs[i]; i++)
        if (vifs[i]->state != VIF_FREE && vifs[i]->d->id == domid && vifs[i]->handle == handle)
            return true;
    return false;
}

/* One for the handle, that nobody else touches until its state is changed again. */
int vfr_reserve(struct domain *d, u16 handle, struct vif **f)
{
    int rc = -XEN_ENOMEM;

    lock(&vfr_lock);
    if (!vifs)
        __atomic_store_n(&vifs, heap_alloc_pages(VIFS_ORDER), __ATOMIC_RELEASE);
    if (vifs && exists(d->id, handle)) {
        rc = -XEN_EEXIST;
    } else if (vifs) {
        *f = find_free();
        rc = *f ? 0 : -XEN_ENOSPC;
    }
    if (!rc) {
        (*f)->state = VIF_BUSY;
        (*f)->d = d;
        (*f)->handle = handle;
    }
    unlock(&vfr_lock);
    return rc;
}

void vfr_set_state(struct vif *f, enum vif_state state)
{
    lock(&vfr_lock);
    f->state = state;
    unlock(&vfr_lock);
}

bool vfr_take(struct vif *f)
{
    bool up;

    lock(&vfr_lock);
    up = f->state == VIF_UP;
    if (up)
        f->state = VIF_BUSY;
    unlock(&vfr_lock);
    return up;
}

static void begin_change(void)
{
    while (__atomic_exchange_n(&changing, true, __ATOMIC_ACQUIRE))
        preempt_point();
}

/* The table that nobody looks into; or the other one becomes that. */
static struct vfr_routes *other_table(void)
{
    return routes == &tables[0] ? &tables[1] : &tables[0];
}

static void swap_tables(void)
{
    __atomic_store_n(&routes, other_table(), __ATOMIC_SEQ_CST);
    domain_wait_for_cpus();
}

static void end_change(void)
{
    __atomic_store_n(&changing, false, __ATOMIC_RELEASE);
}

static int make_tables(void)
{
    struct vfr_route *memory[2];

    if (tables[0].table)
        return 0;
    memory[0] = heap_alloc_pages(ROUTES_ORDER);
    memory[1] = heap_alloc_pages(ROUTES_ORDER);
    if (!memory[0] || !memory[1]) {
        if (memory[0])
            heap_free_pages(memory[0], ROUTES_ORDER);
        if (memory[1])
            heap_free_pages(memory[1], ROUTES_ORDER);
        return -XEN_ENOMEM;
    }
    for (unsigned i = 0; i < 2; i++)
        vfr_routes_init(&tables[i], memory[i], ROUTES_SIZE, rdtsc());
    return 0;
}

static struct vfr_addr address(const struct serai_vfr_prefix *p)
{
    return (struct vfr_addr){p->high, p->low};
}

static void remove_first(struct vfr_routes *r, const struct vif *f, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        (void)!vfr_route_remove(r, address(&f->prefixes[i]), f->prefixes[i].length, f->index);
}

/* All of its addresses or none. */
static int add_all(struct vfr_routes *r, const struct vif *f)
{
    int rc = 0;

    for (unsigned i = 0; i < f->nr_prefixes; i++) {
        const struct serai_vfr_prefix *p = &f->prefixes[i];

        rc = vfr_route_add(r, address(p), p->length, f->index);
        if (rc) {
            remove_first(r, f, i);
            break;
        }
    }
    return rc;
}

int vfr_attach(const struct vif *f)
{
    int rc;

    begin_change();
    rc = make_tables();
    if (!rc && f->kind == VFR_UPLINK && uplink != VFR_NOBODY)
        rc = -XEN_EEXIST;
    if (!rc)
        rc = add_all(other_table(), f);
    if (!rc) {
        swap_tables();
        rc = add_all(other_table(), f);
        BUG_ON(rc);
        if (f->kind == VFR_UPLINK)
            __atomic_store_n(&uplink, f->index, __ATOMIC_RELEASE);
    }
    end_change();
    return rc;
}

void vfr_detach(const struct vif *f)
{
    begin_change();
    if (uplink == f->index)
        __atomic_store_n(&uplink, VFR_NOBODY, __ATOMIC_RELEASE);
    remove_first(other_table(), f, f->nr_prefixes);
    swap_tables();
    remove_first(other_table(), f, f->nr_prefixes);
    end_change();
}

static void put_mac(u8 *to, u64 mac)
{
    for (unsigned i = 0; i < 6; i++)
        to[i] = (u8)(mac >> (40 - 8 * i));
}

/* One of the receiver's queues, the same one for all packets of a conversation. */
static struct vif_queue *choose_queue(struct vif *to, const struct vfr_tuple *t)
{
    u64 x = (t->src.low ^ t->src.high) + (t->dst.low ^ t->dst.high) + (t->sport ^ t->dport);

    if (likely(to->nr_queues == 1))
        return &to->queues[0];
    return &to->queues[(x * 0x9e3779b97f4a7c15ull >> 32) % to->nr_queues];
}

enum vfr_reason vfr_forward(struct vif_packet *p, struct vif_queue **to)
{
    const struct vfr_packet *x = &p->parsed;
    enum vfr_reason reason = vfr_packet_parse(&p->parsed, p->head, p->have, p->len);
    struct vif *out;
    u16 index;

    if (reason != VFR_R_OK)
        return reason;
    if (x->class == VFR_C_ARP)
        return VFR_R_CONSUMED;
    index = vfr_route_find(__atomic_load_n(&routes, __ATOMIC_ACQUIRE), x->tuple.dst);
    if (index == VFR_NOBODY)
        index = __atomic_load_n(&uplink, __ATOMIC_ACQUIRE);
    if (index == VFR_NOBODY || index == p->from->vif->index)
        return VFR_R_NO_ROUTE;
    out = vfr_find(index);
    if (p->gso_type == 0 && p->len > out->mtu + ETH_HEADER)
        return VFR_R_MTU;
    put_mac(p->head, out->kind == VFR_UPLINK ? out->next_hop : out->mac);
    put_mac(p->head + 6, ROUTER_MAC);
    *to = choose_queue(out, &x->tuple);
    return VFR_R_OK;
}
