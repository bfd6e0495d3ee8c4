#include "x86/fpu.h"
#include "base/string.h"
#include "core/xstate.h"

void fpu_reset(u8 *area)
{
    memset(area, 0, PAGE_SIZE);
    xstate_put_mxcsr(area, XSTATE_MXCSR_RESET);
    xstate_normalise(area);
}

void fpu_export(const u8 *area, u8 *image)
{
    memcpy(image, area, FPU_IMAGE_SIZE);
}

void fpu_import_xstate(u8 *area, const u8 *image, u64 size)
{
    memset(area, 0, PAGE_SIZE);
    memcpy(area, image, MIN(size, cpu_features.xsave_size));
    xstate_normalise(area);
}

void fpu_import(u8 *area, const u8 *image)
{
    memset(area, 0, PAGE_SIZE);
    memcpy(area, image, FPU_IMAGE_SIZE);
    xstate_put_mxcsr(area, xstate_mxcsr(image) & XSTATE_MXCSR_ALLOWED);
    area[XSTATE_BV] = XSTATE_X87 | XSTATE_SSE;
}
