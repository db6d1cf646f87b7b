#include "sha256_blocks.h"

#include <string.h>

const uint32_t osv4_sha256_k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static inline uint32_t load_be32(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

/* GCC 12 makes vectors of eight such stores where they are written out, by way of 16 bytes on the stack, where half of
 * a key stayed. */
static inline void store_be32(uint8_t *bytes, uint32_t value)
{
#if defined(__GNUC__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    value = __builtin_bswap32(value);
    memcpy(bytes, &value, sizeof value);
#else
    bytes[0] = (uint8_t)(value >> 24);
    bytes[1] = (uint8_t)(value >> 16);
    bytes[2] = (uint8_t)(value >> 8);
    bytes[3] = (uint8_t)value;
#endif
}

static inline uint32_t rotr(uint32_t x, int n)
{
    return x >> n | x << (32 - n);
}

/* FIPS 180-4, 4.1.2. Ch and Maj are written with one operation less than there. */
static inline uint32_t ch(uint32_t x, uint32_t y, uint32_t z)
{
    return z ^ (x & (y ^ z));
}

static inline uint32_t maj(uint32_t x, uint32_t y, uint32_t z)
{
    return (x & y) | (z & (x | y));
}

static inline uint32_t big_sigma0(uint32_t x)
{
    return rotr(x, 2) ^ rotr(x, 13) ^ rotr(x, 22);
}

static inline uint32_t big_sigma1(uint32_t x)
{
    return rotr(x, 6) ^ rotr(x, 11) ^ rotr(x, 25);
}

static inline uint32_t small_sigma0(uint32_t x)
{
    return rotr(x, 7) ^ rotr(x, 18) ^ x >> 3;
}

static inline uint32_t small_sigma1(uint32_t x)
{
    return rotr(x, 17) ^ rotr(x, 19) ^ x >> 10;
}

/* FIPS 180-4, 6.2.2. A round moves seven of the eight working variables on by one name and computes two. Here they
 * stay, and the next round is given their names turned by one: eight rounds bring every name back to its place.
 *
 * Wt needs only the sixteen words before it, so each of the rounds 16 to 63 writes its word over the one that is
 * sixteen rounds old.
 */
#define ROUND(a, b, c, d, e, f, g, h, t, word)                                                     \
    do {                                                                                           \
        const uint32_t t1 = h + big_sigma1(e) + ch(e, f, g) + osv4_sha256_k[first + (t)] + (word); \
        d += t1;                                                                                   \
        h = t1 + big_sigma0(a) + maj(a, b, c);                                                     \
    } while (0)

#define LOADED(t) (w[t] = load_be32(data + 4 * (t)))
#define EXPANDED(t) (w[t] += small_sigma0(w[((t) + 1) & 15]) + w[((t) + 9) & 15] + small_sigma1(w[((t) + 14) & 15]))

#define EIGHT_ROUNDS(t, WORD)                                  \
    do {                                                       \
        ROUND(a, b, c, d, e, f, g, h, (t) + 0, WORD((t) + 0)); \
        ROUND(h, a, b, c, d, e, f, g, (t) + 1, WORD((t) + 1)); \
        ROUND(g, h, a, b, c, d, e, f, (t) + 2, WORD((t) + 2)); \
        ROUND(f, g, h, a, b, c, d, e, (t) + 3, WORD((t) + 3)); \
        ROUND(e, f, g, h, a, b, c, d, (t) + 4, WORD((t) + 4)); \
        ROUND(d, e, f, g, h, a, b, c, (t) + 5, WORD((t) + 5)); \
        ROUND(c, d, e, f, g, h, a, b, (t) + 6, WORD((t) + 6)); \
        ROUND(b, c, d, e, f, g, h, a, (t) + 7, WORD((t) + 7)); \
    } while (0)

/* `w` is the caller's, to wipe: sixteen consecutive words of the schedule determine all others, and so the block. */
static inline void hash_blocks(uint32_t v[8], uint32_t w[16], const uint8_t *data, size_t count)
{
    for (; count; count--, data += OSV4_SHA256_BLOCK) {
        uint32_t a = v[0], b = v[1], c = v[2], d = v[3], e = v[4], f = v[5], g = v[6], h = v[7];
        size_t first = 0;
        EIGHT_ROUNDS(0, LOADED);
        EIGHT_ROUNDS(8, LOADED);
        for (first = 16; first < 64; first += 16) {
            EIGHT_ROUNDS(0, EXPANDED);
            EIGHT_ROUNDS(8, EXPANDED);
        }
        v[0] += a, v[1] += b, v[2] += c, v[3] += d, v[4] += e, v[5] += f, v[6] += g, v[7] += h;
    }
}

void osv4_sha256_blocks_portable(osv4_sha256_state *state, const uint8_t *data, size_t count)
{
    uint32_t w[16];
    hash_blocks(state->h, w, data, count);
    osv4_wipe(w, sizeof w);
}

void osv4_sha256_finish_portable(const osv4_sha256_state *state, const uint8_t *data, size_t count, const uint8_t *tail,
                                 size_t tail_count, uint8_t digest[32])
{
    osv4_sha256_state end = *state;
    uint32_t w[16];
    hash_blocks(end.h, w, data, count);
    hash_blocks(end.h, w, tail, tail_count);
    osv4_wipe(w, sizeof w);
    for (int i = 0; i < 8; i++)
        store_be32(digest + 4 * i, end.h[i]);
    osv4_wipe(&end, sizeof end);
}
