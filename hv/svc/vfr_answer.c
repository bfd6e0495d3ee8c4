#include "svc/vfr_answer.h"
#include "base/string.h"
#include "core/vfr_wire.h"
#include "svc/vfr.h"
#include "svc/vfr_sink.h"
#include "svc/vif_rx.h"

static const struct vfr_limit speech =
    VFR_LIMIT_EVERY(1000000000 / VFR_SPEECH_RATE, VFR_SPEECH_RATE);

#define RA_LIFETIME 65535 /* RFC 8319 */
#define RA_FOREVER                                                                             \
    ~(u32)0 /* the interface's prefix is its own as long as there is the interface */

/* An address of the uplink itself, in this family; otherwise the one that is complained about. */
static struct vfr_addr voice_outside(const struct vfr_binding *b, const struct vfr_packet *x)
{
    if (x->class == VFR_C_IP4) {
        for (unsigned i = 0; i < b->ip4s; i++)
            if (b->ip4[i].mask == ~(u32)0)
                return VFR_IP4(b->ip4[i].addr);
    } else {
        for (unsigned i = 0; i < b->ip6s; i++)
            if (~b->ip6[i].mask.low == 0)
                return b->ip6[i].addr;
    }
    return x->tuple.dst;
}

/* Link-local addresses say nothing on the wire: no router there lets them pass. */
static struct vfr_self self_before(const struct vif_packet *p)
{
    const struct vif *in = p->from->vif;
    struct vfr_self self = {in->router_mac, (u32)VFR_ROUTER_IP4.low, VFR_ROUTER_IP6};
    const struct vfr_packet *x = &p->parsed;

    if (in->kind != VFR_UPLINK)
        return self;
    if (x->class == VFR_C_IP4)
        self.ip4 = (u32)voice_outside(&in->binding, x).low;
    else
        self.ip6 = voice_outside(&in->binding, x);
    return self;
}

static void tell(const struct vif_packet *p, const u8 *frame, u32 len)
{
    if (p->from->sink)
        vfr_sink_said(p->from->sink, frame, len);
    else
        vif_say(p->from, frame, len);
}

static enum vfr_reason say(const struct vif_packet *p, const u8 *frame, u32 len)
{
    if (len)
        tell(p, frame, len);
    return VFR_R_CONSUMED;
}

/* Each interface is told so much and no more. */
static void say_limited(const struct vif_packet *p, const u8 *frame, u32 len)
{
    if (len && vif_take_one(&speech, &p->from->vif->speech_due, p))
        tell(p, frame, len);
}

enum vfr_reason vfr_complain(const struct vif_packet *p, enum vfr_error e, u32 mtu,
                             enum vfr_reason reason)
{
    const struct vfr_self self = self_before(p);
    u8 frame[VFR_REPLY_MAX] __unset;

    say_limited(p, frame, vfr_reply_error(&self, &p->parsed, p->head, p->have, e, mtu, frame));
    return reason;
}

/* What follows the head goes back as it came. */
static void turn_back(struct vif_packet *p, const u8 *frame)
{
    u8 head[VFR_SNAPSHOT] __unset;

    memcpy(head, p->head, p->have);
    memcpy(p->head, frame, p->have);
    (void)!vif_deliver_copy(p->from, p);
    memcpy(p->head, head, p->have);
}

enum vfr_reason vfr_answer_echo(struct vif_packet *p)
{
    const bool is_long = (u32)p->parsed.l3_offset + p->parsed.l3_len > p->have;
    const struct vfr_self self = self_before(p);
    u8 frame[VFR_REPLY_MAX] __unset;
    u32 len = vfr_reply_echo(&self, &p->parsed, p->head, p->have, frame);

    if (!is_long || p->from->sink)
        say_limited(p, frame, len);
    else if (len && vif_take_one(&speech, &p->from->vif->speech_due, p))
        turn_back(p, frame);
    return VFR_R_CONSUMED;
}

/* On the wire the router speaks for what is behind it; its link-local addresses are for guests. */
static bool is_spoken_for(const struct vif *in, struct vfr_addr a)
{
    if (vfr_is_router(a))
        return in->kind != VFR_UPLINK;
    return !vfr_addr_is_link_local(a) && vfr_is_elsewhere(in, a);
}

