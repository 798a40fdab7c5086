/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_scan.c - any bytes to the scanners of foreign files and to the judge of
 * native ones, watched by sanitizers.
 *
 * With libFuzzer:
 *
 *     clang -g -O1 -fsanitize=fuzzer,address,undefined -DMXIO_LIBFUZZER \
 *         -Icsrc tests/fuzz_scan.c csrc/(all).c -lpthread && ./a.out tests/golden
 *
 * Without, it changes the files it is given itself: fuzz_scan ROUNDS FILE ...
 * prints how many inputs were tried and how many of them were valid.
 */
#include "mxio.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const mxio_foreign_dtype TABLE[] = {
    {"F32", {"float32", 32, 7}, 32}, {"F64", {"float64", 64, 7}, 64},
    {"F16", {"float16", 16, 7}, 16}, {"U8", {"uint8", 8, 5}, 8},
    {"I32", {"int32", 32, 5}, 32},   {"I8", {"int8", 8, 4}, 8},
    {"I64", {"int64", 64, 5}, 64},   {"BOOL", {"bool", 8, 4}, 8},
    {"I16", {"int16", 16, 5}, 16},   {"U16", {"uint16", 16, 6}, 16},
    {"U32", {"uint32", 32, 6}, 32},  {"U64", {"uint64", 64, 6}, 64},
    {"BF16", {"bfloat16", 16, 8}, 16}, {"F4", {"float4_e2m1fn", 8, 13}, 4}};
enum { N_TABLE = sizeof TABLE / sizeof TABLE[0] };

/* Reads each byte that an index says exists; a wrong bound is found by the
 * sanitizer, because the bytes of the file end where its memory does. */
static void use(const mxio_index *index, const uint8_t *data, size_t nbytes) {
    static volatile uint8_t sink;
    for (uint64_t i = 0; i < mxio_index_count(index); i++) {
        mxio_entry entry;
        mxio_index_entry(index, i, &entry);
        if (mxio_index_find(index, entry.name, entry.name_nbytes) != i) {
            abort();
        }
        if (entry.offset > nbytes
            || entry.stored_nbytes > nbytes - entry.offset) {
            abort();
        }
        for (uint64_t k = 0; k < entry.stored_nbytes; k++) {
            sink = data[entry.offset + k];
        }
    }
}

typedef mxio_status scanner(mxio_file *, const mxio_foreign_dtype *, size_t,
                            mxio_scan *, mxio_err *);

static int scan_with(scanner *scan, const uint8_t *data, size_t nbytes) {
    mxio_file *file = NULL;
    mxio_index *index = NULL;
    mxio_scan found;
    mxio_err err;
    int valid = 0;
    if (mxio_file_memory((void *)(uintptr_t)data, 0, nbytes, &file, &err)
        != MXIO_OK) {
        abort();
    }
    if (scan(file, TABLE, N_TABLE, &found, &err) == MXIO_OK) {
        uint64_t begin = 0;
        valid = 1;
        for (uint64_t i = 0; i < found.n_names; i++) {
            if (found.name_ends[i] < begin) {
                abort();
            }
            begin = found.name_ends[i];
        }
        if (mxio_scan_index(&found, "\"dict\"", 6, nbytes, &index, &err)
            == MXIO_OK) {
            use(index, data, nbytes);
            mxio_index_free(index);
        }
    }
    mxio_scan_free(&found);
    mxio_file_close(file);
    return valid;
}

static int try_all(const uint8_t *data, size_t nbytes) {
    mxio_file *file = NULL;
    mxio_index *index = NULL;
    mxio_err err;
    int valid = scan_with(mxio_mxnet_scan, data, nbytes)
                + scan_with(mxio_safetensors_scan, data, nbytes);
    if (mxio_file_memory((void *)(uintptr_t)data, 0, nbytes, &file, &err)
        != MXIO_OK) {
        abort();
    }
    if (mxio_index_read(file, &index, &err) == MXIO_OK) {
        valid++;
        use(index, data, nbytes);
        mxio_index_free(index);
    }
    mxio_file_close(file);
    return valid;
}

#ifdef MXIO_LIBFUZZER
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes) {
    (void)try_all(data, nbytes);
    return 0;
}
#else
static uint64_t state = 0x9e3779b97f4a7c15u;

static uint64_t next_random(void) { /* xorshift: the same each time */
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static const uint64_t ODD[] = {0, 1, 2, 0x7f, 0x80, 0xff, 0x112, 0xffff,
                               0x7fffffff, 0xffffffff, 0xf993fac8, 0xf993fac9,
                               0xf993faca, UINT64_MAX, INT64_MAX, 1ull << 32};

static void change(uint8_t *data, size_t *nbytes) {
    static const char JSON[] = "{}[]\",:\\0123456789eE-nu ";
    size_t at = (size_t)(next_random() % *nbytes);
    uint64_t odd = ODD[next_random() % (sizeof ODD / sizeof ODD[0])];
    size_t width = (size_t)1 << next_random() % 4;
    switch (next_random() % 5) {
    case 0:
        data[at] ^= (uint8_t)(1u << next_random() % 8);
        break;
    case 1:
        data[at] = (uint8_t)next_random();
        break;
    case 2:
        data[at] = (uint8_t)JSON[next_random() % (sizeof JSON - 1)];
        break;
    case 3:
        at -= at % width;
        for (size_t i = 0; i < width && at + i < *nbytes; i++) {
            data[at + i] = (uint8_t)(odd >> 8 * i);
        }
        break;
    default:
        if (next_random() % 4 == 0) {
            *nbytes = at;
        }
        break;
    }
}

static uint8_t *contents(const char *path, size_t *nbytes) {
    FILE *file = fopen(path, "rb");
    uint8_t *data = malloc(1 << 20);
    if (file == NULL || data == NULL) {
        exit(2);
    }
    *nbytes = fread(data, 1, 1 << 20, file);
    fclose(file);
    return data;
}

int main(int argc, char **argv) {
    long rounds = argc > 2 ? strtol(argv[1], NULL, 10) : 0;
    long tried = 0, valid = 0;
    for (int i = 2; i < argc; i++) {
        size_t whole;
        uint8_t *original = contents(argv[i], &whole);
        for (long round = 0; round < rounds && whole > 0; round++) {
            size_t nbytes = whole;
            uint8_t *data = malloc(whole), *exact;
            if (data == NULL) {
                return 2;
            }
            memcpy(data, original, whole);
            for (uint64_t n = next_random() % 4; nbytes > 0; n--) {
                change(data, &nbytes);
                if (n == 0) {
                    break;
                }
            }
            exact = malloc(nbytes + 1); /* its end is watched */
            if (exact == NULL) {
                return 2;
            }
            memcpy(exact + 1, data, nbytes);
            valid += try_all(exact + 1, nbytes);
            tried++;
            free(exact);
            free(data);
        }
        free(original);
    }
    printf("%ld tried, %ld valid\n", tried, valid);
    return 0;
}
#endif
