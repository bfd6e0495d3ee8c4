/*
 * Pieces of datagrams on their way through the router. The first one is judged like any packet, the
 * others go where it went; those that came before it are kept here, in copies.
 *
 *  1. No piece is delivered that core/vfr_fragment has not noted, and none is noted that has still
 *     to wait for its receiver's buffers: it is looked at afresh then.
 *  2. What is kept for a context is in its list, under the lock; the core's limits on bytes and pieces
 *     are limits of it.
 *
 * Memory is taken at the first piece.
 */
#ifndef SERAI_SVC_VFR_PIECES_H
#define SERAI_SVC_VFR_PIECES_H

#include "svc/vfr.h"

/* A copy of one that came too early. */
struct vfr_kept {
    struct vfr_kept *next;
    u32 len;
    bool csum_valid;
    u8 frame[];
};

static inline bool vfr_is_later_piece(const struct vfr_packet *x)
{
    return (x->flags & (VFR_P_FRAGMENT | VFR_P_FIRST)) == VFR_P_FRAGMENT;
}

/*
 * Where a later piece goes; it has its first one's ports from now on. Any but VFR_R_OK: nowhere now;
 * CONSUMED: it is kept.
 */
enum vfr_reason vfr_piece_way(struct vif_packet *p, struct vif **out);

/*
 * A piece is about to be put into the buffers of 'out', its head as it is to arrive there; the IPv4
 * identifier may be changed here. The first one: *kept are the others that may follow it now, to
 * be freed by the caller. VFR_R_OK, or why it must not be put.
 */
enum vfr_reason vfr_piece_enter(struct vif_packet *p, const struct vif *out,
                                struct vfr_kept **kept);
/*
 * The head of 'k' becomes as that of 'first', where these are alike, and it is counted. VFR_R_OK, TTL, MTU,
 * RATE.
 */
enum vfr_reason vfr_piece_follow(struct vif_packet *first, struct vif *out, struct vfr_kept *k);
void vfr_piece_free(struct vfr_kept *k);

/* A first piece goes nowhere, and so do the others. */
void vfr_piece_refuse(const struct vif_packet *p, enum vfr_reason why);
/* A whole datagram that others may cut, from an address that has several users. */
void vfr_piece_rename(struct vif_packet *p);

/* An interface goes. */
void vfr_pieces_forget(u16 vif);

#endif
