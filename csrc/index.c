/* SPDX-License-Identifier: Apache-2.0
 *
 * index.c - docs/FORMAT.md, judged: the one place that decides whether an index
 * is valid, as head.c does of a head.  An index that a scanner made of a foreign file passes the
 * same judge; only what belongs to mxio's own layout is not asked of it.
 *
 * An index is kept as the bytes it came in, checked once, with the numbers that
 * C hands out by address (dims, checksums) turned to host order in place.
 * Nothing is allocated for an entry: mxio_index_entry reads its 64 bytes when
 * it is asked, so a million entries open as fast as their bytes are checked.
 */
#include "index.h"

#include <stdlib.h>

/* ---- judging an index ---------------------------------------------------- */

void mxio_index_free(mxio_index *index) {
    if (index != NULL) {
        mxio_memory_free(index->bytes);
        free(index->extents);
        free(index->dtype_names);
        free(index->stored);
        free(index->table);
        free(index->chain);
        free(index->runs);
        free(index->scattered);
        free(index);
    }
}

/* dims and checksums are handed out by address, so they must be the host's. */
static void to_host_order(mxio_index *index) {
    if (MXIO_BIG_ENDIAN) {
        uint8_t *p = index->bytes + index->s.offset[DIMS];
        for (uint64_t i = 0; i < index->n.n_dims; i++) {
            uint64_t x = load_u64(p + 8 * i);
            memcpy(p + 8 * i, &x, sizeof x);
        }
        p = index->bytes + index->s.offset[CHECKSUMS];
        for (uint64_t i = 0; i < index->n.n_chunks; i++) {
            uint32_t x = load_u32(p + 4 * i);
            memcpy(p + 4 * i, &x, sizeof x);
        }
    }
}

static mxio_status check_header(mxio_index *index, mxio_err *err) {
    cursor c = {index->bytes, index->bytes + index->nbytes};
    const uint8_t *p = cursor_take(&c, MXIO_HEADER_NBYTES);
    uint64_t where = index->head.index_offset;
    uint64_t at = MXIO_HEADER_NBYTES;
    if (p == NULL) {
        FAIL(err, MXIO_CORRUPT, where, MXIO_NOWHERE,
             "the index is shorter than its header");
    }
    index->n.n_entries = load_u64(p);
    index->n.n_dtypes = load_u64(p + 8);
    index->n.n_dims = load_u64(p + 16);
    index->n.n_records = load_u64(p + 24);
    index->n.n_chunks = load_u64(p + 32);
    index->n.strings_nbytes = load_u64(p + 40);
    index->n.structure_nbytes = load_u64(p + 48);
    index->n.metadata_nbytes = load_u64(p + 56);
    index->is_delta = load_u64(p + 64) != 0;
    if ((index->n.n_records != 0
         && !(index->head.required & MXIO_FEATURE_RUNS))
        || (index->is_delta && !(index->head.required & MXIO_FEATURE_DELTA))
        || (!index->is_delta && !all_zero(p + 72, 12))
        || !all_zero(p + 84, MXIO_HEADER_NBYTES - 84)) {
        FAIL(err, MXIO_CORRUPT, where + 64, MXIO_NOWHERE,
             "reserved bytes of the index are not zero");
    }
    if (index->is_delta) {
        const uint64_t offset = load_u64(p + 64), nbytes = load_u64(p + 72);
        if (offset % MXIO_SMALL_ALIGNMENT != 0 || offset < MXIO_HEAD_NBYTES
            || nbytes < MXIO_HEADER_NBYTES || offset > where
            || nbytes > where - offset) {
            FAIL(err, MXIO_CORRUPT, where + 64, MXIO_NOWHERE,
                 "the parent of the index does not lie before it");
        }
    }
    if (!mxio_sections_plan(&index->n, &index->s)
        || index->s.end != index->nbytes) {
        FAIL(err, MXIO_CORRUPT, where, MXIO_NOWHERE,
             "the sections of the index do not add up to its length");
    }
    for (int s = 0; s < N_SECTIONS; s++) {
        const uint8_t *gap = cursor_take(&c, index->s.offset[s] - at);
        const uint8_t *section = cursor_take(&c, index->s.nbytes[s]);
        if (gap == NULL || section == NULL
            || !all_zero(gap, index->s.offset[s] - at)) {
            FAIL(err, MXIO_CORRUPT, where + at, MXIO_NOWHERE,
                 "padding of the index is not zero");
        }
        at = index->s.offset[s] + index->s.nbytes[s];
    }
    return MXIO_OK;
}

