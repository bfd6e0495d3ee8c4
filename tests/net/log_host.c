/* The hypervisor's own logs for tests of domain 0's daemon: one CPU's flows, and the audit log. */
#include "core/vfr_audit.h"
#include <stdlib.h>

#define SHOWN __attribute__((visibility("default")))

struct host {
    struct vfr_log log;
    struct vfr_audit audit;
    struct vfr_log_ring rings[2]; /* flows, audit */
    u64 flows[4096], changes[8192];
};

SHOWN struct host *host_create(u16 boot)
{
    const struct vfr_log_writer who = {.boot = boot, .seed = 1};
    struct host *h = calloc(1, sizeof(*h));

    if (vfr_log_init(&h->log, &h->rings[0], h->flows, sizeof(h->flows), &who) ||
        vfr_audit_init(&h->audit, &h->rings[1], h->changes, sizeof(h->changes), &who))
        abort();
    return h;
}

SHOWN void host_destroy(struct host *h)
{
    free(h);
}

SHOWN struct vfr_log_ring *host_ring(struct host *h, int audit)
{
    return &h->rings[audit];
}

SHOWN void *host_data(struct host *h, int audit)
{
    return audit ? (void *)h->changes : (void *)h->flows;
}

static struct vfr_log_moment moment(u64 utc)
{
    return (struct vfr_log_moment){(ns_t)utc, utc, 3};
}

static struct vfr_log_event event(u32 src, u32 dst, u16 sport, u16 reason)
{
    return (struct vfr_log_event){.tuple = {VFR_IP4(src), VFR_IP4(dst), sport, 443, 6},
                                  .where = {5 << 16, 6 << 16},
                                  .rule = 77,
                                  .reason = reason,
                                  .flow = sport};
}

/* 0 begins, 1 ends, 2 is denied, 3 is dropped for this reason. */
SHOWN int host_flow(struct host *h, int what, u64 utc, u32 src, u32 dst, u16 sport, u16 reason)
{
    const struct vfr_log_event e = event(src, dst, sport, reason);
    const struct vfr_log_counts counts = {{3, 2}, {300, 200}};
    const struct vfr_log_moment m = moment(utc);

    if (what == 0)
        return vfr_log_flow_new(&h->log, &m, &e);
    if (what == 1)
        return vfr_log_flow_end(&h->log, &m, &e, &counts, 1500);
    if (what == 2)
        vfr_log_deny(&h->log, &m, &e);
    else
        vfr_log_drop(&h->log, &m, &e, 60);
    return 0;
}

SHOWN void host_tick(struct host *h, u64 utc)
{
    const struct vfr_log_moment m = moment(utc);

    (void)vfr_log_tick(&h->log, &m);
}

SHOWN int host_audit(struct host *h, u64 utc, const struct vfr_audit_entry *e)
{
    const struct vfr_log_moment m = moment(utc);

    return vfr_audit_write(&h->audit, &m, e);
}

SHOWN u64 host_head(struct host *h, u8 head[32])
{
    __builtin_memcpy(head, h->audit.head, 32);
    return h->audit.records;
}

SHOWN u64 host_lost(struct host *h)
{
    return h->log.lost;
}
