#include "x86/fpu.h"
#include "base/string.h"

/* Offsets in the legacy area (Intel SDM 1, 10.5.1) and the header behind it (13.4.2). */
#define FCW           0
#define MXCSR         24
#define XSTATE_BV     512
#define FCW_RESET     0x37f
#define MXCSR_RESET   0x1f80
#define MXCSR_ALLOWED 0xffff
#define XSTATE_LEGACY 3 /* x87 and SSE */

static void put_u16(u8 *area, unsigned off, u16 v)
{
    memcpy(area + off, &v, sizeof(v));
}

static void put_u32(u8 *area, unsigned off, u32 v)
{
    memcpy(area + off, &v, sizeof(v));
}

void fpu_reset(u8 *area)
{
    memset(area, 0, PAGE_SIZE);
    put_u16(area, FCW, FCW_RESET);
    put_u32(area, MXCSR, MXCSR_RESET);
}

void fpu_import(u8 *area, const u8 *image)
{
    memset(area, 0, PAGE_SIZE);
    memcpy(area, image, FPU_IMAGE_SIZE);
    put_u32(area, MXCSR, get_le32(image + MXCSR) & MXCSR_ALLOWED);
    area[XSTATE_BV] = XSTATE_LEGACY;
}
