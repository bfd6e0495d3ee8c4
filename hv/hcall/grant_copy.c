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

/*
 * One side of a copy. It is kept from request to request: the next one often names the same
 * frame, or another grant of the same domain.
 */
struct side {
    const bool write;
    bool held;
    bool is_ref;
    u16 domid; /* as the request says */
    u64 name;  /* grant reference or frame number */
    mfn_t mfn;
    struct grant_pin pin;   /* of a grant */
    struct grant_peer peer; /* the granter */
};

static void release_pin(struct side *s)
{
    if (s->is_ref)
        grant_unpin(s->peer.d, &s->pin, s->write);
    else if (!s->write)
        frame_put(s->mfn);
}

static void release(struct side *s)
{
    if (!s->held)
        return;
    s->held = false;
    if (s->write)
        frame_type_put(s->mfn);
    release_pin(s);
}

static int hold_own(struct vcpu *v, struct side *s)
{
    int rc;

    s->mfn = MFN(s->name);
    if (s->domid != DOMID_SELF)
        return GNTST_permission_denied;
    if (!s->write)
        return frame_get(v->domain->id, s->mfn) ? GNTST_okay : GNTST_bad_page;
    rc = frame_type_get(v->domain->id, s->mfn, TYPE_WRITABLE);
    return !rc ? GNTST_okay : rc == -XEN_EBUSY ? GNTST_general_error : GNTST_bad_page;
}

static int hold_granted(struct vcpu *v, struct side *s)
{
    const u16 id = s->domid == DOMID_SELF ? v->domain->id : s->domid;
    struct domain *granter = grant_peer_find(&s->peer, id);
    int status;

    if (!granter)
        return GNTST_bad_domain;
    status = grant_pin(granter, (u32)s->name, v->domain->id, s->write, &s->pin);
    s->mfn = s->pin.mfn;
    if (status == GNTST_okay && s->write &&
        frame_type_get(granter->id, s->mfn, TYPE_WRITABLE)) {
        release_pin(s);
        status = GNTST_general_error;
    }
    return status;
}

static u64 name_of(const struct gnttab_copy_ptr *p, bool is_ref)
{
    return is_ref ? p->u.ref : p->u.gmfn;
}

static int change(struct vcpu *v, struct side *s, const struct gnttab_copy_ptr *p, bool is_ref)
{
    int status;

    release(s);
    s->is_ref = is_ref;
    s->domid = p->domid;
    s->name = name_of(p, is_ref);
    status = is_ref ? hold_granted(v, s) : hold_own(v, s);
    s->held = status == GNTST_okay;
    return status;
}

static inline int hold(struct vcpu *v, struct side *s, const struct gnttab_copy_ptr *p,
                       bool is_ref)
{
    if (s->held && s->name == name_of(p, is_ref) && s->is_ref == is_ref && s->domid == p->domid)
        return GNTST_okay;
    return change(v, s, p, is_ref);
}

/* As memmove(): both sides may be of one frame. */
static inline void move(mfn_t to, u16 to_offset, mfn_t from, u16 from_offset, u64 len)
{
    u8 *dst = (u8 *)mfn_to_virt(to) + to_offset;
    const u8 *src = (const u8 *)mfn_to_virt(from) + from_offset;
    u64 words = len / 8;

    if (unlikely(len % 8) || unlikely((u64)dst - (u64)src < len)) {
        memmove(dst, src, len);
        return;
    }
    asm volatile("rep movsq" : "+D"(dst), "+S"(src), "+c"(words) : : "memory");
}

static inline int copy_one(struct vcpu *v, struct side *from, struct side *to,
                           const struct gnttab_copy *op)
{
    int status;

    if (!range_ok(op->source.offset, op->len, PAGE_SIZE) ||
        !range_ok(op->dest.offset, op->len, PAGE_SIZE))
        return GNTST_bad_copy_arg;
    status = hold(v, from, &op->source, op->flags & GNTCOPY_source_gref);
    if (status == GNTST_okay)
        status = hold(v, to, &op->dest, op->flags & GNTCOPY_dest_gref);
    if (status != GNTST_okay)
        return status;
    move(to->mfn, op->dest.offset, from->mfn, op->source.offset, op->len);
    if (!to->is_ref)
        frame_note_write(v->domain->id, to->mfn);
    return GNTST_okay;
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
    struct side from = {.write = false}, to = {.write = true};
    union copy_request *u_r = (void *)u_ops, r __attribute__((uninitialized));
    u32 i;
    int rc = 0;

    for (i = 0; i < n; i++, u_r++) {
        if (i && !(i % BATCH)) {
            release(&from);
            release(&to);
            preempt_point();
            if (hcall_may_stop(v))
                break;
        }
        if (!read_request(&r, u_r) ||
            !guest_write_u16(&u_r->op.status, (u16)copy_one(v, &from, &to, &r.op))) {
            rc = -XEN_EFAULT;
            break;
        }
    }
    release(&from);
    release(&to);
    grant_peer_drop(&from.peer);
    grant_peer_drop(&to.peer);
    return rc ? rc : i;
}
