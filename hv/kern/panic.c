#include "base/string.h"
#include "kern/panic.h"
#include "base/assert.h"
#include "base/format.h"
#include "kern/console.h"
#include "x86/cpu.h"
#include "x86/lapic.h"
#include "x86/layout.h"
#include "x86/paging.h"
#include "x86/percpu.h"
#include "x86/reboot.h"

extern const u8 text_start[], text_end[];
#define SYMBOL_MAX    48
/* As tools/symbols has it. */
#define BLOCK_SYMBOLS 80

/* tools/symbols fills it in, and tells what there is; the others are bytes from its beginning. */
extern const struct {
    u32 count, delta, pair, text;
    struct {
        u32 address, text;
    } block[];
} symtable;

static const struct acpi_info *acpi_for_reset;
static u32 ended_by; /* (atomic) number + 1 of the CPU that ends the machine; 0: none */
static bool halt_at_end = true; /* until the machine runs, halting keeps the text readable */

void machine_end_setup(const struct acpi_info *acpi, bool noreboot)
{
    acpi_for_reset = acpi;
    halt_at_end = noreboot;
}

const struct acpi_info *machine_acpi(void)
{
    return acpi_for_reset;
}

/*
 * The other CPUs stop where they are, by an interrupt that nothing masks. When another CPU has
 * begun to end the machine, this one only waits; the CPU that did may come here again.
 */
static void stop_others(void)
{
    u32 self = this_cpu()->id + 1, nobody = 0;

    if (!__atomic_compare_exchange_n(&ended_by, &nobody, self, false, __ATOMIC_SEQ_CST,
                                     __ATOMIC_SEQ_CST)) {
        if (nobody != self)
            cpu_stop();
        return;
    }
    for (unsigned i = 0; i < nr_cpus; i++)
        if (cpus[i] != this_cpu())
            lapic_send_nmi(cpus[i]->apic_id);
}

void machine_end(bool reboot)
{
    stop_others();
    if (reboot && !halt_at_end)
        machine_reset(acpi_for_reset);
    console_force_unlock();
    log_at(LOG_ERROR, "The machine is halted.\n");
    cpu_stop();
}

/* A byte from 0x80 on stands for two, which may stand for more. */
static char *unpack(u8 byte, char *at, const char *end)
{
    const u8(*pair)[2] = (const void *)((const u8 *)&symtable + symtable.pair);

    if (byte < 0x80) {
        *at = (char)byte;
        return at + (at != end);
    }
    at = unpack(pair[byte - 0x80][0], at, end);
    return unpack(pair[byte - 0x80][1], at, end);
}

/* Name and offset of the function that holds a text address; false outside the text. */
static bool find_symbol(u64 address, u64 *offset, char name[SYMBOL_MAX])
{
    const u16 *delta = (const void *)((const u8 *)&symtable + symtable.delta);
    u32 lo = 0, hi = DIV_ROUND_UP(symtable.count, BLOCK_SYMBOLS), at, last, low = (u32)address;
    char *const end = name + SYMBOL_MAX - 1;
    const u8 *text;

    if (address < (u64)text_start || address >= (u64)text_end || !hi)
        return false;
    while (hi - lo > 1) {
        u32 mid = lo + (hi - lo) / 2;

        if (symtable.block[mid].address <= low)
            lo = mid;
        else
            hi = mid;
    }
    text = (const u8 *)&symtable + symtable.text + symtable.block[lo].text;
    low -= symtable.block[lo].address;
    last = MIN(symtable.count, (lo + 1) * BLOCK_SYMBOLS) - 1;
    for (at = lo * BLOCK_SYMBOLS; at < last && delta[at + 1] <= low; at++)
        text += strlen((const char *)text) + 1;
    *offset = low - delta[at];
    while (*text)
        name = unpack(*text++, name, end);
    *name = 0;
    return true;
}

/* Words on the stack that look like return addresses: no frame pointers are kept. */
static void dump_stack(u64 rsp)
{
    u64 end = ROUND_UP(rsp + 1, STACK_SIZE);
    unsigned shown = 0;

    if (rsp & 7 || rsp < DIRECTMAP_BASE - BIT(39) || rsp >= DIRECTMAP_END)
        return;
    for (u64 p = rsp; p < end && shown < 24; p += 8) {
        u64 word = *(const u64 *)p, offset;
        char name[SYMBOL_MAX];

        if (find_symbol(word, &offset, name)) {
            log_at(LOG_ERROR, "  [%016lx] %s+%#lx\n", word, name, offset);
            shown++;
        }
    }
}

void dump_regs(const struct cpu_user_regs *r)
{
    char name[SYMBOL_MAX] = "";
    u64 offset;

    (void)find_symbol(r->rip, &offset, name);
    log_at(LOG_ERROR, "rip %04x:%016lx %s\n", r->cs, r->rip, name);
    log_at(LOG_ERROR, "rsp %04x:%016lx rflags %08lx vector %u error %x cr2 %016lx\n", r->ss,
           r->rsp, r->rflags, r->entry_vector, r->error_code, read_cr2());
    log_at(LOG_ERROR, "rax %016lx rbx %016lx rcx %016lx rdx %016lx\n", r->rax, r->rbx, r->rcx,
           r->rdx);
    log_at(LOG_ERROR, "rsi %016lx rdi %016lx rbp %016lx r8  %016lx\n", r->rsi, r->rdi, r->rbp,
           r->r8);
    log_at(LOG_ERROR, "r9  %016lx r10 %016lx r11 %016lx r12 %016lx\n", r->r9, r->r10, r->r11,
           r->r12);
    log_at(LOG_ERROR, "r13 %016lx r14 %016lx r15 %016lx cr3 %016lx\n", r->r13, r->r14, r->r15,
           read_cr3());
    if (!(r->cs & 3))
        dump_stack(r->rsp);
}

void panic(const char *fmt, ...)
{
    char text[256];
    va_list ap;
    u64 here;

    irq_disable();
    stop_others();
    console_force_unlock();
    va_start(ap, fmt);
    format_va(text, sizeof(text), fmt, ap);
    va_end(ap);
    log_at(LOG_ERROR, "\n");
    log_at(LOG_ERROR, "PANIC: %s\n", text);
    dump_stack(ROUND_DOWN((u64)&here, 8));
    machine_end(true);
}

void cannot_start(const char *fmt, ...)
{
    char text[512];
    va_list ap;

    irq_disable();
    console_force_unlock();
    va_start(ap, fmt);
    format_va(text, sizeof(text), fmt, ap);
    va_end(ap);
    log_at(LOG_ERROR, "serai: cannot start: %s\n", text);
    log_at(LOG_ERROR, "The machine is halted.\n");
    cpu_stop();
}

void panic_trap(const struct cpu_user_regs *regs)
{
    irq_disable();
    stop_others();
    console_force_unlock();
    log_at(LOG_ERROR, "\n");
    log_at(LOG_ERROR, "PANIC: exception %u in the hypervisor on CPU %u\n", regs->entry_vector,
           this_cpu()->id);
    dump_regs(regs);
    machine_end(true);
}

void nmi_interrupt(void)
{
    /* Nothing may be locked or printed here: it may have interrupted just that. */
    if (__atomic_load_n(&ended_by, __ATOMIC_SEQ_CST) &&
        __atomic_load_n(&ended_by, __ATOMIC_SEQ_CST) != this_cpu()->id + 1)
        cpu_stop();
    count(COUNT_NMI);
}

void bug_report(const char *expr, const char *file, int line)
{
    panic("BUG: %s at %s:%d", expr, file, line);
}
