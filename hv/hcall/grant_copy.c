/* Copies between frames, each one's own or granted by somebody. */
#include "base/string.h"
#include "guest/access.h"
#include "guest/frame.h"
#include "guest/grant.h"
#include "hcall/grant.h"
#include "hcall/hcall.h"
#include "x86/guest_mem.h"
#include "x86/paging.h"

/* Requests between two preemption points. */
#define BATCH 32

/* A frame of the caller's own. It is kept from request to request: the next often names it too. */
struct own {
    u64 frame;
    u32 domid; /* DOMID_SELF; NOBODY: none is held */
};
#define NOBODY 0x10000U

/* What the requests of a call have in common. */
struct copying {
    u16 id; /* the caller's */
    struct own from, to;
    struct grant_peer peer;   /* who granted */
    struct grant_peer source; /* when both sides are granted, who granted what is read */
};

static void own_release(struct own *o, bool write)
{
    if (o->domid == NOBODY)
        return;
    if (write)
        frame_type_put(MFN(o->frame));
    else
        frame_put(MFN(o->frame));
    o->domid = NOBODY;
}

static __noinline int own_change(u16 id, struct own *o, u64 frame, u16 domid, bool write)
{
    own_release(o, write);
    if (domid != DOMID_SELF)
        return GNTST_permission_denied;
    if (!write && !frame_get(id, MFN(frame)))
        return GNTST_bad_page;
    if (write && frame_type_get(id, MFN(frame), TYPE_WRITABLE)) {
        if (!frame_get(id, MFN(frame)))
            return GNTST_bad_page;
        frame_put(MFN(frame));
        return GNTST_general_error;
    }
    *o = (struct own){frame, domid};
    return GNTST_okay;
}

static must_inline int own_hold(const struct copying *x, struct own *o,
                                const struct gnttab_copy_ptr *p, bool write)
{
    if (likely(o->frame == p->u.gmfn && o->domid == p->domid))
        return GNTST_okay;
    return own_change(x->id, o, p->u.gmfn, p->domid, write);
}

static must_inline struct domain *granter_of(const struct copying *x, struct grant_peer *peer,
                                             u16 domid)
{
    return grant_peer_find(peer, domid == DOMID_SELF ? x->id : domid);
}

/* As memmove(): both sides may be of one frame. */
static must_inline void move(const struct gnttab_copy *op, mfn_t to, mfn_t from)
{
    u8 *dst = (u8 *)mfn_to_virt(to) + op->dest.offset;
    const u8 *src = (const u8 *)mfn_to_virt(from) + op->source.offset;
    u64 words = op->len / 8;

    if (unlikely(op->len % 8) || unlikely((u64)dst - (u64)src < op->len)) {
        memmove(dst, src, op->len);
        return;
    }
    asm volatile("rep movsq" : "+D"(dst), "+S"(src), "+c"(words) : : "memory");
}

static must_inline void move_to_own(const struct copying *x, const struct gnttab_copy *op,
                                    mfn_t from)
{
    const mfn_t to = MFN(x->to.frame);

    move(op, to, from);
    frame_note_write(x->id, to);
}

static __noinline int copy_own(struct copying *x, const struct gnttab_copy *op)
{
    int status = own_hold(x, &x->from, &op->source, false);

    if (status == GNTST_okay)
        status = own_hold(x, &x->to, &op->dest, true);
    if (status == GNTST_okay)
        move_to_own(x, op, MFN(x->from.frame));
    return status;
}

static must_inline int copy_from_grant(struct copying *x, const struct gnttab_copy *op)
{
    struct domain *granter = granter_of(x, &x->peer, op->source.domid);
    struct grant_hold hold __unset;
    int status;

    if (!granter)
        return GNTST_bad_domain;
    status = grant_hold(granter, op->source.u.ref, x->id, false, &hold);
    if (status != GNTST_okay)
        return status;
    status = own_hold(x, &x->to, &op->dest, true);
    if (likely(status == GNTST_okay))
        move_to_own(x, op, hold.at.mfn);
    grant_release(granter, &hold, false);
    return status;
}

static int copy_to_grant(struct copying *x, const struct gnttab_copy *op, mfn_t from)
{
    struct domain *granter = granter_of(x, &x->peer, op->dest.domid);
    struct grant_hold hold __unset;
    int status;

    if (!granter)
        return GNTST_bad_domain;
    status = grant_hold(granter, op->dest.u.ref, x->id, true, &hold);
    if (status != GNTST_okay)
        return status;
    move(op, hold.at.mfn, from);
    grant_release(granter, &hold, true);
    return GNTST_okay;
}

/* What is read is pinned: nobody waits for a grant while he holds another. */
static __noinline int copy_between_grants(struct copying *x, const struct gnttab_copy *op)
{
    struct domain *granter = granter_of(x, &x->source, op->source.domid);
    struct grant_pin pin;
    int status;

    if (!granter)
        return GNTST_bad_domain;
    status = grant_pin(granter, op->source.u.ref, x->id, false, &pin);
    if (status != GNTST_okay)
        return status;
    status = copy_to_grant(x, op, pin.mfn);
    grant_unpin(granter, &pin, false);
    return status;
}

static must_inline int copy_one(struct copying *x, const struct gnttab_copy *op)
{
    int status;

    if (op->source.offset + op->len > PAGE_SIZE || op->dest.offset + op->len > PAGE_SIZE)
        return GNTST_bad_copy_arg;
    switch (op->flags & (GNTCOPY_source_gref | GNTCOPY_dest_gref)) {
    case GNTCOPY_source_gref:
        return copy_from_grant(x, op);
    case GNTCOPY_dest_gref:
        status = own_hold(x, &x->from, &op->source, false);
        return status == GNTST_okay ? copy_to_grant(x, op, MFN(x->from.frame)) : status;
    case 0:
        return copy_own(x, op);
    default:
        return copy_between_grants(x, op);
    }
}

union copy_request {
    struct gnttab_copy op;
    u64 words[5];
};
_Static_assert(sizeof(union copy_request) == 40 && sizeof(struct gnttab_copy) == 40,
               "all of it is read at once");

static inline bool read_request(union copy_request *r, const union copy_request *u_r)
{
    return guest_read_triple(u_r, &r->words[0], &r->words[1], &r->words[2]) &&
           guest_read_pair(&u_r->words[3], &r->words[3], &r->words[4]);
}

s64 grant_copy_array(struct vcpu *v, u64 u_ops, u32 n)
{
    struct copying x = {.id = v->domain->id, .from.domid = NOBODY, .to.domid = NOBODY};
    union copy_request *u_r = (void *)u_ops, r __unset;
    u32 i;
    int rc = 0;

    for (i = 0; i < n; i++, u_r++) {
        if (i && !(i % BATCH)) {
            own_release(&x.from, false);
            own_release(&x.to, true);
            preempt_point();
            if (hcall_may_stop(v))
                break;
        }
        if (!read_request(&r, u_r) ||
            !guest_write_u16(&u_r->op.status, (u16)copy_one(&x, &r.op))) {
            rc = -XEN_EFAULT;
            break;
        }
    }
    own_release(&x.from, false);
    own_release(&x.to, true);
    grant_peer_drop(&x.peer);
    grant_peer_drop(&x.source);
    return rc ? rc : i;
}
