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
    u64 key; /* what it holds, as key_of() names it; NOTHING */
    mfn_t mfn;
    struct grant_pin pin;   /* of a grant */
    struct grant_peer peer; /* the granter */
};

/*
 * A frame or a grant as one word:
 *
 *      63.....48 47  46..40 39.............0
 *        domid   ref    0    frame number or grant reference
 */
#define KEY_REF  BIT(47)
#define KEY_NAME (BIT(40) - 1)
#define NOTHING  BIT(46)

static must_inline bool key_of(const struct gnttab_copy_ptr *p, bool is_ref, u64 *key)
{
    const u64 name = is_ref ? p->u.ref : p->u.gmfn;

    *key = (u64)p->domid << 48 | (is_ref ? KEY_REF : 0) | name;
    return name <= KEY_NAME;
}

static __noinline void release(struct side *s, bool write)
{
    if (s->key == NOTHING)
        return;
    if (write)
        frame_type_put(s->mfn);
    if (s->key & KEY_REF)
        grant_unpin(s->peer.d, &s->pin, write);
    else if (!write)
        frame_put(s->mfn);
    s->key = NOTHING;
}

static int hold_own(struct vcpu *v, struct side *s, u64 key, bool write)
{
    s->mfn = MFN(key & KEY_NAME);
    if (key >> 48 != DOMID_SELF)
        return GNTST_permission_denied;
    if (!write)
        return frame_get(v->domain->id, s->mfn) ? GNTST_okay : GNTST_bad_page;
    if (!frame_type_get(v->domain->id, s->mfn, TYPE_WRITABLE))
        return GNTST_okay;
    if (!frame_get(v->domain->id, s->mfn))
        return GNTST_bad_page;
    frame_put(s->mfn);
    return GNTST_general_error;
}

static int hold_granted(struct vcpu *v, struct side *s, u64 key, bool write)
{
    const u16 domid = (u16)(key >> 48);
    const u16 id = domid == DOMID_SELF ? v->domain->id : domid;
    struct domain *granter = grant_peer_find(&s->peer, id);
    int status;

    if (!granter)
        return GNTST_bad_domain;
    status = grant_pin(granter, (u32)key, v->domain->id, write, &s->pin);
    s->mfn = s->pin.mfn;
    if (status == GNTST_okay && write && frame_type_get(granter->id, s->mfn, TYPE_WRITABLE)) {
        grant_unpin(granter, &s->pin, write);
        status = GNTST_general_error;
    }
    return status;
}

static __noinline int change(struct vcpu *v, struct side *s, u64 key, bool write)
{
    int status;

    release(s, write);
    status = key & KEY_REF ? hold_granted(v, s, key, write) : hold_own(v, s, key, write);
    if (status == GNTST_okay)
        s->key = key;
    return status;
}

static must_inline int hold(struct vcpu *v, struct side *s, const struct gnttab_copy_ptr *p,
                            bool is_ref, bool write)
{
    u64 key;

    if (unlikely(!key_of(p, is_ref, &key)))
        return p->domid == DOMID_SELF ? GNTST_bad_page : GNTST_permission_denied;
    return likely(s->key == key) ? GNTST_okay : change(v, s, key, write);
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
    status = hold(v, from, &op->source, op->flags & GNTCOPY_source_gref, false);
    if (status == GNTST_okay)
        status = hold(v, to, &op->dest, op->flags & GNTCOPY_dest_gref, true);
    if (status != GNTST_okay)
        return status;
    move(to->mfn, op->dest.offset, from->mfn, op->source.offset, op->len);
    if (!(to->key & KEY_REF))
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
    struct side from = {.key = NOTHING}, to = {.key = NOTHING};
    union copy_request *u_r = (void *)u_ops, r __attribute__((uninitialized));
    u32 i;
    int rc = 0;

    for (i = 0; i < n; i++, u_r++) {
        if (i && !(i % BATCH)) {
            release(&from, false);
            release(&to, true);
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
    release(&from, false);
    release(&to, true);
    grant_peer_drop(&from.peer);
    grant_peer_drop(&to.peer);
    return rc ? rc : i;
}
