/* Every SHA-256 path that can run here: known answers, then all lengths and alignments against the portable path.
 *
 * Prints the paths, fastest first, and one line for each; exits with 1 at the first difference.
 */
#include "sha256.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_PATHS = 8,
    MILLION = 1000000,
    SHORT_LENGTHS = 301, /* 0 to 300: every padding, and up to four whole blocks */
    ALIGNMENTS = 16,
    RANDOM_LENGTHS = 50,
    MAX_RANDOM_LENGTH = 10000
};

static const char *path = "none";

static void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s: ", path);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

static void select_path(const char *name)
{
    if (osv4_sha256_select(name) != 0 || strcmp(osv4_sha256_path(), name) != 0)
        fail("%s cannot be selected", name);
}

static void *allocate(size_t size)
{
    void *memory = malloc(size ? size : 1);
    if (memory == NULL)
        fail("no memory");
    return memory;
}

static void expect_hex(const uint8_t bytes[OSV4_SHA256_DIGEST], const char *expected, const char *what)
{
    char hex[2 * OSV4_SHA256_DIGEST + 1] = {0};
    osv4_hex(bytes, OSV4_SHA256_DIGEST, hex);
    if (strcmp(hex, expected) != 0)
        fail("%s: %s, expected %s", what, hex, expected);
}

/* --- known answers ------------------------------------------------------------------------------------------------ */

