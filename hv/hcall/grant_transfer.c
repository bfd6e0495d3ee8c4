/* Giving a frame away to a domain that has asked for one. */
#include "guest/access.h"
#include "guest/frame.h"
#include "guest/grant.h"
#include "hcall/grant.h"
#include "hcall/hcall.h"
#include "kern/tlb.h"

/* Requests between two preemption points: each flushes. */
#define BATCH 8

/* Takes the frame from its owner: nobody has a translation of it any more. */
static int take_away(const struct domain *d, mfn_t mfn)
{
    if (frame_unassign(d->id, mfn))
        return GNTST_bad_page;
    /* It does not go through the heap, which would see to that. */
    tlb_flush_since(tlb_clock(), frames[mfn.n].ref & REF_SHARED ? NO_OWNER : d->id, true);
    return GNTST_okay;
}

static int transfer_one(struct vcpu *v, struct grant_peer *peer,
                        const struct gnttab_transfer *op)
{
    struct domain *d = v->domain, *to = grant_peer_find(peer, op->domid);
    const mfn_t mfn = MFN(op->mfn);
    u64 pfn;
    int status;

    if (!to)
        return GNTST_bad_domain;
    status = take_away(d, mfn);
    if (status != GNTST_okay)
        return status;
    pfn = m2p[mfn.n];
    m2p[mfn.n] = M2P_INVALID;
    status = grant_take_over(to, op->ref, d->id, mfn);
    if (status == GNTST_okay) {
        domain_sub_pages(d, 1);
    } else {
        m2p[mfn.n] = pfn;
        frame_assign(d, mfn, 0);
    }
    return status;
}

s64 grant_transfer_array(struct vcpu *v, u64 u_ops, u32 n)
{
    struct grant_peer peer = {NULL};
    struct gnttab_transfer *u_op = (void *)u_ops, op;
    u32 i;
    int rc = 0;

    for (i = 0; i < n; i++, u_op++) {
        if (i && !(i % BATCH)) {
            preempt_point();
            if (hcall_may_stop(v))
                break;
        }
        rc = grant_request_get(&op, u_op, sizeof(op));
        if (rc)
            break;
        op.status = (s16)transfer_one(v, &peer, &op);
        rc = grant_request_put(&u_op->status, &op.status, sizeof(op.status));
        if (rc)
            break;
    }
    grant_peer_drop(&peer);
    return rc ? rc : i;
}
