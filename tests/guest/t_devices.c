/*
 * Devices of a second domain: what domain 0 may permit, what the domain reaches without and with
 * permission, and interrupts that it is given. The devices are QEMU's: a second serial port whose
 * scratch register remembers a byte, and 'edu', which inverts a word and raises interrupts.
 */
#include "domu.h"
#include <xen/physdev.h>

enum {
    IN8 = 1,
    IN16,
    OUT8,
    MAP,
    READ,
    WRITE,
    PTE,
    BIND,
    BIND_ALL,
    PENDING,
    CLEAR,
    EOI,
    STATUS,
    CLOSE,
    PHYSDEV,
    DOMCTL,
    EOI_MAP
};

#define SCRATCH_PORT 0x2ff
#define SERIAL_FIRST 0x2f8
#define PIC          0x20

/* Registers of edu: a word that is inverted, raise, acknowledge. */
#define EDU_ID     0x00
#define EDU_INVERT 0x04
#define EDU_STATUS 0x24
#define EDU_RAISE  0x60
#define EDU_ACK    0x64

#define MS 1000000UL

static struct domu u;

/* --- in the other domain --- */

static u32 in8(u16 port)
{
    u8 val;

    asm volatile("inb %1, %0" : "=a"(val) : "d"(port));
    return val;
}

static u32 in16(u16 port)
{
    u16 val;

    asm volatile("inw %1, %0" : "=a"(val) : "d"(port));
    return val;
}

static void out8(u16 port, u8 val)
{
    asm volatile("outb %0, %1" : : "a"(val), "d"(port));
}

static volatile u32 *reg(u64 offset)
{
    return (volatile u32 *)(window(0) + offset);
}

static long bind(u32 pirq, u32 flags, u32 *port)
{
    struct evtchn_bind_pirq b = {.pirq = pirq, .flags = flags};
    long rc = hc_evtchn(EVTCHNOP_bind_pirq, &b);

    *port = b.port;
    if (!rc)
        port_mask(b.port, true);
    return rc;
}

/* How many of all numbers can be bound. */
static u64 bind_all(void)
{
    u64 bound = 0;
    u32 port;

    for (u32 pirq = 0; pirq < 600; pirq++)
        bound += !bind(pirq, BIND_PIRQ__WILL_SHARE, &port);
    return bound;
}

/* The port is pending within so many milliseconds. */
static bool comes(u32 port, u64 ms)
{
    u64 end = clock_ns() + ms * MS;

    while (!port_pending(port) && clock_ns() < end)
        poll_port(port, clock_ns() + MS);
    return port_pending(port);
}

static long eoi(u32 pirq)
{
    return hc_physdev(PHYSDEVOP_eoi, &(struct physdev_eoi){.irq = pirq});
}

static long irq_status(u32 pirq)
{
    struct physdev_irq_status_query q = {.irq = pirq};
    long rc = hc_physdev(PHYSDEVOP_irq_status_query, &q);

    return rc ? rc : q.flags;
}

/* Every operation that only domain 0 has; how many were not refused. */
static u64 physdev_denied(void)
{
    static u8 block[64];
    u64 bad = 0;

    for (unsigned cmd = 0; cmd < 34; cmd++) {
        if (cmd == PHYSDEVOP_IRQ_UNMASK_NOTIFY || cmd == PHYSDEVOP_set_iopl ||
            cmd == PHYSDEVOP_set_iobitmap || cmd == PHYSDEVOP_eoi ||
            cmd == PHYSDEVOP_irq_status_query || cmd == PHYSDEVOP_pirq_eoi_gmfn_v1 ||
            cmd == PHYSDEVOP_pirq_eoi_gmfn_v2 || cmd == PHYSDEVOP_get_free_pirq)
            continue;
        memset(block, 0, sizeof(block));
        *(u16 *)block = DOMID_SELF;
        if (hc_physdev(cmd, block) >= 0)
            bad++, print("physdev op %u was done\n", cmd);
    }
    return bad;
}

static u64 domctl_denied(u16 own)
{
    static const unsigned ops[] = {XEN_DOMCTL_ioport_permission, XEN_DOMCTL_iomem_permission,
                                   XEN_DOMCTL_irq_permission,    XEN_DOMCTL_assign_device,
                                   XEN_DOMCTL_deassign_device,   XEN_DOMCTL_memory_mapping};
    u64 bad = 0;

    for (unsigned i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
        struct xen_domctl op = {0};

        bad += domctl(ops[i], own, &op) >= 0;
    }
    return bad;
}

