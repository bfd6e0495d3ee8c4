/* Small families: version, VM assists, console, Serai's own operations. */
#include "base/string.h"
#include "abi/serai.h"
#include "guest/access.h"
#include "guest/dom0_console.h"
#include "guest/event.h"
#include "hcall/hcall.h"
#include "kern/console.h"
#include "kern/counters.h"
#include "kern/heap.h"
#include "base/version.h"
#include <xen/features.h>
#include <xen/version.h>

static void set_text(char *dst, size_t size, const char *text)
{
    memcpy(dst, text, MIN(strlen(text), size - 1));
}

/* XENVER text answers have fixed sizes: all of it is written, zero-padded. */
static s64 give_text(u64 u_dst, const char *text, size_t size)
{
    char buf[1024] = {0};

    set_text(buf, size, text);
    return copy_to_guest((void *)u_dst, buf, size);
}

static s64 features(const struct domain *d, u64 u_info)
{
    struct xen_feature_info fi;

    if (copy_from_guest(&fi, (const void *)u_info, sizeof(fi)))
        return -XEN_EFAULT;
    if (fi.submap_idx)
        return -XEN_EINVAL;
    fi.submap = 1U << XENFEAT_mmu_pt_update_preserve_ad | 1U << XENFEAT_highmem_assist |
                1U << XENFEAT_gnttab_map_avail_bits | 1U << XENFEAT_memory_op_vnode_supported |
                1U << XENFEAT_direct_mapped;
    if (d->is_hardware)
        fi.submap |= 1U << XENFEAT_dom0;
    if (vm_assist_on(d, VMASST_TYPE_pae_extended_cr3))
        fi.submap |= 1U << XENFEAT_pae_pgdir_above_4gb;
    return copy_to_guest((void *)u_info, &fi, sizeof(fi));
}

static s64 compile_info(u64 u_info)
{
    struct xen_compile_info ci = {0};

    set_text(ci.compiler, sizeof(ci.compiler), "gcc " __VERSION__);
    set_text(ci.compile_by, sizeof(ci.compile_by), "Serai " SERAI_VERSION);
    set_text(ci.compile_domain, sizeof(ci.compile_domain), "local");
    /* The compiler takes SOURCE_DATE_EPOCH for now, when it is set. */
    set_text(ci.compile_date, sizeof(ci.compile_date), __DATE__ " " __TIME__);
    return copy_to_guest((void *)u_info, &ci, sizeof(ci));
}

HYPERCALL(xen_version)
{
    struct xen_platform_parameters pp = {.virt_start = HYPERVISOR_VIRT_START};
    const struct domain *d = v->domain;

    switch (a1) {
    case XENVER_version:
        /* Also how a guest asks to have its pending events delivered. */
        return SERAI_XEN_MAJOR << 16 | SERAI_XEN_MINOR;
    case XENVER_extraversion:
        return give_text(a2, SERAI_EXTRAVERSION, sizeof(xen_extraversion_t));
    case XENVER_compile_info:
        return compile_info(a2);
    case XENVER_capabilities:
        return give_text(a2, "xen-3.0-x86_64", sizeof(xen_capabilities_info_t));
    case XENVER_changeset:
        return give_text(a2, SERAI_VERSION, sizeof(xen_changeset_info_t));
    case XENVER_platform_parameters:
        return copy_to_guest((void *)a2, &pp, sizeof(pp));
    case XENVER_get_features:
        return features(d, a2);
    case XENVER_pagesize:
        return a2 ? -XEN_EINVAL : PAGE_SIZE;
    case XENVER_guest_handle:
        return copy_to_guest((void *)a2, d->handle, sizeof(d->handle));
    case XENVER_commandline:
        /* It may tell things about the machine that are nobody else's business. */
        return give_text(a2, d->is_hardware ? version_cmdline : "<denied>",
                         sizeof(xen_commandline_t));
    case XENVER_build_id:
        return d->is_hardware ? -XEN_ENODATA : -XEN_EPERM;
    default:
        return -XEN_ENOSYS;
    }
}

HYPERCALL(vm_assist)
{
    if (a2 > 63 || !(VM_ASSISTS & BIT(a2)))
        return -XEN_EINVAL;
    switch (a1) {
    case VMASST_CMD_enable:
        __atomic_fetch_or(&v->domain->vm_assist, BIT(a2), __ATOMIC_RELAXED);
        return 0;
    case VMASST_CMD_disable:
        __atomic_fetch_and(&v->domain->vm_assist, ~BIT(a2), __ATOMIC_RELAXED);
        return 0;
    default:
        return -XEN_ENOSYS;
    }
}

static s64 console_output(u64 u_text, u32 len)
{
    char chunk[128];

    for (u32 done = 0; done < len;) {
        u32 n = MIN(len - done, (u32)sizeof(chunk));

        if (copy_from_guest(chunk, (const void *)(u_text + done), n))
            return -XEN_EFAULT;
        console_write_raw(chunk, n);
        done += n;
        preempt_point();
    }
    return 0;
}

static s64 console_input(u64 u_buf, u32 len)
{
    char chunk[64];
    u32 n = dom0_console_read(chunk, MIN(len, (u32)sizeof(chunk)));

    return copy_to_guest((void *)u_buf, chunk, n) ? -XEN_EFAULT : (s64)n;
}

HYPERCALL(console_io)
{
    if (!v->domain->is_hardware)
        return -XEN_EPERM;
    switch (a1) {
    case CONSOLEIO_write:
        return console_output(a3, (u32)a2);
    case CONSOLEIO_read:
        return console_input(a3, (u32)a2);
    default:
        return -XEN_ENOSYS;
    }
}

HYPERCALL(xenpmu_op)
{
    return -XEN_EOPNOTSUPP;
}

static s64 give_counters(u64 u_arg)
{
    struct serai_counters c;
    struct serai_counter e;

    if (copy_from_guest(&c, (const void *)u_arg, sizeof(c)))
        return -XEN_EFAULT;
    c.count = counters_total();
    for (u32 i = 0; i < MIN(c.count, c.capacity); i++) {
        memset(&e, 0, sizeof(e));
        counters_get(i, e.name, &e.value);
        if (copy_array_to_guest((void *)c.entries, i, &e, sizeof(e)))
            return -XEN_EFAULT;
    }
    return copy_to_guest((void *)u_arg, &c, sizeof(c));
}

HYPERCALL(serai_op)
{
    if (!v->domain->is_hardware)
        return -XEN_EPERM;
    switch (a1) {
    case SERAI_OP_VERSION:
        return SERAI_ABI_VERSION;
    case SERAI_OP_COUNTERS:
        return give_counters(a2);
    case SERAI_OP_SCHED_DOMAIN:
    case SERAI_OP_SCHED_VCPU:
    case SERAI_OP_SCHED_CPU:
    case SERAI_OP_SCHED_POOL:
    case SERAI_OP_SCHED_TRACE:
        return hcall_sched_control(a1, a2);
    case SERAI_OP_MEMORY:
        return hcall_mem_control(a2);
    case SERAI_OP_VFR_VIF:
        return hcall_vfr_vif(a2);
    case SERAI_OP_VFR_LEASE:
        return hcall_vfr_lease(a2);
    case SERAI_OP_VFR_RULES:
        return hcall_vfr_rules(a2);
    case SERAI_OP_VFR_EXPLAIN:
        return hcall_vfr_explain(a2);
    case SERAI_OP_VFR_SET:
        return hcall_vfr_set(a2);
    case SERAI_OP_VFR_LOG:
        return hcall_vfr_log(a2);
    default:
        return -XEN_ENOSYS;
    }
}
