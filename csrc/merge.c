/* SPDX-License-Identifier: Apache-2.0
 *
 * merge.c - an index and one that adds to it, as one (docs/FORMAT.md 3.10).
 *
 * Both sides have been judged by themselves.  What they say together is put
 * together here, with every sum that depends on both checked, and is then judged
 * like any index.  The parent may itself be one that adds to another: then so is
 * the result.  A chain is folded from its newest index to its oldest, which are the
 * longer ones as a rule, so that most bytes are moved once.
 */
#include "index.h"

#include <stdlib.h>

typedef struct merge {
    const mxio_index *parent, *delta;
    uint64_t *place;       /* of each entry of delta, among the merged ones   */
    uint64_t *source;      /* of each merged entry: its number in parent, or
                              n_parent + its number in delta                  */
    uint64_t n;            /* merged entries                                  */
    uint32_t *dtype_class; /* of parent's rows, then of delta's               */
    uint64_t *row_of_class; /* or MXIO_NOWHERE                                */
    mxio_dtype *dtypes;
    mxio_entry *entries;
    mxio_run *runs;
    uint64_t n_runs, runs_max;
    uint32_t *checksums;
    uint64_t n_checksums, checksums_max;
} merge;

static mxio_status fail_memory(mxio_err *err) {
    FAIL(err, MXIO_NOMEM, MXIO_NOWHERE, MXIO_NOWHERE, "out of memory");
}

/* Zeros, at least one item; NULL if there is no memory. */
static void *table_of(uint64_t n, size_t item) {
    return n >= SIZE_MAX / item ? NULL : calloc((size_t)n + 1, item);
}

static int allocate(merge *m) {
    const counts *p = &m->parent->n, *d = &m->delta->n;
    /* Each term counts things of 4 bytes or more that are present. */
    const uint64_t n = p->n_entries + d->n_entries;
    const uint64_t n_dtypes = p->n_dtypes + d->n_dtypes;
    m->runs_max = p->n_records + d->n_records + n;
    m->checksums_max = p->n_chunks + d->n_chunks;
    return (m->place = table_of(d->n_entries, sizeof *m->place)) != NULL
           && (m->source = table_of(n, sizeof *m->source)) != NULL
           && (m->dtype_class = table_of(n_dtypes, sizeof *m->dtype_class))
                  != NULL
           && (m->row_of_class = table_of(n_dtypes, sizeof *m->row_of_class))
                  != NULL
           && (m->dtypes = table_of(n_dtypes, sizeof *m->dtypes)) != NULL
           && (m->entries = table_of(n, sizeof *m->entries)) != NULL
           && (m->runs = table_of(m->runs_max, sizeof *m->runs)) != NULL
           && (m->checksums = table_of(m->checksums_max, sizeof *m->checksums))
                  != NULL;
}

static void release(merge *m) {
    free(m->place);
    free(m->source);
    free(m->dtype_class);
    free(m->row_of_class);
    free(m->dtypes);
    free(m->entries);
    free(m->runs);
    free(m->checksums);
}

/* ---- which entries ------------------------------------------------------- */

static void place_entries(merge *m) {
    const uint64_t n_parent = m->parent->n.n_entries;
    mxio_entry entry;
    m->n = n_parent;
    for (uint64_t i = 0; i < n_parent; i++) {
        m->source[i] = i;
    }
    for (uint64_t j = 0; j < m->delta->n.n_entries; j++) {
        uint64_t at;
        mxio_index_entry(m->delta, j, &entry);
        at = mxio_index_find(m->parent, entry.name, entry.name_nbytes);
        m->place[j] = at == MXIO_NOWHERE ? m->n++ : at;
        m->source[m->place[j]] = n_parent + j;
    }
}

/* ---- dtypes -------------------------------------------------------------- */

typedef struct row_name {
    mxio_dtype dtype;
    uint64_t row; /* of both tables */
} row_name;

