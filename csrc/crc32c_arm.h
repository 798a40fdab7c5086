/* SPDX-License-Identifier: Apache-2.0
 *
 * crc32c_arm.h - CRC-32C with the instructions of arm64: part of crc32c.c, and
 * included by nothing else.  The functions are compiled for the instructions
 * they need, whatever the compiler was told, so nobody may call one before
 * cpu.c has said that they are there.  Multiplication of polynomials is not
 * asked for: small processors have crc32c without it.
 */
#if defined(__clang__) && !defined(__ARM_FEATURE_CRC32)
/* Up to version 15 clang's arm_acle.h hides the intrinsics from files that are
 * not compiled for them throughout.  Can go when nobody has it any more. */
#define __ARM_FEATURE_CRC32 1
#include <arm_acle.h>
#undef __ARM_FEATURE_CRC32
#else
#include <arm_acle.h>
#endif

#define MXIO_CRC32C_ARM 1

#if defined(__clang__)
#define CRC32 __attribute__((target("crc")))
#else
#define CRC32 __attribute__((target("+crc")))
#endif

CRC32 static uint32_t update_arm(uint32_t state, const uint8_t *p,
                                 size_t n) {
    for (; n >= 3 * STREAM_NBYTES; n -= 3 * STREAM_NBYTES) {
        const uint8_t *end = p + STREAM_NBYTES;
        uint32_t b = 0, c = 0;
        for (; p < end; p += 8) {
            state = __crc32cd(state, load_word(p));
            b = __crc32cd(b, load_word(p + STREAM_NBYTES));
            c = __crc32cd(c, load_word(p + 2 * STREAM_NBYTES));
        }
        state = join_streams(state, b, c);
        p += 2 * STREAM_NBYTES;
    }
    for (; n >= 8; n -= 8, p += 8) {
        state = __crc32cd(state, load_word(p));
    }
    for (; n > 0; n--, p++) {
        state = __crc32cb(state, *p);
    }
    return state;
}
