/* SPDX-License-Identifier: Apache-2.0
 *
 * crc32c.c - CRC-32C (Castagnoli, RFC 3720): the idea, a portable version, and
 * the choice of a version when the program runs.  Every version gives the same
 * number for the same bytes, at any alignment and length, and reads no byte
 * outside them.  Those that need special instructions are in
 * crc32c_<architecture>.h; intrinsics stay there.
 *
 *
 * THE NAIVE VERSION
 *
 * Read a message as one long polynomial over the integers modulo 2, the first
 * bit of a byte being its lowest.  Its CRC is what is left of message * x^32
 * after division by a polynomial P of degree 32.  Long division, bit by bit,
 * needs a 32-bit state:
 *
 *     for each byte:
 *         state ^= byte
 *         8 times:
 *             state = state >> 1 ^ (state & 1 ? POLY : 0)
 *
 * Bits run backwards here: the highest bit of the state is the coefficient of
 * x^0, the lowest that of x^31.  So `>> 1` multiplies by x, and POLY is x^32
 * modulo P.  RFC 3720 inverts the state before the first byte and after the
 * last, so that zeros in front or behind do not go unnoticed.  That is done at
 * the very bottom of this file; everything else speaks of states.
 *
 * What everything faster lives on:
 *
 *     update(state, n bytes) = state * x^(8n) + update(0, n bytes)   modulo P
 *
 * Addition is exclusive or, so the pieces of a message can be worked on apart,
 * each be multiplied by a power of x for the bytes behind it, and be added.
 *
 *
 * TABLES
 *
 * One step of the loop over bytes multiplies the 8 bits that leave the state
 * by x^32: a table of 256 values does it at once.  But each step then waits
 * for the one before.  With a table for "this byte and then k zero bytes", for
 * every k from 0 to 15, the contributions of 16 bytes are looked up without
 * waiting and added ("slicing").
 *
 *
 * INSTRUCTIONS
 *
 * x86-64 and arm64 have an instruction for update(state, 8 bytes).  It can be
 * started every cycle, but takes three, so three pieces are worked on in turn.
 * Both can multiply polynomials too.  With that 16 bytes, or 64 with AVX-512,
 * are carried on to as many that lie further on ("folding"), instead of being
 * divided.
 */
#include "internal.h"

#define POLY 0x82F63B78u /* x^32 modulo P */

/* ---- portable ----------------------------------------------------------- */

/* s plus each sum of the values given, in binary order, the first the lowest
 * bit: 2, 4, 8, ... 256 values. */
#define S1(s, a) (s), (s) ^ (a)
#define S2(s, a, b) S1(s, a), S1((s) ^ (b), a)
#define S3(s, a, b, c) S2(s, a, b), S2((s) ^ (c), a, b)
#define S4(s, a, b, c, d) S3(s, a, b, c), S3((s) ^ (d), a, b, c)
#define S5(s, a, b, c, d, e) S4(s, a, b, c, d), S4((s) ^ (e), a, b, c, d)
#define S6(s, a, b, c, d, e, f) \
    S5(s, a, b, c, d, e), S5((s) ^ (f), a, b, c, d, e)
#define S7(s, a, b, c, d, e, f, g) \
    S6(s, a, b, c, d, e, f), S6((s) ^ (g), a, b, c, d, e, f)
#define S8(a, b, c, d, e, f, g, h) \
    {S7(0u, a, b, c, d, e, f, g), S7(h, a, b, c, d, e, f, g)}

/* SLICE[k][byte]: the state after byte and k zero bytes.  The row of k is made
 * of x^(8k + 39) down to x^(8k + 32), so the first ends with POLY. */
