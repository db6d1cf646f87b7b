#include "sha256_blocks.h"

#ifdef OSV4_SHA256_HAS_X86

#include <immintrin.h>

/* GCC and Clang compile these functions for the extensions, and the rest of the file for the build's baseline. MSVC
 * has all intrinsics always. */
#if defined(__GNUC__) || defined(__clang__)
#define SHA_TARGET __attribute__((target("sha,sse4.1,ssse3")))
#define SHA_INLINE static inline __attribute__((always_inline)) SHA_TARGET
#else
#define SHA_TARGET
#define SHA_INLINE static __forceinline
#endif

/* The SHA extensions (Intel SDM volume 2, SHA256RNDS2, SHA256MSG1, SHA256MSG2). Vectors are written here from the most
 * significant lane to the least, as there.
 *
 * SHA256RNDS2 does two rounds. It wants the working variables as two vectors, ABEF and CDGH, and Wt + Kt of its two
 * rounds in the low half of a third. It takes CDGH and ABEF and returns the new ABEF; and the new CDGH is what ABEF
 * was, because two rounds move a, b, e, f to c, d, g, h. So four rounds are two instructions that swap their operands,
 * with the upper two words moved down in between, and nothing has to be copied.
 *
 * Four words of the schedule are one vector. With w0 to w3 the last sixteen words, oldest first, the next four are
 *     MSG2(MSG1(w0, w1) + (w3:w2 >> one word), w3)
 * MSG1 adds sigma0 of the fifteen rounds old words to the sixteen rounds old, the shift brings the seven rounds old,
 * and MSG2 adds sigma1 of the two rounds old, of which two are its own results.
 *
 * Each SHA256RNDS2 waits for the one before: that chain is the time of a block, and all else runs beside it.
 */
typedef struct {
    __m128i abef, cdgh;
} rounds_state;

SHA_INLINE __m128i load(const void *memory)
{
    return _mm_loadu_si128((const __m128i *)memory);
}

SHA_INLINE void store(void *memory, __m128i vector)
{
    _mm_storeu_si128((__m128i *)memory, vector);
}

SHA_INLINE rounds_state load_state(const osv4_sha256_state *state)
{
    const __m128i dcba = load(&state->h[0]);
    const __m128i hgfe = load(&state->h[4]);
    const __m128i cdab = _mm_shuffle_epi32(dcba, 0xb1);
    const __m128i efgh = _mm_shuffle_epi32(hgfe, 0x1b);
    rounds_state loaded;
    loaded.abef = _mm_alignr_epi8(cdab, efgh, 8);
    loaded.cdgh = _mm_blend_epi16(efgh, cdab, 0xf0);
    return loaded;
}

/* DCBA and HGFE, that is, H0 to H7 in the order of memory. */
SHA_INLINE void order_state(rounds_state state, __m128i *dcba, __m128i *hgfe)
{
    const __m128i feba = _mm_shuffle_epi32(state.abef, 0x1b);
    const __m128i dchg = _mm_shuffle_epi32(state.cdgh, 0xb1);
    *dcba = _mm_blend_epi16(feba, dchg, 0xf0);
    *hgfe = _mm_alignr_epi8(dchg, feba, 8);
}

SHA_INLINE __m128i swap_words(void)
{
    return _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
}

#define FOUR_ROUNDS(t, w)                                               \
    do {                                                                \
        __m128i wk = _mm_add_epi32(w, load(&osv4_sha256_k[t]));         \
        state.cdgh = _mm_sha256rnds2_epu32(state.cdgh, state.abef, wk); \
        wk = _mm_shuffle_epi32(wk, 0x0e);                               \
        state.abef = _mm_sha256rnds2_epu32(state.abef, state.cdgh, wk); \
    } while (0)

#define SCHEDULE(w0, w1, w2, w3) \
    w0 = _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8(w3, w2, 4)), w3)

#define SIXTEEN_ROUNDS(t)          \
    do {                           \
        SCHEDULE(w0, w1, w2, w3);  \
        FOUR_ROUNDS((t), w0);      \
        SCHEDULE(w1, w2, w3, w0);  \
        FOUR_ROUNDS((t) + 4, w1);  \
        SCHEDULE(w2, w3, w0, w1);  \
        FOUR_ROUNDS((t) + 8, w2);  \
        SCHEDULE(w3, w0, w1, w2);  \
        FOUR_ROUNDS((t) + 12, w3); \
    } while (0)

SHA_INLINE rounds_state hash_blocks(rounds_state state, const uint8_t *data, size_t count)
{
    const __m128i swap = swap_words();
    for (; count; count--, data += OSV4_SHA256_BLOCK) {
        const rounds_state before = state;
        __m128i w0 = _mm_shuffle_epi8(load(data), swap);
        __m128i w1 = _mm_shuffle_epi8(load(data + 16), swap);
        __m128i w2 = _mm_shuffle_epi8(load(data + 32), swap);
        __m128i w3 = _mm_shuffle_epi8(load(data + 48), swap);
        FOUR_ROUNDS(0, w0);
        FOUR_ROUNDS(4, w1);
        FOUR_ROUNDS(8, w2);
        FOUR_ROUNDS(12, w3);
        SIXTEEN_ROUNDS(16);
        SIXTEEN_ROUNDS(32);
        SIXTEEN_ROUNDS(48);
        state.abef = _mm_add_epi32(state.abef, before.abef);
        state.cdgh = _mm_add_epi32(state.cdgh, before.cdgh);
    }
    return state;
}

SHA_TARGET void osv4_sha256_blocks_x86(osv4_sha256_state *state, const uint8_t *data, size_t count)
{
    __m128i dcba, hgfe;
    order_state(hash_blocks(load_state(state), data, count), &dcba, &hgfe);
    store(&state->h[0], dcba);
    store(&state->h[4], hgfe);
}

SHA_TARGET void osv4_sha256_finish_x86(const osv4_sha256_state *state, const uint8_t *data, size_t count,
                                       const uint8_t *tail, size_t tail_count, uint8_t digest[32])
{
    __m128i dcba, hgfe;
    rounds_state now = hash_blocks(load_state(state), data, count);
    now = hash_blocks(now, tail, tail_count);
    order_state(now, &dcba, &hgfe);
    store(digest, _mm_shuffle_epi8(dcba, swap_words()));
    store(digest + 16, _mm_shuffle_epi8(hgfe, swap_words()));
}

#else

/* ISO C wants something in every file. */
typedef int osv4_sha256_no_x86;

#endif