/* Entry i, given the sums over the entries before it. */
typedef struct sums {
    uint64_t first_dim, name_offset, first_chunk, n_dtypes, run;
    uint64_t end; /* of the extent before                                    */
    int in_order; /* so far the extents tile the file as they come           */
} sums;

/* An alias has its entry's bytes 0 to 31 and 56 to 63, less name_nbytes. */
static int alias_is_sound(const mxio_index *index, uint64_t i) {
    const uint8_t *p = entry_bytes(index, i);
    uint64_t first = load_u64(p + 32) - 1;
    const uint8_t *q;
    if (first >= i) {
        return 0;
    }
    q = entry_bytes(index, first);
    return load_u64(q + 32) == 0 && load_u64(q + 8) != 0
           && memcmp(p, q, 32) == 0 && memcmp(p + 56, q + 56, 4) == 0
           && p[62] == q[62] && p[63] == q[63]
           && memcmp(dims_of(index) + load_u64(p + 40),
                     dims_of(index) + load_u64(q + 40),
                     p[62] * sizeof(uint64_t))
                  == 0;
}

static int may_have_gaps(const mxio_index *index) {
    return index->foreign
           || (index->head.required & MXIO_FEATURE_APPENDING) != 0;
}

static extent extent_of(const mxio_index *index, const mxio_entry *entry) {
    extent e;
    e.offset = entry->offset;
    e.nbytes = entry->stored_nbytes;
    e.alignment = index->foreign ? 1
                  : may_have_gaps(index) ? MXIO_SMALL_ALIGNMENT
                                         : alignment_of(entry->nbytes);
    return e;
}

int mxio_index_parent(const mxio_index *index, extent *out, uint32_t *crc) {
    if (index->is_delta) {
        out->offset = load_u64(index->bytes + 64);
        out->nbytes = load_u64(index->bytes + 72);
        out->alignment = MXIO_SMALL_ALIGNMENT;
        *crc = load_u32(index->bytes + 80);
    }
    return index->is_delta;
}

static extent extent_of_index(const mxio_index *index) {
    extent e;
    e.offset = index->head.index_offset;
    e.nbytes = index->head.index_nbytes;
    e.alignment = MXIO_SMALL_ALIGNMENT;
    return e;
}

/* Whether an extent is where one may follow that ends at *end: aligned, no
 * overlap, and no byte in between but padding, unless the file has given-up
 * space. */
static int tile(const mxio_index *index, const extent *e, uint64_t *end) {
    uint64_t aligned;
    if (!align_u64(*end, e->alignment, &aligned)
        || e->offset % e->alignment != 0
        || (may_have_gaps(index) ? e->offset < aligned
                                 : e->offset != aligned)) {
        return 0;
    }
    *end = e->offset + e->nbytes;
    return 1;
}