static const uint32_t SLICE[16][256] = {
    S8(0xF26B8303u, 0xE13B70F7u, 0xC79A971Fu, 0x8AD958CFu,
       0x105EC76Fu, 0x20BD8EDEu, 0x417B1DBCu, 0x82F63B78u),
    S8(0x13A29877u, 0x274530EEu, 0x4E8A61DCu, 0x9D14C3B8u,
       0x3FC5F181u, 0x7F8BE302u, 0xFF17C604u, 0xFBC3FAF9u),
    S8(0xA541927Eu, 0x4F6F520Du, 0x9EDEA41Au, 0x38513EC5u,
       0x70A27D8Au, 0xE144FB14u, 0xC76580D9u, 0x8B277743u),
    S8(0xDD45AAB8u, 0xBF672381u, 0x7B2231F3u, 0xF64463E6u,
       0xE964B13Du, 0xD725148Bu, 0xABA65FE7u, 0x52A0C93Fu),
    S8(0x38116FACu, 0x7022DF58u, 0xE045BEB0u, 0xC5670B91u,
       0x8F2261D3u, 0x1BA8B557u, 0x37516AAEu, 0x6EA2D55Cu),
    S8(0xEF306B19u, 0xDB8CA0C3u, 0xB2F53777u, 0x6006181Fu,
       0xC00C303Eu, 0x85F4168Du, 0x0E045BEBu, 0x1C08B7D6u),
    S8(0x68032CC8u, 0xD0065990u, 0xA5E0C5D1u, 0x4E2DFD53u,
       0x9C5BFAA6u, 0x3D5B83BDu, 0x7AB7077Au, 0xF56E0EF4u),
    S8(0x493C7D27u, 0x9278FA4Eu, 0x211D826Du, 0x423B04DAu,
       0x847609B4u, 0x0D006599u, 0x1A00CB32u, 0x34019664u),
    S8(0xF43ED648u, 0xED91DA61u, 0xDECFC233u, 0xB873F297u,
       0x750B93DFu, 0xEA1727BEu, 0xD1C2398Du, 0xA66805EBu),
    S8(0xCB567BA5u, 0x934081BBu, 0x236D7587u, 0x46DAEB0Eu,
       0x8DB5D61Cu, 0x1E87DAC9u, 0x3D0FB592u, 0x7A1F6B24u),
    S8(0x9771F7C1u, 0x2B0F9973u, 0x561F32E6u, 0xAC3E65CCu,
       0x5D90BD69u, 0xBB217AD2u, 0x73AE8355u, 0xE75D06AAu),
    S8(0x3171D430u, 0x62E3A860u, 0xC5C750C0u, 0x8E62D771u,
       0x1929D813u, 0x3253B026u, 0x64A7604Cu, 0xC94EC098u),
    S8(0x30D23865u, 0x61A470CAu, 0xC348E194u, 0x837DB5D9u,
       0x03171D43u, 0x062E3A86u, 0x0C5C750Cu, 0x18B8EA18u),
    S8(0x54075546u, 0xA80EAA8Cu, 0x55F123E9u, 0xABE247D2u,
       0x5228F955u, 0xA451F2AAu, 0x4D4F93A5u, 0x9A9F274Au),
    S8(0x678EFD01u, 0xCF1DFA02u, 0x9BD782F5u, 0x3243731Bu,
       0x6486E636u, 0xC90DCC6Cu, 0x97F7EE29u, 0x2A03AAA3u),
    S8(0xF20C0DFEu, 0xE1F46D0Du, 0xC604ACEBu, 0x89E52F27u,
       0x162628BFu, 0x2C4C517Eu, 0x5898A2FCu, 0xB13145F8u),
};

/* What the four bytes of word, k to k + 3 bytes from the end, contribute. */
static inline uint32_t slice_word(uint32_t word, int k) {
    return SLICE[k + 3][word & 255] ^ SLICE[k + 2][word >> 8 & 255]
           ^ SLICE[k + 1][word >> 16 & 255] ^ SLICE[k][word >> 24];
}

static uint32_t update_portable(uint32_t state, const uint8_t *p, size_t n) {
    for (; n >= 16; n -= 16, p += 16) {
        state = slice_word(load_u32(p) ^ state, 12)
                ^ slice_word(load_u32(p + 4), 8)
                ^ slice_word(load_u32(p + 8), 4)
                ^ slice_word(load_u32(p + 12), 0);
    }
    for (; n > 0; n--, p++) {
        state = state >> 8 ^ SLICE[0][(state ^ *p) & 255];
    }
    return state;
}

