#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/bzimage.h"
#include "base/string.h"

#define SETUP_SECTS 2
#define PM_START    ((SETUP_SECTS + 1) * 512)
#define PAYLOAD     (PM_START + 16)

/* The smallest bzImage: two setup sectors, 16 bytes of code, a payload of eight bytes. */
static void make_image(u8 image[PAYLOAD + 8])
{
    memset(image, 0, PAYLOAD + 8);
    image[0x1F1] = SETUP_SECTS;
    memcpy(image + 0x1FE, "\x55\xAA", 2);
    memcpy(image + 0x202, "HdrS\x08\x02", 6);
    memcpy(image + 0x248, "\x10\0\0\0\x08\0\0\0", 8);
    memcpy(image + PAYLOAD, "\xFD\x37zX\x01\x02\x03\x04", 8);
}

static void finds_payload(void **state)
{
    u8 image[PAYLOAD + 8];
    struct bzimage_payload p;
    const char *reason;

    make_image(image);
    assert_int_equal(bzimage_payload(image, sizeof(image), &p, &reason), 0);
    assert_null(reason);
    assert_ptr_equal(p.data, image + PAYLOAD);
    assert_int_equal(p.len, 8);
    assert_int_equal(p.unpacked_len, 0x04030201);
    image[0x24C] = 4;
    assert_int_equal(bzimage_payload(image, sizeof(image), &p, &reason), 0);
    assert_int_equal(p.len, 4);
}

static void zero_setup_sects_means_four(void **state)
{
    static u8 image[5 * 512 + 24];
    struct bzimage_payload p;
    const char *reason;

    make_image(image);
    image[0x1F1] = 0;
    assert_int_equal(bzimage_payload(image, sizeof(image), &p, &reason), 0);
    assert_ptr_equal(p.data, image + 5 * 512 + 16);
}

static void refuses(u8 *image, size_t len, const char *part)
{
    struct bzimage_payload p;
    const char *reason;

    assert_int_equal(bzimage_payload(image, len, &p, &reason), -XEN_EINVAL);
    assert_non_null(strstr(reason, part));
    assert_null(p.data);
}

static void names_what_is_wrong(void **state)
{
    u8 image[PAYLOAD + 8];

    make_image(image);
    refuses(image, 0, "too short");
    refuses(image, 0x24F, "too short");
    refuses(image, 0x250, "outside");
    refuses(image, sizeof(image) - 1, "outside");
    image[0x206] = 7;
    refuses(image, sizeof(image), "2.08");
    make_image(image);
    image[0x202] = 'h';
    refuses(image, sizeof(image), "not a bzImage");
    make_image(image);
    image[0x1FE] = 0;
    refuses(image, sizeof(image), "not a bzImage");
    make_image(image);
    image[0x24C] = 3;
    refuses(image, sizeof(image), "empty");
    make_image(image);
    memset(image + 0x248, 0xFF, 8);
    refuses(image, sizeof(image), "outside");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_payload),
        cmocka_unit_test(zero_setup_sects_means_four),
        cmocka_unit_test(names_what_is_wrong),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
