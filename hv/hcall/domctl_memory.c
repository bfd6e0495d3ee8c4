/* Operations of domain 0 on a domain: what its frames are, and which of them it has written to. */
#include "base/string.h"
#include "guest/access.h"
#include "guest/frame.h"
#include "guest/lifecycle.h"
#include "guest/logdirty.h"
#include "hcall/domctl.h"

#define MAX_INFO   1024
#define INFO_CHUNK 64
#define MAX_PAGES  BIT(34) /* 64 TiB: a bitmap of 2 GiB */

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

static s64 give_dirty(struct domain *d, struct xen_domctl_shadow_op *s)
{
    struct logdirty_look l = {
        .u_bitmap = (u64 *)s->dirty_bitmap.p,
        .pages = s->pages,
        .clear = s->op == XEN_DOMCTL_SHADOW_OP_CLEAN,
    };
    s64 rc;

    l.last = l.clear && s->mode & XEN_DOMCTL_SHADOW_LOGDIRTY_FINAL;
    if (s->mode & ~XEN_DOMCTL_SHADOW_LOGDIRTY_FINAL || s->pages > MAX_PAGES)
        return -XEN_EINVAL;
    rc = logdirty_look(d, &l);
    s->stats.dirty_count = l.dirty;
    s->stats.fault_count = l.faults;
    return rc;
}

static s64 shadow_op(struct domain *d, struct xen_domctl_shadow_op *s)
{
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

/* There are no shadow page tables: only the log of dirty pages that others need them for. */
s64 domctl_shadow(struct domain *d, struct xen_domctl *op)
{
    s64 rc = d->is_hardware ? -XEN_EINVAL : lifecycle_pause(d, true);

    if (rc)
        return rc;
    rc = shadow_op(d, &op->u.shadow_op);
    (void)!lifecycle_unpause(d);
    return rc;
}
