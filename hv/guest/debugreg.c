#include "guest/debugreg.h"
#include "core/pte.h"
#include "x86/cpu.h"

static void load(unsigned reg, u64 val)
{
    switch (reg) {
    case 0:
        write_dr0(val);
        break;
    case 1:
        write_dr1(val);
        break;
    case 2:
        write_dr2(val);
        break;
    case 3:
        write_dr3(val);
        break;
    default:
        write_dr7(val);
        break;
    }
}

/* DR7: bits 10 fixed to one; 11, 12, 14, 15 and the upper half reserved; 13 (GD) never. */
#define DR7_FIXED    BIT(10)
#define DR7_REFUSED  BIT(13)
#define DR7_RESERVED (~0xffff27ffUL)

static u64 dr7_value(u64 val)
{
    return (val & ~DR7_RESERVED) | DR7_FIXED;
}

int debugreg_check(u64 reg, u64 val)
{
    switch (reg) {
    case 0:
    case 1:
    case 2:
    case 3:
        /* A breakpoint on our own code or data would stop the hypervisor. */
        return va_is_canonical(val) && guest_range_ok(val, 8) ? 0 : -XEN_EPERM;
    case 6:
        return 0;
    case 7:
        if (val & DR7_REFUSED)
            return -XEN_EPERM;
        /* I/O breakpoints (type 2) need CR4.DE semantics that guests do not control here. */
        for (unsigned i = 0; i < 4; i++)
            if ((val >> (i * 2) & 3) && (val >> (16 + i * 4) & 3) == 2)
                return -XEN_EPERM;
        return 0;
    default:
        return -XEN_EINVAL;
    }
}

void debugreg_set(struct vcpu *v, unsigned reg, u64 val)
{
    v->dr[reg] = reg == 6 ? (val & 0xe00fUL) | 0xffff0ff0UL : reg == 7 ? dr7_value(val) : val;
    if (v != current_vcpu() || reg == 6)
        return;
    /* Without breakpoints the addresses are not loaded at a switch. */
    for (unsigned i = 0; reg == 7 && i < 4; i++)
        load(i, v->dr[i]);
    load(reg, v->dr[reg]);
}

bool debugreg_all_ok(const u64 *dr)
{
    for (unsigned reg = 0; reg < 8; reg++)
        if (reg != 4 && reg != 5 && debugreg_check(reg, dr[reg]))
            return false;
    return true;
}

void debugreg_set_all(struct vcpu *v, const u64 *dr)
{
    for (unsigned reg = 0; reg < 8; reg++)
        if (reg != 4 && reg != 5)
            debugreg_set(v, reg, dr[reg]);
}
