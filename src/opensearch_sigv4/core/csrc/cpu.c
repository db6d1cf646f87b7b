#include "cpu.h"

#if (defined(__x86_64__) || defined(__i386__) || defined(_M_X64) || defined(_M_IX86)) && !defined(_M_ARM64EC)

/* Intel SDM volume 2, CPUID: leaf 1 ECX has SSSE3 (bit 9), SSE4.1 (19) and OSXSAVE (27), leaf 7 EBX has SHA (29).
 *
 * CPUID tells what the CPU can do; whether the OS saves the registers on a context switch is in XCR0 (volume 1,
 * 13.3): bit 1 is the XMM state. XGETBV may be executed only where OSXSAVE says so; a system without it is taken to
 * have none of these extensions.
 */
#define CPUID1_ECX_SSSE3 (1u << 9)
#define CPUID1_ECX_SSE41 (1u << 19)
#define CPUID1_ECX_OSXSAVE (1u << 27)
#define CPUID7_EBX_SHA (1u << 29)
#define XCR0_XMM (1u << 1)

enum { EAX, EBX, ECX, EDX };

#if defined(__GNUC__) || defined(__clang__)
#include <cpuid.h>

static int cpuid(unsigned leaf, unsigned registers[4])
{
    return __get_cpuid_count(leaf, 0, &registers[EAX], &registers[EBX], &registers[ECX], &registers[EDX]);
}

static unsigned xcr0(void)
{
    /* _xgetbv() would need -mxsave for the whole file. */
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    (void)high;
    return low;
}

#else
#include <immintrin.h>
#include <intrin.h>

static int cpuid(unsigned leaf, unsigned registers[4])
{
    int values[4];
    __cpuid(values, 0);
    if ((unsigned)values[EAX] < leaf)
        return 0;
    __cpuidex(values, (int)leaf, 0);
    for (int i = 0; i < 4; i++)
        registers[i] = (unsigned)values[i];
    return 1;
}

static unsigned xcr0(void)
{
    return (unsigned)_xgetbv(0);
}

#endif

unsigned osv4_cpu_features(void)
{
    unsigned registers[4];
    unsigned features = 0;
    if (!cpuid(1, registers) || !(registers[ECX] & CPUID1_ECX_OSXSAVE) || !(xcr0() & XCR0_XMM))
        return 0;
    if (registers[ECX] & CPUID1_ECX_SSSE3)
        features |= OSV4_CPU_SSSE3;
    if (registers[ECX] & CPUID1_ECX_SSE41)
        features |= OSV4_CPU_SSE41;
    if (cpuid(7, registers) && registers[EBX] & CPUID7_EBX_SHA)
        features |= OSV4_CPU_X86_SHA;
    return features;
}

#elif defined(__APPLE__) && defined(__aarch64__)

/* Every arm64 CPU that runs macOS or iOS has FEAT_SHA256. */
unsigned osv4_cpu_features(void)
{
    return OSV4_CPU_ARM_SHA2;
}

#elif defined(_WIN32) && (defined(__aarch64__) || defined(_M_ARM64))

/* Windows has one answer for AES, PMULL, SHA-1 and SHA-256 together. */
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

unsigned osv4_cpu_features(void)
{
    return IsProcessorFeaturePresent(PF_ARM_V8_CRYPTO_INSTRUCTIONS_AVAILABLE) ? OSV4_CPU_ARM_SHA2 : 0u;
}

#elif defined(__aarch64__) && (defined(__linux__) || defined(__FreeBSD__))

/* The kernel tells in the auxiliary vector what it lets programs use; both kernels gave SHA-256 the same bit. */
#include <sys/auxv.h>

#ifndef HWCAP_SHA2
#define HWCAP_SHA2 (1 << 6)
#endif

unsigned osv4_cpu_features(void)
{
    unsigned long capabilities = 0;
#if defined(__linux__)
    capabilities = getauxval(AT_HWCAP);
#else
    if (elf_aux_info(AT_HWCAP, &capabilities, (int)sizeof capabilities) != 0)
        return 0;
#endif
    return capabilities & HWCAP_SHA2 ? OSV4_CPU_ARM_SHA2 : 0u;
}

#else

unsigned osv4_cpu_features(void)
{
    return 0;
}

#endif
