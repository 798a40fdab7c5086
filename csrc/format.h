/* SPDX-License-Identifier: Apache-2.0
 *
 * format.h - what writing (format.c) and judging (index.c) an index share: the
 * sizes of docs/FORMAT.md, where its sections lie, what makes a name valid.
 * Everything here is on disk and never changes.
 */
#ifndef MXIO_FORMAT_H
#define MXIO_FORMAT_H

#include "internal.h"

enum {
    MXIO_SLOT_1_OFFSET = 2048,
    MXIO_HEADER_NBYTES = 128,
    MXIO_ENTRY_NBYTES = 64,
    MXIO_DTYPE_NBYTES = 16,
    MXIO_RECORD_NBYTES = 32,
    MXIO_SMALL_ALIGNMENT = 64,
    MXIO_PAGE_ALIGNMENT = 4096,
    MXIO_PAGE_THRESHOLD = 65536,
    MXIO_DTYPE_NAME_NBYTES_MAX = 255,
    MXIO_CHAIN_MAX = 64 /* indexes of one file */
};

/* A file's length stays below this, so that offsets fit off_t. */
static const uint64_t FILE_NBYTES_MAX = INT64_MAX;

extern const uint8_t mxio_magic[8];

enum {
    ENTRIES,
    BY_NAME,
    DTYPES,
    DIMS,
    RECORDS,
    STRINGS,
    STRUCTURE,
    METADATA,
    CHECKSUMS,
    N_SECTIONS
};

typedef struct counts {
    uint64_t n_entries, n_dtypes, n_dims, n_records, n_chunks;
    uint64_t strings_nbytes, structure_nbytes, metadata_nbytes;
} counts;

typedef struct sections {
    uint64_t offset[N_SECTIONS]; /* from the start of the index */
    uint64_t nbytes[N_SECTIONS];
    uint64_t end;
} sections;

static inline uint64_t alignment_of(uint64_t nbytes) {
    return nbytes >= MXIO_PAGE_THRESHOLD ? MXIO_PAGE_ALIGNMENT
                                         : MXIO_SMALL_ALIGNMENT;
}

/* What an index of this content counts. */
counts mxio_content_counts(const mxio_content *content, uint64_t n_chunks);

/* Where the sections of an index with these counts lie; 0 if the sum
 * overflows. */
int mxio_sections_plan(const counts *n, sections *out);

/* The nbytes that shape and item_bits call for; 0 if they overflow. */
int mxio_array_nbytes(const uint64_t *shape, uint8_t ndim,
                      uint64_t item_bits, uint64_t *out);

/* Fills in entry i. */
typedef void mxio_entry_at(const void *context, uint64_t i, mxio_entry *out);

/* Writes all sections but by_name and checksums; of content only what is not
 * its entries is looked at. */
void mxio_sections_encode(const mxio_content *content, const counts *counted,
                          const sections *at, mxio_entry_at *entry_at,
                          const void *context, uint8_t *dst);

/* UTF-8 without NUL. */
int mxio_name_is_valid(const uint8_t *name, uint64_t nbytes);

/* As memcmp; a name that is the beginning of another comes first. */
int mxio_name_compare(const void *a, uint64_t a_nbytes, const void *b,
                      uint64_t b_nbytes);

#endif
