/*
 * Between stations of one segment: to whom a frame goes that is not for the router. Who is there is
 * known from the interfaces' configuration, and nothing is learned from packets; what is for nobody
 * known goes to the segment's uplink or nowhere.
 *
 *  1. Segments' interfaces form a ring (struct vif.neighbour), changed one change at a time (svc/vfr).
 *  2. Copies of one packet go to VFR_SEGMENT_MAX receivers at most, each asked of the rules, and their
 *     sender is charged for each.
 */
#ifndef SERAI_SVC_VFR_SWITCH_H
#define SERAI_SVC_VFR_SWITCH_H

#include "svc/vfr_judgement.h"

/*
 * An IP packet not sent to the router's Ethernet address. VFR_R_OK: to one station, and where its IP
 * address is there is that station, too. SPREAD: copies were delivered to several. Or why not.
 */
enum vfr_reason vfr_switch(struct vfr_judgement *j);
/*
 * ARP and neighbour discovery: the router answers; or VFR_R_OK and *to: it is for that one; or
 * SPREAD. Or why not.
 */
enum vfr_reason vfr_switch_talk(struct vfr_judgement *j, struct vif_queue **to);

#endif