static u64 eoi_map(u64 mfn)
{
    struct physdev_pirq_eoi_gmfn m = {.gmfn = mfn};

    return hc_physdev(PHYSDEVOP_pirq_eoi_gmfn_v2, &m);
}

static u64 obey(u64 what, const volatile u64 *in)
{
    u32 port;
    long rc;

    switch (what) {
    case IN8:
        return in8(in[0]);
    case IN16:
        return in16(in[0]);
    case OUT8:
        out8(in[0], in[1]);
        return 0;
    case MAP:
        return window_map(0, in[0]);
    case READ:
        return *reg(in[0]);
    case WRITE:
        *reg(in[0]) = in[1];
        return 0;
    case PTE:
        return pte_read(window(0));
    case BIND:
        rc = bind(in[0], in[1], &port);
        return rc ? (u64)rc : port;
    case BIND_ALL:
        return bind_all();
    case PENDING:
        return comes(in[0], in[1]);
    case CLEAR:
        port_clear(in[0]);
        return 0;
    case EOI:
        return eoi(in[0]);
    case STATUS:
        return irq_status(in[0]);
    case CLOSE:
        return port_close(in[0]);
    case PHYSDEV:
        return physdev_denied();
    case DOMCTL:
        return domctl_denied(in[0]);
    case EOI_MAP:
        return eoi_map(in[0] ? in[0] : mfn_of(page_alloc()));
    default:
        return ~0UL;
    }
}

static void other_side(void)
{
    hc_physdev(PHYSDEVOP_set_iopl, &(struct physdev_set_iopl){.iopl = 1});
    for (u64 what; (what = domu_next());)
        domu_reply(obey(what, domu_mail.in));
}

/* --- in domain 0 --- */

static long ask(u64 what, u64 in0, u64 in1)
{
    u.mail->in[1] = in1;
    return domu_ask(&u, what, in0);
}

static long permit_ports(u16 id, u32 first, u32 n, bool allow)
{
    struct xen_domctl op = {0};

    op.u.ioport_permission.first_port = first;
    op.u.ioport_permission.nr_ports = n;
    op.u.ioport_permission.allow_access = allow;
    return domctl(XEN_DOMCTL_ioport_permission, id, &op);
}

static long permit_memory(u16 id, u64 first, u64 n, bool allow)
{
    struct xen_domctl op = {0};

    op.u.iomem_permission.first_mfn = first;
    op.u.iomem_permission.nr_mfns = n;
    op.u.iomem_permission.allow_access = allow;
    return domctl(XEN_DOMCTL_iomem_permission, id, &op);
}

static long permit_irq(u16 id, u32 pirq, bool allow)
{
    struct xen_domctl op = {0};

    op.u.irq_permission.pirq = pirq;
    op.u.irq_permission.allow_access = allow;
    return domctl(XEN_DOMCTL_irq_permission, id, &op);
}

static long mapping(u16 id, u64 gfn, u64 mfn, u64 n)
{
    struct xen_domctl op = {0};

    op.u.memory_mapping.first_gfn = gfn;
    op.u.memory_mapping.first_mfn = mfn;
    op.u.memory_mapping.nr_mfns = n;
    op.u.memory_mapping.add_mapping = 1;
    return domctl(XEN_DOMCTL_memory_mapping, id, &op);
}

static long assignment(unsigned cmd, u16 id, u32 sbdf)
{
    struct xen_domctl op = {0};

    op.u.assign_device.dev = XEN_DOMCTL_DEV_PCI;
    op.u.assign_device.u.pci.machine_sbdf = sbdf;
    return domctl(cmd, id, &op);
}

static u32 config_address(u32 devfn, u32 at)
{
    return 1U << 31 | devfn << 8 | (at & 0xfc);
}

static u32 config(u32 devfn, u32 at)
{
    u32 val;

    asm volatile("outl %0, %1" : : "a"(config_address(devfn, at)), "d"((u16)0xcf8));
    asm volatile("inl %1, %0" : "=a"(val) : "d"((u16)0xcfc));
    return val;
}

static void config_write(u32 devfn, u32 at, u32 val)
{
    asm volatile("outl %0, %1" : : "a"(config_address(devfn, at)), "d"((u16)0xcf8));
    asm volatile("outl %0, %1" : : "a"(val), "d"((u16)0xcfc));
}

