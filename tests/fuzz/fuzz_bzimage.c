/* Any bytes as a bzImage: the payload found lies inside them. */
#include "base/bzimage.h"
#include "fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct bzimage_payload p;
    const char *reason;

    if (bzimage_payload(data, size, &p, &reason) < 0) {
        FUZZ_CHECK(reason && !p.data);
        return 0;
    }
    FUZZ_CHECK(!reason && p.data >= data && p.len >= 4);
    FUZZ_CHECK(range_ok(p.data - data, p.len, size));
    return 0;
}
