/* Operations of domain 0 on a domain: what its frames are, and which of them it has written to. */
#include "base/string.h"
#include "guest/access.h"
#include "guest/frame.h"
#include "guest/logdirty.h"
#include "hcall/domctl.h"

#define MAX_INFO   1024
#define INFO_CHUNK 64

_Static_assert(XEN_DOMCTL_PFINFO_L4TAB == (TYPE_L4 - TYPE_L1 + 1U)
                                              << XEN_DOMCTL_PFINFO_LTAB_SHIFT,
               "levels are numbered alike");

static u64 frame_info(const struct domain *d, mfn_t mfn)
{
    u64 info = XEN_DOMCTL_PFINFO_XTAB, typ;

    if (!frame_get(d->id, mfn))
        return info;
    typ = __atomic_load_n(&frames[mfn.n].typ, __ATOMIC_RELAXED);
    if (!(frames[mfn.n].ref & REF_SPECIAL)) {
        info = XEN_DOMCTL_PFINFO_NOTAB;
        if (typ & TYP_INUSE && type_is_table(typ_type(typ)))
            info = (u64)(typ_type(typ) - TYPE_L1 + 1) << XEN_DOMCTL_PFINFO_LTAB_SHIFT;
        if (typ & TYP_PINNED)
            info |= XEN_DOMCTL_PFINFO_LPINTAB;
    }
    frame_put(mfn);
    return info;
}

s64 domctl_get_frame_info(struct domain *d, struct xen_domctl *op)
{
    const struct xen_domctl_getpageframeinfo3 *g = &op->u.getpageframeinfo3;
    u64 chunk[INFO_CHUNK], num = g->num;

    if (num > MAX_INFO)
        return -XEN_E2BIG;
    for (u64 i = 0; i < num; i += INFO_CHUNK) {
        u64 n = MIN(num - i, INFO_CHUNK);

        if (copy_from_guest(chunk, g->array.p + i, n * sizeof(u64)))
            return -XEN_EFAULT;
        for (u64 k = 0; k < n; k++)
            chunk[k] = frame_info(d, MFN(chunk[k]));
        if (copy_to_guest(g->array.p + i, chunk, n * sizeof(u64)))
            return -XEN_EFAULT;
    }
    return 0;
}

/* As much of a bitmap as one step copies: 256 bytes, 2048 pages. */
#define STEP_BYTES 256

/*
 * Until pages are really watched: none is dirty while the domain runs, so that the sender stops
 * it at once, and all are when it has stopped.
 */
static s64 copy_bitmap(const struct xen_domctl_shadow_op *s, u8 fill)
{
    u64 bytes = DIV_ROUND_UP(s->pages, 8);
    u8 step[STEP_BYTES];

    memset(step, fill, sizeof(step));
    for (u64 at = 0; at < bytes; at += STEP_BYTES) {
        if (copy_to_guest((u8 *)s->dirty_bitmap.p + at, step, MIN(bytes - at, STEP_BYTES)))
            return -XEN_EFAULT;
        preempt_point();
    }
    return 0;
}

static s64 give_dirty(const struct domain *d, struct xen_domctl_shadow_op *s)
{
    bool final = s->mode & XEN_DOMCTL_SHADOW_LOGDIRTY_FINAL;

    if (!d->log_dirty || s->mode & ~XEN_DOMCTL_SHADOW_LOGDIRTY_FINAL)
        return -XEN_EINVAL;
    s->stats.fault_count = 0;
    s->stats.dirty_count = final ? (u32)MIN(s->pages, ~0U) : 0;
    return s->dirty_bitmap.p ? copy_bitmap(s, final ? 0xff : 0) : 0;
}

s64 domctl_shadow(struct domain *d, struct xen_domctl *op)
{
    struct xen_domctl_shadow_op *s = &op->u.shadow_op;

    if (d->is_hardware)
        return -XEN_EINVAL;
    switch (s->op) {
    case XEN_DOMCTL_SHADOW_OP_OFF:
        return logdirty_disable(d);
    case XEN_DOMCTL_SHADOW_OP_ENABLE:
        return s->mode == XEN_DOMCTL_SHADOW_ENABLE_LOG_DIRTY ? logdirty_enable(d)
                                                             : -XEN_EOPNOTSUPP;
    case XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY:
        return logdirty_enable(d);
    case XEN_DOMCTL_SHADOW_OP_CLEAN:
    case XEN_DOMCTL_SHADOW_OP_PEEK:
        return give_dirty(d, s);
    default:
        return -XEN_EOPNOTSUPP;
    }
}