static mxio_status check_entry(mxio_index *index, uint64_t i, sums *sum,
                               mxio_err *err) {
    const uint8_t *p = entry_bytes(index, i);
    const uint64_t where = at_section(index, ENTRIES, MXIO_ENTRY_NBYTES * i);
    uint64_t end, nbytes, dtype = load_u32(p + 56);
    mxio_entry entry;
    if (p[62] > MXIO_MAX_NDIM || load_u64(p + 40) != sum->first_dim
        || index->n.n_dims - sum->first_dim < p[62]) {
        FAIL(err, MXIO_CORRUPT, where + 40, i, "bad dims");
    }
    if (load_u64(p + 48) != sum->name_offset
        || index->n.strings_nbytes - sum->name_offset < load_u16(p + 60)) {
        FAIL(err, MXIO_CORRUPT, where + 48, i, "bad name");
    }
    if (dtype > sum->n_dtypes || dtype >= index->n.n_dtypes) {
        FAIL(err, MXIO_CORRUPT, where + 56, i, "bad dtype");
    }
    sum->n_dtypes += dtype == sum->n_dtypes;
    if (p[63] > MXIO_ORDER_F || (p[63] == MXIO_ORDER_F && p[62] < 2)) {
        FAIL(err, MXIO_CORRUPT, where + 63, i, "bad order");
    }
    mxio_index_entry(index, i, &entry);
    if (!mxio_name_is_valid((const uint8_t *)entry.name, entry.name_nbytes)) {
        FAIL(err, MXIO_CORRUPT, at_section(index, STRINGS, sum->name_offset),
             i, "a name is not UTF-8 without NUL");
    }
    if (!mxio_array_nbytes(entry.shape, entry.ndim,
                      load_u64(index->bytes + index->s.offset[DTYPES]
                               + MXIO_DTYPE_NBYTES * dtype),
                      &nbytes)
        || nbytes != entry.nbytes) {
        FAIL(err, MXIO_CORRUPT, where + 8, i,
             "nbytes contradicts shape and dtype");
    }
    sum->first_dim += entry.ndim;
    sum->name_offset += entry.name_nbytes;
    if (entry.nbytes == 0) {
        if (entry.offset != 0 || entry.chunk_nbytes != 0
            || entry.first_chunk != 0 || load_u64(p + 32) != 0) {
            FAIL(err, MXIO_CORRUPT, where, i, "bad empty array");
        }
        return MXIO_OK;
    }
    if (entry.chunk_nbytes == 0 || entry.chunk_nbytes > entry.nbytes) {
        FAIL(err, MXIO_CORRUPT, where + 16, i, "bad chunk_nbytes");
    }
    if (load_u64(p + 32) != 0) {
        if (!alias_is_sound(index, i)) {
            FAIL(err, MXIO_CORRUPT, where + 32, i, "bad alias");
        }
        index->n_aliases++;
        return MXIO_OK;
    }
    if (!index->foreign) {
        const int in_runs = entry.offset == 0;
        uint64_t n_chunks = mxio_entry_n_chunks(&entry);
        if (in_runs) {
            TRY(mxio_runs_check(index, i, &entry, &sum->run, err));
            n_chunks -= kept_nbytes(index, mxio_scattered_find(index, i))
                        / entry.chunk_nbytes;
        }
        if (entry.first_chunk != sum->first_chunk
            || n_chunks > index->n.n_chunks - sum->first_chunk) {
            FAIL(err, MXIO_CORRUPT, where + 24, i, "bad chunks");
        }
        sum->first_chunk += n_chunks;
        if (in_runs) {
            sum->in_order = 0;
            return MXIO_OK;
        }
    }
    if (!add_u64(entry.offset, entry.stored_nbytes, &end)
        || end > index->head.file_nbytes) {
        FAIL(err, MXIO_CORRUPT, where, i, "it does not lie in the file");
    }
    index->n_extents++;
    if (sum->in_order) {
        const extent e = extent_of(index, &entry);
        sum->in_order = tile(index, &e, &sum->end);
    }
    return MXIO_OK;
}

typedef struct dtype_name {
    const uint8_t *name;
    uint64_t nbytes;
} dtype_name;

static int dtype_name_compare(const void *left, const void *right) {
    const dtype_name *a = left;
    const dtype_name *b = right;
    return mxio_name_compare(a->name, a->nbytes, b->name, b->nbytes);
}

/* REQUIRES: the rows have been checked one by one. */
static mxio_status check_dtype_names(const mxio_index *index,
                                     mxio_err *err) {
    uint64_t n = index->n.n_dtypes;
    dtype_name *names;
    mxio_dtype dtype;
    int unique = 1;
    if (n < 2) {
        return MXIO_OK;
    }
    names = malloc((size_t)n * sizeof *names); /* as many as rows */
    if (names == NULL) {
        FAIL(err, MXIO_NOMEM, MXIO_NOWHERE, MXIO_NOWHERE, "out of memory");
    }
    for (uint64_t row = 0; row < n; row++) {
        mxio_index_dtype(index, row, &dtype);
        names[row].name = (const uint8_t *)dtype.name;
        names[row].nbytes = dtype.name_nbytes;
    }
    qsort(names, (size_t)n, sizeof *names, dtype_name_compare);
    for (uint64_t row = 1; row < n && unique; row++) {
        unique = dtype_name_compare(&names[row - 1], &names[row]) != 0;
    }
    free(names);
    if (!unique) {
        FAIL(err, MXIO_CORRUPT, at_section(index, DTYPES, 0), MXIO_NOWHERE,
             "a dtype has two rows");
    }
    return MXIO_OK;
}

