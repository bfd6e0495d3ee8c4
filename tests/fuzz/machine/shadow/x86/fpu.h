/* hv/x86/fpu.h, but the host's FPU stays the compiler's. */
#ifndef MACHINE_X86_FPU_H
#define MACHINE_X86_FPU_H

#define fpu_save(x)     hardware_fpu_save(x)
#define fpu_load(x)     hardware_fpu_load(x)
#define xsetbv_known(x) hardware_xsetbv_known(x)
#include_next "x86/fpu.h"
#undef fpu_save
#undef fpu_load
#undef xsetbv_known

static inline void fpu_save(u8 *area)
{
}

static inline void fpu_load(const u8 *area)
{
}

static inline void xsetbv_known(u64 value)
{
}

#endif
