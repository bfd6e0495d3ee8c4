/*
 * One 16550 serial port, polled for output, optionally with an interrupt for input.
 *
 * The port belongs to the hypervisor: domain 0 must not reach the eight I/O ports from
 * uart_io_base() on.
 *
 * 1. Output never waits without bound: a port that stops draining loses characters, and costs
 *    one status read per write until it drains again.
 * 2. Bytes go out as given; turning "\n" into "\r\n" is the console's business.
 *
 * Locking: the caller serialises; usable from any context, with interrupts on or off.
 */
#ifndef SERAI_X86_UART_H
#define SERAI_X86_UART_H

#include "base/types.h"

struct uart_config {
    u16 io_base;
    u32 baud;     /* 0: leave speed and frame as the firmware set them */
    u8 data_bits; /* 5..8 */
    u8 parity;    /* 'n', 'o', 'e', 'm', 's' */
    u8 stop_bits; /* 1 or 2 */
    u8 irq;       /* ISA interrupt, 0 for none; only remembered here */
};

/* False when nothing answers at io_base or the frame cannot be made; output is then dropped. */
bool uart_init(const struct uart_config *config);

void uart_write(const char *s, size_t len);

/* The next received byte, or -1. */
int uart_getc(void);

/* Interrupt at each received byte or FIFO threshold; the handler calls uart_getc() until -1. */
void uart_enable_rx_irq(void);

/* 0 without a port. */
u16 uart_io_base(void);

/* The ISA interrupt of the configuration; 0 for none. */
u8 uart_irq(void);

#endif
