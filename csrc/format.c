/* SPDX-License-Identifier: Apache-2.0
 *
 * format.c - docs/FORMAT.md, written: where everything goes, and the bytes of
 * head and index.  Memory to memory: no files, no threads, no globals.
 * index.c judges what this file writes, as it judges everybody's.
 */
#include "format.h"

#include <stdlib.h>

const uint8_t mxio_magic[8] = {0x89, 'M', 'X', 'I', 'O', '\r', '\n', 0x1a};

mxio_status mxio_fail(mxio_err *err, mxio_status status, int sys_errno,
                      uint64_t offset, uint64_t item, const char *what) {
    if (err != NULL) {
        size_t i = 0;
        err->status = status;
        err->sys_errno = sys_errno;
        err->offset = offset;
        err->item = item;
        while (what[i] != '\0' && i + 1 < sizeof err->what) {
            err->what[i] = what[i];
            i++;
        }
        err->what[i] = '\0';
    }
    return status;
}

/* ---- sections ------------------------------------------------------------- */

int mxio_sections_plan(const counts *n, sections *out) {
    const uint64_t count[N_SECTIONS] = {
        n->n_entries, n->n_entries,      n->n_dtypes,
        n->n_dims,    n->n_records,      n->strings_nbytes,
        n->structure_nbytes, n->metadata_nbytes, n->n_chunks};
    static const uint64_t unit[N_SECTIONS] = {
        MXIO_ENTRY_NBYTES, 8, MXIO_DTYPE_NBYTES, 8, MXIO_RECORD_NBYTES, 1, 1, 1, 4};
    uint64_t at = MXIO_HEADER_NBYTES;
    for (int s = 0; s < N_SECTIONS; s++) {
        if (!align_u64(at, 8, &at) || !mul_u64(count[s], unit[s],
                                               &out->nbytes[s])) {
            return 0;
        }
        out->offset[s] = at;
        if (!add_u64(at, out->nbytes[s], &at)) {
            return 0;
        }
    }
    out->end = at;
    return 1;
}

int mxio_array_nbytes(const uint64_t *shape, uint8_t ndim,
                        uint64_t item_bits, uint64_t *out) {
    uint64_t items = 1;
    uint64_t room = ceil_div_u64(item_bits, 8); /* zero dims left aside */
    for (uint8_t i = 0; i < ndim; i++) {
        if (shape[i] == 0) {
            items = 0;
        } else if (!mul_u64(room, shape[i], &room)) {
            return 0;
        } else {
            items *= shape[i]; /* no larger than room */
        }
    }
    if (room > INT64_MAX) {
        return 0;
    }
    /* items * item_bits may exceed 64 bits though its bytes do not. */
    if (item_bits % 8 == 0) {
        *out = items * (item_bits / 8);
    } else {
        uint64_t bits;
        if (!mul_u64(items, item_bits, &bits)) {
            return 0;
        }
        *out = ceil_div_u64(bits, 8);
    }
    return 1;
}

/* ---- clauses ------------------------------------------------------------- */

char *mxio_put_text(char *p, const char *text) {
    size_t n = strlen(text);
    memcpy(p, text, n + 1);
    return p + n;
}

char *mxio_put_number(char *p, uint64_t x) {
    char digits[20];
    size_t n = 0;
    do {
        digits[n++] = (char)('0' + x % 10);
        x /= 10;
    } while (x > 0);
    while (n > 0) {
        *p++ = digits[--n];
    }
    *p = '\0';
    return p;
}

/* ---- names --------------------------------------------------------------- */

/* Length of the valid UTF-8 character at p (not NUL), 0 if there is none. */
static uint64_t utf8_step(const uint8_t *p, uint64_t left) {
    uint32_t c = p[0];
    uint64_t n;
    uint32_t lowest;
    if (c < 0x80) {
        return c != 0;
    }
    if (c >= 0xc2 && c < 0xe0) {
        n = 2, lowest = 0x80, c &= 0x1f;
    } else if (c >= 0xe0 && c < 0xf0) {
        n = 3, lowest = 0x800, c &= 0x0f;
    } else if (c >= 0xf0 && c < 0xf5) {
        n = 4, lowest = 0x10000, c &= 0x07;
    } else {
        return 0;
    }
    if (n > left) {
        return 0;
    }
    for (uint64_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
        c = c << 6 | (p[i] & 0x3fu);
    }
    return c >= lowest && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff) ? n : 0;
}

/* Whether eight bytes are ASCII without NUL: no high bit, and none of them
 * borrows when 1 is taken from it. */