static struct {
    u32 devfn, gsi;
    u64 mfn;
} edu;

static bool find_edu(void)
{
    while (edu.devfn < 256 && config(edu.devfn, 0) != 0x11e81234)
        edu.devfn++;
    if (!ok(edu.devfn < 256, "the device is there"))
        return false;
    config_write(edu.devfn, 4, config(edu.devfn, 4) | 6); /* memory, master */
    edu.mfn = config(edu.devfn, 0x10) >> 12;
    edu.gsi = config(edu.devfn, 0x3c) & 0xff;
    note("edu %x at frame %lx, line %u", edu.devfn, edu.mfn, edu.gsi);
    return true;
}

/* Ranges that make no sense, and what nobody may have. */
static void absurd_permissions(void)
{
    is(permit_ports(u.id, 0, 0, true), -XEN_EINVAL, "no port");
    is(permit_ports(u.id, 0xffff, 2, true), -XEN_EINVAL, "ports beyond the last");
    is(permit_ports(u.id, 0x10000, 1, true), -XEN_EINVAL, "a port beyond the last");
    is(permit_ports(u.id, 1, ~0U, true), -XEN_EINVAL, "ports that wrap around");
    is(permit_ports(u.id, ~0U, 1, false), -XEN_EINVAL, "the very last number");
    is(permit_ports(u.id, PIC, 1, true), -XEN_EPERM, "a port of the interrupt controller");
    is(permit_ports(u.id, 0x3f, 2, true), -XEN_EPERM, "a range that reaches into the timer's");
    is(permit_ports(u.id, 0, 0x10000, true), -XEN_EPERM, "all ports");
    is(permit_ports(1234, 0x300, 1, true), -XEN_ESRCH, "of no domain");
    is(permit_memory(u.id, 0, 0, true), -XEN_EPERM, "no frame");
    is(permit_memory(u.id, 1, 0, true), -XEN_EINVAL, "no frame, from 1");
    is(permit_memory(u.id, 2, ~0UL, true), -XEN_EINVAL, "frames that wrap around");
    is(permit_memory(u.id, 1UL << 40, 1, true), -XEN_EPERM, "a frame beyond all addresses");
    is(permit_memory(u.id, ~0UL, 1, false), -XEN_EPERM, "the very last number");
    is(permit_memory(u.id, 0xfee00, 1, true), -XEN_EPERM, "the local APIC");
    is_dev(permit_memory(u.id, 0xfec00, 1, false), 0, -XEN_EPERM, "the I/O APIC");
    is(permit_memory(u.id, 0xfe000, 0x1000, true), -XEN_EPERM, "a range with both");
    is(permit_irq(u.id, 100000, true), -XEN_EINVAL, "an interrupt with a wild number");
    is(permit_irq(u.id, ~0U, false), -XEN_EINVAL, "the very last number");
    is(permit_irq(u.id, 100, true), -XEN_EPERM, "an interrupt that domain 0 has not got");
    is(mapping(u.id, ~0UL, edu.mfn, 2), -XEN_EINVAL, "memory_mapping that wraps around");
    is_dev(mapping(u.id, 0, 0xfee00, 1), 0, -XEN_EPERM, "memory_mapping of the local APIC");
    refused(assignment(XEN_DOMCTL_assign_device, u.id, 0xff00),
            "a PCI device that is not there");
}

/* Many separate ranges: the domain has room for some, then there is an error and no harm. */
static void many_ranges(void)
{
    long rc = 0;
    unsigned n;

    for (n = 0; n < 2000 && !rc; n++)
        rc = permit_memory(u.id, 0x200000 + 2 * n, 1, true);
    note("%u separate ranges, then %ld", n, rc);
    ok(!rc || rc == -XEN_ENOSPC || rc == -XEN_ENOMEM, "many separate ranges");
    is(permit_memory(u.id, 0x200000, 4000, true), 0, "one that covers them all");
    is(permit_memory(u.id, 0x200000, 4000, false), 0, "all taken back");
}