static mxio_status check_dtypes(mxio_index *index, uint64_t names_nbytes,
                                mxio_err *err) {
    uint64_t at = names_nbytes;
    uint64_t n = index->n.n_dtypes + 1; /* rows are present, 16 bytes each */
    index->dtype_names = malloc((size_t)n * sizeof *index->dtype_names);
    if (index->dtype_names == NULL) {
        FAIL(err, MXIO_NOMEM, MXIO_NOWHERE, MXIO_NOWHERE, "out of memory");
    }
    for (uint64_t row = 0; row < index->n.n_dtypes; row++) {
        uint64_t relative = MXIO_DTYPE_NBYTES * row;
        const uint8_t *p
            = index->bytes + index->s.offset[DTYPES] + relative;
        uint32_t nbytes = load_u32(p + 8);
        if (nbytes == 0 || nbytes > MXIO_DTYPE_NAME_NBYTES_MAX
            || load_u32(p + 12) != 0
            || nbytes > index->n.strings_nbytes - at
            || !mxio_name_is_valid(index->bytes + index->s.offset[STRINGS] + at,
                              nbytes)) {
            FAIL(err, MXIO_CORRUPT, at_section(index, DTYPES, relative),
                 MXIO_NOWHERE, "bad row of dtypes");
        }
        index->dtype_names[row] = at;
        at += nbytes;
    }
    if (at != index->n.strings_nbytes) {
        FAIL(err, MXIO_CORRUPT, at_section(index, STRINGS, at), MXIO_NOWHERE,
             "the strings do not add up");
    }
    return check_dtype_names(index, err);
}

/* How far ahead of the entry that is looked at its successors are asked for:
 * names in order are all over a large index, and waiting for each would be most
 * of the time. */
enum { ENTRY_AHEAD = 16, NAME_AHEAD = 8 };

static void fetch_ahead(const mxio_index *index, const uint8_t *by_name,
                        uint64_t i) {
#if defined(__GNUC__)
    const uint64_t n = index->n.n_entries;
    uint64_t number;
    if (n - i > ENTRY_AHEAD) {
        number = load_u64(by_name + 8 * (i + ENTRY_AHEAD));
        if (number < n) {
            __builtin_prefetch(entry_bytes(index, number));
        }
    }
    if (n - i > NAME_AHEAD) {
        number = load_u64(by_name + 8 * (i + NAME_AHEAD));
        if (number < n) {
            __builtin_prefetch(name_of(index, number));
        }
    }
#else
    (void)index;
    (void)by_name;
    (void)i;
#endif
}

/* Strictly ascending names over n numbers below n: a permutation, and names
 * that are unique. */
static mxio_status check_by_name(const mxio_index *index, mxio_err *err) {
    const uint8_t *p = index->bytes + index->s.offset[BY_NAME];
    const char *before = NULL;
    uint64_t before_nbytes = 0;
    for (uint64_t i = 0; i < index->n.n_entries; i++) {
        const uint64_t number = load_u64(p + 8 * i);
        const char *name;
        uint64_t nbytes;
        if (number >= index->n.n_entries) {
            FAIL(err, MXIO_CORRUPT, at_section(index, BY_NAME, 8 * i),
                 MXIO_NOWHERE, "bad number in by_name");
        }
        fetch_ahead(index, p, i);
        name = name_of(index, number);
        nbytes = load_u16(entry_bytes(index, number) + 60);
        if (i > 0 && mxio_name_compare(before, before_nbytes, name, nbytes) >= 0) {
            FAIL(err, MXIO_CORRUPT, at_section(index, BY_NAME, 8 * i),
                 number, "names are not in order or stand twice");
        }
        before = name;
        before_nbytes = nbytes;
    }
    return MXIO_OK;
}

