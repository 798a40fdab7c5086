/* SPDX-License-Identifier: Apache-2.0
 *
 * crc32c_x86.h - CRC-32C with the instructions of x86-64: part of crc32c.c,
 * and included by nothing else.  Each function is compiled for the
 * instructions it needs, whatever the compiler was told, so nobody may call
 * one before cpu.c has said that they are there.
 *
 * PCLMULQDQ multiplies two polynomials of 64 bits.  Bits run backwards, so the
 * product of two 64-bit registers, read as one of 128 bits, is a * b * x, and
 * a constant k in the lower half of its register stands for k * x^32.
 *
 * Folding.  A register of 16 bytes is E * x^64 + L: the earlier eight, in its
 * lower half, and the later ones.  Carried d bits on, that is
 *
 *     E * x^(d + 64) + L * x^d  =  E * (k x^32) * x + L * (m x^32) * x
 *
 * with k = x^(d + 31) and m = x^(d - 33), both modulo P.  FOLD_d is the
 * pair m, k.  The products have fewer than 128 bits, so they are added to the
 * 16 bytes that lie d bits further on, and the same again.  A state is added
 * to the first four bytes of what follows it.
 */
#include <immintrin.h>

#define MXIO_CRC32C_X86 1

#define FOLD_128 0x493C7D27, 0xF20C0DFE
#define FOLD_256 0xBA4FC28E, 0x3DA6D0CB
#define FOLD_384 0xDDC0152B, 0x1C291D04
#define FOLD_512 0x9E4ADDF8, 0x740EEF02
#define FOLD_1024 0xD3B6092, 0x6992CEA2
#define FOLD_2048 0xB9E02B86, 0xDCB17AA4

/* ---- sse42: the crc32 instruction, three streams ------------------------ */

#define SSE42 __attribute__((target("sse4.2")))

SSE42 static inline uint32_t update_serial(uint32_t state, const uint8_t *p,
                                           size_t n) {
    uint64_t wide = state;
    for (; n >= 8; n -= 8, p += 8) {
        wide = _mm_crc32_u64(wide, load_word(p));
    }
    state = (uint32_t)wide;
    for (; n > 0; n--, p++) {
        state = _mm_crc32_u8(state, *p);
    }
    return state;
}

SSE42 static uint32_t update_sse42(uint32_t state, const uint8_t *p,
                                   size_t n) {
    for (; n >= 3 * STREAM_NBYTES; n -= 3 * STREAM_NBYTES) {
        const uint8_t *end = p + STREAM_NBYTES;
        uint64_t a = state, b = 0, c = 0;
        for (; p < end; p += 8) {
            a = _mm_crc32_u64(a, load_word(p));
            b = _mm_crc32_u64(b, load_word(p + STREAM_NBYTES));
            c = _mm_crc32_u64(c, load_word(p + 2 * STREAM_NBYTES));
        }
        state = join_streams((uint32_t)a, (uint32_t)b, (uint32_t)c);
        p += 2 * STREAM_NBYTES;
    }
    return update_serial(state, p, n);
}

/* ---- sse42+pclmul: folding and three streams at once -------------------- */

/* Folding and the crc32 instruction use different parts of a processor: done
 * side by side they take hardly longer than one of them.  A block is
 * ROUNDS * 64 bytes that are folded, and behind them three streams of
 * ROUNDS * 24 bytes.  16 blocks are a chunk but for 256 bytes.
 *
 * Four streams within 4 KiB are too many for what fetches ahead of its own
 * accord: memory that is not in the cache would take twice as long.  So each
 * round asks for what the block after next will need. */

#define PCLMUL __attribute__((target("sse4.2,pclmul")))

#define ROUNDS 30u
#define SIDE_NBYTES (ROUNDS * 24)
#define BLOCK_NBYTES (ROUNDS * 64 + 3 * SIDE_NBYTES)
#define AHEAD_NBYTES (BLOCK_NBYTES + BLOCK_NBYTES / 2)
#define SIDE_1 0x8227BB8A /* x^(8 * SIDE_NBYTES - 33) modulo P     */
#define SIDE_2 0x2342001E /* x^(8 * 2 * SIDE_NBYTES - 33) modulo P */
#define SIDE_3 0x8E1450F7 /* x^(8 * 3 * SIDE_NBYTES - 33) modulo P */

