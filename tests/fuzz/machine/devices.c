/* The rest of hv/x86, and what is left out of the floors above it: as little as there can be. */
#include "fuzz/machine/machine.h"
#include "core/acpi.h"
#include "base/version.h"
#include "guest/dom0_console.h"
#include "guest/trap.h"
#include "kern/panic.h"
#include "x86/cpu.h"
#include "x86/cpu_setup.h"
#include "x86/fpu.h"
#include "x86/ioapic.h"
#include "x86/lapic.h"
#include "x86/msi.h"
#include "x86/pci.h"
#include "x86/reboot.h"
#include "x86/smp.h"
#include "x86/tsc.h"
#include "x86/uart.h"
#include <stdlib.h>
#include <string.h>

#define NR_GSIS    24
#define NR_DEVICES 4

char version_cmdline[1024];
const u8 exit_iretq[2];

/* ---- CPUs ---- */

void cpuid_count(u32 leaf, u32 sub, u32 *a, u32 *b, u32 *c, u32 *d)
{
    *a = leaf == 0 ? 0xd : leaf == 0x80000000 ? 0x8000000a : leaf == 0xd ? 7 : 0;
    *b = leaf == 1 ? 0x10000 : 0;
    *c = leaf == 1 ? 0x16d8220b : 0;
    *d = leaf == 1 ? 0x178bfbff : leaf == 0x80000001 ? 0x2fd3fbff : 0;
}

void cpu_set_stack(struct cpu *c, struct stack_info *top)
{
    c->stub->stack_top = (u64)top;
}

u16 *cpu_iomap_base(struct cpu *c)
{
    /* Not &c->tss->iomap_base: that is packed. */
    return (u16 *)((u8 *)c->tss + offsetof(struct tss, iomap_base));
}

void cpu_io_bitmap_allow(struct cpu *c, u16 first, u16 last)
{
}

void cpu_io_bitmap_deny(struct cpu *c, u16 first, u16 last)
{
}

int load_ds_safe(u32 selector)
{
    return 0;
}

int load_es_safe(u32 selector)
{
    return 0;
}

int load_fs_safe(u32 selector)
{
    return 0;
}

int load_gs_safe(u32 selector)
{
    return 0;
}

int rdmsr_safe(u32 msr, u64 *v)
{
    *v = 0;
    return -XEN_EFAULT;
}

void vcpu_first_entry(void)
{
    abort(); /* the machine begins vcpus itself */
}

void resume_guest(struct cpu_user_regs *regs)
{
    abort(); /* likewise */
}

u64 extable_find(u64 rip)
{
    return 0;
}

void fpu_reset(u8 *area)
{
    memset(area, 0, FPU_IMAGE_SIZE);
}

void fpu_import(u8 *area, const u8 *image)
{
    memcpy(area, image, FPU_IMAGE_SIZE);
}

void fpu_export(const u8 *area, u8 *image)
{
    memcpy(image, area, FPU_IMAGE_SIZE);
}

void fpu_import_xstate(u8 *area, const u8 *image, u64 size)
{
    memcpy(area, image, size);
}

u64 tsc_hz(void)
{
    return 1000000000;
}

bool tsc_is_invariant(void)
{
    return true;
}

u32 smp_apic_id(unsigned cpu)
{
    return cpu;
}

/* ---- the end ---- */

void panic(const char *fmt, ...)
{
    machine_fail(__FILE__, __LINE__, fmt);
}

void cannot_start(const char *fmt, ...)
{
    machine_fail(__FILE__, __LINE__, fmt);
}

void panic_trap(const struct cpu_user_regs *regs)
{
    abort();
}

void machine_end(bool reboot)
{
    cpu_stop();
}

void machine_reset(const struct acpi_info *info)
{
    cpu_stop();
}

const struct acpi_info *machine_acpi(void)
{
    return NULL;
}

int acpi_enter_s5(const struct acpi_info *info, u32 pm1a_val, u32 pm1b_val)
{
    return -XEN_EOPNOTSUPP;
}

void dump_regs(const struct cpu_user_regs *regs)
{
}

void nmi_interrupt(void)
{
}

bool emulate_privileged(struct vcpu *v, struct cpu_user_regs *regs)
{
    return false;
}

bool emulate_forced_cpuid(struct vcpu *v, struct cpu_user_regs *regs)
{
    return false;
}

/* ---- devices ---- */

unsigned ioapic_nr_gsis(void)
{
    return NR_GSIS;
}

bool ioapic_has_gsi(u32 gsi)
{
    return gsi < NR_GSIS;
}

u32 ioapic_isa_gsi(u8 irq)
{
    return irq;
}

int ioapic_route(u32 gsi, u8 vector, u32 dest_apic_id, bool level, bool active_low)
{
    return gsi < NR_GSIS ? 0 : -XEN_EINVAL;
}

void ioapic_mask(u32 gsi)
{
}

void ioapic_unmask(u32 gsi)
{
}

bool ioapic_is_level(u32 gsi)
{
    return gsi >= 16;
}

bool ioapic_is_active_low(u32 gsi)
{
    return gsi >= 16;
}

int ioapic_read_register(u64 phys, u32 reg, u32 *val)
{
    *val = 0;
    return 0;
}

void msi_init(msi_is_mmio_fn is_mmio)
{
}

int msi_setup(struct msi_entry *entry, const struct msi_target *target)
{
    return entry->devfn < NR_DEVICES ? 0 : -XEN_ENODEV;
}

bool msi_mask(struct msi_entry *entry)
{
    return true;
}

bool msi_unmask(struct msi_entry *entry)
{
    return true;
}

void msi_teardown(struct msi_entry *entry)
{
}

int msix_prepare(u16 seg, u8 bus, u8 devfn)
{
    return devfn < NR_DEVICES ? 0 : -XEN_ENODEV;
}

bool msix_owns_page(u64 phys)
{
    return false;
}

u32 pci_read(u16 seg, u8 bus, u8 devfn, u16 reg, u8 size)
{
    return 0;
}

void pci_write(u16 seg, u8 bus, u8 devfn, u16 reg, u8 size, u32 val)
{
}

bool pci_is_present(u16 seg, u8 bus, u8 devfn)
{
    return !seg && !bus && devfn < NR_DEVICES;
}

void uart_write(const char *s, size_t len)
{
}

u16 uart_io_base(void)
{
    return 0;
}

u8 uart_irq(void)
{
    return 4;
}

u32 dom0_console_read(char *buf, u32 len)
{
    return 0;
}

void dom0_console_key(char key)
{
}
