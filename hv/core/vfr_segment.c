#include "core/vfr_segment.h"
#include "core/vfr_wire.h"

static enum vfr_talk arp(const struct vfr_packet *p, struct vfr_addr *about)
{
    *about = p->tuple.dst;
    if (p->arp_op == ARP_REQUEST && !vfr_addr_equal(p->tuple.src, p->tuple.dst))
        return VFR_TALK_ASKS;
    *about = p->tuple.src;
    return VFR_TALK_TELLS;
}

enum vfr_talk vfr_talk(const struct vfr_packet *p, const uint8_t *bytes, uint32_t have,
                       struct vfr_addr *about)
{
    const u8 *target = bytes + p->l4_offset + ND_TARGET;
    const u32 end = MIN((u32)p->l3_offset + p->l3_len, have);

    *about = (struct vfr_addr){0};
    if (p->class == VFR_C_ARP)
        return arp(p, about);
    if (!(p->flags & VFR_P_ND) || p->flags & VFR_P_FRAGMENT ||
        (u32)p->l4_offset + ND_SOLICIT_LEN > end)
        return VFR_TALK_OTHER;
    if (p->icmp_type != ND_SOLICIT && p->icmp_type != ND_ADVERT)
        return VFR_TALK_OTHER;
    *about = (struct vfr_addr){get_be64(target), get_be64(target + 8)};
    return p->icmp_type == ND_SOLICIT ? VFR_TALK_ASKS : VFR_TALK_TELLS;
}
