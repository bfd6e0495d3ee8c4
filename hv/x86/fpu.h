/*
 * The FPU's state as a whole: saved and loaded for a vcpu, never used by the hypervisor itself.
 *
 * An area is a page. With XSAVE it holds all of cpu_features.xcr0, in standard form, and XCR0
 * must have that value while it is saved or loaded; CR0.TS must be clear.
 */
#ifndef SERAI_X86_FPU_H
#define SERAI_X86_FPU_H

#include "x86/cpu_setup.h"

#define FPU_IMAGE_SIZE 512 /* FXSAVE form, as guests hand it in */

static inline void xsetbv_known(u64 value)
{
    asm volatile("xsetbv" : : "c"(0), "a"((u32)value), "d"((u32)(value >> 32)));
}

static inline void fpu_save(u8 *area)
{
    if (cpu_features.xsave)
        asm volatile("xsave64 (%0)" : : "r"(area), "a"(~0U), "d"(~0U) : "memory");
    else
        asm volatile("fxsave64 (%0)" : : "r"(area) : "memory");
}

static inline void fpu_load(const u8 *area)
{
    if (cpu_features.xsave)
        asm volatile("xrstor64 (%0)" : : "r"(area), "a"(~0U), "d"(~0U) : "memory");
    else
        asm volatile("fxrstor64 (%0)" : : "r"(area) : "memory");
}

/* As after reset, with the x87 and SSE control words that FNINIT gives. */
void fpu_reset(u8 *area);

/* An image from elsewhere: reserved bits that would fault are cleared. */
void fpu_import(u8 *area, const u8 *image);

/* The same part of an area in FXSAVE form. */
void fpu_export(const u8 *area, u8 *image);

/* An area from elsewhere, of which xstate_ok() holds; what it leaves out is as after reset. */
void fpu_import_xstate(u8 *area, const u8 *image, u64 size);

#endif
