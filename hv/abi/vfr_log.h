/*
 * What the Virtual Firewall Router writes down: the flow log, one ring a CPU, that may lose
 * records but says how many; and the audit log, one ring, that refuses instead. Domain 0 maps the
 * rings and reads them; the same records lie in its files.
 *
 *  1 Little-endian. Every record begins with struct vfr_log_head, lies at a multiple of 8 and is
 *    'len' bytes long, a multiple of 8. Reserved fields are 0.
 *  2 In a ring, 'seq' goes up by one from record to record. What is missing is named by the next
 *    VFR_RECORD_GAP, which comes before any further record.
 *  3 A chained record (audit, checkpoint) ends with the digest of the record before it and its
 *    own: SHA-256 of (the one before, 32 bytes; all of the record but the last 32 bytes). The
 *    first one names 32 bytes of 0.
 *  4 A number once given keeps its meaning.
 */
#ifndef SERAI_ABI_VFR_LOG_H
#define SERAI_ABI_VFR_LOG_H

#include "abi/vfr.h"
#include <stdint.h>

enum vfr_record_type {
    VFR_RECORD_FLOW_NEW = 1,
    VFR_RECORD_FLOW_END = 2,
    VFR_RECORD_DENY = 3,  /* or, with no reason, what passed without a flow */
    VFR_RECORD_DROPS = 4, /* how many packets died of a reason since the last such record */
    VFR_RECORD_GAP = 5,
    VFR_RECORD_CLOCK = 6, /* the wall clock was set */
    VFR_RECORD_CAPTURE = 7,
    VFR_RECORD_AUDIT = 16,
    VFR_RECORD_CHECKPOINT = 17,
    VFR_RECORD_IP6 = 0x100 /* with FLOW_NEW, FLOW_END, DENY: addresses of 16 bytes */
};

struct vfr_log_head {
    uint16_t type, len;
    uint32_t seq;
    uint64_t utc;        /* ns since 1970 */
    uint32_t generation; /* of the rules */
    uint16_t boot;       /* changes with each start of the machine */
    uint16_t cpu;
};

/* Interfaces are named domain << 16 | number within the domain. */
struct vfr_log_where {
    uint32_t in, out;
};

struct vfr_log_ip4 {
    uint32_t src, dst; /* host order */
};

struct vfr_log_ip6 {
    uint64_t src[2], dst[2]; /* [0]: the high half, host order */
};

/* FLOW_NEW, DENY, and the beginning of FLOW_END: head, where, ip4 or ip6, what. */
struct vfr_log_what {
    uint16_t sport, dport;
    uint8_t proto, tcp_flags;
    uint16_t reason; /* DENY: enum vfr_reason; FLOW_END: why, as IPFIX element 136 numbers it */
    uint32_t rule;
    uint32_t count; /* how many denies this stands for; FLOW_END: its duration, ms */
    uint64_t flow;  /* FLOW_NEW and FLOW_END of one flow have the same; DENY: 0 */
};

/* The rest of FLOW_END. [1]: answers. */
struct vfr_log_counts {
    uint64_t packets[2], bytes[2];
};

struct vfr_log_drops {
    struct vfr_log_head head;
    uint32_t vif;
    uint16_t reason, reserved;
    uint64_t count, bytes;
    struct vfr_log_ip6 example; /* IPv4 addresses as ::ffff:a.b.c.d */
    uint16_t sport, dport;
    uint8_t proto, reserved2[3];
};

/* Records 'first' to 'first' + count - 1 were lost; the first at 'begin', the last at 'end'. */
struct vfr_log_gap {
    struct vfr_log_head head;
    uint32_t first, count;
    uint64_t begin, end; /* UTC */
};

struct vfr_log_clock {
    struct vfr_log_head head;
    uint64_t before, after;
    uint32_t source, reserved;
};

/* After this: the frame's first 'captured' bytes, and 0 to 7 bytes of 0. */
struct vfr_log_capture {
    struct vfr_log_head head;
    uint32_t vif;
    uint16_t reason;        /* why it died, or 0 */
    uint8_t capture;        /* which one asked for it */
    uint8_t flags;          /* VFR_CAPTURE_ */
    uint32_t captured, len; /* of 'len' bytes on the wire */
};

