#include "x86/uart.h"
#include "x86/cpu.h"
#include "core/platform_bits.h"

/* Register offsets and bits of the 16550 (National PC16550D data sheet). */
enum {
    UART_DATA = 0,
    UART_IER = 1, /* interrupt enable */
    UART_IIR = 2, /* interrupt identification; FCR when written */
    UART_FCR = 2,
    UART_LCR = 3,
    UART_MCR = 4,
    UART_LSR = 5,
    UART_SCRATCH = 7,
};

#define IER_RX         0x01
#define IIR_FIFOS_WORK 0xc0
#define FCR_ON_CLEAR   0x07 /* FIFOs on and emptied, interrupt at the first byte */
#define LCR_DLAB       0x80
#define MCR_DTR_RTS    0x03
#define MCR_OUT2       0x08 /* the interrupt line's gate on a PC */
#define LSR_RX_READY   0x01
#define LSR_TX_EMPTY   0x20

#define FIFO_SIZE 16

/* A status read takes about a microsecond; 16 bytes at 300 baud take half a second. */
#define TX_POLLS 600000

static struct {
    u16 io_base; /* 0: no port */
    u8 irq;
    u8 burst;   /* bytes that may follow one "transmitter empty" */
    bool stuck; /* the last wait ran out */
} uart;

static bool has_registers(u16 base)
{
    outb(base + UART_SCRATCH, 0x5a);
    if (inb(base + UART_SCRATCH) != 0x5a)
        return false;
    outb(base + UART_SCRATCH, 0xa5);
    return inb(base + UART_SCRATCH) == 0xa5 && inb(base + UART_LSR) != 0xff;
}

static bool set_frame(const struct uart_config *config)
{
    u16 base = config->io_base, divisor = uart_divisor(config->baud);
    int lcr = uart_line_control(config->data_bits, config->parity, config->stop_bits);

    if (!divisor || lcr < 0)
        return false;
    outb(base + UART_LCR, LCR_DLAB | lcr);
    outb(base + UART_DATA, divisor & 0xff);
    outb(base + UART_IER, divisor >> 8);
    outb(base + UART_LCR, lcr);
    return true;
}

__init bool uart_init(const struct uart_config *config)
{
    u16 base = config->io_base;

    uart.io_base = 0;
    if (!base || !has_registers(base))
        return false;
    outb(base + UART_LCR, inb(base + UART_LCR) & ~LCR_DLAB);
    outb(base + UART_IER, 0);
    if (config->baud && !set_frame(config))
        return false;
    outb(base + UART_FCR, FCR_ON_CLEAR);
    outb(base + UART_MCR, MCR_DTR_RTS);

    uart.burst = (inb(base + UART_IIR) & IIR_FIFOS_WORK) == IIR_FIFOS_WORK ? FIFO_SIZE : 1;
    uart.irq = config->irq;
    uart.stuck = false;
    uart.io_base = base;
    return true;
}

/* A port that ran out of patience once gets one look until it answers again. */
static bool wait_tx_empty(void)
{
    u32 polls = uart.stuck ? 1 : TX_POLLS;

    while (polls--) {
        if (inb(uart.io_base + UART_LSR) & LSR_TX_EMPTY) {
            uart.stuck = false;
            return true;
        }
        cpu_relax();
    }
    uart.stuck = true;
    return false;
}

void uart_write(const char *s, size_t len)
{
    u16 port = uart.io_base + UART_DATA;

    while (len && uart.io_base) {
        size_t n = MIN(len, uart.burst), left = n;

        if (!wait_tx_empty())
            return;
        asm volatile("rep outsb" : "+S"(s), "+c"(left) : "d"(port) : "memory");
        len -= n;
    }
}

int uart_getc(void)
{
    u8 status;

    if (!uart.io_base)
        return -1;
    status = inb(uart.io_base + UART_LSR);
    if (!(status & LSR_RX_READY) || status == 0xff)
        return -1;
    return inb(uart.io_base + UART_DATA);
}

void uart_enable_rx_irq(void)
{
    if (!uart.io_base)
        return;
    outb(uart.io_base + UART_MCR, MCR_DTR_RTS | MCR_OUT2);
    outb(uart.io_base + UART_IER, IER_RX);
}

u16 uart_io_base(void)
{
    return uart.io_base;
}

u8 uart_irq(void)
{
    return uart.irq;
}
