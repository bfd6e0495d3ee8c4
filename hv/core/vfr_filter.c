#include "core/vfr_filter.h"
#include "core/vfr_route.h"

#define BOTH (VFR_FILTER_SRC | VFR_FILTER_DST)

_Static_assert(VFR_FILTER_ARP == 1 << VFR_C_ARP && VFR_FILTER_IP4 == 1 << VFR_C_IP4 &&
                   VFR_FILTER_IP6 == 1 << VFR_C_IP6,
               "a family is a class");
_Static_assert(VFR_REASON_COUNT <= 64, "reasons are bits");

/* ---- checking ---- */

static bool is_zero(const u8 *bytes, unsigned n)
{
    u8 any = 0;

    while (n--)
        any |= bytes[n];
    return !any;
}

static bool address_fits(const struct vfr_filter_address *a)
{
    struct vfr_addr mask;

    if (!a->ends)
        return is_zero((const u8 *)a, sizeof(*a));
    if (a->ends & ~BOTH || a->length > 128 || !is_zero(a->reserved, sizeof(a->reserved)))
        return false;
    mask = vfr_addr_mask(a->length);
    return !(a->high & ~mask.high) && !(a->low & ~mask.low);
}

static bool port_fits(const struct vfr_filter_port *p)
{
    if (!p->ends)
        return is_zero((const u8 *)p, sizeof(*p));
    return !(p->ends & ~BOTH) && p->low <= p->high && is_zero(p->reserved, sizeof(p->reserved));
}

int vfr_filter_check(const struct vfr_filter *f)
{
    bool fits = !(f->reasons >> VFR_REASON_COUNT) && f->proto <= 256 && !f->reserved &&
                !(f->families & ~VFR_FILTER_ALL) &&
                !(f->ways & ~(VFR_FILTER_IN | VFR_FILTER_OUT));

    for (unsigned i = 0; i < VFR_FILTER_TERMS; i++)
        fits = fits && address_fits(&f->address[i]) && port_fits(&f->port[i]);
    return fits ? 0 : -XEN_EINVAL;
}

/* ---- a packet ---- */

/* Networks of IPv6 have no IPv4 in them. */
static bool is_inside(struct vfr_addr a, const struct vfr_filter_address *net)
{
    const struct vfr_addr mask = vfr_addr_mask(net->length);

    return (a.high & mask.high) == net->high && (a.low & mask.low) == net->low &&
           (net->length >= 96 || !vfr_addr_is_ip4(a));
}

static bool addresses_hold(const struct vfr_filter_address *a, const struct vfr_packet *p)
{
    return !a->ends || (p->class && ((a->ends & VFR_FILTER_SRC && is_inside(p->tuple.src, a)) ||
                                     (a->ends & VFR_FILTER_DST && is_inside(p->tuple.dst, a))));
}

static bool ports_hold(const struct vfr_filter_port *f, const struct vfr_packet *p)
{
    const u16 span = f->high - f->low;

    if (!f->ends)
        return true;
    /* An ICMP query's identifier stands where ports are, but is none. */
    if ((p->flags & (VFR_P_PORTS | VFR_P_QUERY | VFR_P_ANSWER)) != VFR_P_PORTS)
        return false;
    return (f->ends & VFR_FILTER_SRC && (u16)(p->tuple.sport - f->low) <= span) ||
           (f->ends & VFR_FILTER_DST && (u16)(p->tuple.dport - f->low) <= span);
}

bool vfr_filter_wants(const struct vfr_filter *f, const struct vfr_packet *p,
                      enum vfr_reason reason, u8 way)
{
    bool wanted = (!f->ways || f->ways & way) && (!f->reasons || f->reasons >> reason & 1) &&
                  (!f->families || f->families >> p->class & 1) &&
                  (!f->proto || (p->class > VFR_C_ARP && p->tuple.proto == f->proto - 1));

    for (unsigned i = 0; i < VFR_FILTER_TERMS; i++)
        wanted = wanted && addresses_hold(&f->address[i], p) && ports_hold(&f->port[i], p);
    return wanted;
}
