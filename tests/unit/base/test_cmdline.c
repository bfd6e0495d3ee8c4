#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/cmdline.h"
#include "base/string.h"

struct unknown_words {
    char text[256];
};

static void collect(const char *word, size_t len, void *arg)
{
    struct unknown_words *u = arg;

    strncat(u->text, word, len);
    strcat(u->text, ";");
}

static struct cmdline parsed(const char *line)
{
    struct unknown_words u = {""};
    struct cmdline c;
    char err[160];

    assert_int_equal(cmdline_parse(line, &c, collect, &u, err, sizeof(err)), 0);
    assert_string_equal(err, "");
    assert_string_equal(u.text, "");
    return c;
}

static struct cmdline refused(const char *line, const char *message)
{
    struct cmdline c;
    char err[160];

    assert_int_equal(cmdline_parse(line, &c, NULL, NULL, err, sizeof(err)), -XEN_EINVAL);
    assert_string_equal(err, message);
    return c;
}

static void empty_line_gives_defaults(void **state)
{
    struct cmdline c = parsed("");

    assert_false(c.dom0_mem.set || c.dom0_mem_min.set || c.dom0_mem_max.set);
    assert_int_equal(c.dom0_max_vcpus, 0);
    assert_false(c.com1.set);
    assert_int_equal(c.com1.baud, 115200);
    assert_int_equal(c.com1.io_base, 0x3f8);
    assert_int_equal(c.com1.irq, 4);
    assert_int_equal(c.console, CMDLINE_CONSOLE_COM1 | CMDLINE_CONSOLE_VGA);
    assert_int_equal(c.loglvl, CMDLINE_LOG_WARNING);
    assert_int_equal(c.guest_loglvl, CMDLINE_LOG_NONE);
    assert_int_equal(c.guest_loglvl_limited, CMDLINE_LOG_WARNING);
    assert_false(c.noreboot || c.sync_console);
}

static void reads_a_usual_line(void **state)
{
    struct cmdline c =
        parsed("placeholder dom0_mem=1G,max:2G dom0_max_vcpus=2  com1=115200,8n1 "
               "console=com1 loglvl=all guest_loglvl=info/all\tnoreboot");

    assert_int_equal(c.dom0_mem.bytes, GIB(1));
    assert_int_equal(c.dom0_mem_max.bytes, GIB(2));
    assert_false(c.dom0_mem_min.set);
    assert_int_equal(c.dom0_min_vcpus, 2);
    assert_int_equal(c.dom0_max_vcpus, 2);
    assert_true(c.com1.set);
    assert_int_equal(c.console, CMDLINE_CONSOLE_COM1);
    assert_int_equal(c.loglvl, CMDLINE_LOG_DEBUG);
    assert_int_equal(c.guest_loglvl, CMDLINE_LOG_INFO);
    assert_int_equal(c.guest_loglvl_limited, CMDLINE_LOG_DEBUG);
    assert_true(c.noreboot);
}

static void reads_sizes(void **state)
{
    static const struct {
        const char *text;
        u64 bytes;
        size_t used;
    } cases[] = {
        {"0", 0, 1},
        {"512", KIB(512), 3},
        {"512B", 512, 4},
        {"3k", KIB(3), 2},
        {"3M", MIB(3), 2},
        {"3g,max", GIB(3), 2},
        {"2T", GIB(2048), 2},
        {"0x10M", MIB(16), 5},
        {"12Q", KIB(12), 2},
        {"0x", 0, 1},
        {"18446744073709551615b", ~0ULL, 21},
        {"16777215T", 16777215ULL << 40, 9},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        const char *pos = cases[i].text;
        u64 v = 1;

        assert_int_equal(cmdline_parse_size(&pos, pos + strlen(pos), &v), 0);
        assert_true(v == cases[i].bytes);
        assert_int_equal(pos - cases[i].text, cases[i].used);
    }
}

static void refuses_sizes(void **state)
{
    static const char *const too_big[] = {"18446744073709551616", "16777216T",
                                          "0x10000000000000000b", "18446744073709551615"};
    const char *pos = "M", *start = pos;
    u64 v;

    assert_int_equal(cmdline_parse_size(&pos, pos + 1, &v), -XEN_EINVAL);
    assert_int_equal(cmdline_parse_size(&pos, pos, &v), -XEN_EINVAL);
    assert_ptr_equal(pos, start);
    for (unsigned i = 0; i < ARRAY_SIZE(too_big); i++) {
        pos = too_big[i];
        assert_int_equal(cmdline_parse_size(&pos, pos + strlen(pos), &v), -XEN_E2BIG);
        assert_ptr_equal(pos, too_big[i]);
    }
}

static void stops_at_the_end(void **state)
{
    const char *pos = "123";
    u64 v;

    assert_int_equal(cmdline_parse_number(&pos, pos + 2, &v), 0);
    assert_int_equal(v, 12);
}

