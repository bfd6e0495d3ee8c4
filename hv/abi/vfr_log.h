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

#include <stdint.h>

enum vfr_record_type {
    VFR_RECORD_FLOW_NEW = 1,
    VFR_RECORD_FLOW_END = 2,
    VFR_RECORD_DENY = 3,
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
    uint16_t reason, filter; /* why it died, or 0; which capture asked for it */
    uint32_t captured, len;  /* of 'len' bytes on the wire */
};

#define VFR_CAPTURE_MAX 256

/* Who changed something. */
enum vfr_audit_origin {
    VFR_BY_HYPERVISOR,
    VFR_BY_SERAI,  /* a person, by the command */
    VFR_BY_DAEMON, /* domain 0's daemon by itself */
    VFR_BY_RSIP,
    VFR_BY_PCP,
    VFR_BY_DHCP,
    VFR_BY_TOOLSTACK,
    VFR_ORIGINS
};

/*
 * After this: 'before_len' bytes of text that says how the object was, 'after_len' how it is,
 * 0 to 7 bytes of 0, struct vfr_log_chain. A text too long for one record goes on in the next:
 * 'part' of 'parts', counted from 1; before and after are cut as if they were one text.
 */
struct vfr_log_audit {
    struct vfr_log_head head;
    uint8_t origin, part, parts, reserved;
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
 * A ring as domain 0 maps it: this page, then 'size' bytes of records, a power of two; a record may
 * go on at the beginning. Both positions count bytes since the ring began. Domain 0 writes
 * 'consumed' and nothing else; what it writes there can hurt nobody but itself.
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

#endif
