/* Leases of ports: whose a port is, and changes while 15,000 other leases are there. */
#include "abi/vfr.h"
#include "core/vfr_lease.h"
#include "hot.h"
#include "measure.h"

#define ADDRESS(i) (0xc0000200U + (i))
#define MANY       15000

static struct vfr_leases leases;

static struct vfr_lease_order wish(u32 domain, u8 classes, u16 start, u8 log2)
{
    struct vfr_lease_order o = {
        .op = VFR_LEASE_GRANT,
        .ip = ADDRESS(0),
        .vif = 7,
        .classes = classes,
        .start = start,
        .log2 = log2,
        .seconds = 600 + domain % 1000,
    };

    memcpy(o.uuid, &domain, sizeof(domain));
    return o;
}

static int change(struct vfr_lease_order *o, ns_t now)
{
    int rc = vfr_lease_check(&leases, o, now);

    if (!rc)
        (void)vfr_lease_commit(&leases, o, now);
    return rc;
}

static void fill(void)
{
    const struct vfr_lease_sizes n = {VFR_SHARED_MAX, VFR_LEASES_MAX, 1024};
    struct vfr_lease_order o;

    vfr_lease_init(&leases, &n, calloc(1, vfr_lease_memory(&n)), (const u64[]){3, 5}, 0);
    for (u32 i = 0; i < VFR_SHARED_MAX; i++) {
        o = (struct vfr_lease_order){.op = VFR_LEASE_SHARE, .ip = ADDRESS(i)};
        expect(!change(&o, 0), "share");
    }
    for (u32 i = 0; i < MANY; i++) {
        o = wish(1 + i / 60, VFR_PC_BIT(VFR_PC_STREAM), (u16)(1 + i % 4000), 0);
        o.ip = ADDRESS(1 + i / 4000);
        expect(!change(&o, 0), "others' leases");
    }
}

static void sample_owner(const char *name, u32 ip, u16 port, bool is)
{
    for (u32 n = 0; n < SAMPLES; n++) {
        bool owns;

        measure_begin();
        owns = measured_lease_owns(&leases, 7, VFR_IP4(ip), 6, port);
        measure_keep(name);
        expect(owns == is, name);
    }
}

static void sample_change(const char *name, struct vfr_lease_order o)
{
    static u32 domain = 1000000;

    for (u32 n = 0; n < SAMPLES; n++) {
        struct vfr_lease_order back = {.op = VFR_LEASE_FREE};

        memcpy(o.uuid, &(u32){domain++}, 4);
        measure_begin();
        expect(!change(&o, 0), name);
        measure_keep(name);
        back.id = o.id;
        expect(!change(&back, 0), "free");
        while (vfr_lease_due(&leases, 120 * 1000000000L, &back))
            (void)vfr_lease_commit(&leases, &back, -1000000000L);
        if (o.log2)
            o.start = 0;
    }
}

void vfr_leases_cases(void)
{
    struct vfr_lease_order o;

    fill();
    o = wish(900000, VFR_PC_BLOCK, 4096, 12);
    expect(!change(&o, 0), "block");
    o = wish(900001, VFR_PC_BIT(VFR_PC_STREAM), 80, 0);
    expect(!change(&o, 0), "port");
    sample_owner("lease|whose is a port of a block||0", ADDRESS(0), 5000, true);
    sample_owner("lease|whose is a port of its own||0", ADDRESS(0), 80, true);
    sample_owner("lease|no shared address||0", 0x0a000001, 80, false);
    sample_change("lease|grant a port, 15,000 leases||0",
                  wish(0, VFR_PC_BIT(VFR_PC_STREAM), 443, 0));
    sample_change("lease|grant any block of 4096||0", wish(0, VFR_PC_BLOCK, 0, 12));
    sample_change("lease|grant any block of 1024||0", wish(0, VFR_PC_BLOCK, 0, 10));
    sample_change("lease|grant any block of 64||0", wish(0, VFR_PC_BLOCK, 0, 6));
}
