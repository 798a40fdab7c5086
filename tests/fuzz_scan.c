/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_scan.c - any bytes to the scanners of foreign files and to the judge of
 * native ones, watched by sanitizers.
 *
 * With MXIO_LIBFUZZER defined it is a target of libFuzzer, which tests/fuzz.py
 * builds and runs; the environment's MXIO_FUZZ_TARGET says which one: native,
 * mxnet or safetensors.
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
enum { N_TABLE = sizeof TABLE / sizeof TABLE[0], HEAD_NBYTES = 4096 };

/* Reads each byte that an index says exists; a wrong bound is found by the
 * sanitizer, because the bytes of the file end where its memory does.  least:
 * where data may begin. */
static void use(const mxio_index *index, const uint8_t *data, size_t nbytes,
                uint64_t least) {
    static volatile uint8_t sink;
    for (uint64_t i = 0; i < mxio_index_count(index); i++) {
        mxio_entry entry;
        mxio_index_entry(index, i, &entry);
        if (mxio_index_find(index, entry.name, entry.name_nbytes) != i) {
            abort();
        }
        uint64_t n = 0, sum = 0;
        const mxio_run *runs = mxio_index_runs(index, i, &n);
        mxio_run whole;
        if (runs == NULL) {
            whole.entry = i;
            whole.offset = entry.offset;
            whole.nbytes = entry.stored_nbytes;
            runs = &whole;
            n = 1;
        }
        for (uint64_t r = 0; r < n; r++) {
            if ((runs[r].nbytes > 0 && runs[r].offset < least)
                || runs[r].offset > nbytes
                || runs[r].nbytes > nbytes - runs[r].offset
                || mxio_index_place(index, entry.offset + sum)
                       != (entry.nbytes == 0 ? 0 : runs[r].offset)) {
                abort();
            }
            for (uint64_t k = 0; k < runs[r].nbytes; k++) {
                sink = data[runs[r].offset + k];
            }
            sum += runs[r].nbytes;
        }
        if (sum != entry.stored_nbytes) {
            abort();
        }
    }
}

/* What an index that is merged of others says can be read through the file. */
static void read_all(mxio_file *file, const mxio_index *index) {
    for (uint64_t i = 0; i < mxio_index_count(index); i++) {
        mxio_entry entry;
        mxio_segment segment;
        mxio_index_entry(index, i, &entry);
        if (entry.nbytes > 0) {
            mxio_entry_segment(index, &entry, NULL, &segment);
            (void)mxio_read(file, &segment, 1, NULL, NULL, NULL);
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
            use(index, data, nbytes, 0);
            mxio_index_free(index);
        }
    }
    mxio_scan_free(&found);
    mxio_file_close(file);
    return valid;
}

static int judge(const uint8_t *data, size_t nbytes) {
    mxio_file *file = NULL;
    mxio_index *index = NULL;
    mxio_err err;
    int valid = 0;
    if (mxio_file_memory((void *)(uintptr_t)data, 0, nbytes, &file, &err)
        != MXIO_OK) {
        abort();
    }
    if (mxio_index_read(file, &index, &err) == MXIO_OK) {
        valid = 1;
        use(index, data, nbytes, HEAD_NBYTES);
        read_all(file, index);
        mxio_index_free(index);
    }
    mxio_file_close(file);
    return valid;
}

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

static uint64_t get_u64(const uint8_t *p) {
    uint64_t x = 0;
    for (int i = 8; i-- > 0;) {
        x = x << 8 | p[i];
    }
    return x;
}

static void put_crc(uint8_t *dst, const uint8_t *p, size_t nbytes) {
    const uint32_t crc = mxio_crc32c(0, p, nbytes);
    for (int i = 0; i < 4; i++) {
        dst[i] = (uint8_t)(crc >> 8 * i);
    }
}

/* Makes the checksums of a native file's slots and indexes right again, so
 * that what was changed reaches the judge. */
static void seal(uint8_t *data, size_t nbytes) {
    for (size_t slot = 0; slot < 4096 && nbytes >= 4096; slot += 2048) {
        uint8_t *index[64], *crc[64];
        size_t size[64];
        uint8_t *named = data + slot + 48, *where = data + slot + 64;
        int n = 0;
        while (n < 64) {
            const uint64_t offset = get_u64(named);
            const uint64_t length = get_u64(named + 8);
            if (offset < 4096 || offset > nbytes || length > nbytes - offset
                || length < 128) {
                break;
            }
            index[n] = data + offset;
            size[n] = (size_t)length;
            crc[n++] = where;
            named = data + offset + 64;
            where = data + offset + 80;
        }
        while (n-- > 0) {
            put_crc(crc[n], index[n], size[n]);
        }
        if (memcmp(data + slot, "\x89MXIO", 5) == 0) {
            put_crc(data + slot + 124, data + slot, 124);
        }
    }
}

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

