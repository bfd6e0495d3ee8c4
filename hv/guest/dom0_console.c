#include "guest/dom0_console.h"
#include "guest/event.h"
#include "kern/console.h"
#include "kern/counters.h"
#include "kern/heap.h"
#include "kern/irq.h"
#include "kern/panic.h"
#include "x86/ioapic.h"
#include "x86/lapic.h"
#include "x86/uart.h"

/* As much as Linux takes for a line: somebody may paste a lot at once. */
#define RING_SIZE  PAGE_SIZE
#define SWITCH_KEY 1 /* Ctrl-A */

static char *ring;
static u32 ring_in, ring_out; /* ring_lock, like the ring itself */
static u32 lost;              /* (ring lock) characters, since the ring was last read */
static struct spinlock ring_lock = SPINLOCK(LOCK_INPUT);
static unsigned switch_presses;
static bool keys_are_ours;

static void key_registers(void)
{
    for (unsigned i = 0; i < dom0->max_vcpus; i++)
        if (dom0->vcpus[i])
            dump_regs((struct cpu_user_regs *)(dom0->vcpus[i]->stack + STACK_SIZE -
                                               sizeof(struct stack_info) -
                                               offsetof(struct cpu_user_regs, es)));
}

static void key_memory(void)
{
    printk("free frames: %lu, domain 0 has %lu\n", heap_free_count(), dom0->tot_pages);
}

static void key_reboot(void)
{
    printk("rebooting on request\n");
    machine_end(true);
}

static void key_help(void);

static const struct {
    char key;
    void (*run)(void);
    const char *what;
} keys[] = {
    {'c', counters_dump, "counters"}, {'d', key_registers, "registers of domain 0"},
    {'h', key_help, "this list"},     {'i', ioapic_dump, "interrupt lines"},
    {'m', key_memory, "memory"},      {'R', key_reboot, "reboot the machine"},
};

static void key_help(void)
{
    for (unsigned i = 0; i < ARRAY_SIZE(keys); i++)
        printk("  %c  %s\n", keys[i].key, keys[i].what);
}

void dom0_console_key(char c)
{
    for (unsigned i = 0; i < ARRAY_SIZE(keys); i++)
        if (keys[i].key == c)
            keys[i].run();
}

/* What is in the way of the keys that switch is dropped: domain 0 may never read again. */
static void ring_put(char c)
{
    lock(&ring_lock);
    if (ring_in - ring_out < RING_SIZE)
        ring[ring_in++ % RING_SIZE] = c;
    else
        lost++;
    unlock(&ring_lock);
}

static void deliver(char c)
{
    if (keys_are_ours)
        dom0_console_key(c);
    else
        ring_put(c);
}

/* The key's presses are held back until it is clear that they do not switch. */
static void take_byte(char c)
{
    if (c == SWITCH_KEY) {
        if (++switch_presses < 3)
            return;
        switch_presses = 0;
        keys_are_ours = !keys_are_ours;
        printk("keyboard: %s\n", keys_are_ours ? "hypervisor ('h' for help)" : "domain 0");
        return;
    }
    for (; switch_presses; switch_presses--)
        deliver(SWITCH_KEY);
    deliver(c);
}

static void console_softirq(void)
{
    u32 before = ring_in;
    int c;

    while ((c = uart_getc()) >= 0)
        take_byte((char)c);
    if (ring_in != before)
        event_send_global_virq(VIRQ_CONSOLE);
}

static void uart_interrupt(void *arg)
{
    softirq_raise(SOFTIRQ_CONSOLE);
}

static void log_softirq(void)
{
    event_send_global_virq(VIRQ_CON_RING);
}

/* Not from where the text comes from: that may be anywhere. */
static void log_has_text(void)
{
    softirq_raise(SOFTIRQ_LOG);
}

void dom0_console_init(void)
{
    u32 gsi = ioapic_isa_gsi(uart_irq());
    int vector;

    softirq_set_handler(SOFTIRQ_LOG, log_softirq);
    console_on_text(log_has_text);
    softirq_set_handler(SOFTIRQ_CONSOLE, console_softirq);
    ring = heap_alloc_pages(0);
    if (!ring || !uart_irq() || !ioapic_has_gsi(gsi))
        return;
    vector = irq_alloc_vector(uart_interrupt, NULL);
    if (vector < 0 || ioapic_route(gsi, (u8)vector, lapic_id(), false, false))
        return;
    ioapic_unmask(gsi);
    uart_enable_rx_irq();
}

u32 dom0_console_read(char *buf, u32 len)
{
    u32 n = 0, dropped;

    lock(&ring_lock);
    while (n < len && ring_out != ring_in)
        buf[n++] = ring[ring_out++ % RING_SIZE];
    dropped = lost;
    lost = 0;
    unlock(&ring_lock);
    if (dropped)
        printk("keyboard: %u characters are lost, domain 0 did not read\n", dropped);
    return n;
}
