/*
 * Encodings and arithmetic of the PC platform, apart from the registers they go to: clock
 * registers to seconds, interrupt message and redirection-entry layouts, timer ratios.
 *
 * Pure and total; no state. Sources: 82093AA and MC146818 data sheets, Intel SDM volume 3
 * chapter 10, PCI local bus specification 3.0 chapter 6.
 */
#ifndef SERAI_CORE_PLATFORM_BITS_H
#define SERAI_CORE_PLATFORM_BITS_H

#include "base/types.h"

/* --- battery clock -------------------------------------------------------------------- */

#define RTC_B_24H    BIT(1)
#define RTC_B_BINARY BIT(2)

/* As read from the chip. 'century' 0 or nonsense: years below 70 are 20xx. */
struct rtc_registers {
    u8 second, minute, hour, day, month, year, century;
    u8 status_b;
};

/* Seconds since 1970; -XEN_EINVAL when a field is out of range. */
int rtc_to_seconds(const struct rtc_registers *r, u64 *seconds);

/* --- interrupt messages --------------------------------------------------------------- */

#define MSI_ADDRESS_BASE 0xfee00000U
#define MSI_MAX_APIC_ID  254U /* 255 means all CPUs */
#define MIN_IRQ_VECTOR   16U

struct msi_message {
    u32 address, data;
};

/* Fixed delivery, edge, physical. -XEN_EINVAL: vector below 16; -XEN_ERANGE: APIC id. */
int msi_compose(u8 vector, u32 apic_id, struct msi_message *msg);

/* --- redirection entries -------------------------------------------------------------- */

#define RTE_REMOTE_IRR BIT(14)
#define RTE_LOW_ACTIVE BIT(13)
#define RTE_LEVEL      BIT(15)
#define RTE_MASKED     BIT(16)

/* Fixed delivery, physical destination, masked. Same errors as msi_compose(). */
int rte_compose(u8 vector, u32 apic_id, bool level, bool active_low, u64 *rte);

/* --- PCI base addresses --------------------------------------------------------------- */

/*
 * The memory address a BAR holds, 'hi' being the register after it. 0 for an I/O BAR, a
 * reserved type, or an unassigned one; 'has_hi' false refuses 64-bit BARs (last register).
 */
u64 pci_bar_address(u32 lo, u32 hi, bool has_hi);

/* --- clocks --------------------------------------------------------------------------- */

/* a * b / c with a 128-bit product, rounded down; ~0 when c is 0 or the result too large. */
u64 mul_div(u64 a, u64 b, u64 c);

/* How far a counter of 'bits' (1..32) wrapping bits went from 'from' to 'to'. */
u32 counter_delta(u32 from, u32 to, unsigned bits);

/*
 * From distances in one clock to counts of a 32-bit down counter in another: 32.32 fixed point,
 * rounded up so that a timer is never early by it.
 */
struct tick_ratio {
    u64 mult;  /* to_hz / from_hz */
    u64 reach; /* shorter distances fit into the counter; at most S64_MAX */
};

void ratio_compose(u64 from_hz, u64 to_hz, struct tick_ratio *r);

/* For distance < reach: at least 1, because a count of 0 would stop the timer. */
static inline u32 ratio_ticks(const struct tick_ratio *r, u64 distance)
{
    return (u32)(((unsigned __int128)distance * r->mult) >> 32) + 1;
}

/* For any distance: what lies behind gives 1, what lies too far the largest count. */
u32 ratio_ticks_any(const struct tick_ratio *r, s64 distance);

/* --- serial port ---------------------------------------------------------------------- */

/* Divisor latch for a 1.8432 MHz 16550; 0 when the speed cannot be made within 3 %. */
u16 uart_divisor(u32 baud);

/* Line control register; -XEN_EINVAL for what the chip cannot do. */
int uart_line_control(u8 data_bits, u8 parity, u8 stop_bits);

#endif