#ifdef MXIO_LIBFUZZER
enum {
    AS_IT_IS = 1,       /* the input is the file itself                      */
    NOT_SEALED = 2,     /* its checksums are not made right again            */
    OTHER_LENGTH = 4,   /* nor the lengths that the head gives               */
    PREFIX_NBYTES = 8,  /* flags, then zeros: the fields behind stay aligned */
    SLOT_NBYTES = 128
};

static void copy_part(uint8_t *dst, size_t most, const uint8_t **from,
                      size_t *left) {
    const size_t n = *left < most ? *left : most;
    if (n > 0) {
        memcpy(dst, *from, n);
    }
    *from += n;
    *left -= n;
}

/* The input is a file without the zeros of its head, so that changes meet
 * bytes that mean something: a prefix, both slots, what is behind the head. */
static void try_native(const uint8_t *data, size_t nbytes) {
    const uint8_t flags = nbytes > 0 ? data[0] : 0;
    size_t left = nbytes > PREFIX_NBYTES ? nbytes - PREFIX_NBYTES : 0;
    size_t body = left > 2 * SLOT_NBYTES ? left - 2 * SLOT_NBYTES : 0;
    size_t whole = flags & AS_IT_IS ? left : HEAD_NBYTES + body;
    const uint8_t *from = data + (nbytes - left);
    uint8_t *memory = calloc(1, whole + 1); /* its end is watched */
    uint8_t *file;
    if (memory == NULL) {
        abort();
    }
    file = memory + 1;
    if (flags & AS_IT_IS) {
        copy_part(file, whole, &from, &left);
    } else {
        copy_part(file, SLOT_NBYTES, &from, &left);
        copy_part(file + HEAD_NBYTES / 2, SLOT_NBYTES, &from, &left);
        copy_part(file + HEAD_NBYTES, body, &from, &left);
        for (int slot = 0; slot < 2 && !(flags & OTHER_LENGTH); slot++) {
            for (int i = 0; i < 8; i++) {
                /* Zeros where the slot is not in use. */
                uint8_t *at = file + HEAD_NBYTES / 2 * slot;
                at[40 + i]
                    = at[0] == 0 ? 0 : (uint8_t)((uint64_t)whole >> 8 * i);
            }
        }
    }
    if (!(flags & NOT_SEALED)) {
        seal(file, whole);
    }
    (void)judge(file, whole);
    free(memory);
}

static int target; /* the first letter of its name */

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv) {
    const char *name = getenv("MXIO_FUZZ_TARGET");
    (void)argc;
    (void)argv;
    if (name == NULL
        || (strcmp(name, "native") != 0 && strcmp(name, "mxnet") != 0
            && strcmp(name, "safetensors") != 0)) {
        fprintf(stderr, "MXIO_FUZZ_TARGET: native, mxnet or safetensors\n");
        exit(2);
    }
    target = name[0];
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes) {
    if (target == 'n') {
        try_native(data, nbytes);
    } else {
        (void)scan_with(target == 'm' ? mxio_mxnet_scan
                                      : mxio_safetensors_scan,
                        data, nbytes);
    }
    return 0;
}

size_t LLVMFuzzerMutate(uint8_t *data, size_t nbytes, size_t most);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t nbytes, size_t most,
                               unsigned seed);
/* One change in four is one of ours: aligned fields, and limits in them. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t nbytes, size_t most,
                               unsigned seed) {
    size_t changed = nbytes;
    if (nbytes == 0 || seed % 4 != 0) {
        return LLVMFuzzerMutate(data, nbytes, most);
    }
    state = (uint64_t)seed << 20 | 1;
    (void)next_random();
    change(data, &changed);
    return changed > 0 ? changed : nbytes;
}
#else
static int try_all(const uint8_t *data, size_t nbytes) {
    return scan_with(mxio_mxnet_scan, data, nbytes)
           + scan_with(mxio_safetensors_scan, data, nbytes)
           + judge(data, nbytes);
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
            if (next_random() % 2 == 0) {
                seal(data, nbytes);
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
