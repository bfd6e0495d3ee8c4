/* SHA-256: the standard's examples, and messages that come in pieces. */
#include "base/sha256.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void assert_digest(const char *message, const char *hex)
{
    u8 digest[SHA256_SIZE];
    char text[2 * SHA256_SIZE + 1];

    sha256((const u8 *)message, strlen(message), digest);
    for (int i = 0; i < SHA256_SIZE; i++)
        snprintf(text + 2 * i, 3, "%02x", digest[i]);
    assert_string_equal(text, hex);
}

static void known_values(void **state)
{
    assert_digest("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_digest("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_digest("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

/* Three pieces, cut anywhere. */
static void pieces_make_the_whole(void **state)
{
    u8 message[200], whole[SHA256_SIZE], pieces[SHA256_SIZE];
    struct sha256 s;

    for (u32 i = 0; i < sizeof(message); i++)
        message[i] = (u8)(i * 7);
    sha256(message, sizeof(message), whole);
    for (u32 i = 0; i <= sizeof(message); i++)
        for (u32 j = i; j <= sizeof(message); j++) {
            sha256_begin(&s);
            sha256_add(&s, message, i);
            sha256_add(&s, message + i, j - i);
            sha256_add(&s, message + j, sizeof(message) - j);
            sha256_end(&s, pieces);
            assert_memory_equal(pieces, whole, SHA256_SIZE);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_values),
        cmocka_unit_test(pieces_make_the_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