/* NIST's examples for FIPS 180-4 ("SHA256.pdf"), and the empty message and a million "a" of its test vectors. */
static const struct {
    const char *message, *digest;
} HASHES[] = {
    {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
     "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
};
static const char MILLION_A[] = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

/* RFC 4231, 4.2 to 4.8, without case 5, which truncates. Key and data are `fill` repeated, a run from 1, or a text. */
static const struct {
    const char *name;
    const char *key;
    uint8_t key_fill;
    size_t key_size;
    const char *data;
    uint8_t data_fill;
    size_t data_size;
    const char *mac;
} MACS[] = {
    {"RFC 4231 case 1", NULL, 0x0b, 20, "Hi There", 0, 8,
     "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
    {"RFC 4231 case 2", "Jefe", 0, 4, "what do ya want for nothing?", 0, 28,
     "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
    {"RFC 4231 case 3", NULL, 0xaa, 20, NULL, 0xdd, 50,
     "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
    {"RFC 4231 case 4",
     "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19", 0, 25, NULL,
     0xcd, 50, "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"},
    {"RFC 4231 case 6", NULL, 0xaa, 131, "Test Using Larger Than Block-Size Key - Hash Key First", 0, 54,
     "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
    {"RFC 4231 case 7", NULL, 0xaa, 131,
     "This is a test using a larger than block-size key and a larger than block-size data. The key needs to be hashed "
     "before being used by the HMAC algorithm.",
     0, 152, "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"},
};

enum { HASH_COUNT = sizeof HASHES / sizeof HASHES[0], MAC_COUNT = sizeof MACS / sizeof MACS[0] };

static void known_answers(void)
{
    uint8_t digest[OSV4_SHA256_DIGEST];
    for (size_t i = 0; i < HASH_COUNT; i++) {
        osv4_sha256((const uint8_t *)HASHES[i].message, strlen(HASHES[i].message), digest);
        expect_hex(digest, HASHES[i].digest, HASHES[i].message);
    }
    osv4_sha256(NULL, 0, digest);
    expect_hex(digest, HASHES[0].digest, "NULL");

    uint8_t *million = allocate(MILLION);
    memset(million, 'a', MILLION);
    osv4_sha256(million, MILLION, digest);
    expect_hex(digest, MILLION_A, "a million a");
    free(million);

    for (size_t i = 0; i < MAC_COUNT; i++) {
        uint8_t secret[200], data[200];
        memset(secret, MACS[i].key_fill, sizeof secret);
        memset(data, MACS[i].data_fill, sizeof data);
        if (MACS[i].key)
            memcpy(secret, MACS[i].key, MACS[i].key_size);
        if (MACS[i].data)
            memcpy(data, MACS[i].data, MACS[i].data_size);
        osv4_hmac_key key;
        osv4_hmac_key_init(&key, secret, MACS[i].key_size);
        osv4_hmac(&key, data, MACS[i].data_size, digest);
        expect_hex(digest, MACS[i].mac, MACS[i].name);
        osv4_hmac(&key, data, MACS[i].data_size, data);
        expect_hex(data, MACS[i].mac, "in place");
    }
}

/* --- every length and alignment ----------------------------------------------------------------------------------- */

static uint8_t source[MAX_RANDOM_LENGTH];

typedef struct {
    size_t size;
    uint8_t digest[OSV4_SHA256_DIGEST], mac[OSV4_SHA256_DIGEST], mac_by_message[OSV4_SHA256_DIGEST];
} answer;

static answer expected[SHORT_LENGTHS + RANDOM_LENGTHS];

enum { ANSWERS = sizeof expected / sizeof expected[0] };

/* The hash of `data`, its MAC by a fixed key, and a fixed message's MAC by `data` as the key. */
static void compute(answer *result, const uint8_t *data, size_t size)
{
    static const uint8_t fixed[] = "AWS4-HMAC-SHA256";
    osv4_hmac_key key;
    result->size = size;
    osv4_sha256(data, size, result->digest);
    osv4_hmac_key_init(&key, fixed, sizeof fixed - 1);
    osv4_hmac(&key, data, size, result->mac);
    osv4_hmac_key_init(&key, data, size);
    osv4_hmac(&key, fixed, sizeof fixed - 1, result->mac_by_message);
}

static void fill_source_and_answers(void)
{
    uint32_t seed = 1;
    for (size_t i = 0; i < sizeof source; i++)
        source[i] = (uint8_t)(i * i / 7 + i);
    for (size_t i = 0; i < ANSWERS; i++) {
        seed = seed * 1664525u + 1013904223u;
        compute(&expected[i], source, i < SHORT_LENGTHS ? i : (seed >> 8) % (MAX_RANDOM_LENGTH + 1));
    }
}

/* Exactly as much memory as the data needs, so that AddressSanitizer sees each byte read beyond it. */
static void lengths_and_alignments(void)
{
    for (size_t i = 0; i < ANSWERS; i++) {
        for (size_t offset = 0; offset < ALIGNMENTS; offset++) {
            const size_t size = expected[i].size;
            uint8_t *memory = allocate(offset + size);
            answer actual;
            memcpy(memory + offset, source, size);
            compute(&actual, memory + offset, size);
            if (memcmp(actual.digest, expected[i].digest, OSV4_SHA256_DIGEST) != 0)
                fail("hash of %u bytes at offset %u differs from portable", (unsigned)size, (unsigned)offset);
            if (memcmp(actual.mac, expected[i].mac, OSV4_SHA256_DIGEST) != 0)
                fail("MAC of %u bytes at offset %u differs from portable", (unsigned)size, (unsigned)offset);
            if (memcmp(actual.mac_by_message, expected[i].mac_by_message, OSV4_SHA256_DIGEST) != 0)
                fail("MAC by a key of %u bytes at offset %u differs from portable", (unsigned)size, (unsigned)offset);
            if (memcmp(memory + offset, source, size) != 0)
                fail("%u bytes at offset %u were written to", (unsigned)size, (unsigned)offset);
            free(memory);
        }
    }
}

/* The hash of the answers for the lengths 0 to 300, in turn: what portable does wrong, too, is seen here.
 * test_sha256_c.py makes the constant with hashlib and hmac. */
static const char ALL_ANSWERS[] = "5c32fc16f16ce6e53013aeb3089a362f2cd9dd82fe0a24378c44cddac978fe39";

static void all_answers(void)
{
    uint8_t *all = allocate(SHORT_LENGTHS * 3 * OSV4_SHA256_DIGEST);
    uint8_t *end = all;
    for (size_t size = 0; size < SHORT_LENGTHS; size++) {
        answer result;
        compute(&result, source, size);
        memcpy(end, result.digest, OSV4_SHA256_DIGEST);
        memcpy(end + OSV4_SHA256_DIGEST, result.mac, OSV4_SHA256_DIGEST);
        memcpy(end + 2 * OSV4_SHA256_DIGEST, result.mac_by_message, OSV4_SHA256_DIGEST);
        end += 3 * OSV4_SHA256_DIGEST;
    }
    osv4_sha256(all, (size_t)(end - all), all);
    expect_hex(all, ALL_ANSWERS, "the hash of all answers");
    free(all);
}

/* --- what has no path --------------------------------------------------------------------------------------------- */

static void hex(void)
{
    uint8_t bytes[256];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(255 - i);
    for (size_t size = 0; size <= sizeof bytes; size++) {
        uint8_t *input = allocate(size);
        char *output = allocate(2 * size + 1);
        memcpy(input, bytes, size);
        output[2 * size] = '!';
        osv4_hex(input, size, output);
        for (size_t i = 0; i < size; i++) {
            char two[3];
            snprintf(two, sizeof two, "%02x", (unsigned)bytes[i]);
            if (memcmp(two, output + 2 * i, 2) != 0)
                fail("hex of %s at %u of %u bytes", two, (unsigned)i, (unsigned)size);
        }
        if (output[2 * size] != '!')
            fail("hex writes beyond its %u characters", (unsigned)(2 * size));
        free(input);
        free(output);
    }
}

static void wipe(void)
{
    uint8_t memory[100];
    memset(memory, 0xff, sizeof memory);
    osv4_wipe(memory + 1, 98);
    for (size_t i = 0; i < sizeof memory; i++)
        if (memory[i] != (i == 0 || i == 99 ? 0xff : 0))
            fail("wipe: byte %u is %02x", (unsigned)i, (unsigned)memory[i]);
    osv4_wipe(NULL, 0);
}

static size_t selection(const char *names[MAX_PATHS])
{
    const size_t count = osv4_sha256_paths(names, MAX_PATHS);
    const char *first[2] = {"", "untouched"};
    if (strcmp(osv4_sha256_path(), "portable") != 0)
        fail("%s before init", osv4_sha256_path());
    if (count < 1 || count > MAX_PATHS || strcmp(names[count - 1], "portable") != 0)
        fail("the last path is not portable");
    if (osv4_sha256_paths(NULL, 0) != count || osv4_sha256_paths(first, 1) != count ||
        strcmp(first[0], names[0]) != 0 || strcmp(first[1], "untouched") != 0)
        fail("paths() does not keep to its capacity");
    if (osv4_sha256_init() != 0 || strcmp(osv4_sha256_path(), names[0]) != 0)
        fail("init selected %s, not the first, %s", osv4_sha256_path(), names[0]);
    if (osv4_sha256_init() != 0 || strcmp(osv4_sha256_path(), names[0]) != 0)
        fail("a second init changed the path to %s", osv4_sha256_path());
    if (osv4_sha256_select("no-such-path") != -1 || osv4_sha256_select("") != -1 ||
        strcmp(osv4_sha256_path(), names[0]) != 0)
        fail("an unknown name was selected, or changed the path");
    select_path("portable");
    if (osv4_sha256_init() != 0 || strcmp(osv4_sha256_path(), "portable") != 0)
        fail("init undid a forced path");

    static const char *const all[] = {"x86-sha", "arm-sha2"};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        int runs = 0;
        for (size_t j = 0; j < count; j++)
            runs |= strcmp(all[i], names[j]) == 0;
        if (!runs && (osv4_sha256_select(all[i]) != -1 || strcmp(osv4_sha256_path(), "portable") != 0))
            fail("%s was selected, which cannot run here", all[i]);
    }
    return count;
}

int main(void)
{
    const char *names[MAX_PATHS];
    const size_t count = selection(names);
    hex();
    wipe();
    select_path("portable");
    known_answers();
    fill_source_and_answers();
    printf("paths:");
    for (size_t i = 0; i < count; i++)
        printf(" %s", names[i]);
    printf("\n");
    for (size_t i = 0; i < count; i++) {
        path = names[i];
        select_path(path);
        known_answers();
        lengths_and_alignments();
        all_answers();
        printf("%s: %d known answers, %d lengths at %d alignments, all answers %s\n", path, HASH_COUNT + 1 + MAC_COUNT,
               ANSWERS, ALIGNMENTS, ALL_ANSWERS);
    }
    return 0;
}