#define VFR_CAPTURE_MAX  9216 /* bytes of a frame */
#define VFR_CAPTURE_IN   0x01 /* from the interface; else to it */
#define VFR_CAPTURE_CSUM 0x02 /* the checksum is left to the receiver */
#define VFR_CAPTURE_GSO  0x04 /* and so is cutting it into segments */

/* Ends of a packet, and ways it goes: from an interface, and to it. */
#define VFR_FILTER_SRC 0x1
#define VFR_FILTER_DST 0x2
#define VFR_FILTER_IN  0x1
#define VFR_FILTER_OUT 0x2
#define VFR_FILTER_ARP 0x2
#define VFR_FILTER_IP4 0x4
#define VFR_FILTER_IP6 0x8
#define VFR_FILTER_ALL 0xe

#define VFR_FILTER_TERMS 2

/* Holds if one of the ends named has such an address; of ARP the sender's and the target's. */
struct vfr_filter_address {
    uint64_t high, low; /* IPv4 as ::ffff:a.b.c.d, with 96 added to the length */
    uint8_t length, ends;
    uint8_t reserved[6];
};

/* The same for ports; no packet without ports has one. */
struct vfr_filter_port {
    uint16_t low, high;
    uint8_t ends;
    uint8_t reserved[3];
};

/* Packets for which all holds that is said here; 0 (of a term: its ends) says nothing. */
struct vfr_filter {
    uint64_t reasons; /* a bit for each enum vfr_reason: what became of it is one of them */
    struct vfr_filter_address address[VFR_FILTER_TERMS];
    struct vfr_filter_port port[VFR_FILTER_TERMS];
    uint16_t proto; /* 1 + its number */
    uint8_t families, ways;
    uint32_t reserved;
};

/*
 * What an audit record is about, 'op'. Its texts are words NAME=VALUE, by spaces: how 'object' was,
 * and how it is from now on.
 */
enum vfr_audit_op {
    VFR_AUDIT_BEGIN = 1,   /* the first record; object: nanoseconds since the start */
    VFR_AUDIT_RULES = 2,   /* object: generation */
    VFR_AUDIT_CONNECT = 3, /* object: interface */
    VFR_AUDIT_DISCONNECT = 4,
    VFR_AUDIT_LEASE = 5,    /* object: lease, or the address that is shared from now on */
    VFR_AUDIT_CAPTURE = 6,  /* object: which of VFR_CAPTURES */
    VFR_AUDIT_CAPTURED = 7, /* it ended */
    VFR_AUDIT_CLOCK = 8,    /* the wall clock was set, by 100 ms or more */
    VFR_AUDIT_SET = 10,     /* an element comes or goes; object: set */
    VFR_AUDIT_LIMITS = 9,   /* of an interface; object: it */
    /* What domain 0 says of itself, by VFR_LOG_NOTE. */
    VFR_AUDIT_NOTE = 0x100,
    VFR_AUDIT_DAEMON_BEGAN = 0x100,
    VFR_AUDIT_DAEMON_ENDED = 0x101,
    VFR_AUDIT_RULES_TEXT = 0x102, /* before it is installed */
    VFR_AUDIT_DELETED = 0x103,    /* a file, because it was old or there were too many */
    VFR_AUDIT_CLOSED = 0x104,     /* a file, and its digest */
    VFR_AUDIT_COMMAND = 0x105,    /* somebody's, before it changes anything */
    VFR_AUDIT_REFUSED = 0x106,    /* leases that servers did not get; object: interface */
    VFR_AUDIT_NOTES_END = 0x200
};

/*
 * After this: 'before_len' bytes of text that says how the object was, 'after_len' how it is,
 * 0 to 7 bytes of 0, struct vfr_log_chain. A text too long for one record goes on in the next:
 * 'part' of 'parts', counted from 1; before and after are cut as if they were one text.
 */
struct vfr_log_audit {
    struct vfr_log_head head;
    uint8_t origin, part, parts, reserved; /* enum vfr_actor */
    uint16_t op, reserved2;
    uint32_t uid, pid, vif;
    uint16_t before_len, after_len;
    uint64_t object;
};

