#include "sha256.h"

#include <string.h>

#include "cpu.h"
#include "sha256_blocks.h"

/* Vectors that every CPU of the architecture has. */
#if defined(__SSE2__) || defined(_M_X64) && !defined(_M_ARM64EC)
#include <emmintrin.h>
#define HEX_SSE2 1
#elif (defined(__aarch64__) || defined(_M_ARM64)) && !defined(__AARCH64EB__)
#include <arm_neon.h>
#define HEX_NEON 1
#endif

#if defined(_MSC_VER) && !defined(__clang__)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#endif

/* --- which path ------------------------------------------------------------------------------------------------ */

typedef struct {
    const char *name;
    unsigned needs; /* OSV4_CPU_ bits */
    osv4_sha256_blocks *blocks;
    osv4_sha256_finish *finish;
} sha256_path;

/* Fastest first; the last one runs everywhere. */
static const sha256_path PATHS[] = {
#ifdef OSV4_SHA256_HAS_X86
    {"x86-sha", OSV4_CPU_X86_SHA | OSV4_CPU_SSE41 | OSV4_CPU_SSSE3, osv4_sha256_blocks_x86, osv4_sha256_finish_x86},
#endif
#ifdef OSV4_SHA256_HAS_ARM
    {"arm-sha2", OSV4_CPU_ARM_SHA2, osv4_sha256_blocks_arm, osv4_sha256_finish_arm},
#endif
    {"portable", 0, osv4_sha256_blocks_portable, osv4_sha256_finish_portable},
};

enum { PATH_COUNT = sizeof PATHS / sizeof PATHS[0] };

static const sha256_path *active = &PATHS[PATH_COUNT - 1];
static int initialized = 0;

static int can_run(const sha256_path *path, unsigned features)
{
    return (path->needs & ~features) == 0;
}

int osv4_sha256_init(void)
{
    if (!initialized) {
        const unsigned features = osv4_cpu_features();
        const sha256_path *path = PATHS;
        while (!can_run(path, features))
            path++;
        active = path;
        initialized = 1;
    }
    return 0;
}

int osv4_sha256_select(const char *path)
{
    const unsigned features = osv4_cpu_features();
    for (size_t i = 0; i < PATH_COUNT; i++) {
        if (strcmp(PATHS[i].name, path) == 0 && can_run(&PATHS[i], features)) {
            active = &PATHS[i];
            initialized = 1;
            return 0;
        }
    }
    return -1;
}

const char *osv4_sha256_path(void)
{
    return active->name;
}

size_t osv4_sha256_paths(const char **names, size_t capacity)
{
    const unsigned features = osv4_cpu_features();
    size_t count = 0;
    for (size_t i = 0; i < PATH_COUNT; i++) {
        if (can_run(&PATHS[i], features)) {
            if (count < capacity)
                names[count] = PATHS[i].name;
            count++;
        }
    }
    return count;
}

/* --- wiping ---------------------------------------------------------------------------------------------------- */

/* An assembler statement that may read the memory keeps GCC and Clang from dropping the stores as dead, and lets them
 * inline the memset where the size is constant, which a call of explicit_bzero or memset_s would not. */
static inline void wipe(void *memory, size_t size)
{
#if defined(__GNUC__) || defined(__clang__)
    memset(memory, 0, size);
    __asm__ volatile("" : : "r"(memory) : "memory");
#elif defined(_MSC_VER)
    SecureZeroMemory(memory, size);
#else
    volatile uint8_t *bytes = memory;
    while (size--)
        *bytes++ = 0;
#endif
}

/* The vector registers may still hold pieces of a key, and what saves them all next, such as the dynamic linker or a
 * signal, writes them to the stack: test_memory.py found half a state there. Done where GCC or Clang can be told so. */
