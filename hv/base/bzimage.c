#include "base/bzimage.h"
#include "abi/linux_boot.h"

static const char *find_payload(const u8 *image, size_t len, struct bzimage_payload *out)
{
    u64 sectors, start, offset, length;

    if (len < LINUX_HEADER_END)
        return "the file is too short for a bzImage";
    if (get_le16(image + LINUX_BOOT_FLAG) != LINUX_BOOT_FLAG_VALUE ||
        get_le32(image + LINUX_HEADER_MAGIC) != LINUX_HEADER_MAGIC_VALUE)
        return "not a bzImage: boot sector mark or 'HdrS' missing";
    if (get_le16(image + LINUX_BOOT_VERSION) < LINUX_BOOT_VERSION_PAYLOAD)
        return "the bzImage's boot protocol is older than 2.08 and names no payload";

    sectors = image[LINUX_SETUP_SECTS];
    if (!sectors)
        sectors = LINUX_SETUP_SECTS_DEFAULT;
    start = (sectors + 1) * LINUX_SECTOR;
    offset = get_le32(image + LINUX_PAYLOAD_OFFSET);
    length = get_le32(image + LINUX_PAYLOAD_LENGTH);
    if (!range_ok(start + offset, length, len))
        return "the bzImage's payload lies outside the file: is the file cut short?";
    if (length < sizeof(u32))
        return "the bzImage's payload is empty";

    out->data = image + start + offset;
    out->len = length;
    out->unpacked_len = get_le32(out->data + length - sizeof(u32));
    return NULL;
}

int bzimage_payload(const u8 *image, size_t len, struct bzimage_payload *out,
                    const char **reason)
{
    *out = (struct bzimage_payload){0};
    *reason = find_payload(image, len, out);
    return *reason ? -XEN_EINVAL : 0;
}