/* Each name once.  An enemy may choose names whose hashes meet: it is found
 * out after more steps in all than honest names, which take about one each,
 * ever need. */
enum { TABLE_STEPS_EACH = 16, TABLE_STEPS_FREE = 4096 };

static mxio_status fill_table(mxio_index *index, mxio_err *err) {
    const uint64_t steps_max
        = TABLE_STEPS_EACH * index->n.n_entries + TABLE_STEPS_FREE;
    uint64_t n_slots = 16, steps = 0;
    mxio_entry entry, other;
    while (n_slots < 2 * index->n.n_entries) {
        n_slots *= 2;
    }
    if (n_slots > SIZE_MAX / sizeof *index->table
        || (index->table = calloc((size_t)n_slots, sizeof *index->table))
               == NULL) {
        FAIL(err, MXIO_NOMEM, MXIO_NOWHERE, MXIO_NOWHERE, "out of memory");
    }
    index->table_mask = n_slots - 1;
    for (uint64_t i = 0; i < index->n.n_entries; i++) {
        uint64_t at;
        mxio_index_entry(index, i, &entry);
        at = name_hash(entry.name, entry.name_nbytes) & index->table_mask;
        while (index->table[at] != 0) {
            mxio_index_entry(index, index->table[at] - 1, &other);
            if (mxio_name_compare(entry.name, entry.name_nbytes, other.name,
                                  other.name_nbytes) == 0) {
                FAIL(err, MXIO_CORRUPT, MXIO_NOWHERE, i,
                     "a name stands twice");
            }
            if (++steps > steps_max) {
                FAIL(err, MXIO_CORRUPT, MXIO_NOWHERE, i,
                     "its names are made to be slow to tell apart");
            }
            at = (at + 1) & index->table_mask;
        }
        index->table[at] = i + 1;
    }
    return MXIO_OK;
}

static int extent_compare(const void *left, const void *right) {
    const extent *a = left;
    const extent *b = right;
    return (a->offset > b->offset) - (a->offset < b->offset);
}

/* Where a file's extents begin: behind the head, of a foreign one at once. */
static uint64_t extents_begin(const mxio_index *index) {
    return index->foreign ? 0 : MXIO_HEAD_NBYTES;
}

/* Extents that do not tile the file as they come may do so once sorted. */
static mxio_status sort_extents(mxio_index *index, mxio_err *err) {
    const size_t n = (size_t)index->n_extents + 1; /* of things present */
    uint64_t k = 0;
    mxio_entry entry;
    if (n > SIZE_MAX / sizeof *index->extents
        || (index->extents = malloc(n * sizeof *index->extents)) == NULL) {
        FAIL(err, MXIO_NOMEM, MXIO_NOWHERE, MXIO_NOWHERE, "out of memory");
    }
    if (!index->foreign) {
        index->extents[k++] = extent_of_index(index);
    }
    for (uint64_t i = 0; i < index->n_chain; i++) {
        index->extents[k++] = index->chain[i];
    }
    for (uint64_t i = 0; i < index->n.n_entries; i++) {
        mxio_index_entry(index, i, &entry);
        if (entry.nbytes > 0 && entry.alias_of == MXIO_NOWHERE
            && (entry.offset != 0 || index->foreign)) {
            index->extents[k++] = extent_of(index, &entry);
        }
    }
    for (uint64_t i = 0; i < index->n.n_records; i++) {
        index->extents[k].offset = index->runs[i].offset;
        index->extents[k].nbytes = index->runs[i].nbytes;
        index->extents[k++].alignment
            = may_have_gaps(index) ? 1 : alignment_of(index->runs[i].nbytes);
    }
    qsort(index->extents, (size_t)k, sizeof *index->extents, extent_compare);
    return MXIO_OK;
}

