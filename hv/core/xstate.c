#include "core/xstate.h"
#include "base/string.h"

#define FCW       0
#define MXCSR     24
#define XMM       160
#define XMM_END   416
#define FCW_RESET 0x37f

u32 xstate_mxcsr(const u8 *area)
{
    return get_le32(area + MXCSR);
}

void xstate_put_mxcsr(u8 *area, u32 mxcsr)
{
    memcpy(area + MXCSR, &mxcsr, sizeof(mxcsr));
}

u64 xstate_components(const u8 *area)
{
    u64 bv;

    memcpy(&bv, area + XSTATE_BV, sizeof(bv));
    return bv;
}

/* XCOMP_BV, that is no compacted form, and the reserved bytes. */
static bool header_is_plain(const u8 *image)
{
    for (unsigned i = XSTATE_BV + 8; i < XSTATE_MIN_SIZE; i++)
        if (image[i])
            return false;
    return true;
}

bool xstate_ok(const u8 *image, u64 size, u64 allowed)
{
    return size >= XSTATE_MIN_SIZE && !(xstate_components(image) & ~allowed) &&
           header_is_plain(image) && !(xstate_mxcsr(image) & ~XSTATE_MXCSR_ALLOWED);
}

void xstate_normalise(u8 *area)
{
    u64 bv = xstate_components(area);

    if (!(bv & XSTATE_X87)) {
        memset(area, 0, MXCSR);
        area[FCW] = FCW_RESET & 0xff;
        area[FCW + 1] = FCW_RESET >> 8;
        memset(area + MXCSR + 8, 0, XMM - MXCSR - 8);
    }
    if (!(bv & XSTATE_SSE))
        memset(area + XMM, 0, XMM_END - XMM);
}
