/*
 * The XSAVE area in standard form, as it comes from elsewhere: what restoring it may rely on.
 *
 *     0  legacy area: FXSAVE image (Intel SDM 1, 10.5.1), its last 48 bytes unused
 *   512  header: XSTATE_BV, XCOMP_BV, 48 reserved bytes (13.4.2)
 *   576  the other components, where CPUID leaf 0xd says
 *
 * A component whose bit in XSTATE_BV is clear is in its initial state, whatever its bytes are.
 *
 * Pure; total.
 */
#ifndef SERAI_CORE_XSTATE_H
#define SERAI_CORE_XSTATE_H

#include "base/types.h"

#define XSTATE_LEGACY_SIZE 512
#define XSTATE_BV          512
#define XSTATE_MIN_SIZE    576

#define XSTATE_X87 1
#define XSTATE_SSE 2

#define XSTATE_MXCSR_RESET   0x1f80
#define XSTATE_MXCSR_ALLOWED 0xffff

u32 xstate_mxcsr(const u8 *area);
void xstate_put_mxcsr(u8 *area, u32 mxcsr);
/* Components that are not in their initial state. */
u64 xstate_components(const u8 *area);

/*
 * May an image of 'size' bytes be loaded where the components 'allowed' exist? Then XRSTOR of it,
 * padded with zeros to the size of 'allowed', does not fault.
 */
bool xstate_ok(const u8 *image, u64 size, u64 allowed);

/* Makes the legacy area tell the truth where XSTATE_BV says "initial state". */
void xstate_normalise(u8 *area);

#endif
