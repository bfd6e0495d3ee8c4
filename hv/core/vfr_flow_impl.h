/* What vfr_flow.c (each packet), vfr_flow_table.c, _chain.c and _check.c (the rest) share. */
#ifndef SERAI_CORE_VFR_FLOW_IMPL_H
#define SERAI_CORE_VFR_FLOW_IMPL_H

#include "core/vfr_flow.h"

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

enum { PROTO_ICMP = 1, PROTO_TCP = 6, PROTO_UDP = 17, PROTO_ICMP6 = 58 };

/* Bits of vfr_flow.home. */
#define HOME_BUCKET 0x0fffffffU
#define HOME_LISTED BIT(30) /* in its interface's list */
#define HOME_SECRET BIT(31) /* placed by secret[1] */

/* A test may take the place of these two, to go on with another CPU. */
#ifndef VFR_FLOW_TRY_LOCK
#define VFR_FLOW_TRY_LOCK(word) (!__atomic_exchange_n(word, 1, __ATOMIC_ACQUIRE))
#define VFR_FLOW_UNLOCK(word)   __atomic_store_n(word, 0, __ATOMIC_RELEASE)
#endif

static inline bool try_lock(struct vfr_flow_bucket *b)
{
    return VFR_FLOW_TRY_LOCK(&b->lock);
}

static inline void unlock(struct vfr_flow_bucket *b)
{
    VFR_FLOW_UNLOCK(&b->lock);
}

/* The secret by which new flows are placed in this epoch. */
static inline u32 secret_of(u32 epoch)
{
    return epoch >> 1 & 1;
}

/*
 * From other bits than the bucket's number. Two tags, or one and that of a free place, which is
 * 0, never differ in the lowest bit alone: then the test for equality of four at once is exact.
 */
static inline u64 tag_of(u64 hash)
{
    return hash >> 48 | 3;
}

static inline u64 flow_word(const struct vfr_flow *f)
{
    return get_le64(&f->sport);
}

/* As flow_word(): a flow's fields lie like this. */
static inline u64 tuple_word(const struct vfr_tuple *x, u16 segment)
{
    return get_le32(&x->sport) | (u64)segment << 32 | (u64)x->proto << 48;
}

/* The same for both directions. */
u64 vfr_flow_hash(const u64 secret[4], const struct vfr_tuple *x, u64 word);

/* The flow that 'key' finds in a chain, or VFR_FLOW_NONE; *answer: by its reverse. */
u32 vfr_flow_find(const struct vfr_flow_table *t, const struct vfr_flow_bucket *home, u64 hash,
                  const struct vfr_flow_key *key, bool *answer);

/* The flow that a key found is none for this packet: too old, begun anew, from elsewhere. */
bool vfr_flow_is_over(const struct vfr_flow *f, const struct vfr_flow_use *use, bool answer);

bool vfr_flow_has_expired(const struct vfr_flow *f, ns_t now);

/* Its state and timer by its marks. */
void vfr_flow_set_state(struct vfr_flow *f);

/* (T) A flow's end; its bucket is locked. */
void vfr_flow_end(struct vfr_flow_table *t, u32 i, enum vfr_flow_end why);

/* (T) Into the chain of a bucket that is locked, and out of it; false: there is no place. */
bool vfr_flow_chain_add(struct vfr_flow_table *t, u32 home, u64 hash, u32 flow);
void vfr_flow_chain_remove(struct vfr_flow_table *t, u32 home, u32 flow);

unsigned vfr_flow_places_used(const struct vfr_flow_bucket *b);

static inline bool is_pure_syn(u8 tcp_flags)
{
    return (tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN;
}

#endif
