#include "front.h"

static u32 next_ref = 8;
u32 front_generation;

u32 front_grant(const void *p, u16 flags)
{
    gnt_give(next_ref, own_id, mfn_of(p), flags);
    return next_ref++;
}

u8 *front_begin(u32 *ref)
{
    u8 *page;

    gnt_init(4);
    page = page_alloc();
    *ref = front_grant(page, GTF_readonly);
    return page;
}

long front_op(struct serai_vfr_vif *v, u16 what)
{
    v->op = what;
    return HC(arch_7, SERAI_OP_VFR_VIF, v, 0, 0, 0);
}

u32 front_new_port(void)
{
    struct evtchn_alloc_unbound e = {.dom = DOMID_SELF, .remote_dom = own_id};

    return hc_evtchn(EVTCHNOP_alloc_unbound, &e) ? 0 : e.port;
}

void front_prepare(struct front *f, u16 handle, u8 last)
{
    static const u8 router[] = {FRONT_ROUTER};

    f->tx = page_alloc();
    f->rx = page_alloc();
    f->tx->req_event = f->tx->rsp_event = f->rx->req_event = f->rx->rsp_event = 1;
    f->vif = (struct serai_vfr_vif){
        .domid = own_id,
        .handle = handle,
        .kind = last ? VFR_ROUTED : VFR_UPLINK,
        .can = VFR_CAN_ALL,
        .nr_queues = 1,
        .nr_prefixes = last ? 1 : 0,
        .mtu = 1500,
        .generation = front_generation,
        .mac = {2, 0, 0, 0, 0, last},
        .next_hop = {2, 0, 0, 0, 0, 0xee},
        .queues = {{front_grant(f->tx, 0), front_grant(f->rx, 0), front_new_port(),
                    front_new_port()}},
        .prefixes = {{0, 0xffff0a000000 | last, 128, 0, {0}}},
    };
    if (!last) /* on that wire it is a station of this name */
        memcpy(f->vif.mac, router, sizeof(router));
}

void front_add_ip6(struct front *f, u8 last)
{
    f->vif.prefixes[f->vif.nr_prefixes++] =
        (struct serai_vfr_prefix){0xfd00000000000000, last, 128, 0, {0}};
}

void front_add_shared(struct front *f, u32 ip)
{
    f->vif.prefixes[f->vif.nr_prefixes++] =
        (struct serai_vfr_prefix){0, 0xffff00000000 | ip, 128, 1, {0}};
}

static long change_lease(struct vfr_lease_order order)
{
    struct serai_vfr_lease l = {.order = order};

    l.order.origin = VFR_BY_SERAI;
    return HC(arch_7, SERAI_OP_VFR_LEASE, &l, 0, 0, 0);
}

long front_share(u32 ip)
{
    return change_lease((struct vfr_lease_order){.op = VFR_LEASE_SHARE, .ip = ip});
}

long front_lease(u32 ip, const struct front *f, u16 first, u8 log2, u8 classes)
{
    return change_lease((struct vfr_lease_order){.op = VFR_LEASE_GRANT,
                                                 .ip = ip,
                                                 .vif = f->vif.vif,
                                                 .start = first,
                                                 .log2 = log2,
                                                 .classes = classes});
}

void front_notify(u32 port)
{
    struct evtchn_send s = {.port = port};

    hc_evtchn(EVTCHNOP_send, &s);
}

void front_post(struct front *f)
{
    u32 i = f->posted++ % FRONT_SLOTS;

    if (!f->buffers[i]) {
        f->buffers[i] = page_alloc();
        f->refs[i] = front_grant(f->buffers[i], 0);
    }
    f->rx->ring[i].req = (struct netif_rx_request){.id = (u16)i, .gref = f->refs[i]};
}

void front_push_buffers(struct front *f, unsigned n)
{
    while (n--)
        front_post(f);
    __atomic_store_n(&f->rx->req_prod, f->posted, __ATOMIC_SEQ_CST);
    front_notify(f->vif.queues[0].rx_port);
}

void front_request(struct front *f, u32 ref, u32 offset, u32 size, u16 flags)
{
    u32 i = f->sent++ % FRONT_SLOTS;

    f->tx->ring[i].req = (struct netif_tx_request){
        .gref = ref, .offset = (u16)offset, .flags = flags, .id = (u16)i, .size = (u16)size};
}

void front_push(struct front *f)
{
    __atomic_store_n(&f->tx->req_prod, f->sent, __ATOMIC_SEQ_CST);
    front_notify(f->vif.queues[0].tx_port);
}

int front_answer(struct front *f)
{
    if (__atomic_load_n(&f->tx->rsp_prod, __ATOMIC_SEQ_CST) == f->answered)
        return 99;
    return f->tx->ring[f->answered++ % FRONT_SLOTS].rsp.status;
}

struct netif_rx_response *front_receive(struct front *f, u8 **data)
{
    u32 i = f->taken % FRONT_SLOTS;