/* ---- three streams, for the instructions -------------------------------- */

#if defined(__x86_64__) || (defined(__aarch64__) && !MXIO_BIG_ENDIAN)

/* Three streams of this many bytes make a block.  Four blocks are a chunk of
 * MXIO_CHUNK_NBYTES but for 64 bytes; joining costs a tenth, measured. */
#define STREAM_NBYTES 5456u
#define STREAM_1 0x6B3085D6u /* x^(8 * STREAM_NBYTES) modulo P     */
#define STREAM_2 0xF6DF4BA3u /* x^(8 * 2 * STREAM_NBYTES) modulo P */

/* a * b modulo P. */
static inline uint32_t multiply(uint32_t a, uint32_t b) {
    uint32_t product = 0;
    for (int i = 0; i < 32; i++) {
        product ^= b & (0u - (a >> 31));
        a <<= 1;
        b = b >> 1 ^ (POLY & (0u - (b & 1)));
    }
    return product;
}

/* The state after three streams: of the first, begun with the state before it,
 * and of the others, begun with 0. */
static inline uint32_t join_streams(uint32_t a, uint32_t b, uint32_t c) {
    return multiply(a, STREAM_2) ^ multiply(b, STREAM_1) ^ c;
}

/* Eight bytes in the order of this machine, which is little-endian.  Not
 * load_u64, as not every compiler at every level makes one load of that. */
static inline uint64_t load_word(const uint8_t *p) {
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

#endif

#if defined(__x86_64__)
#include "crc32c_x86.h"
#elif defined(__aarch64__) && !MXIO_BIG_ENDIAN
#include "crc32c_arm.h"
#endif

/* ---- the choice --------------------------------------------------------- */

/* In ascending order of preference. */
static const struct {
    const char *name;
    unsigned features; /* needed, of cpu.c */
    uint32_t (*update)(uint32_t state, const uint8_t *p, size_t n);
} VARIANTS[] = {
    {"portable", 0, update_portable},
#if defined(MXIO_CRC32C_X86)
    {"sse42", CPU_SSE42, update_sse42},
    {"sse42+pclmul", CPU_SSE42 | CPU_PCLMUL, update_pclmul},
    {"avx2+vpclmul", CPU_SSE42 | CPU_PCLMUL | CPU_VPCLMUL256, update_avx2},
    {"avx512+vpclmul", CPU_SSE42 | CPU_PCLMUL | CPU_VPCLMUL512,
     update_vpclmul},
#elif defined(MXIO_CRC32C_ARM)
    {"arm-crc32", CPU_ARM_CRC32, update_arm},
#endif
};

#define N_VARIANTS (sizeof VARIANTS / sizeof VARIANTS[0])

static int runs_with(size_t variant, unsigned features) {
    return (VARIANTS[variant].features & ~features) == 0;
}

const char *mxio_crc32c_name(size_t variant, int *runs_here) {
    if (variant >= N_VARIANTS) {
        return NULL;
    }
    *runs_here = runs_with(variant, mxio_cpu_features());
    return VARIANTS[variant].name;
}

/* The number of the chosen variant plus 1, or 0 before the first question.
 * Threads that ask at the same time all find and store the same number, so the
 * order in which they see it does not matter. */
static size_t chosen;

static size_t choose(void) {
    unsigned features = mxio_cpu_features();
    size_t variant = N_VARIANTS - 1;
    while (!runs_with(variant, features)) {
        variant--;
    }
    __atomic_store_n(&chosen, variant + 1, __ATOMIC_RELAXED);
    return variant;
}

size_t mxio_crc32c_chosen(void) {
    size_t known = __atomic_load_n(&chosen, __ATOMIC_RELAXED);
    return known > 0 ? known - 1 : choose();
}

uint32_t mxio_crc32c_variant(size_t variant, uint32_t crc, const void *mem,
                             size_t nbytes) {
    return ~VARIANTS[variant].update(~crc, mem, nbytes);
}

uint32_t mxio_crc32c(uint32_t crc, const void *mem, size_t nbytes) {
    return mxio_crc32c_variant(mxio_crc32c_chosen(), crc, mem, nbytes);
}
