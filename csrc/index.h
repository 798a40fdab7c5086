/* SPDX-License-Identifier: Apache-2.0
 *
 * index.h - an index in memory, shared by the one that judges it (index.c) and
 * the one that answers questions about it (entries.c).
 */
#ifndef MXIO_INDEX_H
#define MXIO_INDEX_H

#include "format.h"

typedef struct extent {
    uint64_t offset, nbytes, alignment;
} extent;

struct mxio_index {
    mxio_head head;
    counts n;
    sections s;
    uint8_t *bytes;      /* the index; dims and checksums in host order     */
    extent *extents;     /* the index itself and all stored entries, sorted;
                            NULL where they lie in the order of the entries,
                            the index in front                              */
    uint64_t n_extents;
    uint64_t n_aliases;
    uint64_t *dtype_names; /* where in the strings each dtype's name begins */
    int foreign;         /* of a foreign file: head and checksums are empty,
                            extents lie as they come                        */
    uint64_t *table;     /* foreign: numbers of entries by hash of their
                            names, + 1; 0 is free.  Instead of by_name      */
    uint64_t table_mask;
    uint64_t *stored;    /* stored_nbytes of each entry, where they differ
                            from nbytes; else NULL                          */
};

static inline const uint8_t *entry_bytes(const mxio_index *index, uint64_t i) {
    return index->bytes + index->s.offset[ENTRIES] + MXIO_ENTRY_NBYTES * i;
}

static inline const char *name_of(const mxio_index *index, uint64_t i) {
    return (const char *)index->bytes + index->s.offset[STRINGS]
           + load_u64(entry_bytes(index, i) + 48);
}

static inline const uint64_t *dims_of(const mxio_index *index) {
    return (const uint64_t *)(const void *)(index->bytes
                                            + index->s.offset[DIMS]);
}

static inline uint64_t name_hash(const char *name, uint64_t nbytes) {
    uint64_t h = nbytes;
    while (nbytes >= 8) {
        uint64_t word;
        memcpy(&word, name, sizeof word);
        h = (h ^ word) * 0x9e3779b97f4a7c15u;
        h ^= h >> 32;
        name += 8;
        nbytes -= 8;
    }
    for (; nbytes > 0; nbytes--) {
        h = (h ^ (uint8_t)*name++) * 0x9e3779b97f4a7c15u;
    }
    return h ^ h >> 29;
}

/* Makes and judges the index of a foreign file.  n: of what entry_at gives and
 * of content, of which only dtypes, structure and metadata are looked at. */
mxio_status mxio_index_adopt(const mxio_content *content, const counts *n,
                             mxio_entry_at *entry_at, const void *context,
                             const uint64_t *stored_nbytes,
                             uint64_t file_nbytes, mxio_index **out,
                             mxio_err *err);
/* Fills in what a scanner does not know. */
void mxio_foreign_entry(mxio_entry *entry);

/* In file terms, for messages. */
static inline uint64_t at_section(const mxio_index *index, int section,
                           uint64_t relative) {
    return index->head.index_offset + index->s.offset[section] + relative;
}

#endif