static int row_name_compare(const void *left, const void *right) {
    const row_name *a = left;
    const row_name *b = right;
    return mxio_name_compare(a->dtype.name, a->dtype.name_nbytes,
                             b->dtype.name, b->dtype.name_nbytes);
}

/* Rows of one name are of one class. */
static mxio_status classify_dtypes(merge *m, mxio_err *err) {
    const uint64_t n_parent = m->parent->n.n_dtypes;
    const uint64_t n = n_parent + m->delta->n.n_dtypes;
    row_name *rows = table_of(n, sizeof *rows);
    uint32_t class = 0;
    if (rows == NULL) {
        return fail_memory(err);
    }
    for (uint64_t row = 0; row < n; row++) {
        if (row < n_parent) {
            mxio_index_dtype(m->parent, row, &rows[row].dtype);
        } else {
            mxio_index_dtype(m->delta, row - n_parent, &rows[row].dtype);
        }
        rows[row].row = row;
        m->row_of_class[row] = MXIO_NOWHERE;
    }
    qsort(rows, (size_t)n, sizeof *rows, row_name_compare);
    for (uint64_t k = 0; k < n; k++) {
        if (k > 0 && row_name_compare(&rows[k - 1], &rows[k]) != 0) {
            class++;
        } else if (k > 0
                   && rows[k - 1].dtype.item_bits != rows[k].dtype.item_bits) {
            free(rows);
            FAIL(err, MXIO_CORRUPT, MXIO_NOWHERE, MXIO_NOWHERE,
                 "a dtype has other item_bits in the parent of the index");
        }
        m->dtype_class[rows[k].row] = class;
    }
    free(rows);
    return MXIO_OK;
}

/* The merged row of a row of one side, which gets one when it is first used. */
static uint32_t row_of(merge *m, int of_delta, uint32_t row,
                       uint64_t *n_dtypes) {
    const uint64_t both = row + (of_delta ? m->parent->n.n_dtypes : 0);
    uint64_t *merged = &m->row_of_class[m->dtype_class[both]];
    if (*merged == MXIO_NOWHERE) {
        *merged = *n_dtypes;
        mxio_index_dtype(of_delta ? m->delta : m->parent, row,
                         &m->dtypes[(*n_dtypes)++]);
    }
    return (uint32_t)*merged;
}

/* ---- data ---------------------------------------------------------------- */

/* An entry that is stored, and what it says of its data. */
typedef struct stored {
    const mxio_index *index;
    mxio_entry entry;
    const scattered *one; /* NULL: it lies in one place                       */
    uint64_t kept;        /* bytes                                            */
    uint64_t first_chunk; /* of the data, that its index has a checksum of    */
} stored;

static stored stored_of(const mxio_index *index, uint64_t i) {
    stored s;
    s.index = index;
    mxio_index_entry(index, i, &s.entry);
    if (s.entry.alias_of != MXIO_NOWHERE) {
        i = s.entry.alias_of;
        mxio_index_entry(index, i, &s.entry);
    }
    s.one = mxio_scattered_find(index, i);
    s.kept = kept_nbytes(index, s.one);
    s.first_chunk = s.entry.nbytes == 0 ? 0 : s.kept / s.entry.chunk_nbytes;
    return s;
}

static mxio_status add_run(merge *m, uint64_t entry, uint64_t offset,
                           uint64_t nbytes, mxio_err *err) {
    mxio_run *last = m->n_runs == 0 ? NULL : &m->runs[m->n_runs - 1];
    if (last != NULL && last->entry == entry && last->offset != 0
        && last->offset + last->nbytes == offset) {
        last->nbytes += nbytes;
        return MXIO_OK;
    }
    if (m->n_runs == m->runs_max) { /* more than there are: some overlap */
        FAIL(err, MXIO_CORRUPT, MXIO_NOWHERE, entry, "extents overlap");
    }
    m->runs[m->n_runs].entry = entry;
    m->runs[m->n_runs].offset = offset;
    m->runs[m->n_runs++].nbytes = nbytes;
    return MXIO_OK;
}

