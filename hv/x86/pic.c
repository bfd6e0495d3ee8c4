#include "x86/pic.h"
#include "x86/cpu.h"

#define PIC1_COMMAND 0x20
#define PIC1_DATA    0x21
#define PIC2_COMMAND 0xa0
#define PIC2_DATA    0xa1
#define PIT_MODE     0x43

/*
 * The initialisation sequence is the only way to move the vectors, and even with every line
 * masked a controller can deliver its spurious line 7.
 */
__init void pic_disable(void)
{
    outb(PIC1_DATA, 0xff);
    outb(PIC2_DATA, 0xff);
    outb(PIC1_COMMAND, 0x11); /* edge, cascaded, four words follow */
    outb(PIC2_COMMAND, 0x11);
    outb(PIC1_DATA, PIC_SPURIOUS_BASE);
    outb(PIC2_DATA, PIC_SPURIOUS_BASE + 8);
    outb(PIC1_DATA, 0x04); /* the second controller on line 2 */
    outb(PIC2_DATA, 0x02);
    outb(PIC1_DATA, 0x01); /* 8086 mode, explicit end of interrupt */
    outb(PIC2_DATA, 0x01);
    outb(PIC1_DATA, 0xff);
    outb(PIC2_DATA, 0xff);

    /* Channel 0, one shot, and no count: it never starts. */
    outb(PIT_MODE, 0x30);
}