static void ports(void)
{
    out8(SCRATCH_PORT, 0x5a);
    if (!ok(in8(SCRATCH_PORT) == 0x5a, "the serial port remembers"))
        return;
    is(ask(IN8, SCRATCH_PORT, 0), 0xff, "without permission all ones are read");
    ask(OUT8, SCRATCH_PORT, 0x11);
    is(in8(SCRATCH_PORT), 0x5a, "and nothing is written");
    is(permit_ports(u.id, SERIAL_FIRST, 8, true), 0, "permission");
    is(ask(IN8, SCRATCH_PORT, 0), 0x5a, "the domain reads");
    ask(OUT8, SCRATCH_PORT, 0x22);
    is(in8(SCRATCH_PORT), 0x22, "and writes");
    is_dev(ask(IN16, SCRATCH_PORT, 0), 0xff22, 0xffff,
           "a word that is partly permitted is not");
    is(ask(IN8, SERIAL_FIRST - 1, 0), 0xff, "the port before is not");
    is(permit_ports(u.id, SERIAL_FIRST, 7, false), 0, "all but the last taken back");
    is(ask(IN8, SCRATCH_PORT, 0), 0x22, "the last one remains");
    is(ask(IN8, SERIAL_FIRST + 5, 0), 0xff, "the others do not");
    is(permit_ports(u.id, 0x200, 0x100, false), 0, "all taken back");
    is(ask(IN8, SCRATCH_PORT, 0), 0xff, "all ones again");
    is(ask(IN8, 0xcfc, 0) & 0xff, 0xff, "the configuration ports are not the domain's");
}

static void memory(void)
{
    u64 pte = edu.mfn * PAGE_SIZE | PTE_KERN;

    refused(ask(MAP, pte, 0), "registers without permission");
    is(permit_memory(u.id, edu.mfn, 1, true), 0, "permission");
    is(mapping(u.id, 0, edu.mfn, 1), 0, "memory_mapping has nothing to do");
    is(ask(MAP, pte, 0), 0, "now they can be mapped");
    ok(ask(PTE, 0, 0) & PTE_PCD, "uncached");
    is(ask(READ, EDU_ID, 0) & 0xff, 0xed, "it is the device");
    ask(WRITE, EDU_INVERT, 0x1234);
    is((u32)ask(READ, EDU_INVERT, 0), ~0x1234U, "it answers");
    refused(ask(MAP, pte + PAGE_SIZE, 0), "the page behind");
    refused(ask(MAP, pte - PAGE_SIZE, 0), "the page before");
    refused(ask(MAP, 0xfee00000 | PTE_KERN, 0), "the local APIC");
    refused(ask(MAP, 0xb8000 | PTE_KERN, 0), "the screen");
    refused(ask(MAP, mfn_of(start) * PAGE_SIZE | PTE_KERN, 0), "domain 0's memory");
    is(permit_memory(u.id, edu.mfn, 1, false), 0, "taken back");
    ask(MAP, 0, 0);
    refused(ask(MAP, pte, 0), "no new mapping then");
    permit_memory(u.id, edu.mfn, 1, true);
    is(ask(MAP, pte, 0), 0, "and again");
}

static long map_irq(u16 id, unsigned type, int *pirq)
{
    struct physdev_map_pirq m = {.domid = id, .type = type, .pirq = *pirq};
    long rc;

    if (type == MAP_PIRQ_TYPE_GSI)
        m.index = *pirq;
    else
        m.index = -1, m.bus = 0, m.devfn = edu.devfn;
    rc = hc_physdev(PHYSDEVOP_map_pirq, &m);
    *pirq = m.pirq;
    return rc;
}

static long unmap_irq(u16 id, int pirq)
{
    struct physdev_unmap_pirq m = {.domid = id, .pirq = pirq};

    return hc_physdev(PHYSDEVOP_unmap_pirq, &m);
}

static void hostile(void)
{
    is(ask(PHYSDEV, 0, 0), 0, "operations of domain 0 are refused");
    is(ask(DOMCTL, u.id, 0), 0, "so is permitting oneself");
    is(ask(BIND_ALL, 0, 0), 0, "no interrupt can be bound that was not given");
    refused(ask(BIND, ~0U, 0), "nor one with a wild number");
    refused(ask(EOI, 4, 0), "EOI of what it has not got");
    refused(ask(EOI, ~0U, 0), "and of a wild number");
    refused(ask(STATUS, ~0U, 0), "status of a wild number");
    ok(ask(EOI_MAP, u.shared_mfn + 1, 0) < 0, "a map of EOIs in no page of its own");
    refused(ask(EOI_MAP, ~0UL >> 13, 0), "and in none at all");
    is(ask(EOI_MAP, 0, 0), 0, "in one of its own");
    refused(ask(EOI_MAP, 0, 0), "a second one");
}