/* The bytes [from, to) of what an entry has itself, as runs of a merged one. */
static mxio_status add_runs(merge *m, uint64_t entry, const stored *s,
                            uint64_t from, uint64_t to, mxio_err *err) {
    uint64_t at = 0;
    if (s->one == NULL) {
        return from < to
                   ? add_run(m, entry, s->entry.offset + from, to - from, err)
                   : MXIO_OK;
    }
    for (uint64_t k = 0; k < s->one->n_runs && at < to; k++) {
        const mxio_run *run = &s->index->runs[s->one->first_run + k];
        const uint64_t begin = at < from ? from : at;
        const uint64_t end = min_u64(at + run->nbytes, to);
        if (begin < end && run->offset != 0) {
            TRY(add_run(m, entry, run->offset + (begin - at), end - begin,
                        err));
        }
        at += run->nbytes;
    }
    return MXIO_OK;
}

static mxio_status add_checksums(merge *m, uint64_t entry, const stored *s,
                                 uint64_t from, uint64_t to, mxio_err *err) {
    const uint32_t *all = mxio_index_checksums(s->index);
    if (from >= to) {
        return MXIO_OK;
    }
    if (to - from > m->checksums_max - m->n_checksums) {
        FAIL(err, MXIO_CORRUPT, MXIO_NOWHERE, entry, "extents overlap");
    }
    memcpy(m->checksums + m->n_checksums,
           all + s->entry.first_chunk + (from - s->first_chunk),
           (size_t)(to - from) * sizeof *all);
    m->n_checksums += to - from;
    return MXIO_OK;
}

/* The data of merged entry i: what s has, behind what it keeps of before, which is
 * NULL where the parent has nothing of the name. */
static mxio_status add_data(merge *m, uint64_t i, const stored *s,
                            const stored *before, mxio_err *err) {
    const uint64_t n_chunks = mxio_entry_n_chunks(&s->entry);
    const uint64_t first_run = m->n_runs;
    mxio_entry *out = &m->entries[i];
    uint64_t kept = s->kept;
    out->first_chunk = m->n_checksums;
    if (kept > 0 && before != NULL) {
        kept = min_u64(s->kept, before->kept);
        if (s->kept > before->entry.nbytes
            || (s->first_chunk > 0
                && s->entry.chunk_nbytes != before->entry.chunk_nbytes)) {
            FAIL(err, MXIO_CORRUPT, MXIO_NOWHERE, i,
                 "it keeps what its parent does not have");
        }
    } else if (kept > 0 && !m->parent->is_delta) {
        FAIL(err, MXIO_CORRUPT, MXIO_NOWHERE, i,
             "it keeps what its parent does not have");
    }
    if (kept > 0) {
        TRY(add_run(m, i, 0, kept, err));
    }
    if (before != NULL && s->kept > kept) {
        TRY(add_runs(m, i, before, kept, s->kept, err));
        TRY(add_checksums(m, i, before, before->first_chunk, s->first_chunk,
                          err));
    }
    TRY(add_runs(m, i, s, s->kept, s->entry.nbytes, err));
    TRY(add_checksums(m, i, s, s->first_chunk, n_chunks, err));
    out->offset = 0;
    if (m->n_runs == first_run + 1 && m->runs[first_run].offset != 0) {
        out->offset = m->runs[first_run].offset;
        m->n_runs = first_run;
    }
    return MXIO_OK;
}

