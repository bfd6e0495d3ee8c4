/* Grants, given and taken by whichever domain this image runs as. */
#ifndef GUEST_GNT_H
#define GUEST_GNT_H

#include "guest.h"
#include <xen/grant_table.h>

extern volatile grant_entry_v1_t *gnt; /* our table */
extern u16 own_id;

#define GNT_WINDOW 40 /* the first of the windows that the table takes */

void gnt_init(unsigned frames); /* sets the table up and maps it */
/* For the entry ref: 'dom' may use the frame. Flags besides GTF_permit_access. */
void gnt_give(u32 ref, u16 dom, u64 mfn, u16 flags);
/* Takes it back; false: it is in use. */
bool gnt_end(u32 ref);

long gnt_call(unsigned cmd, void *ops, unsigned n);
/* One request; its status, or a negative errno times 1000 when the call fails. */
int gnt_map(struct gnttab_map_grant_ref *op);
int gnt_map_at(u64 addr, u16 dom, u32 ref, u32 flags, u32 *handle);
int gnt_unmap(u64 addr, u64 bus, u32 handle);
int gnt_copy(struct gnttab_copy *op);

/* Sides of a copy. */
#define GNT_REF(id, r, off)                                                                    \
    {                                                                                          \
        .u.ref = (r), .domid = (id), .offset = (off)                                           \
    }
#define GNT_OWN(mfn_, off)                                                                     \
    {                                                                                          \
        .u.gmfn = (mfn_), .domid = DOMID_SELF, .offset = (off)                                 \
    }

#endif
