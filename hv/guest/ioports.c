#include "guest/ioports.h"
#include "core/pte.h"
#include "guest/access.h"
#include "guest/mmu.h"
#include "guest/regs.h"
#include "guest/trap.h"
#include "kern/device_locks.h"
#include "x86/cpu.h"
#include "x86/cpu_setup.h"
#include "x86/paging.h"
#include "x86/uart.h"

#define X86_PF_VECTOR 14

/*
 * Ports that trap: the legacy interrupt controllers, the interval timer and its speaker gate,
 * the PCI index and data pair (the hypervisor uses it too), and our serial port. Everything else of domain 0 runs natively.
 */
static const struct {
    u16 first, last;
} trapped[] = {
    {0x20, 0x21}, {0x40, 0x43}, {0x61, 0x61}, {0xa0, 0xa1}, {0xcf8, 0xcff},
};

static u32 pci_index; /* the guest's view of CF8; pci_config_lock */

void ioports_init_cpu(struct cpu *c)
{
    cpu_io_bitmap_allow(c, 0, 0xffff);
    for (unsigned i = 0; i < ARRAY_SIZE(trapped); i++)
        cpu_io_bitmap_deny(c, trapped[i].first, trapped[i].last);
    if (uart_io_base())
        cpu_io_bitmap_deny(c, uart_io_base(), uart_io_base() + 7);
}

void ioports_set_iopl(struct vcpu *v, unsigned iopl)
{
    v->iopl = (u8)iopl;
    v->entry.iomap_kernel = iopl && v->domain->is_hardware ? TSS_BITMAP_OFFSET : TSS_NO_BITMAP;
    if (v == current_vcpu())
        *v->entry.iomap_base = (u16)v->entry.iomap_kernel;
}

static bool overlaps_trapped(u32 first, u32 last)
{
    for (unsigned i = 0; i < ARRAY_SIZE(trapped); i++)
        if (first <= trapped[i].last && last >= trapped[i].first)
            return true;
    return uart_io_base() && first <= uart_io_base() + 7U && last >= uart_io_base();
}

static bool is_trapped(u16 port, unsigned size)
{
    return overlaps_trapped(port, port + size - 1);
}

bool ioports_withheld(u16 first, u16 last)
{
    return overlaps_trapped(first, last);
}

static u32 all_ones(unsigned size)
{
    return size == 4 ? 0xffffffff : (1U << (size * 8)) - 1;
}

static u32 native_in(u16 port, unsigned size)
{
    return size == 1 ? inb(port) : size == 2 ? inw(port) : inl(port);
}

static void native_out(u16 port, unsigned size, u32 val)
{
    if (size == 1)
        outb(port, (u8)val);
    else if (size == 2)
        outw(port, (u16)val);
    else
        outl(port, val);
}

static bool may_use(const struct vcpu *v, u16 port, unsigned size)
{
    return device_may_use_ports(&v->domain->devices, port, size);
}

static bool is_pci_data(u16 port, unsigned size)
{
    return port >= 0xcfc && port + size <= 0xd00;
}

static u32 port_in(struct vcpu *v, u16 port, unsigned size)
{
    count(COUNT_EMUL_IO);
    if (!v->domain->is_hardware)
        return may_use(v, port, size) ? native_in(port, size) : all_ones(size);
    if (port == 0xcf8 && size == 4)
        return pci_index;
    if (is_pci_data(port, size)) {
        u32 val;

        lock(&pci_config_lock);
        outl(0xcf8, pci_index);
        val = native_in(port, size);
        unlock(&pci_config_lock);
        return val;
    }
    if (port == 0x61 && size == 1)
        return inb(0x61);
    /* A counter that stands still ends the guest's own calibration loops quickly. */
    if (port >= 0x40 && port <= 0x43)
        return 0;
    return is_trapped(port, size) ? all_ones(size) : native_in(port, size);
}

