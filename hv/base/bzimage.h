/*
 * A Linux bzImage: find the compressed kernel in it. Pure; any bytes give a defined answer.
 */
#ifndef SERAI_BASE_BZIMAGE_H
#define SERAI_BASE_BZIMAGE_H

#include "base/types.h"

struct bzimage_payload {
    const u8 *data;   /* into the image */
    size_t len;       /* includes the four bytes of unpacked_len */
    u32 unpacked_len; /* the word at the payload's end; a claim, not a promise */
};

/*
 * The image's payload. 0, or -XEN_EINVAL with *reason: not a bzImage, boot protocol older than
 * 2.08, payload outside the file.
 */
int bzimage_payload(const u8 *image, size_t len, struct bzimage_payload *out,
                    const char **reason) must_check;

#endif