static int plain_word(const uint8_t *p) {
    uint64_t x;
    memcpy(&x, p, sizeof x);
    return ((x | (x - 0x0101010101010101u)) & 0x8080808080808080u) == 0;
}

int mxio_name_is_valid(const uint8_t *name, uint64_t nbytes) {
    uint64_t i = 0;
    while (nbytes - i >= 8 && plain_word(name + i)) {
        i += 8;
    }
    while (i < nbytes) {
        uint64_t n = utf8_step(name + i, nbytes - i);
        if (n == 0) {
            return 0;
        }
        i += n;
    }
    return 1;
}

int mxio_name_compare(const void *a, uint64_t a_nbytes, const void *b,
                        uint64_t b_nbytes) {
    uint64_t n = min_u64(a_nbytes, b_nbytes);
    int order = n == 0 ? 0 : memcmp(a, b, (size_t)n);
    if (order == 0) {
        order = (a_nbytes > b_nbytes) - (a_nbytes < b_nbytes);
    }
    return order;
}

/* A name to be sorted.  Eight of its bytes ride along, so that most comparisons
 * touch no other memory. */
typedef struct sort_key {
    uint64_t word; /* bytes [8 * depth, + 8), big-endian, zeros behind the end */
    const char *name;
    uint64_t entry;
    uint64_t nbytes;
} sort_key;

/* Levels of eight bytes that are compared by their words; names that are equal
 * so far, which is rare, are then compared whole. */
enum { SORT_DEPTH_MAX = 32, SORT_FEW = 24 };

static uint64_t word_of(const sort_key *key, unsigned depth) {
    const uint64_t at = 8 * (uint64_t)depth;
    const uint64_t end = min_u64(at + 8, key->nbytes);
    uint64_t word = 0;
    for (uint64_t k = at; k < end; k++) {
        word = word << 8 | (uint8_t)key->name[k];
    }
    return at < end ? word << 8 * (at + 8 - end) : 0;
}

static int whole_compare(const void *left, const void *right) {
    const sort_key *a = left;
    const sort_key *b = right;
    return mxio_name_compare(a->name, a->nbytes, b->name, b->nbytes);
}

static void sort_few(sort_key *keys, uint64_t n) {
    for (uint64_t i = 1; i < n; i++) {
        const sort_key key = keys[i];
        uint64_t k = i;
        for (; k > 0 && keys[k - 1].word > key.word; k--) {
            keys[k] = keys[k - 1];
        }
        keys[k] = key;
    }
}

/* Sorts by word: by each of its bytes that differ, the last one first.  spare
 * has room for as many. */
static void sort_words(sort_key *keys, uint64_t n, sort_key *spare) {
    uint64_t differ = 0;
    sort_key *from = keys, *to = spare;
    if (n <= SORT_FEW) {
        sort_few(keys, n);
        return;
    }
    for (uint64_t i = 1; i < n; i++) {
        differ |= keys[i].word ^ keys[0].word;
    }
    for (unsigned shift = 0; shift < 64; shift += 8) {
        uint64_t begin[256] = {0};
        uint64_t at = 0;
        sort_key *other = from;
        if ((differ >> shift & 0xff) == 0) {
            continue;
        }
        for (uint64_t i = 0; i < n; i++) {
            begin[from[i].word >> shift & 0xff]++;
        }
        for (unsigned byte = 0; byte < 256; byte++) {
            const uint64_t count = begin[byte];
            begin[byte] = at;
            at += count;
        }
        for (uint64_t i = 0; i < n; i++) {
            to[begin[from[i].word >> shift & 0xff]++] = from[i];
        }
        from = to;
        to = other;
    }
    if (from != keys) {
        memcpy(keys, from, (size_t)n * sizeof *keys);
    }
}

/* Sorts n names that are equal up to 8 * depth bytes.  No name holds a NUL, so
 * the zeros behind an end sort it first, and equal words that hold one are
 * equal names. */
static void sort_names(sort_key *keys, uint64_t n, unsigned depth,
                       sort_key *spare) {
    if (n < 2) {
        return;
    }
    if (depth == SORT_DEPTH_MAX) {
        qsort(keys, (size_t)n, sizeof *keys, whole_compare);
        return;
    }
    for (uint64_t i = 0; i < n; i++) {
        keys[i].word = word_of(&keys[i], depth);
    }
    sort_words(keys, n, spare);
    for (uint64_t i = 0; i < n;) {
        uint64_t end = i + 1;
        while (end < n && keys[end].word == keys[i].word) {
            end++;
        }
        if ((keys[i].word & 0xff) != 0) {
            sort_names(keys + i, end - i, depth + 1, spare);
        }
        i = end;
    }
}

