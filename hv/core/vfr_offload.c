#include "core/vfr_offload.h"
#include "core/vfr_wire.h"

#include <xen/io/netif.h>

/* Bytes of the transport header, options included. */
static u32 l4_header(const struct vfr_packet *p, const u8 *bytes)
{
    if (p->tuple.proto == PROTO_TCP)
        return bytes[p->l4_offset + 12] >> 4 << 2;
    return UDP_HEADER;
}

static u32 ip_end(const struct vfr_packet *p)
{
    return p->l3_offset + p->l3_len;
}

/* UDP that claims to be shorter than what carries it would need a sum over a part of it. */
static bool length_agrees(const struct vfr_packet *p, const u8 *bytes)
{
    return p->tuple.proto == PROTO_TCP ||
           p->l4_offset + get_be16(bytes + p->l4_offset + 4) == ip_end(p);
}

static must_inline bool blank_fits(const struct vfr_packet *p, const u8 *bytes, u32 have)
{
    return p->l4_offset + l4_header(p, bytes) <= MIN(have, VFR_SNAPSHOT) &&
           length_agrees(p, bytes);
}

static bool blank_legal(const struct vfr_packet *p, const u8 *bytes, u32 have)
{
    if (p->class != VFR_C_IP4 && p->class != VFR_C_IP6)
        return false;
    if (p->tuple.proto != PROTO_TCP && p->tuple.proto != PROTO_UDP)
        return false;
    /* A piece does not have all that the checksum covers. */
    return !(p->flags & VFR_P_FRAGMENT) && p->flags & VFR_P_PORTS && blank_fits(p, bytes, have);
}

static bool gso_legal(const struct vfr_offload *o, const struct vfr_packet *p, const u8 *bytes)
{
    u8 class = o->gso_type == XEN_NETIF_GSO_TYPE_TCPV4   ? VFR_C_IP4
               : o->gso_type == XEN_NETIF_GSO_TYPE_TCPV6 ? VFR_C_IP6
                                                         : 0;

    if (p->class != class || p->tuple.proto != PROTO_TCP || !o->csum_blank)
        return false;
    /* More than the IP packet can hold, padding would be cut into segments, or no data at all. */
    return o->gso_size >= VFR_GSO_MIN && p->len == ip_end(p) &&
           p->l4_offset + l4_header(p, bytes) < p->len;
}

enum vfr_reason vfr_offload_check(const struct vfr_offload *o, const struct vfr_packet *p,
                                  const uint8_t *bytes, uint32_t have)
{
    if (p->len > VFR_FRAME_MAX)
        return VFR_R_GSO_BAD;
    if (o->csum_blank && unlikely(!blank_legal(p, bytes, have)))
        return VFR_R_CSUM_UNSUPP;
    if (o->gso_type != XEN_NETIF_GSO_TYPE_NONE && unlikely(!gso_legal(o, p, bytes)))
        return VFR_R_GSO_BAD;
    return VFR_R_OK;
}

bool vfr_offload_is_simple(const struct vfr_offload *o, const struct vfr_packet *p,
                           const uint8_t *bytes, uint32_t have)
{
    return o->gso_type == XEN_NETIF_GSO_TYPE_NONE && p->len <= VFR_FRAME_MAX &&
           (!o->csum_blank || blank_fits(p, bytes, have));
}

uint32_t vfr_offload_wire_len(const struct vfr_offload *o, const struct vfr_packet *p,
                              const uint8_t *bytes)
{
    u32 header;

    if (likely(o->gso_type == XEN_NETIF_GSO_TYPE_NONE))
        return p->l3_len;
    header = p->l4_offset + l4_header(p, bytes) - p->l3_offset;
    return MIN(header + o->gso_size, (u32)p->l3_len);
}

void vfr_segment_plan(struct vfr_segment_plan *plan, const struct vfr_offload *o,
                      const struct vfr_packet *p, const uint8_t *bytes)
{
    u32 header = p->l4_offset + l4_header(p, bytes), payload = ip_end(p) - header;
    bool cut = o->gso_type != XEN_NETIF_GSO_TYPE_NONE;
    u32 size = cut ? o->gso_size : payload;
    u32 count = cut ? DIV_ROUND_UP(payload, size) : 1;

    *plan = (struct vfr_segment_plan){
        .header = header,
        .count = count,
        .size = size,
        .last = payload - (count - 1) * size,
        .checksum_at = p->l4_offset + (p->tuple.proto == PROTO_TCP ? 16 : 6),
        .l4 = p->l4_offset,
        .class = p->class,
        .proto = p->tuple.proto,
        .src = p->tuple.src,
        .dst = p->tuple.dst,
    };
}

/* The IP header of a segment of 'len' bytes from there on. */
static void set_ip(const struct vfr_segment_plan *plan, u8 *ip, u32 len, unsigned k)
{
    u32 header = (ip[0] & 15) * 4;

    if (plan->class == VFR_C_IP6) {
        put_be16(ip + 4, len - IP6_HEADER);
        return;
    }
    put_be16(ip + 2, len);
    put_be16(ip + 4, get_be16(ip + 4) + k);
    put_be16(ip + 10, 0);
    put_be16(ip + 10, vfr_checksum(ip, header));
}

static void set_tcp(const struct vfr_segment_plan *plan, u8 *tcp, unsigned k)
{
    put_be32(tcp + 4, get_be32(tcp + 4) + k * plan->size);
    if (k + 1 < plan->count)
        tcp[13] &= ~(TCP_FIN | TCP_PSH);
    if (k)
        tcp[13] &= ~TCP_CWR;
}

void vfr_segment_header(const struct vfr_segment_plan *plan, const uint8_t *bytes, unsigned k,
                        uint8_t *out, struct vfr_segment *seg)
{
    u32 l4_len;

    seg->offset = k * plan->size;
    seg->len = k + 1 < plan->count ? plan->size : plan->last;
    l4_len = plan->header - plan->l4 + seg->len;
    memcpy(out, bytes, plan->header);
    set_ip(plan, out + ETH_HEADER, plan->header - ETH_HEADER + seg->len, k);
    if (plan->proto == PROTO_TCP)
        set_tcp(plan, out + plan->l4, k);
    put_be16(out + plan->checksum_at, 0);
    seg->sum = vfr_sum_pseudo(plan->src, plan->dst, plan->proto, l4_len);
    vfr_sum_add(&seg->sum, out + plan->l4, plan->header - plan->l4);
}

void vfr_segment_finish(const struct vfr_segment_plan *plan, const struct vfr_segment *seg,
                        uint8_t *out)
{
    u16 check = vfr_sum_finish(seg->sum);

    /* UDP says "none" with 0, and 0 with 0xffff. */
    if (!check && plan->proto == PROTO_UDP)
        check = 0xffff;
    put_be16(out + plan->checksum_at, check);
}