    if (__atomic_load_n(&f->rx->rsp_prod, __ATOMIC_SEQ_CST) == f->taken)
        return NULL;
    f->taken++;
    *data = f->buffers[i];
    return &f->rx->ring[i].rsp;
}

int front_send(struct front *f, u32 ref, u32 len, u16 flags)
{
    front_request(f, ref, 0, len, flags);
    front_push(f);
    return front_answer(f);
}

u32 front_take(struct front *f, u8 **data)
{
    struct netif_rx_response *r = front_receive(f, data);
    u32 n = r && r->status > 0 ? (u32)r->status : 0;

    if (r)
        front_push_buffers(f, 1);
    return n;
}

bool front_goes(struct front *from, struct front *to, u32 ref, enum vfr_reason reason)
{
    u64 dropped = front_drops(from, reason);
    u32 taken = to->taken;
    u8 *got;

    front_request(from, ref, 0, 60, 0);
    front_push(from);
    front_answer(from);
    while (front_receive(to, &got))
        front_push_buffers(to, 1);
    return reason ? front_drops(from, reason) == dropped + 1 && to->taken == taken
                  : to->taken == taken + 1;
}

unsigned front_drain(struct front *f)
{
    unsigned n = 0;
    u8 *got;

    while (front_receive(f, &got)) {
        front_push_buffers(f, 1);
        n++;
    }
    return n;
}

void front_pass_time(u64 ns)
{
    u64 end = clock_ns() + ns;
    u32 port = 1; /* nobody sends to it */

    while (clock_ns() < end)
        poll_port(port, end);
}

bool front_connect(struct front *f, unsigned buffers)
{
    bool good = is(front_op(&f->vif, VFR_VIF_CONNECT), 0, "connect %u", f->vif.handle);

    front_push_buffers(f, buffers);
    return good;
}

void front_sum(u8 *p)
{
    u32 sum = 0;

    p[24] = p[25] = 0;
    for (unsigned i = 14; i < 34; i += 2)
        sum += (u32)p[i] << 8 | p[i + 1];
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    p[24] = (u8)(~sum >> 8);
    p[25] = (u8)~sum;
}

void front_udp(u8 *p, u32 len, u8 from, u8 to)
{
    const u8 head[] = {FRONT_ROUTER, 2, 0, 0, 0, 0, from, 8, 0, 0x45, 0};
    u32 ip = len - 14;

    memset(p, 0, 42);
    memcpy(p, head, sizeof(head));
    p[16] = (u8)(ip >> 8);
    p[17] = (u8)ip;
    p[22] = 64;
    p[23] = 17;
    p[26] = p[30] = 10;
    p[29] = from;
    p[33] = to;
    front_sum(p);
    p[35] = 7;
    p[37] = 9;
    p[38] = (u8)((ip - 20) >> 8);
    p[39] = (u8)(ip - 20);
    for (u32 i = 42; i < len && i < PAGE_SIZE; i++)
        p[i] = (u8)(i * 7 + to);
}

void front_tcp(u8 *p, u8 flags)
{
    p[23] = 6;
    front_sum(p);
    memset(p + 38, 0, 16);
    p[46] = 0x50;
    p[47] = flags;
}

u64 front_drops(struct front *f, enum vfr_reason r)
{
    struct serai_vfr_vif v = {.vif = f->vif.vif};

    return front_op(&v, VFR_VIF_READ) ? ~0UL : v.drops[r];
}

struct front_image front_image;

static void make_image(u8 action)
{
    memset(&front_image, 0, sizeof(front_image));
    front_image.head = (struct vfr_image){
        .magic = VFR_IMAGE_MAGIC,
        .version = VFR_IMAGE_VERSION,
        .header = sizeof(struct vfr_image),
        .len = sizeof(front_image),
        .nr_rules = 1,
        .gates_at = offsetof(typeof(front_image), gate),
        .rules_at = offsetof(typeof(front_image), rule),
        .order_at = offsetof(typeof(front_image), order),
        .matches_at = sizeof(front_image),
        .sets_at = sizeof(front_image),
        .rates_at = sizeof(front_image),
        .slots_at = sizeof(front_image),
    };
    front_image.rule = (struct vfr_rule){.id = 1,
                                         .action = action,
                                         .protos = 0xffff,
                                         .port_span = 0xffff,
                                         .dscp = VFR_DSCP_NONE};
    front_image.gate = vfr_rule_gate(&front_image.rule);
}

long front_rules(u32 what, struct serai_vfr_rules *r)
{
    long rc;

    r->op = what;
    rc = HC(arch_7, SERAI_OP_VFR_RULES, r, 0, 0, 0);
    if (!rc)
        front_generation = r->generation;
    return rc;
}

long front_install(u8 action)
{
    struct serai_vfr_rules r = {.generation = front_generation};

    make_image(action);
    r.image = (u64)&front_image;
    r.len = sizeof(front_image);
    return front_rules(VFR_RULES_INSTALL, &r);
}
