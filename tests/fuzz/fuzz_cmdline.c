/* Any string as the hypervisor's command line, with the amounts computed from it. */
#include "base/cmdline.h"
#include "fuzz/fuzz.h"

struct line {
    const char *start;
    size_t len;
};

static void check_word(const char *word, size_t len, void *arg)
{
    const struct line *l = arg;

    FUZZ_CHECK(word >= l->start && range_ok(word - l->start, len, l->len));
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    char *text = malloc(size + 1);
    struct line l = {text, size};
    struct cmdline c;
    char err[160];
    int rc;

    FUZZ_CHECK(text);
    memcpy(text, data, size);
    text[size] = '\0';
    memset(err, 'x', sizeof(err));
    rc = cmdline_parse(text, &c, check_word, &l, err, sizeof(err));
    FUZZ_CHECK(memchr(err, '\0', sizeof(err)) && (rc == 0) == (err[0] == '\0'));
    for (const char *p = err; *p; p++)
        FUZZ_CHECK(*p >= ' ' && *p <= '~');
    for (u64 available = 0; available < ~0ULL >> 1; available = available * 3 + 12345)
        FUZZ_CHECK(cmdline_dom0_bytes(&c, available) <= available);
    FUZZ_CHECK(cmdline_dom0_vcpus(&c, 4) >= 1 && cmdline_dom0_vcpus(&c, 4) <= 4096);
    FUZZ_CHECK(c.com1.data_bits >= 5 && c.com1.data_bits <= 8);
    free(text);
    return 0;
}