static int gsi;
static u32 own_port;

/* One interrupt on the line goes to the domain, and the next only after its EOI. */
static void line(void)
{
    u32 port;

    gsi = edu.gsi;
    is(map_irq(1234, MAP_PIRQ_TYPE_GSI, &gsi), -XEN_ESRCH, "a line for no domain");
    is(map_irq(DOMID_SELF, MAP_PIRQ_TYPE_GSI, &gsi), 0, "the line for domain 0");
    refused(ask(BIND, gsi, 0), "the other domain cannot bind it yet");
    is(map_irq(u.id, MAP_PIRQ_TYPE_GSI, &gsi), 0, "for the domain");
    is(permit_irq(u.id, gsi, true), 0, "with permission");
    port = ask(BIND, gsi, BIND_PIRQ__WILL_SHARE);
    if (!ok((int)port > 0, "it binds it"))
        return;
    refused(ask(BIND, gsi, BIND_PIRQ__WILL_SHARE), "only once");
    ok(ask(STATUS, gsi, 0) & XENIRQSTAT_needs_eoi, "it wants EOI");
    ask(EOI, gsi, 0);
    ask(CLEAR, port, 0);
    ask(WRITE, EDU_RAISE, 1);
    ok(ask(PENDING, port, 2000), "the interrupt comes");
    ask(CLEAR, port, 0);
    /* Stock Xen waits for nobody longer than a millisecond, even when there is nobody else. */
    if (is_serai)
        ok(!ask(PENDING, port, 20), "once, while there was no EOI");
    ask(EOI, gsi, 0);
    ok(ask(PENDING, port, 2000), "EOI without cure: it comes again");
    ask(WRITE, EDU_ACK, 1);
    ask(CLEAR, port, 0);
    ask(EOI, gsi, 0);
    ok(!ask(PENDING, port, 20), "cured: it rests");
    is(ask(CLOSE, port, 0), 0, "closed");
    ask(WRITE, EDU_RAISE, 1);
    is(permit_irq(u.id, gsi, false), 0, "permission taken back");
}

/* Domain 0 is on the line too; neither can keep the other one from it. */
static void shared_line(void)
{
    u32 port;

    ask(WRITE, EDU_ACK, ~0U);
    is(map_irq(u.id, MAP_PIRQ_TYPE_GSI, &gsi), 0, "the line again");
    is(permit_irq(u.id, gsi, true), 0, "with permission");
    is(bind(gsi, BIND_PIRQ__WILL_SHARE, &own_port), 0, "domain 0 binds it");
    port = ask(BIND, gsi, BIND_PIRQ__WILL_SHARE);
    if (!ok((int)port > 0, "and so does the domain"))
        return;
    ok(irq_status(gsi) & XENIRQSTAT_shared, "it is shared");
    eoi(gsi), ask(EOI, gsi, 0);
    port_clear(own_port), ask(CLEAR, port, 0);
    ask(WRITE, EDU_RAISE, 1);
    ok(comes(own_port, 2000) && ask(PENDING, port, 2000), "both hear of an interrupt");
    port_clear(own_port);
    eoi(gsi);
    ok(comes(own_port, 2000), "the line comes back although the other one does not answer");
    ask(WRITE, EDU_ACK, 1);
    eoi(gsi), ask(EOI, gsi, 0);
    port_clear(own_port), ask(CLEAR, port, 0);
    ask(WRITE, EDU_RAISE, 1);
    ok(comes(own_port, 2000) && ask(PENDING, port, 2000), "and again");
    is(unmap_irq(u.id, gsi), 0, "unmapped while bound");
    ask(CLEAR, port, 0);
    port_clear(own_port);
    eoi(gsi);
    ok(comes(own_port, 2000) && !ask(PENDING, port, 20), "only domain 0 hears of it now");
    is(ask(CLOSE, port, 0), 0, "the silent port can be closed");
    ask(WRITE, EDU_ACK, 1);
    port_clear(own_port);
    eoi(gsi);
    is(port_close(own_port), 0, "domain 0 closes");
}

static u32 msi_control(void)
{
    u32 at = config(edu.devfn, 0x34) & 0xff;

    while (at && (config(edu.devfn, at) & 0xff) != 5)
        at = config(edu.devfn, at) >> 8 & 0xff;
    return at;
}

