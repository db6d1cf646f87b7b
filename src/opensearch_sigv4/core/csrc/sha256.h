/* SHA-256 (FIPS 180-4) and HMAC-SHA-256 (RFC 2104) on the fastest instructions that this CPU has.
 *
 * Nothing here needs the GIL, allocates or can block. All but osv4_sha256_init and osv4_sha256_select may be called by
 * any number of threads at once. Sizes are in bytes; data may be NULL where the size is 0 and need not be aligned.
 */
#ifndef OSV4_SHA256_H
#define OSV4_SHA256_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One shared library holds this and its only user; hidden symbols are called directly and clash with nobody's. */
#if defined(__GNUC__) && !defined(_WIN32)
#pragma GCC visibility push(hidden)
#endif

enum { OSV4_SHA256_BLOCK = 64, OSV4_SHA256_DIGEST = 32 };

/* The hash value between two blocks: FIPS 180-4's H0 to H7. */
typedef struct {
    uint32_t h[8];
} osv4_sha256_state;

/* A key as HMAC uses it: the states after its key block, so that no call hashes that again. Secret: osv4_wipe it. */
typedef struct {
    osv4_sha256_state inner, outer;
} osv4_hmac_key;

/* Detect the CPU and select the fastest path; 0. Changes nothing after itself or osv4_sha256_select. At import, before
 * any thread hashes. */
int osv4_sha256_init(void);

/* Force "x86-sha", "arm-sha2" or "portable"; 0, or -1 if it cannot run here (nothing changes). While nobody hashes. */
int osv4_sha256_select(const char *path);

/* The name of the active path, a constant; "portable" before osv4_sha256_init. */
const char *osv4_sha256_path(void);

/* How many paths can run here; the names of the first `capacity` of them, constants, go to `names`, fastest first. */
size_t osv4_sha256_paths(const char **names, size_t capacity);

/* The SHA-256 of `data`. Its temporaries stay on the stack: not for secrets. */
void osv4_sha256(const uint8_t *data, size_t size, uint8_t digest[32]);

/* Make the HMAC key of a secret of any size; leaves no trace of it but `key`. */
void osv4_hmac_key_init(osv4_hmac_key *key, const uint8_t *secret, size_t size);

/* The HMAC-SHA-256 of `message`; leaves no trace of the key; the message is no secret. `mac` may overlap `message`. */
void osv4_hmac(const osv4_hmac_key *key, const uint8_t *message, size_t size, uint8_t mac[32]);

/* Lower-case hex of `bytes`: 2 * size characters without a NUL. `hex` and `bytes` do not overlap. */
void osv4_hex(const uint8_t *bytes, size_t size, char *hex);

/* Zero `memory` with stores that no compiler removes. */
void osv4_wipe(void *memory, size_t size);

#if defined(__GNUC__) && !defined(_WIN32)
#pragma GCC visibility pop
#endif

#ifdef __cplusplus
}
#endif

#endif
