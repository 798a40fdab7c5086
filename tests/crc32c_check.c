/* SPDX-License-Identifier: Apache-2.0
 *
 * crc32c_check.c - does every version of CRC-32C that runs here give what a
 * bitwise one gives?  Prints a line for each: its name, "ok", and its speed on
 * 64 KiB in cache and on 4 MiB; or "skipped" where the processor cannot run
 * it.  Exits with 1 at the first mismatch.  `crc32c_check huge` also checks
 * more than 4 GiB at once, which needs the address space but hardly memory.
 */
#define _POSIX_C_SOURCE 200112L

#include "../csrc/mxio.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SHORT = 2100, BIG = 64 << 20 };

static const char *name; /* of the variant being checked */

/* The definition, with nothing clever in it. */
static uint32_t bitwise(uint32_t crc, const uint8_t *p, size_t n) {
    uint32_t state = ~crc;
    for (size_t i = 0; i < n; i++) {
        state ^= p[i];
        for (int bit = 0; bit < 8; bit++) {
            state = state >> 1 ^ (0x82F63B78u & (0u - (state & 1)));
        }
    }
    return ~state;
}

static void expect(uint32_t got, uint32_t wanted, const char *what, size_t n) {
    if (got != wanted) {
        printf("%s: %s, %zu bytes: got %08lX, wanted %08lX\n", name, what, n,
               (unsigned long)got, (unsigned long)wanted);
        exit(1);
    }
}

static void *memory(size_t nbytes) {
    void *mem = malloc(nbytes > 0 ? nbytes : 1);
    if (mem == NULL) {
        printf("out of memory\n");
        exit(1);
    }
    return mem;
}

static uint32_t random_u32(void) {
    static uint64_t state = 20240229;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 32);
}

/* RFC 3720 B.4, and the usual check value. */
static void check_vectors(size_t variant) {
    static const uint8_t read_pdu[48] = {
        0x01, 0xC0, 0, 0, 0, 0, 0, 0, 0, 0, 0,    0, 0, 0, 0, 0,
        0x14, 0,    0, 0, 0, 0, 4, 0, 0, 0, 0, 0x14, 0, 0, 0, 0x18,
        0x28, 0,    0, 0, 0, 0, 0, 0, 2, 0, 0,    0, 0, 0, 0, 0};
    uint8_t p[32];
    memset(p, 0, sizeof p);
    expect(mxio_crc32c_variant(variant, 0, p, 32), 0x8A9136AAu, "zeros", 32);
    memset(p, 0xFF, sizeof p);
    expect(mxio_crc32c_variant(variant, 0, p, 32), 0x62A8AB43u, "ones", 32);
    for (int i = 0; i < 32; i++) {
        p[i] = (uint8_t)i;
    }
    expect(mxio_crc32c_variant(variant, 0, p, 32), 0x46DD794Eu, "rising", 32);
    for (int i = 0; i < 32; i++) {
        p[i] = (uint8_t)(31 - i);
    }
    expect(mxio_crc32c_variant(variant, 0, p, 32), 0x113FDB5Cu, "falling", 32);
    expect(mxio_crc32c_variant(variant, 0, read_pdu, 48), 0xD9963A56u,
           "read PDU", 48);
    expect(mxio_crc32c_variant(variant, 0, "123456789", 9), 0xE3069283u,
           "digits", 9);
    expect(mxio_crc32c_variant(variant, 0x12345678u, NULL, 0), 0x12345678u,
           "nothing", 0);
}

/* Every length up to SHORT, alone in memory so that a sanitizer sees a read
 * beyond it, and at eight alignments of 64; after another crc. */
static void check_short(size_t variant, const uint8_t *random) {
    for (size_t n = 0; n <= SHORT; n++) {
        uint32_t before = random_u32();
        uint32_t wanted = bitwise(before, random, n);
        uint8_t *alone = memory(n);
        memcpy(alone, random, n);
        expect(mxio_crc32c_variant(variant, before, alone, n), wanted,
               "alone", n);
        free(alone);
    }
    for (size_t at = 0; at < 64; at++) {
        uint32_t wanted = 0x89ABCDEFu;
        for (size_t n = 0; n <= SHORT; n++) {
            if ((n + at) % 8 == 0) {
                expect(mxio_crc32c_variant(variant, 0x89ABCDEFu, random + at,
                                           n),
                       wanted, "aligned", n);
            }
            wanted = bitwise(wanted, random + at + n, 1);
        }
    }
}

