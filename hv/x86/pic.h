/* The two 8259 interrupt controllers and the timer behind them, put to sleep. */
#ifndef SERAI_X86_PIC_H
#define SERAI_X86_PIC_H

#include "base/types.h"

/* A stray line shows up at these 16 vectors; the handler returns without end of interrupt. */
#define PIC_SPURIOUS_BASE 0x20

/* Masks every line, moves the controllers off the exception vectors, stops PIT channel 0. */
void pic_disable(void);

#endif
