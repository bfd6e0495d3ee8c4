/* The rules in force are asked about a packet. */
#ifndef SERAI_SVC_VFR_ASK_H
#define SERAI_SVC_VFR_ASK_H

#include "svc/vfr_judgement.h"

/* What they say of one like 'x' from one interface to another; with a trace, if there is a sink. */
void vfr_ask_rules(const struct vfr_judgement *j, const struct vfr_packet *x,
                   const struct vif *from, const struct vif *to, struct vfr_verdict *v);

/* Rules know flows by their first packet: what that was like, to judge by this one. */
void vfr_first_packet(const struct vfr_packet *now, bool answer, struct vfr_packet *x);

/* In a flow's 'log', beside VFR_LOG_: its packets count for its rule's rate, or are marked. */
#define VFR_FLOW_METERED 0x80
#define VFR_FLOW_MARKED  0x40

/* A packet of a flow counts for its rule's rate, as one of those that go the first one's way. */
bool vfr_meter(const struct vfr_judgement *j, const struct vfr_flow_hit *hit);

/* A piece that was kept follows its first one. False: its rule's rate is used up. */
bool vfr_count_kept(struct vif_packet *first, struct vif *out, u32 bytes);

/* Marks the packet of this class whose IP header that is; its two bits of ECN stay. */
void vfr_set_dscp(u8 *ip, u8 class, u8 dscp);

#endif