/* A message in pieces, some of them empty, is the message. */
static void check_pieces(size_t variant, const uint8_t *random) {
    const size_t whole = 200003;
    const uint32_t wanted = bitwise(0, random, whole);
    for (int round = 0; round < 40; round++) {
        const size_t most = (size_t)1 << (round % 18);
        uint32_t crc = 0;
        size_t at = 0;
        while (at < whole) {
            size_t n = random_u32() % (most + 1);
            if (n > whole - at) {
                n = whole - at;
            }
            crc = mxio_crc32c_variant(variant, crc, random + at, n);
            at += n;
        }
        expect(crc, wanted, "pieces", most);
    }
}

static const size_t SIZES[] = {4095,    4096,    8190,     16368,    16369,
                               65535,   65536,   65537,    1000003,  1048576,
                               4194304, 4194311, 33554431, BIG - 65, BIG};
enum { N_SIZES = sizeof SIZES / sizeof SIZES[0] };

static void check_long(size_t variant, const uint8_t *random,
                       const uint32_t *wanted) {
    for (size_t i = 0; i < N_SIZES; i++) {
        expect(mxio_crc32c_variant(variant, 0, random, SIZES[i]), wanted[i],
               "long", SIZES[i]);
    }
}

static void check_huge(size_t variant) {
    const size_t rest = 1003;
    const size_t nbytes = 64 * (size_t)BIG + rest;
    uint8_t *zeros = calloc(nbytes, 1);
    uint32_t wanted = 1;
    if (zeros == NULL || sizeof(size_t) < 8) {
        printf("no memory for the huge check\n");
        exit(1);
    }
    for (int i = 0; i < 64; i++) {
        wanted = mxio_crc32c_variant(variant, wanted, zeros, BIG);
    }
    wanted = mxio_crc32c_variant(variant, wanted, zeros, rest);
    expect(mxio_crc32c_variant(variant, 1, zeros, nbytes), wanted, "huge",
           nbytes);
    free(zeros);
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* GB/s from a 64-byte boundary on, the best of a few rounds. */
static double speed(size_t variant, const uint8_t *p, size_t nbytes) {
    const size_t times = ((size_t)4 << 20) / nbytes;
    double best = 0;
    p += (64 - (uintptr_t)p % 64) % 64;
    for (int round = 0; round < 8; round++) {
        uint32_t crc = 0;
        double begin = seconds();
        for (size_t i = 0; i < times; i++) {
            crc = mxio_crc32c_variant(variant, crc, p, nbytes);
        }
        double rate = 1e-9 * (double)(times * nbytes) / (seconds() - begin);
        best = rate > best ? rate : best;
    }
    return best;
}

int main(int argc, char **argv) {
    const int huge = argc > 1 && strcmp(argv[1], "huge") == 0;
    uint8_t *random = memory(BIG);
    uint32_t wanted[N_SIZES];
    int runs_here = 0;
    for (size_t i = 0; i < BIG; i += 4) {
        uint32_t word = random_u32();
        memcpy(random + i, &word, 4);
    }
    for (size_t i = 0; i < N_SIZES; i++) {
        size_t known = i > 0 ? SIZES[i - 1] : 0;
        wanted[i] = bitwise(i > 0 ? wanted[i - 1] : 0, random + known,
                            SIZES[i] - known);
    }
    for (size_t v = 0; (name = mxio_crc32c_name(v, &runs_here)) != NULL; v++) {
        if (!runs_here) {
            printf("%s: skipped\n", name);
            continue;
        }
        check_vectors(v);
        check_short(v, random);
        check_pieces(v, random);
        check_long(v, random, wanted);
        if (huge) {
            check_huge(v);
        }
        printf("%s: ok, %.1f GB/s on 64 KiB, %.1f GB/s on 4 MiB\n", name,
               speed(v, random, 65536), speed(v, random, (size_t)4 << 20));
    }
    name = mxio_crc32c_name(mxio_crc32c_chosen(), &runs_here);
    if (name == NULL || !runs_here) {
        printf("the chosen variant does not run here\n");
        return 1;
    }
    expect(mxio_crc32c(0, random, BIG), wanted[N_SIZES - 1], "chosen", BIG);
    printf("chosen: %s\n", name);
    free(random);
    return 0;
}
