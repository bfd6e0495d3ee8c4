#include "more.h"

u64 ticks;

long frames_op(unsigned op, u64 *list, u64 nr, unsigned flags)
{
    struct xen_memory_reservation r = {
        .nr_extents = nr, .mem_flags = flags, .domid = DOMID_SELF};

    set_xen_guest_handle(r.extent_start, list);
    return hc_memory(op, &r);
}

bool unreferenced(void *page)
{
    u64 pfn = pfn_of(page), frame = mfn_of(page);

    hc_update_va(page, 0, UVMF_INVLPG);
    if (frames_op(XENMEM_decrease_reservation, &frame, 1, 0) != 1) {
        set_rw(page);
        return false;
    }
    frame = pfn;
    if (frames_op(XENMEM_populate_physmap, &frame, 1, 0) != 1)
        die("a frame that was given back cannot be had again");
    ((u64 *)start->mfn_list)[pfn] = frame;
    if (set_rw(page))
        die("a new frame cannot be mapped");
    return true;
}

static void tick(void)
{
    u32 port = timer_port();

    if (port_pending(port)) {
        port_clear(port);
        ticks++;
        timer_at(clock_ns() + 20000);
    }
}

void ticking(bool on)
{
    port_clear(timer_port());
    vi->evtchn_pending_sel = 0;
    event_hook = on ? tick : NULL;
    if (on)
        timer_at(clock_ns() + 20000);
    else
        hc_vcpu(VCPUOP_stop_singleshot_timer, 0, NULL);
    vi->evtchn_upcall_mask = !on;
    if (on)
        hc_version(XENVER_version, NULL);
    else
        port_clear(timer_port());
}

void doze(void)
{
    u32 port = timer_port();

    vi->evtchn_upcall_mask = 1;
    port_clear(port);
    vi->evtchn_pending_sel = 0;
    timer_at(clock_ns() + 500000);
    hc_sched(SCHEDOP_block, NULL);
    vi->evtchn_upcall_mask = 1;
    port_clear(port);
}

bool rdmsr(u32 msr, u64 *val)
{
    u32 lo = 0, hi = 0;
    bool good = EX("rdmsr", : "+a"(lo), "+d"(hi) : "c"(msr)) == VEC_NONE;

    *val = lo | (u64)hi << 32;
    return good;
}

bool wrmsr(u32 msr, u64 val)
{
    return EX("wrmsr", : : "c"(msr), "a"((u32)val), "d"((u32)(val >> 32))) == VEC_NONE;
}

void cpuid(u32 leaf, u32 sub, u32 *r)
{
    EX(".byte 0x0f, 0x0b, 0x78, 0x65, 0x6e; cpuid",
       : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3])
       : "0"(leaf), "2"(sub));
}

u32 config(u32 devfn, u32 reg)
{
    u32 val;

    asm volatile("outl %0, %1" : : "a"(1U << 31 | devfn << 8 | reg), "d"((u16)0xcf8));
    asm volatile("inl %1, %0" : "=a"(val) : "d"((u16)0xcfc));
    return val;
}
