/* SPDX-License-Identifier: Apache-2.0
 *
 * index.h - an index in memory, shared by the one that judges it (index.c) and
 * the one that answers questions about it (entries.c).
 */
#ifndef MXIO_INDEX_H
#define MXIO_INDEX_H

#include "format.h"

typedef struct scattered { /* an entry whose data lies in runs             */
    uint64_t entry;
    uint64_t first_run, n_runs;
    uint64_t offset;       /* where mxio_file_get finds it; 0 in a delta    */
} scattered;

struct mxio_index {
    mxio_head head;
    uint64_t nbytes;     /* of bytes: head.index_nbytes unless merged       */
    int is_merged;       /* of a chain                                      */
    int is_delta;        /* names a parent, and says what it adds           */
    int is_parent;       /* is named by another one                         */
    extent *chain;       /* the indexes behind the one the head names       */
    uint64_t n_chain;
    mxio_run *runs;      /* n.n_records of them, in host order              */
    scattered *scattered; /* in the order of their entries                  */
    uint64_t n_scattered;
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

/* Bytes that an entry of a delta keeps of what its parent has.  one: NULL for an
 * entry that is not scattered. */
static inline uint64_t kept_nbytes(const mxio_index *index,
                                   const scattered *one) {
    return one != NULL && index->runs[one->first_run].offset == 0
               ? index->runs[one->first_run].nbytes : 0;
}

/* In file terms, for messages; what is merged lies nowhere. */
static inline uint64_t at_section(const mxio_index *index, int section,
                           uint64_t relative) {
    return index->head.index_offset
           + (index->is_merged ? 0 : index->s.offset[section] + relative);
}

/* ---- runs.c -------------------------------------------------------------- */

/* Judges the runs of entry i, a stored one with offset 0, of which *run is the
 * first record, and moves *run behind them. */
mxio_status mxio_runs_check(mxio_index *index, uint64_t i,
                            const mxio_entry *entry, uint64_t *run,
                            mxio_err *err);
/* NULL: its data lies in one place. */
const scattered *mxio_scattered_find(const mxio_index *index, uint64_t i);
/* Gives each entry in runs a place behind every file where it is found. */
mxio_status mxio_runs_place(mxio_index *index, mxio_err *err);

#endif
