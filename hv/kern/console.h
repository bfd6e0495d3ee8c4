/*
 * The console: a log ring that domain 0 can read, and the serial port.
 *
 * Every line the hypervisor prints starts with "(SERAI) "; text that domain 0 writes goes to the
 * serial port as it is. What is logged before the UART is up appears once it is.
 */
#ifndef SERAI_KERN_CONSOLE_H
#define SERAI_KERN_CONSOLE_H

#include "base/types.h"

/* In the order of the command line's levels; LOG_NONE is only a threshold. */
enum log_level { LOG_NONE, LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

/* How much goes to the serial port; the ring keeps everything up to LOG_DEBUG. */
void console_set_level(enum log_level max);

/* Shown unless loglvl= asks for errors only: what every boot says, and answers to keys. */
void printk(const char *fmt, ...) __printf(1, 2);
void log_at(enum log_level level, const char *fmt, ...) __printf(2, 3);

/*
 * Bytes from domain 0 for the serial port, unchanged. Not for the ring: who reads that on the
 * console would read himself without end.
 */
void console_write_raw(const char *text, size_t len);

/* Text after this goes to the UART, the ring's content first. */
void console_uart_ready(void);

/*
 * The ring, for XEN_SYSCTL_readconsole and the tests: copies up to len bytes from position
 * *index (counted since boot) and advances it. A position whose text is gone, was cleared or is
 * still to come means the first text there is.
 */
size_t console_read_ring(char *buf, size_t len, u32 *index);
/* The position of the first text there is. */
u32 console_ring_first(void);
/* Text before this position is not shown any more. */
void console_clear_ring(u32 index);

/* To be called, with the ring's lock held and in any context, when the ring has new text. */
void console_on_text(void (*tell)(void));

/* From here on printing ignores locks: something is badly wrong. */
void console_force_unlock(void);

#endif