PCLMUL static inline __m128i load_128(const uint8_t *p) {
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

PCLMUL static inline __m128i fold_128(__m128i x, __m128i pair, __m128i onto) {
    __m128i earlier = _mm_clmulepi64_si128(x, pair, 0x00);
    __m128i later = _mm_clmulepi64_si128(x, pair, 0x11);
    return _mm_xor_si128(_mm_xor_si128(earlier, onto), later);
}

/* The state after 16 bytes. */
PCLMUL static inline uint64_t reduce_128(__m128i x) {
    uint64_t state = _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(x));
    return _mm_crc32_u64(state, (uint64_t)_mm_extract_epi64(x, 1));
}

/* Eight bytes whose state is state * power * x^33 modulo P. */
PCLMUL static inline uint64_t carry(uint64_t state, uint32_t power) {
    __m128i product = _mm_clmulepi64_si128(
        _mm_cvtsi64_si128((long long)state), _mm_cvtsi64_si128(power), 0x00);
    return (uint64_t)_mm_cvtsi128_si64(product);
}

/* 64 bytes at p, carried along with four folds at a time. */
#define FOLD_4(x0, x1, x2, x3, pair, p)                  \
    do {                                                 \
        x0 = fold_128(x0, pair, load_128(p));            \
        x1 = fold_128(x1, pair, load_128((p) + 16));     \
        x2 = fold_128(x2, pair, load_128((p) + 32));     \
        x3 = fold_128(x3, pair, load_128((p) + 48));     \
    } while (0)

PCLMUL static inline uint64_t reduce_4(__m128i x0, __m128i x1, __m128i x2,
                                       __m128i x3) {
    __m128i pair = _mm_set_epi64x(FOLD_128);
    x1 = fold_128(x0, pair, x1);
    x2 = fold_128(x1, pair, x2);
    return reduce_128(fold_128(x2, pair, x3));
}

PCLMUL static uint32_t update_pclmul(uint32_t state, const uint8_t *p,
                                     size_t n) {
    __m128i pair = _mm_set_epi64x(FOLD_512);
    __m128i x0, x1, x2, x3;
    for (; n >= BLOCK_NBYTES; n -= BLOCK_NBYTES) {
        const uint8_t *side = p + ROUNDS * 64;
        const uint8_t *end = side + SIDE_NBYTES;
        uintptr_t ahead = (uintptr_t)p + AHEAD_NBYTES; /* maybe of nothing */
        uint64_t a = 0, b = 0, c = 0;
        x0 = _mm_cvtsi32_si128((int)state);
        x0 = _mm_xor_si128(x0, load_128(p));
        x1 = load_128(p + 16);
        x2 = load_128(p + 32);
        x3 = load_128(p + 48);
        for (;;) {
            _mm_prefetch((const char *)ahead, _MM_HINT_T0);
            _mm_prefetch((const char *)(ahead + 64), _MM_HINT_T0);
            ahead += BLOCK_NBYTES / ROUNDS;
            for (int i = 0; i < 3; i++, side += 8) {
                a = _mm_crc32_u64(a, load_word(side));
                b = _mm_crc32_u64(b, load_word(side + SIDE_NBYTES));
                c = _mm_crc32_u64(c, load_word(side + 2 * SIDE_NBYTES));
            }
            p += 64;
            if (side == end) {
                break;
            }
            FOLD_4(x0, x1, x2, x3, pair, p);
        }
        a = carry(a, SIDE_2) ^ carry(b, SIDE_1)
            ^ carry(reduce_4(x0, x1, x2, x3), SIDE_3);
        state = (uint32_t)(_mm_crc32_u64(0, a) ^ c);
        p += 3 * SIDE_NBYTES;
    }
    if (n >= 64) {
        x0 = _mm_cvtsi32_si128((int)state);
        x0 = _mm_xor_si128(x0, load_128(p));
        x1 = load_128(p + 16);
        x2 = load_128(p + 32);
        x3 = load_128(p + 48);
        for (n -= 64, p += 64; n >= 64; n -= 64, p += 64) {
            FOLD_4(x0, x1, x2, x3, pair, p);
        }
        state = (uint32_t)reduce_4(x0, x1, x2, x3);
    }
    return update_serial(state, p, n);
}