static void computes_dom0_memory(void **state)
{
    static const struct {
        const char *line;
        u64 available, bytes;
    } cases[] = {
        {"", GIB(2), GIB(2)},
        {"dom0_mem=0", GIB(2), GIB(2)},
        {"dom0_mem=1G", GIB(2), GIB(1)},
        {"dom0_mem=4G", GIB(2), GIB(2)},
        {"dom0_mem=-256M", GIB(2), GIB(2) - MIB(256)},
        {"dom0_mem=-4G", GIB(2), 0},
        {"dom0_mem=-4G,min:1G", GIB(2), GIB(1)},
        {"dom0_mem=max:512M", GIB(2), MIB(512)},
        {"dom0_mem=min:1G,max:-1G,50%", GIB(4), GIB(2)},
        {"dom0_mem=25%+1M", 400 * MIB(1), 101 * MIB(1)},
        {"dom0_mem=100%+1M", MIB(100), MIB(100)},
        {"dom0_mem=1M dom0_mem=2M", GIB(1), MIB(2)},
        {"dom0_mem=4097B", GIB(1), 4096},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        struct cmdline c = parsed(cases[i].line);
        u64 bytes = cmdline_dom0_bytes(&c, cases[i].available);

        assert_true(bytes <= cases[i].available && bytes % PAGE_SIZE == 0);
        assert_true(bytes == cases[i].bytes);
    }
}

static void computes_dom0_vcpus(void **state)
{
    static const struct {
        const char *line;
        unsigned cpus, vcpus;
    } cases[] = {
        {"", 3, 3},
        {"dom0_max_vcpus=4", 2, 4},
        {"dom0_max_vcpus=4", 8, 4},
        {"dom0_max_vcpus=2-4", 1, 2},
        {"dom0_max_vcpus=2-4", 3, 3},
        {"dom0_max_vcpus=2-", 16, 16},
        {"dom0-max-vcpus=-4", 16, 4},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        struct cmdline c = parsed(cases[i].line);

        assert_int_equal(cmdline_dom0_vcpus(&c, cases[i].cpus), cases[i].vcpus);
    }
}

static void explains_bad_memory(void **state)
{
    struct cmdline c;

    c = refused("dom0_mem=1G dom0_mem=12Q noreboot",
                "dom0_mem=12Q: 'Q' is not a size suffix (B, K, M, G or T)");
    assert_int_equal(c.dom0_mem.bytes, GIB(1));
    assert_true(c.noreboot);
    refused("dom0_mem=", "dom0_mem=: '' is not a size, such as 512M or 2G");
    refused("dom0_mem", "dom0_mem: '' is not a size, such as 512M or 2G");
    refused("dom0_mem=1G,max:x", "dom0_mem=1G,max:x: 'x' is not a size, such as 512M or 2G");
    refused("dom0_mem=99999999T", "dom0_mem=99999999T: '99999999T' is more than 64 bits hold");
    refused("dom0_mem=101%", "dom0_mem=101%: '101' is not a percentage from 0 to 100");
    refused("dom0_mem=10%1G", "dom0_mem=10%1G: '1G' must begin with '+' after a percentage");
    refused("dom0_mem=10%+", "dom0_mem=10%+: '' is not a size, such as 512M or 2G");
    refused("dom0_mem=--1", "dom0_mem=--1: '-1' is not a size, such as 512M or 2G");
    refused("dom0_mem=1G\x1b[2J",
            "dom0_mem=1G?[2J: '?[2J' is not a size suffix (B, K, M, G or T)");
}

static void explains_bad_vcpus(void **state)
{
    refused("dom0_max_vcpus=0", "dom0_max_vcpus=0: '0' is not a number of CPUs from 1 to 4096");
    refused("dom0_max_vcpus=", "dom0_max_vcpus=: '' is not a number of CPUs from 1 to 4096");
    refused("dom0_max_vcpus=-", "dom0_max_vcpus=-: '-' has no number on either side");
    refused("dom0_max_vcpus=4-2", "dom0_max_vcpus=4-2: '4-2' has a minimum above its maximum");
    refused("dom0_max_vcpus=2-x",
            "dom0_max_vcpus=2-x: 'x' is not a number of CPUs from 1 to 4096");
}

static void reads_serial_ports(void **state)
{
    struct cmdline c = parsed("com1=9600/1843200,7e2,0x2f8,3");

    assert_int_equal(c.com1.baud, 9600);
    assert_int_equal(c.com1.clock, 1843200);
    assert_int_equal(c.com1.data_bits, 7);
    assert_int_equal(c.com1.parity, 'e');
    assert_int_equal(c.com1.stop_bits, 2);
    assert_int_equal(c.com1.io_base, 0x2f8);
    assert_int_equal(c.com1.irq, 3);
    c = parsed("com1=auto,,,5");
    assert_int_equal(c.com1.baud, 0);
    assert_int_equal(c.com1.data_bits, 8);
    assert_int_equal(c.com1.io_base, 0x3f8);
    assert_int_equal(c.com1.irq, 5);
}

