/*
 * The hypervisor's own command line, in Xen's spelling. Words are separated by blanks; of a
 * word given twice the last counts; '-' and '_' are the same in names.
 *
 *   dom0_mem=[min:<size>,][max:<size>,][<size>]
 *       Memory of domain 0. A size is a number with K (the default), M, G, T or B; "-256M"
 *       means all but 256 MiB; "50%" half of what there is, "10%+512M" both together.
 *   dom0_max_vcpus=<n> | <min>-<max> | <min>- | -<max>
 *   com1=<baud>|auto[/<clock>][,<data><parity><stop>[,<io port>[,<irq>]]]
 *       e.g. 115200,8n1,0x3f8,4. Parity is n, o, e, m or s. Fields may be left empty.
 *   console=com1,vga,none     any of them; com1H and com1L count as com1
 *   loglvl=<level>[/<level>]  none, error, warning, info, debug, all. Messages at or below the
 *                             first are printed, up to the second at a limited rate
 *   guest_loglvl=<level>[/<level>]
 *   noreboot, sync_console    switches: alone, or =yes|no|on|off|true|false|enable|disable|1|0;
 *                             "no-" in front turns one off
 *   reboot=no                 the same as noreboot
 *   placeholder               what GRUB's scripts put first; ignored
 *
 * Pure; any string gives a defined answer.
 */
#ifndef SERAI_BASE_CMDLINE_H
#define SERAI_BASE_CMDLINE_H

#include "base/types.h"

enum cmdline_level {
    CMDLINE_LOG_NONE,
    CMDLINE_LOG_ERROR,
    CMDLINE_LOG_WARNING,
    CMDLINE_LOG_INFO,
    CMDLINE_LOG_DEBUG, /* and "all" */
};

#define CMDLINE_CONSOLE_COM1 1u
#define CMDLINE_CONSOLE_VGA  2u

/* An amount of memory: percent of all, plus bytes; all minus bytes when negative. */
struct cmdline_amount {
    bool set;
    bool negative;
    u8 percent;
    u64 bytes;
};

struct cmdline {
    struct cmdline_amount dom0_mem, dom0_mem_min, dom0_mem_max;

    /* Domain 0 gets the number of CPUs, raised to min, then cut to max; 0: no bound. */
    unsigned dom0_min_vcpus;
    unsigned dom0_max_vcpus;

    struct {
        bool set;
        u32 baud;  /* 0: leave the port as the firmware set it */
        u32 clock; /* of the divisor, 115200 on a PC */
        u16 io_base;
        u8 irq;
        u8 data_bits; /* 5 to 8 */
        char parity;  /* n o e m s */
        u8 stop_bits; /* 1 or 2 */
    } com1;
    unsigned console; /* CMDLINE_CONSOLE_* */

    enum cmdline_level loglvl, loglvl_limited;
    enum cmdline_level guest_loglvl, guest_loglvl_limited;
    bool noreboot;
    bool sync_console;
};

/*
 * Parse 'line' over the defaults (com1 as 115200,8n1,0x3f8,4 but not set; console com1 and
 * vga; loglvl warning; guest_loglvl none, warnings limited). Each word nobody knows, and each
 * console that Serai has not, goes to 'unknown' (which may be NULL) and changes nothing.
 * -XEN_EINVAL: a value is malformed; err says which, why, and what would be right; the value
 * keeps its default or what an earlier word gave it, and the words after it are still read,
 * so the result is usable all the same. err tells of the first such word.
 */
int cmdline_parse(const char *line, struct cmdline *out,
                  void (*unknown)(const char *word, size_t len, void *arg), void *arg,
                  char *err, size_t err_len) must_check;

/* What domain 0 gets of 'available' bytes: whole pages, at most all. */
u64 cmdline_dom0_bytes(const struct cmdline *c, u64 available);

/* What domain 0 gets on a machine of 'cpus' CPUs; at least 1. */
unsigned cmdline_dom0_vcpus(const struct cmdline *c, unsigned cpus);

/*
 * A number of [*pos, end): decimal, 0x hexadecimal. Moves *pos past the digits.
 * -XEN_EINVAL: no digit there; -XEN_E2BIG: more than 64 bits. *pos is then unmoved.
 */
int cmdline_parse_number(const char **pos, const char *end, u64 *out) must_check;

/*
 * A size in bytes of [*pos, end): a number and an optional suffix B K M G T (either case), K
 * without one. Errors as above, -XEN_E2BIG also when the bytes do not fit. A letter that is no
 * suffix is left at *pos.
 */
int cmdline_parse_size(const char **pos, const char *end, u64 *out) must_check;

#endif