/* Checks the names and writes the section by_name. */
static mxio_status names_encode(const mxio_content *content, uint8_t *dst,
                                mxio_err *err) {
    uint64_t n = content->n_entries;
    sort_key *keys; /* and as many to sort them */
    int sorted = 1;
    if (n == 0) {
        return MXIO_OK;
    }
    if (n > SIZE_MAX / 2 / sizeof *keys
        || (keys = malloc(2 * (size_t)n * sizeof *keys)) == NULL) {
        FAIL(err, MXIO_NOMEM, MXIO_NOWHERE, MXIO_NOWHERE, "out of memory");
    }
    for (uint64_t i = 0; i < n; i++) {
        const mxio_entry *entry = &content->entries[i];
        if (!mxio_name_is_valid((const uint8_t *)entry->name,
                           entry->name_nbytes)) {
            free(keys);
            FAIL(err, MXIO_INVALID, MXIO_NOWHERE, i,
                 "a name is not UTF-8 without NUL");
        }
        keys[i].name = entry->name;
        keys[i].nbytes = entry->name_nbytes;
        keys[i].entry = i;
        sorted = sorted
                 && (i == 0 || whole_compare(&keys[i - 1], &keys[i]) < 0);
    }
    if (!sorted) {
        sort_names(keys, n, 0, keys + n);
    }
    for (uint64_t i = 0; i < n; i++) {
        if (i > 0 && keys[i - 1].nbytes == keys[i].nbytes
            && whole_compare(&keys[i - 1], &keys[i]) == 0) {
            uint64_t later = keys[i - 1].entry > keys[i].entry
                                 ? keys[i - 1].entry : keys[i].entry;
            free(keys);
            FAIL(err, MXIO_INVALID, MXIO_NOWHERE, later,
                 "a name stands twice");
        }
        store_u64(dst + 8 * i, keys[i].entry);
    }
    free(keys);
    return MXIO_OK;
}

/* ---- planning ------------------------------------------------------------ */

uint64_t mxio_entry_n_chunks(const mxio_entry *entry) {
    if (entry->nbytes <= entry->chunk_nbytes) { /* which most are; no division */
        return entry->nbytes != 0;
    }
    return ceil_div_u64(entry->nbytes, entry->chunk_nbytes);
}

/* Whole slices of the slowest axis where they fit (FORMAT.md 3.2). */
static uint64_t chunk_nbytes_of(const mxio_entry *entry) {
    uint64_t slice = entry->nbytes;
    if (entry->ndim > 0) {
        uint64_t slowest = entry->order == MXIO_ORDER_F
                               ? entry->shape[entry->ndim - 1]
                               : entry->shape[0];
        slice = ceil_div_u64(entry->nbytes, slowest);
    }
    if (slice > MXIO_CHUNK_NBYTES) {
        return MXIO_CHUNK_NBYTES;
    }
    return min_u64(entry->nbytes, MXIO_CHUNK_NBYTES / slice * slice);
}

static int same_array(const mxio_entry *a, const mxio_entry *b) {
    return a->nbytes == b->nbytes && a->dtype == b->dtype
           && a->ndim == b->ndim && a->order == b->order
           && (a->ndim == 0
               || memcmp(a->shape, b->shape, a->ndim * sizeof *a->shape)
                      == 0);
}

/* How an index is encoded whose entries lie as they lie. */
static void entry_of_content(const void *context, uint64_t i,
                             mxio_entry *out) {
    *out = ((const mxio_content *)context)->entries[i];
}

counts mxio_content_counts(const mxio_content *content, uint64_t n_chunks) {
    counts n = {0};
    n.n_entries = content->n_entries;
    n.n_dtypes = content->n_dtypes;
    n.n_records = content->n_runs;
    n.n_chunks = n_chunks;
    n.structure_nbytes = content->structure_nbytes;
    n.metadata_nbytes = content->metadata_nbytes;
    for (uint64_t i = 0; i < content->n_entries; i++) {
        n.n_dims += content->entries[i].ndim;
        n.strings_nbytes += content->entries[i].name_nbytes;
    }
    for (uint64_t i = 0; i < content->n_dtypes; i++) {
        n.strings_nbytes += content->dtypes[i].name_nbytes;
    }
    return n;
}