static void explains_bad_serial_ports(void **state)
{
    struct cmdline c;

    c = refused("com1=9600,9n1",
                "com1=9600,9n1: '9n1' must begin with 5 to 8 data bits, such as 8n1");
    assert_false(c.com1.set);
    assert_int_equal(c.com1.baud, 115200);
    refused("com1=fast", "com1=fast: 'fast' is not a baud rate, such as 115200");
    refused("com1=230400",
            "com1=230400: '230400' is no rate this clock can make (115200 is usual)");
    refused("com1=0", "com1=0: '0' is no rate this clock can make (115200 is usual)");
    refused("com1=1", "com1=1: '1' is no rate this clock can make (115200 is usual)");
    refused("com1=9600,8x1",
            "com1=9600,8x1: '8x1' must have a parity of n, o, e, m or s, such as 8n1");
    refused("com1=9600,8n3",
            "com1=9600,8n3: '8n3' must end with 1 or 2 stop bits, such as 8n1");
    refused("com1=9600,8n1,pci", "com1=9600,8n1,pci: 'pci' is not an I/O port, such as 0x3f8");
    refused("com1=9600,,,256", "com1=9600,,,256: '256' is not an interrupt number, such as 4");
    refused("com1=9600,,,4,1:0.0",
            "com1=9600,,,4,1:0.0: '1:0.0' comes after the interrupt, where nothing is known");
}

static void reads_levels(void **state)
{
    struct cmdline c = parsed("loglvl=error/info guest-loglvl=debug/none");

    assert_int_equal(c.loglvl, CMDLINE_LOG_ERROR);
    assert_int_equal(c.loglvl_limited, CMDLINE_LOG_INFO);
    assert_int_equal(c.guest_loglvl, CMDLINE_LOG_DEBUG);
    assert_int_equal(c.guest_loglvl_limited, CMDLINE_LOG_DEBUG);
    refused("loglvl=loud", "loglvl=loud: 'loud' is not a log level "
                           "(none, error, warning, info, debug or all)");
    refused("loglvl=info/", "loglvl=info/: '' is not a log level "
                            "(none, error, warning, info, debug or all)");
}

static void reads_switches(void **state)
{
    assert_true(parsed("noreboot=1").noreboot);
    assert_true(parsed("reboot=no").noreboot);
    assert_false(parsed("noreboot noreboot=off").noreboot);
    assert_false(parsed("noreboot no-noreboot").noreboot);
    assert_true(parsed("sync-console=true").sync_console);
    assert_true(parsed("sync_console").sync_console);
    assert_false(parsed("sync_console no-sync_console").sync_console);
    refused("noreboot=maybe",
            "noreboot=maybe: 'maybe' is neither yes nor no (on, off, true, false, 1, 0)");
}

static void reads_consoles(void **state)
{
    assert_int_equal(parsed("console=none").console, 0);
    assert_int_equal(parsed("console=vga").console, CMDLINE_CONSOLE_VGA);
    assert_int_equal(parsed("console=com1L,vga").console,
                     CMDLINE_CONSOLE_COM1 | CMDLINE_CONSOLE_VGA);
}

static void names_unknown_words(void **state)
{
    struct unknown_words u = {""};
    struct cmdline c;
    char err[80];

    assert_int_equal(cmdline_parse("iommu=no x2apic console=com1,pv -- reboot=acpi =3 no-com1 "
                                   "dom0.mem=1 dom0_me-=1 "
                                   "no-sync_console=1",
                                   &c, collect, &u, err, sizeof(err)),
                     0);
    assert_string_equal(u.text, "iommu=no;x2apic;pv;--;reboot=acpi;=3;no-com1;dom0.mem=1;dom0_"
                                "me-=1;no-sync_console=1;");
    assert_int_equal(c.console, CMDLINE_CONSOLE_COM1);
}

static void cuts_long_messages(void **state)
{
    struct cmdline c;
    char err[200], tiny[8], line[400] = "dom0_mem=";

    memset(line + 9, 'x', 300);
    line[309] = '\0';
    assert_int_equal(cmdline_parse(line, &c, NULL, NULL, err, sizeof(err)), -XEN_EINVAL);
    assert_non_null(strstr(err, "xxx...: 'xxx"));
    assert_non_null(strstr(err, "xxx...' is not a size"));
    assert_int_equal(cmdline_parse(line, &c, NULL, NULL, tiny, sizeof(tiny)), -XEN_EINVAL);
    assert_string_equal(tiny, "dom0_me");
    assert_int_equal(cmdline_parse(line, &c, NULL, NULL, NULL, 0), -XEN_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_line_gives_defaults),
        cmocka_unit_test(reads_a_usual_line),
        cmocka_unit_test(reads_sizes),
        cmocka_unit_test(refuses_sizes),
        cmocka_unit_test(stops_at_the_end),
        cmocka_unit_test(computes_dom0_memory),
        cmocka_unit_test(computes_dom0_vcpus),
        cmocka_unit_test(explains_bad_memory),
        cmocka_unit_test(explains_bad_vcpus),
        cmocka_unit_test(reads_serial_ports),
        cmocka_unit_test(explains_bad_serial_ports),
        cmocka_unit_test(reads_levels),
        cmocka_unit_test(reads_switches),
        cmocka_unit_test(reads_consoles),
        cmocka_unit_test(names_unknown_words),
        cmocka_unit_test(cuts_long_messages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