static inline void wipe_registers(void)
{
#if defined(__GNUC__) && defined(__x86_64__)
    __asm__ volatile("pxor %%xmm0, %%xmm0; pxor %%xmm1, %%xmm1; pxor %%xmm2, %%xmm2; pxor %%xmm3, %%xmm3;"
                     "pxor %%xmm4, %%xmm4; pxor %%xmm5, %%xmm5; pxor %%xmm6, %%xmm6; pxor %%xmm7, %%xmm7;"
                     "pxor %%xmm8, %%xmm8; pxor %%xmm9, %%xmm9; pxor %%xmm10, %%xmm10; pxor %%xmm11, %%xmm11;"
                     "pxor %%xmm12, %%xmm12; pxor %%xmm13, %%xmm13; pxor %%xmm14, %%xmm14; pxor %%xmm15, %%xmm15;"
                     :
                     :
                     : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
                       "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
#elif defined(__GNUC__) && defined(__aarch64__)
    __asm__ volatile("movi v0.2d, #0; movi v1.2d, #0; movi v2.2d, #0; movi v3.2d, #0;"
                     "movi v4.2d, #0; movi v5.2d, #0; movi v6.2d, #0; movi v7.2d, #0;"
                     "movi v16.2d, #0; movi v17.2d, #0; movi v18.2d, #0; movi v19.2d, #0;"
                     "movi v20.2d, #0; movi v21.2d, #0; movi v22.2d, #0; movi v23.2d, #0;"
                     "movi v24.2d, #0; movi v25.2d, #0; movi v26.2d, #0; movi v27.2d, #0;"
                     "movi v28.2d, #0; movi v29.2d, #0; movi v30.2d, #0; movi v31.2d, #0;"
                     :
                     :
                     : "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7",
                       "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23",
                       "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31");
#endif
}

void osv4_wipe(void *memory, size_t size)
{
    if (size)
        wipe(memory, size);
}

/* --- SHA-256 --------------------------------------------------------------------------------------------------- */

/* FIPS 180-4, 5.3.3. */
static const osv4_sha256_state INITIAL = {{
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
}};

enum { LENGTH = 8 }; /* bytes of the message's length at the end of the padding */

/* The end of a message with its padding. It is the caller's, so that the caller can wipe it. */
typedef struct {
    uint8_t before[OSV4_SHA256_BLOCK]; /* what is copied along, and never read */
    uint8_t tail[2 * OSV4_SHA256_BLOCK];
} padded_end;

/* GCC stores in one instruction what is written out so, not in a loop. */
static inline void store_be64(uint8_t *bytes, uint64_t value)
{
    bytes[0] = (uint8_t)(value >> 56);
    bytes[1] = (uint8_t)(value >> 48);
    bytes[2] = (uint8_t)(value >> 40);
    bytes[3] = (uint8_t)(value >> 32);
    bytes[4] = (uint8_t)(value >> 24);
    bytes[5] = (uint8_t)(value >> 16);
    bytes[6] = (uint8_t)(value >> 8);
    bytes[7] = (uint8_t)value;
}

/* FIPS 180-4, 5.1.1: the message is followed by a 1 bit, by zeros up to 8 bytes short of a block's end, and by its
 * length in bits, big-endian. So what is left after the last whole block becomes one block, or two where the 1 bit
 * and the length do not fit behind it.
 *
 * `hashed` bytes, whole blocks, are in `state` already and count as part of the message.
 *
 * All sizes are constants where they can be, one block at most: GCC and Clang make a few vector stores of these, where
 * GCC's `rep stos` and copy loop took 12 of the 102 ns of a message of 140 bytes. A message of a block or more has that
 * many readable bytes before its end, so its last 64 are copied whatever is left of them, to where its rest is the
 * tail's beginning. All this is done before the first block is hashed: by the tail's turn its stores, of odd sizes and
 * places, are long in the cache, from which vectors can be loaded.
 */
static inline void finish(const osv4_sha256_state *state, uint64_t hashed, const uint8_t *data, size_t size,
                          padded_end *end, uint8_t digest[OSV4_SHA256_DIGEST])
{
    const size_t rest = size % OSV4_SHA256_BLOCK;
    const size_t tail_count = rest < OSV4_SHA256_BLOCK - LENGTH ? 1 : 2;
    memset(end->tail, 0, OSV4_SHA256_BLOCK);
    memset(end->tail + OSV4_SHA256_BLOCK, 0, OSV4_SHA256_BLOCK);
    if (size >= OSV4_SHA256_BLOCK)
        memcpy((uint8_t *)end + rest, data + (size - OSV4_SHA256_BLOCK), OSV4_SHA256_BLOCK);
    else if (rest)
        memcpy(end->tail, data, rest);
    end->tail[rest] = 0x80;
    store_be64(end->tail + tail_count * OSV4_SHA256_BLOCK - LENGTH, (hashed + size) * 8);
    active->finish(state, data, size / OSV4_SHA256_BLOCK, end->tail, tail_count, digest);
}

void osv4_sha256(const uint8_t *data, size_t size, uint8_t digest[32])
{
    padded_end end;
    finish(&INITIAL, 0, data, size, &end, digest);
}

/* --- HMAC ------------------------------------------------------------------------------------------------------ */

/* RFC 2104: H(K ^ opad, H(K ^ ipad, message)), where K is the secret, or its hash where it is longer than a block,
 * filled up with zeros to a block. Each K ^ pad is one block, so the state after it is all that a key needs to keep:
 * a MAC then costs the message's blocks and one more, which is the inner digest, padded (it has a fixed length).
 */
static const uint8_t IPAD = 0x36;
static const uint8_t OPAD = 0x5c;

void osv4_hmac_key_init(osv4_hmac_key *key, const uint8_t *secret, size_t size)
{
    uint8_t block[OSV4_SHA256_BLOCK], digest[OSV4_SHA256_DIGEST];
    if (size > OSV4_SHA256_BLOCK) {
        padded_end end;
        finish(&INITIAL, 0, secret, size, &end, digest);
        wipe(&end, sizeof end);
        secret = digest;
        size = sizeof digest;
    }
    memset(block, IPAD, sizeof block);
    /* Not by memcpy: glibc's leaves a key in vector registers that nothing else uses, and the next to save them all,
     * such as the dynamic linker, writes it to the stack. test_memory.py found it there. */
    for (size_t i = 0; i < size; i++)
        block[i] ^= secret[i];
    key->inner = INITIAL;
    active->blocks(&key->inner, block, 1);
    for (int i = 0; i < OSV4_SHA256_BLOCK; i++)
        block[i] ^= IPAD ^ OPAD;
    key->outer = INITIAL;
    active->blocks(&key->outer, block, 1);
    wipe(block, sizeof block);
    wipe(digest, sizeof digest);
    wipe_registers();
}

void osv4_hmac(const osv4_hmac_key *key, const uint8_t *message, size_t size, uint8_t mac[32])
{
    padded_end end;
    uint8_t outer[OSV4_SHA256_BLOCK] = {0};
    outer[OSV4_SHA256_DIGEST] = 0x80;
    store_be64(outer + OSV4_SHA256_BLOCK - LENGTH, (OSV4_SHA256_BLOCK + OSV4_SHA256_DIGEST) * 8);
    finish(&key->inner, OSV4_SHA256_BLOCK, message, size, &end, outer);
    active->finish(&key->outer, NULL, 0, outer, 1, mac);
    wipe(outer, sizeof outer);
    wipe_registers();
}

/* --- hex ------------------------------------------------------------------------------------------------------- */

static const char DIGITS[] = "0123456789abcdef";

#ifdef HEX_SSE2
/* The digits of sixteen numbers below 16. SSE2 has no table lookup. */
static inline __m128i hex_digits(__m128i numbers)
{
    const __m128i is_letter = _mm_cmpgt_epi8(numbers, _mm_set1_epi8(9));
    const __m128i digits = _mm_add_epi8(numbers, _mm_set1_epi8('0'));
    return _mm_add_epi8(digits, _mm_and_si128(is_letter, _mm_set1_epi8('a' - '0' - 10)));
}
#endif

/* The hash of a body goes into a header, and two more into each signature: one byte at a time took 19 ns of each, with
 * vectors it is 3. */
void osv4_hex(const uint8_t *bytes, size_t size, char *hex)
{
#if defined(HEX_SSE2)
    for (; size >= 16; size -= 16, bytes += 16, hex += 32) {
        const __m128i vector = _mm_loadu_si128((const __m128i *)(const void *)bytes);
        const __m128i low_nibbles = _mm_set1_epi8(0x0f);
        const __m128i high = hex_digits(_mm_and_si128(_mm_srli_epi16(vector, 4), low_nibbles));
        const __m128i low = hex_digits(_mm_and_si128(vector, low_nibbles));
        _mm_storeu_si128((__m128i *)(void *)hex, _mm_unpacklo_epi8(high, low));
        _mm_storeu_si128((__m128i *)(void *)(hex + 16), _mm_unpackhi_epi8(high, low));
    }
#elif defined(HEX_NEON)
    const uint8x16_t digits = vld1q_u8((const uint8_t *)DIGITS);
    for (; size >= 16; size -= 16, bytes += 16, hex += 32) {
        const uint8x16_t vector = vld1q_u8(bytes);
        uint8x16x2_t pairs;
        pairs.val[0] = vqtbl1q_u8(digits, vshrq_n_u8(vector, 4));
        pairs.val[1] = vqtbl1q_u8(digits, vandq_u8(vector, vdupq_n_u8(0x0f)));
        vst2q_u8((uint8_t *)hex, pairs);
    }
#endif
    for (; size; size--, bytes++) {
        *hex++ = DIGITS[*bytes >> 4];
        *hex++ = DIGITS[*bytes & 0x0f];
    }
}