static mxio_status entry_check(const mxio_content *content, uint64_t i,
                               mxio_err *err) {
    const mxio_entry *entry = &content->entries[i];
    uint64_t nbytes;
    if (entry->ndim > MXIO_MAX_NDIM || entry->dtype >= content->n_dtypes
        || entry->order > MXIO_ORDER_F
        || (entry->order == MXIO_ORDER_F && entry->ndim < 2)) {
        FAIL(err, MXIO_INVALID, MXIO_NOWHERE, i, "an entry is malformed");
    }
    if (!mxio_array_nbytes(entry->shape, entry->ndim,
                      content->dtypes[entry->dtype].item_bits, &nbytes)
        || nbytes != entry->nbytes) {
        FAIL(err, MXIO_INVALID, MXIO_NOWHERE, i,
             "nbytes contradicts shape and dtype");
    }
    if (entry->alias_of != MXIO_NOWHERE
        && (entry->alias_of >= i || entry->nbytes == 0
            || content->entries[entry->alias_of].alias_of != MXIO_NOWHERE
            || !same_array(entry, &content->entries[entry->alias_of]))) {
        FAIL(err, MXIO_INVALID, MXIO_NOWHERE, i,
             "an alias contradicts its entry");
    }
    return MXIO_OK;
}

mxio_status mxio_layout_plan(mxio_content *content, uint64_t begin,
                             mxio_layout *out, mxio_err *err) {
    mxio_layout layout = {0};
    sections s;
    counts n;
    uint64_t at;
    for (uint64_t i = 0; i < content->n_entries; i++) {
        mxio_entry *entry = &content->entries[i];
        TRY(entry_check(content, i, err));
        entry->chunk_nbytes = 0;
        entry->first_chunk = 0;
        if (entry->nbytes == 0) {
            continue;
        }
        if (entry->alias_of != MXIO_NOWHERE) {
            const mxio_entry *first = &content->entries[entry->alias_of];
            entry->chunk_nbytes = first->chunk_nbytes;
            entry->first_chunk = first->first_chunk;
            continue;
        }
        entry->chunk_nbytes = chunk_nbytes_of(entry);
        entry->first_chunk = layout.n_chunks;
        layout.n_chunks += mxio_entry_n_chunks(entry); /* < 2^48 each */
    }
    n = mxio_content_counts(content, layout.n_chunks);
    layout.index_offset = MXIO_HEAD_NBYTES;
    if (!mxio_sections_plan(&n, &s)) {
        FAIL(err, MXIO_UNSUPPORTED, MXIO_NOWHERE, MXIO_NOWHERE,
             "the file would exceed 2^63 bytes");
    }
    layout.index_nbytes = s.end;
    at = begin != 0 ? begin : layout.index_offset + layout.index_nbytes;
    for (uint64_t i = 0; i < content->n_entries; i++) {
        mxio_entry *entry = &content->entries[i];
        if (entry->nbytes == 0) {
            entry->offset = 0;
        } else if (entry->alias_of != MXIO_NOWHERE) {
            entry->offset = content->entries[entry->alias_of].offset;
        } else if (!align_u64(at, alignment_of(entry->nbytes), &at)
                   || at > FILE_NBYTES_MAX
                   || entry->nbytes > FILE_NBYTES_MAX - at) {
            FAIL(err, MXIO_UNSUPPORTED, MXIO_NOWHERE, i,
                 "the file would exceed 2^63 bytes");
        } else {
            entry->offset = at;
            at += entry->nbytes;
        }
    }
    layout.file_nbytes = at;
    if (begin != 0) {
        layout.index_offset = layout.index_nbytes = 0;
    }
    *out = layout;
    return MXIO_OK;
}

/* ---- encoding ------------------------------------------------------------ */

uint64_t mxio_index_measure(const mxio_content *content, uint64_t n_chunks) {
    const counts n = mxio_content_counts(content, n_chunks);
    sections s;
    return mxio_sections_plan(&n, &s) && s.end <= FILE_NBYTES_MAX ? s.end : 0;
}

mxio_status mxio_index_encode(const mxio_content *content,
                              const mxio_layout *layout,
                              const uint32_t *checksums, uint8_t *dst,
                              mxio_err *err) {
    const counts n = mxio_content_counts(content, layout->n_chunks);
    sections s;
    if (!mxio_sections_plan(&n, &s) || s.end != layout->index_nbytes) {
        FAIL(err, MXIO_INVALID, MXIO_NOWHERE, MXIO_NOWHERE,
             "the layout is not this content's");
    }
    mxio_sections_encode(content, &n, &s, entry_of_content, content, dst);
    for (uint64_t i = 0; i < n.n_chunks; i++) {
        store_u32(dst + s.offset[CHECKSUMS] + 4 * i, checksums[i]);
    }
    return names_encode(content, dst + s.offset[BY_NAME], err);
}

