/*
 * The Linux/x86 boot protocol: byte offsets in a bzImage that a loader of the compressed
 * payload needs. All fields are little-endian and unaligned.
 */
#ifndef SERAI_ABI_LINUX_BOOT_H
#define SERAI_ABI_LINUX_BOOT_H

#define LINUX_SETUP_SECTS    0x1F1 /* u8: 512-byte sectors of real-mode code after the first */
#define LINUX_BOOT_FLAG      0x1FE /* u16 */
#define LINUX_HEADER_MAGIC   0x202 /* u32 */
#define LINUX_BOOT_VERSION   0x206 /* u16: major in the high byte */
#define LINUX_PAYLOAD_OFFSET 0x248 /* u32, from the start of the protected-mode part */
#define LINUX_PAYLOAD_LENGTH 0x24C /* u32 */
#define LINUX_HEADER_END     0x250

#define LINUX_BOOT_FLAG_VALUE      0xAA55
#define LINUX_HEADER_MAGIC_VALUE   0x53726448 /* "HdrS" */
#define LINUX_BOOT_VERSION_PAYLOAD 0x0208     /* the payload fields exist from here on */
#define LINUX_SETUP_SECTS_DEFAULT  4          /* what a zero in setup_sects means */
#define LINUX_SECTOR               512

#endif
