/* SPDX-License-Identifier: Apache-2.0
 *
 * internal.h - what every C file here shares: failing in one line, arithmetic
 * that cannot overflow, little-endian bytes, and the cursor, which is the only
 * way to read bytes that nobody has judged yet.
 */
#ifndef MXIO_INTERNAL_H
#define MXIO_INTERNAL_H

#include "mxio.h"

#include <limits.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define MXIO_BIG_ENDIAN 1
#else
#define MXIO_BIG_ENDIAN 0
#endif

/* ---- failing ----------------------------------------------------------- */

/* Fills *err (NULL allowed) and returns status, so that a caller fails in one
 * line.  what is cut to fit. */
mxio_status mxio_fail(mxio_err *err, mxio_status status, int sys_errno,
                      uint64_t offset, uint64_t item, const char *what);

/* A clause for a message, put together without stdio: writes at p, returns
 * where the next one goes.  REQUIRES: it fits. */
char *mxio_put_text(char *p, const char *text);
char *mxio_put_number(char *p, uint64_t x);

#define FAIL(err, status, offset, item, what) \
    return mxio_fail((err), (status), 0, (offset), (item), (what))

#define TRY(call)                      \
    do {                               \
        mxio_status try_ = (call);     \
        if (try_ != MXIO_OK) {         \
            return try_;               \
        }                              \
    } while (0)

/* ---- arithmetic: 0 if the result does not fit ---------------------------- */

static inline int add_u64(uint64_t a, uint64_t b, uint64_t *out) {
    *out = a + b;
    return *out >= a;
}

static inline int mul_u64(uint64_t a, uint64_t b, uint64_t *out) {
    /* Factors below 2^32 are the rule, and need no division. */
    if ((a | b) >> 32 != 0 && a != 0 && b > UINT64_MAX / a) {
        return 0;
    }
    *out = a * b;
    return 1;
}

static inline int align_u64(uint64_t x, uint64_t alignment, uint64_t *out) {
    uint64_t sum;
    if (!add_u64(x, alignment - 1, &sum)) {
        return 0;
    }
    *out = sum - sum % alignment;
    return 1;
}

/* Not a + b - 1: cannot overflow.  REQUIRES: b > 0. */
static inline uint64_t ceil_div_u64(uint64_t a, uint64_t b) {
    return a / b + (a % b != 0);
}

static inline int all_zero(const uint8_t *p, uint64_t nbytes) {
    return nbytes == 0
           || (p[0] == 0 && memcmp(p, p + 1, (size_t)nbytes - 1) == 0);
}

static inline uint64_t min_u64(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

/* ---- little-endian bytes ------------------------------------------------- */

static inline uint16_t load_u16(const uint8_t *p) {
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t load_u32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16
           | (uint32_t)p[3] << 24;
}

static inline uint64_t load_u64(const uint8_t *p) {
    return (uint64_t)load_u32(p) | (uint64_t)load_u32(p + 4) << 32;
}

static inline void store_u16(uint8_t *p, uint16_t x) {
    p[0] = (uint8_t)x;
    p[1] = (uint8_t)(x >> 8);
}

static inline void store_u32(uint8_t *p, uint32_t x) {
    store_u16(p, (uint16_t)x);
    store_u16(p + 2, (uint16_t)(x >> 16));
}

static inline void store_u64(uint8_t *p, uint64_t x) {
    store_u32(p, (uint32_t)x);
    store_u32(p + 4, (uint32_t)(x >> 32));
}

/* ---- the cursor ---------------------------------------------------------- */

/* Invariant: [at, end) are bytes that are present. */
typedef struct cursor {
    const uint8_t *at;
    const uint8_t *end;
} cursor;

/* The next nbytes, or NULL (and nothing consumed) if fewer are present. */
static inline const uint8_t *cursor_take(cursor *c, uint64_t nbytes) {
    const uint8_t *p = c->at;
    if (nbytes > (uint64_t)(c->end - c->at)) {
        return NULL;
    }
    c->at += nbytes;
    return p;
}

/* ---- index.c ------------------------------------------------------------- */

/* As mxio_index_decode, of bytes from mxio_memory_new, which are the index's
 * from now on, or given back.  is_parent: it is only there to be merged, so that
 * where its data lies is not judged. */
mxio_status mxio_index_take(uint8_t *bytes, const mxio_head *head,
                            int is_parent, mxio_index **out, mxio_err *err);
/* Likewise, of nbytes that were merged of the index that head names and the n
 * parents behind it. */
typedef struct extent {
    uint64_t offset, nbytes, alignment;
} extent;
mxio_status mxio_index_take_merged(uint8_t *bytes, uint64_t nbytes,
                                   const mxio_head *head, int is_parent,
                                   const extent *parents, uint64_t n,
                                   mxio_index **out,
                                   mxio_err *err);
/* The extent of the parent that an index names and its crc; 0 if it names none. */
int mxio_index_parent(const mxio_index *index, extent *out, uint32_t *crc);

/* ---- runs.c -------------------------------------------------------------- */

/* Where the data of a file's entries in runs is found: `at` stands for
 * `offset`.  Ascending. */
typedef struct file_run {
    uint64_t at, offset, nbytes;
} file_run;
/* A table of all runs of an index, from malloc; NULL and *n 0 if there is none,
 * NULL and *n above 0: out of memory. */
file_run *mxio_runs_table(const mxio_index *index, uint64_t *n);

/* ---- file.c -------------------------------------------------------------- */

/* The bytes where they lie, if memory stands for the file and holds them; NULL
 * for a real file. */
const uint8_t *mxio_file_peek(const mxio_file *file, uint64_t nbytes,
                              uint64_t offset);
/* Lets mxio_file_get find data in runs; the table, from malloc, is the file's. */
void mxio_file_set_runs(mxio_file *file, file_run *runs, uint64_t n);
/* Starts the disk; a hint. */
void mxio_file_start_writeback(mxio_file *file, uint64_t nbytes,
                               uint64_t offset);

/* ---- cpu.c --------------------------------------------------------------- */

/* What this processor and its operating system let us use. */
enum {
    CPU_SSE42 = 1,        /* x86: crc32 instruction                          */
    CPU_PCLMUL = 2,       /* x86: pclmulqdq                                  */
    CPU_VPCLMUL512 = 4,   /* x86: vpclmulqdq on zmm, with AVX-512 F, BW, VL  */
    CPU_VPCLMUL256 = 8,   /* x86: vpclmulqdq on ymm, with AVX2               */
    CPU_ARM_CRC32 = 16,   /* arm64: crc32c instructions                      */
    CPU_ARM_PMULL = 32    /* arm64: 64-bit polynomial multiply               */
};
unsigned mxio_cpu_features(void);

#endif