/* The extents tile the file, in whatever order. */
static mxio_status check_tiling(mxio_index *index, const sums *sum,
                                mxio_err *err) {
    uint64_t end = sum->end;
    if (!sum->in_order) {
        TRY(sort_extents(index, err));
        end = extents_begin(index);
        for (uint64_t i = 0; i < index->n_extents; i++) {
            if (!tile(index, &index->extents[i], &end)) {
                FAIL(err, MXIO_CORRUPT, index->extents[i].offset,
                     MXIO_NOWHERE, "extents overlap, or leave a gap");
            }
        }
    }
    if (may_have_gaps(index) ? end > index->head.file_nbytes
                             : end != index->head.file_nbytes) {
        FAIL(err, MXIO_CORRUPT, end, MXIO_NOWHERE,
             "the extents do not end where the file does");
    }
    return MXIO_OK;
}

static mxio_status check_index(mxio_index *index, mxio_err *err) {
    sums sum = {0};
    TRY(check_header(index, err));
    to_host_order(index);
    sum.end = extents_begin(index);
    sum.in_order = 1;
    if (!index->foreign) {
        const extent e = extent_of_index(index);
        sum.in_order = tile(index, &e, &sum.end) && index->n_chain == 0;
        index->n_extents = 1 + index->n_chain + index->n.n_records;
    }
    for (uint64_t i = 0; i < index->n.n_entries; i++) {
        TRY(check_entry(index, i, &sum, err));
    }
    if (sum.first_dim != index->n.n_dims
        || sum.first_chunk != index->n.n_chunks
        || sum.run != index->n.n_records || sum.n_dtypes != index->n.n_dtypes) {
        FAIL(err, MXIO_CORRUPT, index->head.index_offset, MXIO_NOWHERE,
             "the entries do not use all dims, chunks, runs and dtypes");
    }
    TRY(check_dtypes(index, sum.name_offset, err));
    TRY(index->foreign ? fill_table(index, err) : check_by_name(index, err));
    if (index->is_delta || index->is_parent) { /* judged when it is merged */
        return MXIO_OK;
    }
    TRY(check_tiling(index, &sum, err));
    return mxio_runs_place(index, err);
}

/* REQUIRES: the crc of the bytes has been compared, where there is one. */
static mxio_status judge(uint8_t *bytes, uint64_t nbytes,
                         const mxio_head *head, int is_parent,
                         const extent *parents, uint64_t n, mxio_index **out,
                         mxio_err *err) {
    mxio_index *index = calloc(1, sizeof *index);
    mxio_status status;
    if (index == NULL
        || (n > 0
            && (index->chain = malloc((size_t)n * sizeof *index->chain))
                   == NULL)) {
        free(index);
        mxio_memory_free(bytes);
        FAIL(err, MXIO_NOMEM, MXIO_NOWHERE, MXIO_NOWHERE, "out of memory");
    }
    index->bytes = bytes;
    index->nbytes = nbytes;
    index->head = *head;
    index->n_chain = n;
    index->is_merged = n > 0;
    index->is_parent = is_parent;
    if (n > 0) {
        memcpy(index->chain, parents, (size_t)n * sizeof *parents);
    }
    status = check_index(index, err);
    if (status != MXIO_OK) {
        mxio_index_free(index);
        return status;
    }
    *out = index;
    return MXIO_OK;
}

mxio_status mxio_index_take(uint8_t *bytes, const mxio_head *head,
                            int is_parent, mxio_index **out, mxio_err *err) {
    if (mxio_crc32c(0, bytes, (size_t)head->index_nbytes) != head->index_crc) {
        mxio_memory_free(bytes);
        FAIL(err, MXIO_CHECKSUM, head->index_offset, MXIO_NOWHERE,
             "checksum mismatch in the index");
    }
    return judge(bytes, head->index_nbytes, head, is_parent, NULL, 0, out,
                 err);
}

mxio_status mxio_index_take_merged(uint8_t *bytes, uint64_t nbytes,
                                   const mxio_head *head, int is_parent,
                                   const extent *parents, uint64_t n,
                                   mxio_index **out, mxio_err *err) {
    return judge(bytes, nbytes, head, is_parent, parents, n, out, err);
}

