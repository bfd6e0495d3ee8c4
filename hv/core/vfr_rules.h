/*
 * Rules: what may pass. An image (abi/vfr_rules.h) is checked once, in slices, and then judges the
 * first packet of every flow: the first rule that matches decides, those that only count go on to
 * the next, and when none matches the default does.
 *
 *  1. Only an image that vfr_rules_check() finished with 0 is judged by, and nobody writes to it
 *     from before the check until the last judgement.
 *  2. A judgement is a function of image, question, elements of sets and rates; with 'commit'
 *     false it leaves no trace but the verdict, and with a trace it takes the same way.
 *  3. Work is bounded by the image: 6 instructions for a rule that its gate turns away, twice that
 *     when it is the port, and at most 4 * VFR_CLAUSE_MAX matches for another.
 *
 * Any CPU, any number at once, no lock. Counters are the caller's, one array a CPU.
 */
#ifndef SERAI_CORE_VFR_RULES_H
#define SERAI_CORE_VFR_RULES_H

#include "base/types.h"
#include "abi/vfr_rules.h"
#include "base/sha256.h"
#include "core/vfr_packet.h"
#include "core/vfr_rates.h"
#include "core/vfr_sets.h"

/* ---- checking ---- */

/* Starts all 0; how far a check has come. */
struct vfr_rules_progress {
    u32 part;    /* of the image */
    u32 at;      /* index in it */
    u32 matches; /* of the clauses so far */
    u32 slots;   /* of the sets so far */
    u32 set;     /* the one that slot 'at' belongs to */
};

/*
 * Looks at 'budget' more things of an image: -XEN_EAGAIN: there are more; 0: the image is good;
 * -XEN_EINVAL: it is not, and 'part' and 'at' say where; -XEN_E2BIG: more of something than there
 * may be. 'image' is 8-aligned.
 */
int vfr_rules_check(struct vfr_rules_progress *p, const void *image, u64 len,
                    u32 budget) must_check;

/*
 * By what the audit log names a good image: SHA-256 of its header, its rules, and what lies from the
 * matches on, for gates and order follow from these; each of them packed, 64 bytes by 64 bytes (a match
 * by a match): exclusive or with the rule or match before it, then a word of 32 bits that tells which
 * of their numbers of 16 bits are not 0, then those.
 */
struct vfr_rules_digest {
    struct sha256 sum;
    u32 at;
};

void vfr_rules_digest_begin(struct vfr_rules_digest *d);
/* So many groups of 64 bytes more. True: that was all, and the sum can be ended. */
bool vfr_rules_digest_add(struct vfr_rules_digest *d, const struct vfr_image *i, u32 budget);

/* ---- an image in use ---- */

struct vfr_rules {
    const struct vfr_image *image;
    const u64 *gates, *gates_end;
    const struct vfr_rule *rules;
    const struct vfr_match *matches;
    const struct vfr_set *sets;
    const struct vfr_rate *rates;
    const u16 *order;
    const u64 *born; /* caller's: when each rule was first installed, ns since boot */
    const struct vfr_sets *added;
    u16 life[VFR_SETS_MAX]; /* of each set in 'added' */
    const struct vfr_rates *buckets;
};

/* All but 'born', 'added' with 'life' (vfr_sets_adopt()), and 'buckets'. */
void vfr_rules_open(struct vfr_rules *r, const void *image);

/* Index of the rule with this id; nr_rules: there is none, or it is the default's, 0. */
u32 vfr_rules_find(const struct vfr_rules *r, u32 id);

/*
 * Unchanged rules of two rulesets: to[i] is the index in 'new' of old's rule i, or VFR_RULE_GONE.
 * The default is rule nr_rules and always there. Counters and 'born' follow it.
 */
#define VFR_RULE_GONE 0xffff
void vfr_rules_map(const struct vfr_rules *old, const struct vfr_rules *new, u16 *to);

/* ---- judging ---- */

/* The zones that an interface is in. */
struct vfr_zones {
    u64 in[VFR_ZONES / 64];
    u64 outside; /* bit: it is in none of the zones that share this bit of a gate */
};

void vfr_zones_set(struct vfr_zones *z, const u64 in[VFR_ZONES / 64]);

struct vfr_end {
    const struct vfr_zones *zones;
    u8 facts; /* VFR_F_ */
};

struct vfr_question {
    const struct vfr_packet *packet;
    struct vfr_end from, to;
    u16 vif;     /* of the sender: for rates */
    bool commit; /* false: nothing is counted, no rate used up */
    u64 now;     /* ns since boot */
};

struct vfr_verdict {
    u8 action;    /* never VFR_COUNT */
    u8 reject;    /* with VFR_REJECT; never VFR_REJECT_USUAL */
    u8 reason;    /* enum vfr_reason: OK, RULE, DEFAULT */
    bool beyond;  /* it would have passed but for its rule's rate */
    bool metered; /* its packets count for the rule's rate: vfr_rules_meter() */
    u8 log;       /* VFR_LOG_, of all the rules that matched */
    u8 dscp;      /* as in struct vfr_rule, of the last that said so */
    u16 rule;     /* index; nr_rules: the default */
    u32 id;
    u32 log_id; /* the first rule that asked for a record; 0: the default, or none */
    u32 sample; /* its 1/n; 0 is 1 */
    u32 tags;
};

struct vfr_counter {
    u64 packets, bytes;
};

/* What became of each rule that was tested, in order. */
enum vfr_step_end {
    VFR_STEP_FROM = 1, /* the first of its clauses that the packet failed */
    VFR_STEP_TO,
    VFR_STEP_PROTO,
    VFR_STEP_FLAGS,
    VFR_STEP_ICMP,
    VFR_STEP_FRAGMENTS,
    VFR_STEP_TAGGED,
    VFR_STEP_TTL,
    VFR_STEP_SRC_IP,
    VFR_STEP_SRC_PORT,
    VFR_STEP_DST_IP,
    VFR_STEP_DST_PORT,
    VFR_STEP_RATE,    /* beyond it, and the rule says 'else next' */
    VFR_STEP_MATCHES, /* it counted */
    VFR_STEP_DECIDES,
};

struct vfr_step {
    u16 rule;
    u16 end;
};

/* What rules took of rates, where nothing is taken: by the bucket's key. */
struct vfr_spent {
    u64 key, worth;
};

#define VFR_SPENT_MAX 8

struct vfr_trace {
    struct vfr_step *steps;
    u32 max, nr; /* nr above max: steps were lost */
    struct vfr_spent spent[VFR_SPENT_MAX];
    u32 nr_spent; /* what is more is forgotten */
};

/*
 * 'counters' has nr_rules + 1 places, the last is the default's, and is only used with
 * 'commit'. 'trace' may be NULL.
 */
void vfr_rules_judge(const struct vfr_rules *r, const struct vfr_question *q,
                     struct vfr_counter *counters, struct vfr_trace *trace,
                     struct vfr_verdict *v);

/* A later packet of a flow whose verdict was 'metered' by this rule may pass. */
bool vfr_rules_meter(const struct vfr_rules *r, u32 rule, const struct vfr_question *q,
                     struct vfr_trace *trace);

#endif
