#include "hcall/bitmap.h"
#include "guest/access.h"
#include "guest/domain.h"

int bitmap_from_guest(u64 *bits, const struct xenctl_bitmap *map)
{
    u64 bytes = DIV_ROUND_UP((u64)map->nr_bits, 8);

    *bits = 0;
    if (copy_from_guest(bits, map->bitmap.p, MIN(bytes, sizeof(*bits))))
        return -XEN_EFAULT;
    if (map->nr_bits < 64)
        *bits &= BIT(map->nr_bits) - 1;
    return 0;
}

int bitmap_to_guest(const struct xenctl_bitmap *map, u64 bits)
{
    u64 bytes = DIV_ROUND_UP((u64)map->nr_bits, 8), done = MIN(bytes, sizeof(bits));
    static const u8 zeros[64];

    if (copy_to_guest(map->bitmap.p, &bits, done))
        return -XEN_EFAULT;
    while (done < bytes) {
        u64 n = MIN(bytes - done, sizeof(zeros));

        if (copy_to_guest(map->bitmap.p + done, zeros, n))
            return -XEN_EFAULT;
        done += n;
        preempt_point();
    }
    return 0;
}