static void messages(void)
{
    u32 at = msi_control(), port;
    int pirq = -1;

    if (!is_serai) {
        skip("messages", "it wants an IOMMU");
        return;
    }
    is(map_irq(u.id, MAP_PIRQ_TYPE_MSI_SEG, &pirq), -XEN_ENODEV,
       "of a device that it has not got");
    is(assignment(XEN_DOMCTL_test_assign_device, u.id, edu.devfn), 0, "the device is free");
    is(assignment(XEN_DOMCTL_deassign_device, u.id, edu.devfn), -XEN_ENODEV,
       "not the domain's");
    is(assignment(XEN_DOMCTL_assign_device, DOMID_IO, edu.devfn), 0, "set aside");
    is(assignment(XEN_DOMCTL_assign_device, u.id, edu.devfn), 0, "assigned");
    is(assignment(XEN_DOMCTL_assign_device, u.id, edu.devfn), -XEN_EBUSY, "only once");
    is(assignment(XEN_DOMCTL_assign_device, DOMID_IO, edu.devfn), -XEN_EBUSY, "to one");
    is(assignment(XEN_DOMCTL_test_assign_device, u.id, edu.devfn), -XEN_EBUSY,
       "it is not free");
    is(assignment(XEN_DOMCTL_deassign_device, DOMID_IO, edu.devfn), -XEN_ENODEV,
       "nor set aside");
    pirq = -1;
    if (!is(map_irq(u.id, MAP_PIRQ_TYPE_MSI_SEG, &pirq), 0, "its message"))
        return;
    port = ask(BIND, pirq, 0);
    ok((int)port > 0, "the domain binds it");
    config_write(edu.devfn, at, config(edu.devfn, at) | 1U << 16);
    ask(WRITE, EDU_RAISE, 1);
    ok(ask(PENDING, port, 2000), "it comes");
    ask(WRITE, EDU_ACK, 1);
    ask(CLEAR, port, 0);
    ask(WRITE, EDU_RAISE, 1);
    ok(ask(PENDING, port, 2000), "without EOI it comes again");
    ask(WRITE, EDU_ACK, 1);
}

/* The domain goes with the line asserted and the message enabled. */
static void after_the_end(void)
{
    u32 at = msi_control(), port;

    ask(WRITE, EDU_ACK, ~0U);
    config_write(edu.devfn, at, config(edu.devfn, at) & ~(1U << 16));
    map_irq(u.id, MAP_PIRQ_TYPE_GSI, &gsi);
    permit_irq(u.id, gsi, true);
    port = ask(BIND, gsi, BIND_PIRQ__WILL_SHARE);
    ask(WRITE, EDU_RAISE, 1);
    ok(ask(PENDING, port, 2000), "its line is asserted");
    ok(domu_end(&u), "the domain goes");
    if (is_serai) {
        is(config(edu.devfn, at) >> 16 & 1, 0, "messages are off");
        is(config(edu.devfn, 4) & 0x404, 0x400, "the device is stopped");
        is(assignment(XEN_DOMCTL_deassign_device, DOMID_IO, edu.devfn), 0,
           "it is set aside again");
    }
    config_write(edu.devfn, 4, (config(edu.devfn, 4) & ~0x400U) | 6);
    is(permit_memory(u.id, edu.mfn, 1, true), -XEN_ESRCH,
       "nothing is permitted to it any more");
    is(map_irq(u.id, MAP_PIRQ_TYPE_GSI, &gsi), -XEN_ESRCH, "nor mapped");
    is(window_map(0, edu.mfn * PAGE_SIZE | PTE_KERN), 0, "domain 0 has the registers");
    is(*reg(EDU_STATUS), 1, "the device still wants something");
    is(bind(gsi, BIND_PIRQ__WILL_SHARE, &own_port), 0, "and the line");
    ok(comes(own_port, 2000), "which is still asserted");
    *reg(EDU_ACK) = 1;
    port_clear(own_port);
    eoi(gsi);
    ok(!comes(own_port, 20), "and rests when it is cured");
    port_close(own_port);
    window_map(0, 0);
}

void test_devices(void)
{
    hc_physdev(PHYSDEVOP_set_iopl, &(struct physdev_set_iopl){.iopl = 1});
    if (!find_edu())
        return;
    domu_make(&u, other_side, 1);
    domu_run(&u);
    absurd_permissions();
    many_ranges();
    ports();
    memory();
    hostile();
    line();
    shared_line();
    messages();
    after_the_end();
}