/* ---- avx2+vpclmul: the same, with registers of 32 bytes ----------------- */

/* For processors that have no AVX-512, or have it switched off: folding goes
 * twice as fast, so the streams at its side are wider too.  A block is
 * WIDE_ROUNDS * 128 bytes that are folded, and behind them three streams of
 * WIDE_ROUNDS * 40.  8 blocks are a chunk but for 64 bytes. */

#define AVX2 __attribute__((target("sse4.2,pclmul,avx2,vpclmulqdq")))

#define WIDE_ROUNDS 33u
#define WIDE_SIDE_NBYTES (WIDE_ROUNDS * 40)
#define WIDE_BLOCK_NBYTES (WIDE_ROUNDS * 128 + 3 * WIDE_SIDE_NBYTES)
#define WIDE_SIDE_1 0xA1962329 /* as SIDE_1 */
#define WIDE_SIDE_2 0x2E7D11A7
#define WIDE_SIDE_3 0x13608E53

AVX2 static inline __m256i load_256(const uint8_t *p) {
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

AVX2 static inline __m256i fold_256(__m256i x, __m256i pair, __m256i onto) {
    __m256i earlier = _mm256_clmulepi64_epi128(x, pair, 0x00);
    __m256i later = _mm256_clmulepi64_epi128(x, pair, 0x11);
    return _mm256_xor_si256(_mm256_xor_si256(earlier, onto), later);
}

/* The state after 128 bytes. */
AVX2 static inline uint64_t reduce_256(__m256i x0, __m256i x1, __m256i x2,
                                       __m256i x3) {
    __m256i pair = _mm256_broadcastsi128_si256(_mm_set_epi64x(FOLD_256));
    x1 = fold_256(x0, pair, x1);
    x2 = fold_256(x1, pair, x2);
    x3 = fold_256(x2, pair, x3);
    return reduce_128(fold_128(_mm256_castsi256_si128(x3),
                               _mm_set_epi64x(FOLD_128),
                               _mm256_extracti128_si256(x3, 1)));
}

AVX2 static uint32_t update_avx2(uint32_t state, const uint8_t *p, size_t n) {
    __m256i pair = _mm256_broadcastsi128_si256(_mm_set_epi64x(FOLD_1024));
    for (; n >= WIDE_BLOCK_NBYTES; n -= WIDE_BLOCK_NBYTES) {
        const uint8_t *side = p + WIDE_ROUNDS * 128;
        const uint8_t *end = side + WIDE_SIDE_NBYTES;
        uintptr_t ahead = (uintptr_t)p + WIDE_BLOCK_NBYTES; /* of nothing? */
        uint64_t a = 0, b = 0, c = 0;
        __m256i x0 = _mm256_xor_si256(load_256(p),
                                      _mm256_set_epi64x(0, 0, 0, state));
        __m256i x1 = load_256(p + 32);
        __m256i x2 = load_256(p + 64);
        __m256i x3 = load_256(p + 96);
        for (;;) {
            for (int i = 0; i < 4; i++) {
                _mm_prefetch((const char *)(ahead + 64u * (unsigned)i),
                             _MM_HINT_T0);
            }
            ahead += WIDE_BLOCK_NBYTES / WIDE_ROUNDS;
            for (int i = 0; i < 5; i++, side += 8) {
                a = _mm_crc32_u64(a, load_word(side));
                b = _mm_crc32_u64(b, load_word(side + WIDE_SIDE_NBYTES));
                c = _mm_crc32_u64(c, load_word(side + 2 * WIDE_SIDE_NBYTES));
            }
            p += 128;
            if (side == end) {
                break;
            }
            x0 = fold_256(x0, pair, load_256(p));
            x1 = fold_256(x1, pair, load_256(p + 32));
            x2 = fold_256(x2, pair, load_256(p + 64));
            x3 = fold_256(x3, pair, load_256(p + 96));
        }
        a = carry(a, WIDE_SIDE_2) ^ carry(b, WIDE_SIDE_1)
            ^ carry(reduce_256(x0, x1, x2, x3), WIDE_SIDE_3);
        state = (uint32_t)(_mm_crc32_u64(0, a) ^ c);
        p += 3 * WIDE_SIDE_NBYTES;
    }
    return update_pclmul(state, p, n);
}

/* ---- avx512+vpclmul: folding 256 bytes at a time ------------------------ */

/* Streams at the side would gain a tenth at best here, measured on a Xeon of
 * 2023.  Processors with these instructions do not slow down for the width of
 * the registers as the first ones with AVX-512 did. */

#define VPCLMUL                                                             \
    __attribute__((target("sse4.2,pclmul,avx512f,avx512bw,avx512vl," \
                          "vpclmulqdq")))

VPCLMUL static inline __m512i load_512(const uint8_t *p) {
    return _mm512_loadu_si512((const void *)p);
}

VPCLMUL static inline __m512i fold_512(__m512i x, __m512i pair,
                                       __m512i onto) {
    __m512i earlier = _mm512_clmulepi64_epi128(x, pair, 0x00);
    __m512i later = _mm512_clmulepi64_epi128(x, pair, 0x11);
    return _mm512_ternarylogic_epi64(earlier, later, onto, 0x96); /* ^ ^ */
}

/* The state after 64 bytes: the first three quarters are carried on to the
 * last, which stays as it is. */
VPCLMUL static inline uint32_t reduce_512(__m512i x) {
    __m512i pairs = _mm512_set_epi64(0, 0, FOLD_128, FOLD_256, FOLD_384);
    x = fold_512(x, pairs, _mm512_maskz_mov_epi64(0xC0, x));
    return (uint32_t)reduce_128(_mm_xor_si128(
        _mm_xor_si128(_mm512_castsi512_si128(x),
                      _mm512_extracti32x4_epi32(x, 1)),
        _mm_xor_si128(_mm512_extracti32x4_epi32(x, 2),
                      _mm512_extracti32x4_epi32(x, 3))));
}

VPCLMUL static uint32_t update_vpclmul(uint32_t state, const uint8_t *p,
                                       size_t n) {
    if (n < 128) {
        return update_pclmul(state, p, n);
    }
    __m512i by_64 = _mm512_broadcast_i32x4(_mm_set_epi64x(FOLD_512));
    __m512i x = _mm512_xor_si512(load_512(p),
                                 _mm512_maskz_set1_epi32(1, (int)state));
    n -= 64;
    p += 64;
    if (n >= 192) {
        __m512i by_256 = _mm512_broadcast_i32x4(_mm_set_epi64x(FOLD_2048));
        __m512i x1 = load_512(p);
        __m512i x2 = load_512(p + 64);
        __m512i x3 = load_512(p + 128);
        for (n -= 192, p += 192; n >= 256; n -= 256, p += 256) {
            x = fold_512(x, by_256, load_512(p));
            x1 = fold_512(x1, by_256, load_512(p + 64));
            x2 = fold_512(x2, by_256, load_512(p + 128));
            x3 = fold_512(x3, by_256, load_512(p + 192));
        }
        x1 = fold_512(x, by_64, x1);
        x2 = fold_512(x1, by_64, x2);
        x = fold_512(x2, by_64, x3);
    }
    for (; n >= 64; n -= 64, p += 64) {
        x = fold_512(x, by_64, load_512(p));
    }
    return update_serial(reduce_512(x), p, n);
}
