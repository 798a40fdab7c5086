/* SPDX-License-Identifier: Apache-2.0
 *
 * cpu.c - what this processor can do and its operating system lets us use.
 * Asks anew each time, and keeps nothing; cpuid is slow under a hypervisor, so
 * callers remember the answer.
 */
#include "internal.h"

#if defined(__x86_64__)

#include <cpuid.h>

/* The registers that the operating system saves when it switches threads.
 * REQUIRES: OSXSAVE. */
static uint32_t saved_registers(void) {
    uint32_t low, high;
    /* No intrinsic: that needs the whole file compiled for xsave. */
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

unsigned mxio_cpu_features(void) {
    /* SSE, AVX, and the three parts of AVX-512.  macOS adds the last ones only
     * when a thread has used them: there we go without. */
    const uint32_t ymm = 0x06, zmm = 0xE6;
    const uint32_t avx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512VL;
    unsigned features = 0;
    uint32_t eax, ebx, ecx, edx, saved;
    __cpuid(1, eax, ebx, ecx, edx); /* which every x86-64 has */
    if (ecx & bit_SSE4_2) {
        features |= CPU_SSE42;
    }
    if (ecx & bit_PCLMUL) {
        features |= CPU_PCLMUL;
    }
    saved = ecx & bit_OSXSAVE ? saved_registers() : 0;
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)
        || !(ecx & bit_VPCLMULQDQ)) {
        return features;
    }
    if ((saved & ymm) == ymm && (ebx & bit_AVX2)) {
        features |= CPU_VPCLMUL256;
    }
    if ((saved & zmm) == zmm && (ebx & avx512) == avx512) {
        features |= CPU_VPCLMUL512;
    }
    return features;
}

#elif defined(__aarch64__) && defined(__linux__)

#include <sys/auxv.h>

/* <asm/hwcap.h>, which not every C library's headers lead to. */
#define HWCAP_ARM_PMULL (1ul << 4)
#define HWCAP_ARM_CRC32 (1ul << 7)

unsigned mxio_cpu_features(void) {
    unsigned long capabilities = getauxval(AT_HWCAP);
    unsigned features = 0;
    if (capabilities & HWCAP_ARM_CRC32) {
        features |= CPU_ARM_CRC32;
    }
    if (capabilities & HWCAP_ARM_PMULL) {
        features |= CPU_ARM_PMULL;
    }
    return features;
}

#elif defined(__aarch64__) && defined(__APPLE__)

unsigned mxio_cpu_features(void) {
    return CPU_ARM_CRC32 | CPU_ARM_PMULL; /* every Mac with an arm64 */
}

#else

unsigned mxio_cpu_features(void) {
    return 0;
}

#endif
