/*
 * Writing the flow log of one CPU (abi/vfr_log.h has the records).
 *
 *  1 Records are written whole or not at all; 'produced' moves after a record is there.
 *  2 A record for which there is no room is lost, counted, and named by a GAP record, which
 *    comes before the next one that has room: logged + lost is what was asked for.
 *  3 The reader's position is believed only if it lies between the last one believed and what was
 *    produced; anything else changes nothing but 'nonsense'. Nothing is read from the ring.
 *  4 Denies of one interface, rule and reason between the same networks (/24, IPv6 /64) give a
 *    record for the first, and one a second that says how many more there were.
 *  5 Denies and drops leave half of the ring to flows: who is refused does not make those of
 *    others go missing, nor be refused where rules are strict.
 *
 * One CPU at a time writes to a log (its own); the reader runs at the same time on any. Pure
 * otherwise: the caller owns all memory and says what time it is.
 */
#ifndef SERAI_CORE_VFR_LOG_H
#define SERAI_CORE_VFR_LOG_H

#include "abi/vfr_log.h"
#include "base/types.h"
#include "core/vfr_packet.h"

#define VFR_LOG_SIZE      KIB(256) /* of one ring, unless said otherwise */
#define VFR_LOG_SIZE_MIN  4096
#define VFR_LOG_DENIES    64 /* kinds that are remembered at once */
#define VFR_LOG_DROPS     16 /* likewise */
#define VFR_LOG_FLOW_SIZE 88 /* of the longest FLOW_NEW and DENY */

/* Where bytes go to. */
struct vfr_log_stream {
    struct vfr_log_ring *ring; /* shared with the reader */
    u64 *data;                 /* likewise; written only */
    u32 size;
    u32 seq; /* of the next record */
    u64 produced, consumed;
    u64 nonsense; /* positions that the reader cannot have reached */
    u16 boot, cpu;
};

/* Who writes; 'seed' is for what is left to chance. */
struct vfr_log_writer {
    u16 boot, cpu;
    u64 seed;
};

/* What a packet was; also what a remembered deny is about. */
struct vfr_log_event {
    struct vfr_tuple tuple;
    struct vfr_log_where where;
    u32 rule;
    u16 reason;
    u8 tcp_flags;
    u64 flow;
};

struct vfr_log_deny {
    struct vfr_log_event event; /* the last one */
    u32 count;                  /* since the last record, which was at 'written' */
    bool used;
    ns_t written;
};

/* What died of one reason at one interface since 'since'; unused while 'count' is 0. */
struct vfr_log_dropped {
    struct vfr_log_event first;
    u64 count, bytes;
    ns_t since;
};

struct vfr_log {
    struct vfr_log_stream out;
    u64 logged, lost;
    u64 skipped, folded; /* by sampling; denies told of by a count */
    u32 gap_first, gap_count;
    u64 gap_begin, gap_end;
    u64 dice;
    struct vfr_log_deny deny[VFR_LOG_DENIES];
    struct vfr_log_dropped dropped[VFR_LOG_DROPS];
};

/* Of a frame of 'len' bytes the first 'have', seen at an interface. */
struct vfr_log_frame {
    const u8 *bytes;
    u32 have, len;
    u32 vif; /* as in struct vfr_log_where */
    u16 reason;
    u8 capture, flags;
};

/* When, and under which rules. */
struct vfr_log_moment {
    ns_t now;
    u64 utc;
    u32 generation;
};

/* 'size' bytes at 'data', a power of two; -XEN_EINVAL: it is not. 'ring' is filled in. */
int vfr_log_init(struct vfr_log *l, struct vfr_log_ring *ring, void *data, u32 size,
                 const struct vfr_log_writer *who) must_check;

/* Room for a record of so many bytes now? For rules that are strict: asked before the flow begins. */
bool vfr_log_has_room(struct vfr_log *l, u32 len);

/* One in 'n' is to be logged: is it this one? By chance, so that nobody can count along. */
bool vfr_log_sample(struct vfr_log *l, u32 n);

/* False: it was lost, and that is accounted for. */
bool vfr_log_flow_new(struct vfr_log *l, const struct vfr_log_moment *m,
                      const struct vfr_log_event *e);
bool vfr_log_flow_end(struct vfr_log *l, const struct vfr_log_moment *m,
                      const struct vfr_log_event *e, const struct vfr_log_counts *counts,
                      u32 duration_ms);
bool vfr_log_drops(struct vfr_log *l, const struct vfr_log_moment *m,
                   const struct vfr_log_event *example, u64 count, u64 bytes);
bool vfr_log_clock_set(struct vfr_log *l, const struct vfr_log_moment *m, u64 before,
                       u32 source);
/* At most VFR_CAPTURE_MAX bytes of it. */
bool vfr_log_capture(struct vfr_log *l, const struct vfr_log_moment *m,
                     const struct vfr_log_frame *frame);

/* May only be counted, see 4. */
void vfr_log_deny(struct vfr_log *l, const struct vfr_log_moment *m,
                  const struct vfr_log_event *e);

/* Counted by interface and reason, and told of with the first one's tuple: see vfr_log_tick(). */
void vfr_log_drop(struct vfr_log *l, const struct vfr_log_moment *m,
                  const struct vfr_log_event *e, u32 bytes);

/*
 * Every 200 ms or so: what was only counted and is a second old, and a gap if there is room. False:
 * there is nothing to wait for, until the next deny, drop or loss.
 */
bool vfr_log_tick(struct vfr_log *l, const struct vfr_log_moment *m);

/* 0, or the number of the invariant that does not hold. */
int vfr_log_check(const struct vfr_log *l);

/* ---- of both logs ---- */

int vfr_log_stream_init(struct vfr_log_stream *s, struct vfr_log_ring *ring, void *data,
                        u32 size, const struct vfr_log_writer *who) must_check;
/* May so many bytes be written, as far as the reader has told? */
bool vfr_log_stream_has_room(struct vfr_log_stream *s, u32 len);
/* 'len' bytes, a multiple of 8, behind what was put before; there is room. */
void vfr_log_stream_put(struct vfr_log_stream *s, const void *bytes, u32 len);
/* What was put is there for the reader. */
void vfr_log_stream_publish(struct vfr_log_stream *s);
/* The next record's; it uses up a number. */
struct vfr_log_head vfr_log_stream_head(struct vfr_log_stream *s,
                                        const struct vfr_log_moment *m, u16 type, u32 len);

#endif
