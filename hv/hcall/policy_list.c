#include "hcall/policy_list.h"
#include "guest/access.h"

int policy_give_leaves(const struct cpu_policy *p, xen_cpuid_leaf_t *u_leaves, u32 *n)
{
    u32 at = 0, count = 0, room = *n;
    xen_cpuid_leaf_t l;

    if (!u_leaves) {
        *n = CPU_POLICY_MAX_LEAVES;
        return 0;
    }
    for (; cpu_policy_next_leaf(p, &at, &l); count++)
        if (count < room && copy_array_to_guest(u_leaves, count, &l, sizeof(l)))
            return -XEN_EFAULT;
    *n = count;
    return count > room ? -XEN_ENOBUFS : 0;
}

int policy_give_msrs(const struct cpu_policy *p, xen_msr_entry_t *u_msrs, u32 *n)
{
    u32 room = u_msrs ? *n : CPU_POLICY_MAX_MSRS;

    for (u32 i = 0; u_msrs && i < MIN(room, CPU_POLICY_MAX_MSRS); i++) {
        xen_msr_entry_t m;

        cpu_policy_msr(p, i, &m);
        if (copy_array_to_guest(u_msrs, i, &m, sizeof(m)))
            return -XEN_EFAULT;
    }
    *n = CPU_POLICY_MAX_MSRS;
    return room < CPU_POLICY_MAX_MSRS ? -XEN_ENOBUFS : 0;
}

int policy_take_leaves(struct cpu_policy *p, const xen_cpuid_leaf_t *u_leaves, u32 n,
                       struct cpu_policy_error *e)
{
    if (n > CPU_POLICY_MAX_LEAVES)
        return -XEN_E2BIG;
    for (u32 i = 0; i < n; i++) {
        xen_cpuid_leaf_t l;
        int rc;

        if (copy_array_from_guest(&l, u_leaves, i, sizeof(l)))
            return -XEN_EFAULT;
        rc = cpu_policy_write(p, &l);
        if (rc) {
            e->leaf = l.leaf;
            e->subleaf = l.subleaf;
            return rc;
        }
    }
    return 0;
}

int policy_take_msrs(struct cpu_policy *p, const xen_msr_entry_t *u_msrs, u32 n,
                     struct cpu_policy_error *e)
{
    if (n > CPU_POLICY_MAX_MSRS)
        return -XEN_E2BIG;
    for (u32 i = 0; i < n; i++) {
        xen_msr_entry_t m;
        int rc;

        if (copy_array_from_guest(&m, u_msrs, i, sizeof(m)))
            return -XEN_EFAULT;
        rc = cpu_policy_write_msr(p, &m);
        if (rc) {
            e->msr = m.idx;
            return rc;
        }
    }
    return 0;
}
