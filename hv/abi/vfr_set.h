/*
 * SERAI_OP_VFR_SET: elements of a set of the rules in force, added and taken out at run time. The
 * ruleset must have given the set a size or a timeout. While rules wait for their confirmation
 * the ones before them learn of changes too.
 *
 * -XEN_ENOBUFS: the audit log is full; -XEN_ENOENT: no such set, or it takes no elements; -XEN_EINVAL: nothing that this kind of set
 * has, or a reserved field is not 0; -XEN_ENOSPC: it is full; -XEN_ESRCH: REMOVE: it has no such
 * element, or the text of the rules lists it.
 */
#ifndef SERAI_ABI_VFR_SET_H
#define SERAI_ABI_VFR_SET_H

#include <stdint.h>

#define VFR_SET_ADD    0 /* what is there already begins its time anew */
#define VFR_SET_REMOVE 1
#define VFR_SET_LIST   2

struct serai_vfr_element {
    uint64_t high, low; /* address, IPv4 as ::ffff:a.b.c.d; of a MAC the lower 48 bits */
    uint16_t port;
    uint8_t length; /* of a prefix, IPv4's with 96 added */
    uint8_t reserved[5];
    uint64_t seconds; /* ADD: to live; 0: as long as the set says. LIST: left; ~0: no end */
};

struct serai_vfr_set {
    uint32_t op;
    uint32_t id, kind; /* as in struct vfr_set */
    uint32_t capacity; /* LIST: of 'entries' */
    struct serai_vfr_element element;
    uint64_t entries; /* LIST: where to, array of struct serai_vfr_element */
    uint64_t cursor;  /* LIST: 0, then what the call before left there */
    uint32_t count;   /* LIST, out; less than the capacity: there are no more */
    uint32_t reserved;
};

#endif