static void port_out(struct vcpu *v, u16 port, unsigned size, u32 val)
{
    count(COUNT_EMUL_IO);
    if (!v->domain->is_hardware) {
        if (may_use(v, port, size))
            native_out(port, size, val);
        return;
    }
    if (port == 0xcf8 && size == 4)
        pci_index = val;
    else if (is_pci_data(port, size)) {
        lock(&pci_config_lock);
        outl(0xcf8, pci_index);
        native_out(port, size, val);
        unlock(&pci_config_lock);
    } else if (port == 0xcf9 && size == 1)
        outb(0xcf9, (u8)val);
    else if (!is_trapped(port, size))
        native_out(port, size, val);
}

/*
 * Two bytes of the bitmap, which is mapped in the guest kernel's address space: in user mode
 * another page table is loaded, so it is read through our own map.
 */
static bool read_bitmap(const struct vcpu *v, u16 port, u16 *bits)
{
    u8 bytes[2];

    for (unsigned i = 0; i < 2; i++) {
        u64 va = v->iobitmap + port / 8 + i, pte = mmu_walk(v->kernel_table, va);

        if (!(pte & GPTE_P) || !frame_get(v->domain->id, pte_mfn(pte)))
            return false;
        bytes[i] = ((const u8 *)mfn_to_virt(pte_mfn(pte)))[va & (PAGE_SIZE - 1)];
        frame_put(pte_mfn(pte));
    }
    *bits = (u16)(bytes[0] | bytes[1] << 8);
    return true;
}

/* Kernel: virtual IOPL of at least 1. User: IOPL 3, or the bitmap that its kernel registered. */
static bool guest_allows(const struct vcpu *v, u16 port, unsigned size)
{
    u16 bits;

    if (vcpu_is_kernel(v) ? v->iopl >= 1 : v->iopl >= 3)
        return true;
    if (!v->iobitmap || port + size > v->iobitmap_ports)
        return false;
    if (!read_bitmap(v, port, &bits))
        return false;
    return !(bits >> (port & 7) & ((1U << size) - 1));
}

/* One element of INS or OUTS; a bad address is the guest's page fault. */
static bool string_element(struct vcpu *v, const struct insn *insn, struct insn_regs *r,
                           u16 port)
{
    u32 val = 0;

    if (insn->op == INSN_INS) {
        val = port_in(v, port, insn->size);
        return copy_to_guest((void *)insn_effective_address(insn, r), &val, insn->size) == 0;
    }
    if (copy_from_guest(&val, (const void *)insn_source_address(insn, r), insn->size))
        return false;
    port_out(v, port, insn->size, val);
    return true;
}

static bool string_io(struct vcpu *v, const struct insn *insn, struct cpu_user_regs *regs,
                      u16 port)
{
    struct insn_regs r;
    bool more = true;

    regs_to_insn(regs, &r);
    if (insn_string_done(insn, &r)) {
        regs->rip += insn->len;
        return true;
    }
    while (more) {
        if (!string_element(v, insn, &r, port)) {
            u64 va = insn->op == INSN_INS ? insn_effective_address(insn, &r)
                                          : insn_source_address(insn, &r);
            regs_from_insn(regs, &r);
            trap_inject_page_fault(v, regs, va, insn->op == INSN_INS ? 2 : 0);
            return true;
        }
        more = insn_string_advance(insn, &r);
        regs_from_insn(regs, &r);
        preempt_point();
        /* The instruction goes on when the guest does. */
        if (vcpu_must_stop(v))
            break;
    }
    return true;
}

bool ioports_emulate(struct vcpu *v, const struct insn *insn, struct cpu_user_regs *regs)
{
    u16 port = insn->port_is_dx ? (u16)regs->rdx : insn->port;

    if (!guest_allows(v, port, insn->size))
        return false;
    if (insn->op == INSN_INS || insn->op == INSN_OUTS)
        return string_io(v, insn, regs, port);
    if (insn->op == INSN_IN)
        regs->rax = insn_merge(regs->rax, port_in(v, port, insn->size), insn->size);
    else
        port_out(v, port, insn->size, (u32)regs->rax);
    regs->rip += insn->len;
    return true;
}
