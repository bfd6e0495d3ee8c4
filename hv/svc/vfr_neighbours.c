#include "svc/vfr_neighbours.h"
#include "core/vfr_neighbour.h"
#include "kern/heap.h"
#include "kern/random.h"
#include "svc/vfr_answer.h"
#include "svc/vif_rx.h"

/* So often one interface's packets make the router ask. */
static const struct vfr_limit asking = VFR_LIMIT_EVERY(10000000, 32);

static struct spinlock neighbours_lock = SPINLOCK(LOCK_VFR_WIRE);
static struct vfr_neighbours
    *neighbours; /* (neighbours lock; atomic) NULL: no network is known */

static int to_network(const struct serai_vfr_prefix *p, struct vfr_prefix6 *net)
{
    const struct vfr_addr a = {p->high, p->low}, mask = vfr_addr_mask(p->length);

    if (p->length > 128 || a.high & ~mask.high || a.low & ~mask.low)
        return -XEN_EINVAL;
    *net = (struct vfr_prefix6){a, mask};
    return 0;
}

/* What is known of stations stays: they are asked again as time goes by. */
int vfr_neighbours_set(const struct serai_vfr_vif *op)
{
    struct vfr_neighbours *n = neighbours;
    struct vfr_prefix6 net[VFR_LINKS] __unset;
    int rc = op->nr_prefixes > VFR_LINKS ? -XEN_EINVAL : 0;

    for (unsigned i = 0; !rc && i < op->nr_prefixes; i++)
        rc = to_network(&op->prefixes[i], &net[i]);
    if (rc)
        return rc;
    if (!n && !op->nr_prefixes)
        return 0;
    if (!n) {
        n = heap_alloc_pages(heap_order(sizeof(*n)));
        if (!n)
            return -XEN_ENOMEM;
        n->seed = random_u64();
        __atomic_store_n(&neighbours, n, __ATOMIC_RELEASE);
    }
    lock(&neighbours_lock);
    n->nets = op->nr_prefixes;
    memcpy(n->net, net, n->nets * sizeof(net[0]));
    unlock(&neighbours_lock);
    return 0;
}

u64 vfr_neighbour_hop(const struct vif_packet *p, struct vif *out)
{
    const struct vfr_packet *x = &p->parsed;
    struct vfr_neighbours *n = __atomic_load_n(&neighbours, __ATOMIC_ACQUIRE);
    const struct vfr_self self = {.mac = out->router_mac};
    u8 frame[VFR_REPLY_MAX] __unset;
    bool ask = false;
    u64 hop = 0;

    if (n) {
        lock(&neighbours_lock);
        hop = vfr_neighbour_find(n, x->tuple.dst, p->now, p->from->sink ? NULL : &ask);
        unlock(&neighbours_lock);
    }
    if (ask && vif_take_one(&asking, &p->from->vif->talk_due, p))
        vif_say(&out->queues[0], frame,
                vfr_reply_ask(&self, x->tuple.src, x->tuple.dst, frame));
    if (hop)
        return hop;
    return __atomic_load_n(x->class == VFR_C_IP6 ? &out->next_hop6 : &out->next_hop,
                           __ATOMIC_RELAXED);
}

void vfr_neighbour_told(const struct vif_packet *p, struct vfr_addr about)
{
    const struct vfr_packet *x = &p->parsed;
    struct vfr_neighbours *n = __atomic_load_n(&neighbours, __ATOMIC_ACQUIRE);
    const bool arp = x->class == VFR_C_ARP;

    if (!n || p->from->sink || (!arp && x->ttl != 255))
        return;
    lock(&neighbours_lock);
    vfr_neighbour_heard(n, about, arp ? get_mac(p->head + x->l3_offset + ARP_SHA) : x->eth_src,
                        p->now);
    unlock(&neighbours_lock);
}