/* Merged entry i, which is a second name of one before it. */
static mxio_status add_alias(merge *m, uint64_t i, int of_delta,
                             mxio_err *err) {
    mxio_entry *out = &m->entries[i];
    const uint64_t n_parent = m->parent->n.n_entries;
    const uint64_t first
        = of_delta ? m->place[out->alias_of] : out->alias_of;
    if (first >= i) {
        FAIL(err, MXIO_CORRUPT, MXIO_NOWHERE, i, "bad alias");
    }
    if (!of_delta && m->source[first] >= n_parent) {
        FAIL(err, MXIO_CORRUPT, MXIO_NOWHERE, i,
             "it is a second name of an array that was replaced");
    }
    out->alias_of = first;
    out->offset = m->entries[first].offset;
    out->first_chunk = m->entries[first].first_chunk;
    return MXIO_OK;
}

static mxio_status add_entry(merge *m, uint64_t i, uint64_t *n_dtypes,
                             mxio_err *err) {
    const uint64_t n_parent = m->parent->n.n_entries;
    const int of_delta = m->source[i] >= n_parent;
    const mxio_index *side = of_delta ? m->delta : m->parent;
    const uint64_t number = m->source[i] - (of_delta ? n_parent : 0);
    mxio_entry *out = &m->entries[i];
    stored s, before;
    mxio_index_entry(side, number, out);
    out->dtype = row_of(m, of_delta, out->dtype, n_dtypes);
    if (out->nbytes == 0) {
        return MXIO_OK;
    }
    if (out->alias_of != MXIO_NOWHERE) {
        return add_alias(m, i, of_delta, err);
    }
    s = stored_of(side, number);
    if (of_delta && i < n_parent) {
        before = stored_of(m->parent, i);
        return add_data(m, i, &s, &before, err);
    }
    return add_data(m, i, &s, NULL, err);
}

/* ---- the whole ------------------------------------------------------------ */

static mxio_status encode(const merge *m, uint64_t n_dtypes, uint8_t **out,
                          uint64_t *nbytes, mxio_err *err) {
    mxio_content content = {0};
    mxio_layout layout = {0};
    extent parent;
    mxio_status status;
    content.entries = m->entries;
    content.n_entries = m->n;
    content.dtypes = m->dtypes;
    content.n_dtypes = n_dtypes;
    content.runs = m->runs;
    content.n_runs = m->n_runs;
    content.structure
        = mxio_index_structure(m->delta, &content.structure_nbytes);
    if (content.structure_nbytes == 0) {
        content.structure
            = mxio_index_structure(m->parent, &content.structure_nbytes);
    }
    content.metadata
        = mxio_index_metadata(m->delta, &content.metadata_nbytes);
    if (mxio_index_parent(m->parent, &parent, &content.parent_crc)) {
        content.parent_offset = parent.offset;
        content.parent_nbytes = parent.nbytes;
    }
    layout.n_chunks = m->n_checksums;
    layout.index_nbytes = mxio_index_measure(&content, layout.n_chunks);
    if (layout.index_nbytes == 0
        || (*out = mxio_memory_new(layout.index_nbytes)) == NULL) {
        return fail_memory(err);
    }
    status = mxio_index_encode(&content, &layout, m->checksums, *out, err);
    if (status != MXIO_OK) {
        mxio_memory_free(*out);
        return status;
    }
    *nbytes = layout.index_nbytes;
    return MXIO_OK;
}

mxio_status mxio_index_merge(const mxio_index *parent,
                             const mxio_index *delta, uint8_t **out,
                             uint64_t *nbytes, mxio_err *err) {
    merge m = {0};
    uint64_t n_dtypes = 0;
    mxio_status status;
    m.parent = parent;
    m.delta = delta;
    if (!allocate(&m)) {
        release(&m);
        return fail_memory(err);
    }
    place_entries(&m);
    status = classify_dtypes(&m, err);
    for (uint64_t i = 0; i < m.n && status == MXIO_OK; i++) {
        status = add_entry(&m, i, &n_dtypes, err);
    }
    if (status == MXIO_OK) {
        status = encode(&m, n_dtypes, out, nbytes, err);
    }
    release(&m);
    return status;
}
