/* What sha256.c asks of each path. Private: users include sha256.h. */
#ifndef OSV4_SHA256_BLOCKS_H
#define OSV4_SHA256_BLOCKS_H

#include "sha256.h"

#if (defined(__x86_64__) || defined(__i386__) || defined(_M_X64) || defined(_M_IX86)) && !defined(_M_ARM64EC)
#define OSV4_SHA256_HAS_X86 1
#endif
#if (defined(__aarch64__) || defined(_M_ARM64)) && !defined(__AARCH64EB__)
#define OSV4_SHA256_HAS_ARM 1
#endif

#if defined(__GNUC__) && !defined(_WIN32)
#pragma GCC visibility push(hidden)
#endif

/* FIPS 180-4, 4.2.2: one constant for each round. */
extern const uint32_t osv4_sha256_k[64];

/* Advance `state` by `count` blocks of `data`. */
typedef void osv4_sha256_blocks(osv4_sha256_state *state, const uint8_t *data, size_t count);

/* The digest after `count` blocks of `data` and then `tail_count` of `tail` (1 or 2: the padded end of the message).
 * One call, so that the state stays in registers from the first block to the digest. `digest` may overlap either. */
typedef void osv4_sha256_finish(const osv4_sha256_state *state, const uint8_t *data, size_t count, const uint8_t *tail,
                                size_t tail_count, uint8_t digest[32]);

osv4_sha256_blocks osv4_sha256_blocks_portable;
osv4_sha256_finish osv4_sha256_finish_portable;
#ifdef OSV4_SHA256_HAS_X86
osv4_sha256_blocks osv4_sha256_blocks_x86;
osv4_sha256_finish osv4_sha256_finish_x86;
#endif
#ifdef OSV4_SHA256_HAS_ARM
osv4_sha256_blocks osv4_sha256_blocks_arm;
osv4_sha256_finish osv4_sha256_finish_arm;
#endif

#if defined(__GNUC__) && !defined(_WIN32)
#pragma GCC visibility pop
#endif

#endif