/*
 * Says how far the chain is: whoever keeps 'records' and 'chain.self' elsewhere (the console, a
 * remote log) sees when the end of the audit log was cut off.
 */
struct vfr_log_checkpoint {
    struct vfr_log_head head;
    uint64_t records;      /* in the chain before this one */
    uint64_t refused;      /* changes that found no room in the audit log */
    uint64_t logged, lost; /* records of the flow log, since the start, all CPUs */
};

struct vfr_log_chain {
    uint8_t before[32], self[32];
};

#define VFR_AUDIT_RECORD 8192 /* the longest one, all included */
#define VFR_AUDIT_PARTS  16

/*
 * A ring: 'size' bytes of records, a power of two; a record may go on at the beginning. Both
 * positions count bytes since the ring began. The reader moves 'consumed' and nothing else.
 */
struct vfr_log_ring {
    uint32_t magic, size;
    uint16_t cpu, boot;
    uint32_t reserved;
    uint64_t lost; /* records that the ring had no room for */
    uint64_t pad[5];
    uint64_t produced;
    uint64_t pad2[7];
    uint64_t consumed;
    uint64_t pad3[7];
};

#define VFR_LOG_MAGIC 0x676c7276u /* "vrlg" */

/*
 * SERAI_OP_VFR_LOG. A reserved field is 0; -XEN_EINVAL: it is not, or a value is out of range.
 *
 * READ: what has been written to a ring from 'at' on, as much as there is and the buffer takes;
 * 'at' is then behind it. What lies before 'done' is stored elsewhere, and may be overwritten; ~0:
 * no more than before. A reader that is started again asks with 'done' ~0 and no room first:
 * 'consumed' is what its forerunner told, and all that came since is still there. -XEN_ENOENT:
 * no such ring, or nothing was ever written; -XEN_EINVAL: 'done' or 'at' is nowhere between
 * 'consumed' and 'produced', which are told nevertheless.
 *
 * CAPTURE: of an interface, or VFR_NOBODY: of all; each frame's first 'snap' bytes, 1 to
 * VFR_CAPTURE_MAX; for 'seconds', at most a day. -XEN_ENOSPC: there are VFR_CAPTURES.
 * CAPTURED: -XEN_ENOENT.
 *
 * NOTE: an audit record of domain 0's. CHECKPOINT: one that says how long the chain is; the
 * console is told too. -XEN_ENOBUFS: the audit log is full; -XEN_E2BIG: a text is longer than 32 KiB.
 */
#define VFR_LOG_READ       0
#define VFR_LOG_NOTE       1
#define VFR_LOG_CHECKPOINT 2
#define VFR_LOG_CAPTURE    3 /* begins one: 'ring' is its */
#define VFR_LOG_CAPTURED   4 /* ends the one of 'ring' */

/* Rings of the flow log are named by their CPU's number. */
#define VFR_RING_AUDIT   0x100
#define VFR_RING_CAPTURE 0x200 /* + which */
#define VFR_CAPTURES     4

#define VFR_NOTE_TEXT 32768

struct serai_vfr_log {
    uint32_t op;
    uint32_t ring;               /* in, READ */
    uint64_t done, at;           /* in, READ; at: out */
    uint64_t buffer, capacity;   /* in, READ */
    uint64_t produced, consumed; /* out, READ */
    uint64_t lost;               /* out, READ: records; of the audit log: changes refused */
    uint32_t size;
    uint16_t boot;
    uint16_t nr_cpus;
    int64_t now;      /* out: nanoseconds since the hypervisor started */
    uint64_t utc;     /* out: and since 1970 */
    uint64_t records; /* out: how long the audit log's chain is */
    uint8_t head[32]; /* out: the digest of its last record */
    uint16_t note;    /* in, NOTE: from VFR_AUDIT_NOTE on, and all below */
    uint8_t origin, reserved;
    uint32_t uid, pid, reserved2;
    uint64_t object;
    uint32_t vif, snap, seconds; /* in, CAPTURE, and the filter */
    uint32_t reserved3;
    uint64_t text; /* before, and right behind it after */
    uint32_t before_len, after_len;
    struct vfr_filter filter;
};

#endif