void mxio_sections_encode(const mxio_content *content, const counts *counted,
                          const sections *at, mxio_entry_at *entry_at,
                          const void *context, uint8_t *dst) {
    const counts n = *counted;
    const sections s = *at;
    uint8_t *strings, *p;
    uint64_t first_dim = 0, name_offset = 0;
    mxio_entry item;
    const mxio_entry *entry = &item;
    memset(dst, 0, (size_t)s.offset[CHECKSUMS]);
    store_u64(dst + 0, n.n_entries);
    store_u64(dst + 8, n.n_dtypes);
    store_u64(dst + 16, n.n_dims);
    store_u64(dst + 24, n.n_records);
    store_u64(dst + 32, n.n_chunks);
    store_u64(dst + 40, n.strings_nbytes);
    store_u64(dst + 48, n.structure_nbytes);
    store_u64(dst + 56, n.metadata_nbytes);
    store_u64(dst + 64, content->parent_offset);
    store_u64(dst + 72, content->parent_nbytes);
    store_u32(dst + 80, content->parent_crc);

    strings = dst + s.offset[STRINGS];
    for (uint64_t i = 0; i < n.n_entries; i++) {
        uint64_t alias;
        entry_at(context, i, &item);
        alias = entry->alias_of == MXIO_NOWHERE ? 0 : entry->alias_of + 1;
        p = dst + s.offset[ENTRIES] + MXIO_ENTRY_NBYTES * i;
        store_u64(p + 0, entry->offset);
        store_u64(p + 8, entry->nbytes);
        store_u64(p + 16, entry->chunk_nbytes);
        store_u64(p + 24, entry->first_chunk);
        store_u64(p + 32, alias);
        store_u64(p + 40, first_dim);
        store_u64(p + 48, name_offset);
        store_u32(p + 56, entry->dtype);
        store_u16(p + 60, entry->name_nbytes);
        p[62] = entry->ndim;
        p[63] = entry->order;
        for (uint8_t k = 0; k < entry->ndim; k++) {
            store_u64(dst + s.offset[DIMS] + 8 * (first_dim + k),
                      entry->shape[k]);
        }
        if (entry->name_nbytes > 0) {
            memcpy(strings + name_offset, entry->name, entry->name_nbytes);
        }
        first_dim += entry->ndim;
        name_offset += entry->name_nbytes;
    }
    for (uint64_t i = 0; i < content->n_dtypes; i++) {
        const mxio_dtype *dtype = &content->dtypes[i];
        p = dst + s.offset[DTYPES] + MXIO_DTYPE_NBYTES * i;
        store_u64(p, dtype->item_bits);
        store_u32(p + 8, dtype->name_nbytes);
        memcpy(strings + name_offset, dtype->name, dtype->name_nbytes);
        name_offset += dtype->name_nbytes;
    }
    for (uint64_t i = 0; i < content->n_runs; i++) {
        p = dst + s.offset[RECORDS] + MXIO_RECORD_NBYTES * i;
        store_u64(p, content->runs[i].entry);
        store_u64(p + 8, content->runs[i].offset);
        store_u64(p + 16, content->runs[i].nbytes);
    }
    if (n.structure_nbytes > 0) {
        memcpy(dst + s.offset[STRUCTURE], content->structure,
               (size_t)n.structure_nbytes);
    }
    if (n.metadata_nbytes > 0) {
        memcpy(dst + s.offset[METADATA], content->metadata,
               (size_t)n.metadata_nbytes);
    }
}

void mxio_slot_encode(const mxio_head *head, uint8_t *dst) {
    memset(dst, 0, MXIO_SLOT_NBYTES);
    memcpy(dst, mxio_magic, sizeof mxio_magic);
    store_u32(dst + 8, MXIO_VERSION);
    store_u64(dst + 16, head->required);
    store_u64(dst + 24, head->optional);
    store_u64(dst + 32, head->generation);
    store_u64(dst + 40, head->file_nbytes);
    store_u64(dst + 48, head->index_offset);
    store_u64(dst + 56, head->index_nbytes);
    store_u32(dst + 64, head->index_crc);
    store_u32(dst + 124, mxio_crc32c(0, dst, 124));
}

void mxio_head_encode(const mxio_head *head, uint8_t *dst) {
    memset(dst, 0, MXIO_HEAD_NBYTES);
    mxio_slot_encode(head, dst);
}
