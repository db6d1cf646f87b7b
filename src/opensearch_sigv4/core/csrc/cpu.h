/* Which instruction set extensions can be used here. This knows CPUs and operating systems, and no algorithm. */
#ifndef OSV4_CPU_H
#define OSV4_CPU_H

enum {
    OSV4_CPU_SSSE3 = 1 << 0,
    OSV4_CPU_SSE41 = 1 << 1,
    OSV4_CPU_X86_SHA = 1 << 2, /* SHA extensions: SHA256RNDS2, SHA256MSG1, SHA256MSG2 */
    OSV4_CPU_ARM_SHA2 = 1 << 3 /* FEAT_SHA256: SHA256H, SHA256H2, SHA256SU0, SHA256SU1 */
};

#if defined(__GNUC__) && !defined(_WIN32)
#pragma GCC visibility push(hidden)
#endif

unsigned osv4_cpu_features(void); /* the OSV4_CPU_ bits that CPU and OS both support; any thread, no GIL; not cached */

#if defined(__GNUC__) && !defined(_WIN32)
#pragma GCC visibility pop
#endif

#endif
