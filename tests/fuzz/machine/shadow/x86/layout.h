/* hv/x86/layout.h, with the one-to-one map where a process may have memory. */
#ifndef MACHINE_X86_LAYOUT_H
#define MACHINE_X86_LAYOUT_H

#include_next "x86/layout.h"
#undef DIRECTMAP_BASE
#define DIRECTMAP_BASE 0x0000200000000000

#endif
