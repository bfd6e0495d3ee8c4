/*
 * The hypervisor's own string functions against the C library's: compiled here under other
 * names, because the host build of everything else uses the library.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#undef SERAI_HOST
#define memcpy  own_memcpy
#define memmove own_memmove
#define memset  own_memset
#define memcmp  own_memcmp
#define strlen  own_strlen
#define strcmp  own_strcmp
#define strncmp own_strncmp
#define strchr  own_strchr
#include "base/string.c"
#undef memcpy
#undef memmove
#undef memset
#undef memcmp
#undef strlen
#undef strcmp
#undef strncmp
#undef strchr

#define SIZE 80

static int sign(int x)
{
    return (x > 0) - (x < 0);
}

static void fill(unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (unsigned char)rand();
}

static void copies_of_every_length(void **state)
{
    unsigned char src[SIZE], a[SIZE], b[SIZE];

    for (size_t off = 0; off < 9; off++) {
        for (size_t n = 0; n + off <= SIZE; n++) {
            fill(src, SIZE);
            fill(a, SIZE);
            memcpy(b, a, SIZE);
            assert_ptr_equal(own_memcpy(a + off, src, n), a + off);
            memcpy(b + off, src, n);
            assert_memory_equal(a, b, SIZE);
            own_memset(a + off, (int)n * 7, n);
            memset(b + off, (int)n * 7, n);
            assert_memory_equal(a, b, SIZE);
        }
    }
}

static void moves_that_overlap(void **state)
{
    unsigned char a[SIZE], b[SIZE];

    for (size_t from = 0; from < 24; from++) {
        for (size_t to = 0; to < 24; to++) {
            for (size_t n = 0; n + 24 <= SIZE; n += 5) {
                fill(a, SIZE);
                memcpy(b, a, SIZE);
                own_memmove(a + to, a + from, n);
                memmove(b + to, b + from, n);
                assert_memory_equal(a, b, SIZE);
            }
        }
    }
}

static void comparisons(void **state)
{
    char a[8], b[8];

    for (unsigned i = 0; i < 100000; i++) {
        for (unsigned k = 0; k < 7; k++) {
            a[k] = (char)"ab\x80"[rand() % 3];
            b[k] = (char)"ab\x80"[rand() % 3];
        }
        a[rand() % 8] = '\0';
        b[rand() % 8] = '\0';
        a[7] = b[7] = '\0';
        size_t n = (size_t)rand() % 9;

        assert_int_equal(own_strlen(a), strlen(a));
        assert_int_equal(sign(own_strcmp(a, b)), sign(strcmp(a, b)));
        assert_int_equal(sign(own_strncmp(a, b, n)), sign(strncmp(a, b, n)));
        assert_int_equal(sign(own_memcmp(a, b, n < 8 ? n : 8)),
                         sign(memcmp(a, b, n < 8 ? n : 8)));
        assert_ptr_equal(own_strchr(a, 'b'), strchr(a, 'b'));
        assert_ptr_equal(own_strchr(a, '\0'), strchr(a, '\0'));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies_of_every_length),
        cmocka_unit_test(moves_that_overlap),
        cmocka_unit_test(comparisons),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
