/* SPDX-License-Identifier: Apache-2.0
 *
 * entries.c - answers to questions about an index that has been judged.
 */
#include "index.h"

/* ---- asking an index ----------------------------------------------------- */

const mxio_head *mxio_index_head(const mxio_index *index) {
    return &index->head;
}

uint64_t mxio_index_count(const mxio_index *index) {
    return index->n.n_entries;
}

uint64_t mxio_index_nbytes(const mxio_index *index) {
    return index->nbytes;
}

uint64_t mxio_index_n_aliases(const mxio_index *index) {
    return index->n_aliases;
}

uint64_t mxio_index_n_dtypes(const mxio_index *index) {
    return index->n.n_dtypes;
}

uint64_t mxio_index_n_chain(const mxio_index *index) {
    return index->n_chain + 1;
}

int mxio_index_has_runs(const mxio_index *index) {
    return index->n_scattered > 0;
}

uint64_t mxio_index_n_extents(const mxio_index *index) {
    return index->n_extents;
}

void mxio_index_entry(const mxio_index *index, uint64_t i, mxio_entry *out) {
    const uint8_t *p = entry_bytes(index, i);
    uint64_t alias = load_u64(p + 32);
    out->offset = load_u64(p);
    out->nbytes = load_u64(p + 8);
    out->chunk_nbytes = load_u64(p + 16);
    out->first_chunk = load_u64(p + 24);
    out->alias_of = alias == 0 ? MXIO_NOWHERE : alias - 1;
    out->stored_nbytes = index->stored == NULL ? out->nbytes
                                               : index->stored[i];
    out->shape = dims_of(index) + load_u64(p + 40);
    out->name = name_of(index, i);
    out->dtype = load_u32(p + 56);
    out->name_nbytes = load_u16(p + 60);
    out->ndim = p[62];
    out->order = p[63];
    if (out->offset == 0 && index->n_scattered > 0) {
        const scattered *one
            = mxio_scattered_find(index, alias == 0 ? i : alias - 1);
        out->offset = one == NULL ? 0 : one->offset;
    }
}

void mxio_index_dtype(const mxio_index *index, uint64_t row,
                      mxio_dtype *out) {
    const uint8_t *rows = index->bytes + index->s.offset[DTYPES];
    out->item_bits = load_u64(rows + MXIO_DTYPE_NBYTES * row);
    out->name_nbytes = load_u32(rows + MXIO_DTYPE_NBYTES * row + 8);
    out->name = (const char *)index->bytes + index->s.offset[STRINGS]
                + index->dtype_names[row];
}

static uint64_t find_in_table(const mxio_index *index, const char *name,
                              size_t name_nbytes) {
    uint64_t at = name_hash(name, name_nbytes) & index->table_mask;
    for (; index->table[at] != 0; at = (at + 1) & index->table_mask) {
        mxio_entry entry;
        mxio_index_entry(index, index->table[at] - 1, &entry);
        if (mxio_name_compare(name, name_nbytes, entry.name,
                              entry.name_nbytes) == 0) {
            return index->table[at] - 1;
        }
    }
    return MXIO_NOWHERE;
}

uint64_t mxio_index_find(const mxio_index *index, const char *name,
                         size_t name_nbytes) {
    const uint8_t *by_name = index->bytes + index->s.offset[BY_NAME];
    uint64_t low = 0, high = index->n.n_entries;
    mxio_entry entry;
    if (index->foreign) {
        return find_in_table(index, name, name_nbytes);
    }
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        uint64_t number = load_u64(by_name + 8 * middle);
        int order;
        mxio_index_entry(index, number, &entry);
        order = mxio_name_compare(name, name_nbytes, entry.name,
                             entry.name_nbytes);
        if (order == 0) {
            return number;
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return MXIO_NOWHERE;
}

const uint32_t *mxio_index_checksums(const mxio_index *index) {
    if (index->foreign) {
        return NULL;
    }
    return (const uint32_t *)(const void *)(index->bytes
                                            + index->s.offset[CHECKSUMS]);
}

const char *mxio_index_structure(const mxio_index *index, uint64_t *nbytes) {
    *nbytes = index->n.structure_nbytes;
    return (const char *)index->bytes + index->s.offset[STRUCTURE];
}

const char *mxio_index_metadata(const mxio_index *index, uint64_t *nbytes) {
    *nbytes = index->n.metadata_nbytes;
    return (const char *)index->bytes + index->s.offset[METADATA];
}

void mxio_entry_segment(const mxio_index *index, const mxio_entry *entry,
                        void *mem, mxio_segment *out) {
    out->mem = mem;
    out->strided = NULL;
    out->nbytes = entry->nbytes;
    out->offset = entry->offset;
    out->chunk_nbytes = entry->chunk_nbytes;
    out->checksums = NULL;
    if (index->foreign) {
        return;
    }
    /* The engine only compares when it reads; the cast cannot be avoided while
     * one struct serves both directions. */
    out->checksums = (uint32_t *)(void *)(index->bytes
                                          + index->s.offset[CHECKSUMS])
                     + entry->first_chunk;
}

/* What lies between *end and the next extent, if anything, as a segment. */
static uint64_t gap_before(uint64_t offset, uint64_t nbytes, uint64_t *end,
                           mxio_segment *out) {
    const uint64_t gap = offset - *end;
    if (gap > 0) {
        memset(out, 0, sizeof *out);
        out->offset = *end;
        out->nbytes = gap;
        out->chunk_nbytes = gap;
    }
    *end = offset + nbytes;
    return gap > 0;
}

uint64_t mxio_index_padding(const mxio_index *index, mxio_segment *out) {
    uint64_t end = MXIO_HEAD_NBYTES, n = 0;
    mxio_entry entry;
    if (index->foreign || (index->head.required & MXIO_FEATURE_APPENDING)) {
        return 0;
    }
    if (index->extents != NULL) {
        for (uint64_t i = 0; i < index->n_extents; i++) {
            n += gap_before(index->extents[i].offset,
                            index->extents[i].nbytes, &end, &out[n]);
        }
        return n;
    }
    n = gap_before(index->head.index_offset, index->head.index_nbytes, &end,
                   out);
    for (uint64_t i = 0; i < index->n.n_entries; i++) {
        mxio_index_entry(index, i, &entry);
        if (entry.nbytes > 0 && entry.alias_of == MXIO_NOWHERE) {
            n += gap_before(entry.offset, entry.stored_nbytes, &end, &out[n]);
        }
    }
    return n;
}
