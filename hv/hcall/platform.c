#include "guest/access.h"
#include "guest/vtime.h"
#include "hcall/hcall.h"
#include "kern/console.h"
#include "kern/panic.h"
#include "kern/timer.h"
#include "svc/vfr_log.h"
#include "x86/reboot.h"
#include "x86/smp.h"
#include <xen/platform.h>

static s64 firmware_info(const struct xenpf_firmware_info *f)
{
    /* BIOS data about disks and keyboards is not kept. */
    return f->type == XEN_FW_DISK_INFO || f->type == XEN_FW_DISK_MBR_SIGNATURE ? -XEN_ESRCH
                                                                               : -XEN_ENOSYS;
}

static s64 cpu_info(struct xenpf_pcpuinfo *info)
{
    u32 cpu = info->xen_cpuid;

    info->max_present = nr_cpus - 1;
    info->flags = cpu < nr_cpus ? XEN_PCPU_FLAGS_ONLINE : XEN_PCPU_FLAGS_INVALID;
    info->apic_id = cpu < nr_cpus ? smp_apic_id(cpu) : ~0U;
    info->acpi_id = cpu < nr_cpus ? cpu : ~0U;
    return 0;
}

static s64 enter_sleep(struct domain *d, const struct xenpf_enter_acpi_sleep *s)
{
    if (s->flags & XENPF_ACPI_SLEEP_EXTENDED)
        return -XEN_EOPNOTSUPP;
    if (s->sleep_state != 5)
        return -XEN_EOPNOTSUPP; /* suspend to RAM is not supported */
    printk("domain 0 powers the machine off\n");
    return acpi_enter_s5(machine_acpi(), s->val_a, s->val_b);
}

static int set_time(u64 secs, u32 nsecs, u64 at)
{
    int rc = vfr_log_clock(vtime_utc((ns_t)at), secs * 1000000000UL + nsecs);

    if (!rc)
        vtime_set_wallclock(secs, nsecs, (ns_t)at);
    return rc;
}

HYPERCALL(platform_op)
{
    struct xen_platform_op op;
    s64 rc = hcall_take_control(v, a1, &op, sizeof(op), XENPF_INTERFACE_VERSION);

    if (rc)
        return rc;
    switch (op.cmd) {
    case XENPF_settime32:
        return set_time(op.u.settime32.secs, op.u.settime32.nsecs, op.u.settime32.system_time);
    case XENPF_settime64:
        return set_time(op.u.settime64.secs, op.u.settime64.nsecs, op.u.settime64.system_time);
    case XENPF_firmware_info:
        return firmware_info(&op.u.firmware_info);
    case XENPF_enter_acpi_sleep:
        return enter_sleep(v->domain, &op.u.enter_acpi_sleep);
    case XENPF_get_cpuinfo:
        rc = cpu_info(&op.u.pcpu_info);
        break;
    default:
        return -XEN_ENOSYS;
    }
    return rc ? rc : copy_to_guest((void *)a1, &op, sizeof(op));
}
