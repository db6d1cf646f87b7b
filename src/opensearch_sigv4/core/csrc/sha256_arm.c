#include "sha256_blocks.h"

#ifdef OSV4_SHA256_HAS_ARM

/* GCC and Clang compile these functions for the extension, and the rest of the file for the build's baseline; they
 * spell it differently. Clang before 16 declares the intrinsics only where the whole file is built for the extension,
 * which the macro claims; they are always inlined, into functions that have it. MSVC has all intrinsics always. */
#if defined(__clang__)
#if __clang_major__ < 16 && !defined(__ARM_FEATURE_SHA2)
#define __ARM_FEATURE_SHA2 1
#endif
#define SHA_TARGET __attribute__((target("sha2")))
#elif defined(__GNUC__)
#define SHA_TARGET __attribute__((target("+crypto")))
#else
#define SHA_TARGET
#endif

#if defined(__GNUC__) || defined(__clang__)
#define SHA_INLINE static inline __attribute__((always_inline)) SHA_TARGET
#else
#define SHA_INLINE static __forceinline
#endif

#include <arm_neon.h>

/* The SHA-256 instructions (Arm ARM, C7.2: SHA256H, SHA256H2, SHA256SU0, SHA256SU1). Lane 0 is the first in memory, so
 * the state is H0 to H3 and H4 to H7 as they stand there.
 *
 * SHA256H does four rounds and returns the new a to d, from the old a to d, e to h, and Wt + Kt of these rounds;
 * SHA256H2 returns the new e to h, from the old e to h, and a to d: the old ones, hence the copy.
 *
 * Four words of the schedule are one vector. With w0 to w3 the last sixteen words, oldest first, the next four are
 * SU1(SU0(w0, w1), w2, w3): SU0 adds sigma0 of the fifteen rounds old words to the sixteen rounds old, and SU1 the
 * seven rounds old, which it finds in w2 and w3, and sigma1 of the two rounds old.
 */
typedef struct {
    uint32x4_t abcd, efgh;
} rounds_state;

SHA_INLINE rounds_state load_state(const osv4_sha256_state *state)
{
    rounds_state loaded;
    loaded.abcd = vld1q_u32(&state->h[0]);
    loaded.efgh = vld1q_u32(&state->h[4]);
    return loaded;
}

/* Four big-endian words. */
SHA_INLINE uint32x4_t load_words(const uint8_t *bytes)
{
    return vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(bytes)));
}

SHA_INLINE void store_words(uint8_t *bytes, uint32x4_t words)
{
    vst1q_u8(bytes, vrev32q_u8(vreinterpretq_u8_u32(words)));
}

#define FOUR_ROUNDS(t, w)                                                 \
    do {                                                                  \
        const uint32x4_t wk = vaddq_u32(w, vld1q_u32(&osv4_sha256_k[t])); \
        const uint32x4_t abcd = state.abcd;                               \
        state.abcd = vsha256hq_u32(state.abcd, state.efgh, wk);           \
        state.efgh = vsha256h2q_u32(state.efgh, abcd, wk);                \
    } while (0)

#define SCHEDULE(w0, w1, w2, w3) w0 = vsha256su1q_u32(vsha256su0q_u32(w0, w1), w2, w3)

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
    for (; count; count--, data += OSV4_SHA256_BLOCK) {
        const rounds_state before = state;
        uint32x4_t w0 = load_words(data);
        uint32x4_t w1 = load_words(data + 16);
        uint32x4_t w2 = load_words(data + 32);
        uint32x4_t w3 = load_words(data + 48);
        FOUR_ROUNDS(0, w0);
        FOUR_ROUNDS(4, w1);
        FOUR_ROUNDS(8, w2);
        FOUR_ROUNDS(12, w3);
        SIXTEEN_ROUNDS(16);
        SIXTEEN_ROUNDS(32);
        SIXTEEN_ROUNDS(48);
        state.abcd = vaddq_u32(state.abcd, before.abcd);
        state.efgh = vaddq_u32(state.efgh, before.efgh);
    }
    return state;
}

SHA_TARGET void osv4_sha256_blocks_arm(osv4_sha256_state *state, const uint8_t *data, size_t count)
{
    const rounds_state now = hash_blocks(load_state(state), data, count);
    vst1q_u32(&state->h[0], now.abcd);
    vst1q_u32(&state->h[4], now.efgh);
}

SHA_TARGET void osv4_sha256_finish_arm(const osv4_sha256_state *state, const uint8_t *data, size_t count,
                                       const uint8_t *tail, size_t tail_count, uint8_t digest[32])
{
    rounds_state now = hash_blocks(load_state(state), data, count);
    now = hash_blocks(now, tail, tail_count);
    store_words(digest, now.abcd);
    store_words(digest + 16, now.efgh);
}

#else

/* ISO C wants something in every file. */
typedef int osv4_sha256_no_arm;

#endif