mxio_status mxio_index_decode(const uint8_t *src, const mxio_head *head,
                              mxio_index **out, mxio_err *err) {
    uint8_t *bytes = mxio_memory_new(head->index_nbytes);
    if (bytes == NULL) {
        FAIL(err, MXIO_NOMEM, MXIO_NOWHERE, MXIO_NOWHERE, "out of memory");
    }
    memcpy(bytes, src, (size_t)head->index_nbytes);
    return mxio_index_take(bytes, head, 0, out, err);
}

mxio_status mxio_index_check(const uint8_t *src, const mxio_head *head,
                             mxio_err *err) {
    mxio_index index = {0};
    mxio_status status;
    if (MXIO_BIG_ENDIAN) { /* judging changes the bytes */
        mxio_index *judged = NULL;
        status = mxio_index_decode(src, head, &judged, err);
        mxio_index_free(judged);
        return status;
    }
    if (mxio_crc32c(0, src, (size_t)head->index_nbytes) != head->index_crc) {
        FAIL(err, MXIO_CHECKSUM, head->index_offset, MXIO_NOWHERE,
             "checksum mismatch in the index");
    }
    index.bytes = (uint8_t *)(uintptr_t)src; /* and nothing writes to it */
    index.nbytes = head->index_nbytes;
    index.head = *head;
    status = check_index(&index, err);
    free(index.extents);
    free(index.dtype_names);
    free(index.runs);
    free(index.scattered);
    return status;
}

/* ---- foreign files ------------------------------------------------------- */

/* What is read at least, in bytes, where no checksum calls for more. */
enum { FOREIGN_CHUNK_NBYTES = 4096 };

void mxio_foreign_entry(mxio_entry *entry) {
    entry->alias_of = MXIO_NOWHERE;
    entry->first_chunk = 0;
    entry->chunk_nbytes = min_u64(entry->nbytes, FOREIGN_CHUNK_NBYTES);
    if (entry->nbytes == 0) {
        entry->offset = 0;
    }
}

mxio_status mxio_index_adopt(const mxio_content *content, const counts *n,
                             mxio_entry_at *entry_at, const void *context,
                             const uint64_t *stored_nbytes,
                             uint64_t file_nbytes, mxio_index **out,
                             mxio_err *err) {
    mxio_index *index = calloc(1, sizeof *index);
    const size_t n_stored = stored_nbytes == NULL ? 0 : (size_t)n->n_entries;
    mxio_entry entry;
    mxio_status status;
    if (index == NULL || !mxio_sections_plan(n, &index->s)
        || index->s.end > SIZE_MAX
        || n->n_entries > SIZE_MAX / sizeof *index->stored - 1
        || (index->bytes = mxio_memory_new(index->s.end)) == NULL
        || (n_stored > 0
            && (index->stored = malloc(n_stored * sizeof *index->stored))
                   == NULL)) {
        mxio_index_free(index);
        FAIL(err, MXIO_NOMEM, MXIO_NOWHERE, MXIO_NOWHERE, "out of memory");
    }
    index->foreign = 1;
    index->head.file_nbytes = file_nbytes;
    index->head.index_nbytes = index->nbytes = index->s.end;
    if (n_stored > 0) {
        memcpy(index->stored, stored_nbytes,
               n_stored * sizeof *index->stored);
    }
    mxio_sections_encode(content, n, &index->s, entry_at, context,
                         index->bytes);
    status = check_index(index, err);
    if (status != MXIO_OK) {
        mxio_index_free(index);
        if (err != NULL && err->item < n->n_entries) {
            entry_at(context, err->item, &entry);
            err->offset = entry.offset; /* no place in the index is one */
        }
        return status;
    }
    *out = index;
    return MXIO_OK;
}

static void entry_of_foreign(const void *context, uint64_t i,
                             mxio_entry *out) {
    *out = ((const mxio_content *)context)->entries[i];
    mxio_foreign_entry(out);
}

mxio_status mxio_index_foreign(const mxio_content *content,
                               const uint64_t *stored_nbytes,
                               uint64_t file_nbytes, mxio_index **out,
                               mxio_err *err) {
    const counts n = mxio_content_counts(content, 0);
    return mxio_index_adopt(content, &n, entry_of_foreign, content,
                            stored_nbytes, file_nbytes, out, err);
}