/* On other links the router is all there is. */
static bool has_stations(const struct vif *in)
{
    return in->kind == VFR_UPLINK || in->kind == VFR_SWITCHED;
}

static enum vfr_reason answer_arp(const struct vif_packet *p)
{
    const struct vfr_self self = self_before(p);
    const struct vif *in = p->from->vif;
    u8 frame[VFR_REPLY_MAX] __unset;

    if (has_stations(in) && !is_spoken_for(in, p->parsed.tuple.dst))
        return VFR_R_CONSUMED;
    return say(p, frame, vfr_reply_arp(&self, &in->binding, &p->parsed, frame));
}

/* In answer to this solicitation, or (NULL) to all on the link. */
static u32 put_advert(const struct vif *in, const struct vfr_packet *asked, u8 *frame)
{
    const struct vfr_self self = {in->router_mac, 0, VFR_ROUTER_IP6};
    struct vfr_advert ra = {.valid = RA_FOREVER,
                            .preferred = RA_FOREVER,
                            .mtu = in->mtu,
                            .lifetime = RA_LIFETIME,
                            .managed = in->ra & VFR_RA_MANAGED,
                            .other = in->ra & VFR_RA_OTHER,
                            .autonomous = !(in->ra & VFR_RA_MANAGED)};

    if (in->kind != VFR_ROUTED || !in->binding.ip6s)
        return 0;
    /* Addresses are made up in a whole /64 only; nothing is on the link but the router. */
    if (vfr_addr_equal(in->binding.ip6[0].mask, vfr_addr_mask(64))) {
        ra.prefix = in->binding.ip6[0].addr;
        ra.prefix_len = 64;
    }
    return vfr_reply_advert(&self, &ra, asked, frame);
}

void vfr_advertise(struct vif *f)
{
    u8 frame[VFR_REPLY_MAX] __unset;
    u32 len = put_advert(f, NULL, frame);

    if (len)
        vif_say(&f->queues[0], frame, len);
}

static enum vfr_reason answer_nd(const struct vif_packet *p)
{
    const struct vfr_self self = self_before(p);
    const struct vfr_packet *x = &p->parsed;
    const u8 *nd = p->head + x->l4_offset + ND_TARGET;
    const struct vfr_addr target = {get_be64(nd), get_be64(nd + 8)};
    const bool router = vfr_addr_equal(target, VFR_ROUTER_IP6);
    const struct vif *in = p->from->vif;
    u8 frame[VFR_REPLY_MAX] __unset;

    if (x->icmp_type == ND_ROUTER_SOLICIT)
        return say(p, frame, put_advert(in, x, frame));
    if (has_stations(in) ? !is_spoken_for(in, target) : !router)
        return VFR_R_CONSUMED;
    return say(p, frame, vfr_reply_solicit(&self, &in->binding, x, p->head, router, frame));
}

enum vfr_reason vfr_answer(struct vif_packet *p)
{
    const struct vfr_packet *x = &p->parsed;

    if (x->class == VFR_C_ARP)
        return answer_arp(p);
    if (x->flags & VFR_P_ND)
        return answer_nd(p);
    if (x->flags & VFR_P_QUERY)
        return vfr_answer_echo(p);
    return vfr_complain(p, VFR_E_PORT, 0, VFR_R_NO_ROUTE);
}

enum vfr_reason vfr_refuse(const struct vif_packet *p, const struct vfr_verdict *v)
{
    const struct vfr_self self = self_before(p);
    u8 frame[VFR_REPLY_MAX] __unset;
    u32 len = 0;

    if (v->action != VFR_REJECT)
        return v->reason;
    if (v->reject == VFR_REJECT_RST)
        len = vfr_reply_reset(&self, &p->parsed, p->head, frame);
    if (len) {
        say_limited(p, frame, len);
        return v->reason;
    }
    return vfr_complain(p,
                        v->reject == VFR_REJECT_ADMIN  ? VFR_E_ADMIN
                        : v->reject == VFR_REJECT_HOST ? VFR_E_HOST
                                                       : VFR_E_PORT,
                        0, v->reason);
}
