/* SPDX-License-Identifier: Apache-2.0
 *
 * format.c - docs/FORMAT.md in C: where everything goes, how it is written, and
 * the one function that decides whether it is valid.  Memory to memory: no
 * files, no threads, no globals.
 *
 * An index is kept as the bytes it came in, checked once, with the numbers that
 * C hands out by address (dims, checksums) turned to host order in place.
 * Nothing is allocated for an entry: mxio_index_entry reads its 64 bytes when
 * it is asked, so a million entries open as fast as their bytes are checked.
 */
#include "internal.h"

#include <stdlib.h>

static const uint8_t MAGIC[8] = {0x89, 'M', 'X', 'I', 'O', '\r', '\n', 0x1a};

/* The sizes below are on disk and never change. */
enum {
    SLOT_NBYTES = 128,
    SLOT_1_OFFSET = 2048,
    HEADER_NBYTES = 128,
    ENTRY_NBYTES = 64,
    DTYPE_NBYTES = 16,
    RECORD_NBYTES = 32,
    SMALL_ALIGNMENT = 64,
    PAGE_ALIGNMENT = 4096,
    PAGE_THRESHOLD = 65536,
    MAX_DTYPE_NAME_NBYTES = 255
};

static const uint64_t FILE_NBYTES_MAX = INT64_MAX;

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

static int all_zero(const uint8_t *p, uint64_t nbytes) {
    for (uint64_t i = 0; i < nbytes; i++) {
        if (p[i] != 0) {
            return 0;
        }
    }
    return 1;
}

static uint64_t alignment_of(uint64_t nbytes) {
    return nbytes >= PAGE_THRESHOLD ? PAGE_ALIGNMENT : SMALL_ALIGNMENT;
}

/* ---- sections of an index ------------------------------------------------ */

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

/* 0 if the sum overflows. */
static int sections_plan(const counts *n, sections *out) {
    const uint64_t count[N_SECTIONS] = {
        n->n_entries, n->n_entries,      n->n_dtypes,
        n->n_dims,    n->n_records,      n->strings_nbytes,
        n->structure_nbytes, n->metadata_nbytes, n->n_chunks};
    static const uint64_t unit[N_SECTIONS] = {
        ENTRY_NBYTES, 8, DTYPE_NBYTES, 8, RECORD_NBYTES, 1, 1, 1, 4};
    uint64_t at = HEADER_NBYTES;
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

/* The nbytes that shape and item_bits call for; 0 if they overflow. */
static int array_nbytes(const uint64_t *shape, uint8_t ndim,
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

static int name_is_valid(const uint8_t *name, uint64_t nbytes) {
    uint64_t i = 0;
    while (i < nbytes) {
        uint64_t n = utf8_step(name + i, nbytes - i);
        if (n == 0) {
            return 0;
        }
        i += n;
    }
    return 1;
}

static int name_compare(const void *a, uint64_t a_nbytes, const void *b,
                        uint64_t b_nbytes) {
    uint64_t n = min_u64(a_nbytes, b_nbytes);
    int order = n == 0 ? 0 : memcmp(a, b, (size_t)n);
    if (order == 0) {
        order = (a_nbytes > b_nbytes) - (a_nbytes < b_nbytes);
    }
    return order;
}

/* A name to be sorted.  Its first bytes ride along, so that most comparisons
 * touch no other memory. */
typedef struct sort_key {
    uint64_t prefix; /* first 8 bytes, big-endian, zeros behind the end */
    const char *name;
    uint64_t entry;
    uint64_t nbytes;
} sort_key;

static int sort_key_compare(const void *left, const void *right) {
    const sort_key *a = left;
    const sort_key *b = right;
    if (a->prefix != b->prefix) {
        return a->prefix < b->prefix ? -1 : 1;
    }
    return name_compare(a->name, a->nbytes, b->name, b->nbytes);
}

static void sort_key_fill(const mxio_entry *entry, uint64_t i,
                          sort_key *out) {
    out->prefix = 0;
    for (unsigned k = 0; k < 8; k++) {
        uint8_t byte = k < entry->name_nbytes ? (uint8_t)entry->name[k] : 0;
        out->prefix = out->prefix << 8 | byte;
    }
    out->name = entry->name;
    out->nbytes = entry->name_nbytes;
    out->entry = i;
}

/* Checks the names and writes the section by_name. */
static mxio_status names_encode(const mxio_content *content, uint8_t *dst,
                                mxio_err *err) {
    uint64_t n = content->n_entries;
    sort_key *keys;
    int sorted = 1;
    if (n == 0) {
        return MXIO_OK;
    }
    if (n > SIZE_MAX / sizeof *keys
        || (keys = malloc((size_t)n * sizeof *keys)) == NULL) {
        FAIL(err, MXIO_NOMEM, MXIO_NOWHERE, MXIO_NOWHERE, "out of memory");
    }
    for (uint64_t i = 0; i < n; i++) {
        const mxio_entry *entry = &content->entries[i];
        if (!name_is_valid((const uint8_t *)entry->name,
                           entry->name_nbytes)) {
            free(keys);
            FAIL(err, MXIO_INVALID, MXIO_NOWHERE, i,
                 "a name is not UTF-8 without NUL");
        }
        sort_key_fill(entry, i, &keys[i]);
        sorted = sorted
                 && (i == 0 || sort_key_compare(&keys[i - 1], &keys[i]) < 0);
    }
    if (!sorted) {
        qsort(keys, (size_t)n, sizeof *keys, sort_key_compare);
    }
    for (uint64_t i = 0; i < n; i++) {
        if (i > 0 && sort_key_compare(&keys[i - 1], &keys[i]) == 0) {
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
    return entry->nbytes == 0
               ? 0 : ceil_div_u64(entry->nbytes, entry->chunk_nbytes);
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

static counts content_counts(const mxio_content *content,
                             uint64_t n_chunks) {
    counts n = {0};
    n.n_entries = content->n_entries;
    n.n_dtypes = content->n_dtypes;
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
    if (!array_nbytes(entry->shape, entry->ndim,
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

mxio_status mxio_layout_plan(mxio_content *content, mxio_layout *out,
                             mxio_err *err) {
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
    n = content_counts(content, layout.n_chunks);
    layout.index_offset = MXIO_HEAD_NBYTES;
    if (!sections_plan(&n, &s)) {
        FAIL(err, MXIO_UNSUPPORTED, MXIO_NOWHERE, MXIO_NOWHERE,
             "the file would exceed 2^63 bytes");
    }
    layout.index_nbytes = s.end;
    at = layout.index_offset + layout.index_nbytes;
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
    *out = layout;
    return MXIO_OK;
}

/* ---- encoding ------------------------------------------------------------ */

mxio_status mxio_index_encode(const mxio_content *content,
                              const mxio_layout *layout,
                              const uint32_t *checksums, uint8_t *dst,
                              mxio_err *err) {
    counts n = content_counts(content, layout->n_chunks);
    sections s;
    uint8_t *strings, *p;
    uint64_t first_dim = 0, name_offset = 0;
    if (!sections_plan(&n, &s) || s.end != layout->index_nbytes) {
        FAIL(err, MXIO_INVALID, MXIO_NOWHERE, MXIO_NOWHERE,
             "the layout is not this content's");
    }
    memset(dst, 0, (size_t)s.offset[CHECKSUMS]);
    store_u64(dst + 0, n.n_entries);
    store_u64(dst + 8, n.n_dtypes);
    store_u64(dst + 16, n.n_dims);
    store_u64(dst + 24, n.n_records);
    store_u64(dst + 32, n.n_chunks);
    store_u64(dst + 40, n.strings_nbytes);
    store_u64(dst + 48, n.structure_nbytes);
    store_u64(dst + 56, n.metadata_nbytes);

    strings = dst + s.offset[STRINGS];
    for (uint64_t i = 0; i < content->n_entries; i++) {
        const mxio_entry *entry = &content->entries[i];
        uint64_t alias = entry->alias_of == MXIO_NOWHERE
                             ? 0 : entry->alias_of + 1;
        p = dst + s.offset[ENTRIES] + ENTRY_NBYTES * i;
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
        p = dst + s.offset[DTYPES] + DTYPE_NBYTES * i;
        store_u64(p, dtype->item_bits);
        store_u32(p + 8, dtype->name_nbytes);
        memcpy(strings + name_offset, dtype->name, dtype->name_nbytes);
        name_offset += dtype->name_nbytes;
    }
    if (n.structure_nbytes > 0) {
        memcpy(dst + s.offset[STRUCTURE], content->structure,
               (size_t)n.structure_nbytes);
    }
    if (n.metadata_nbytes > 0) {
        memcpy(dst + s.offset[METADATA], content->metadata,
               (size_t)n.metadata_nbytes);
    }
    p = dst + s.offset[CHECKSUMS];
    for (uint64_t i = 0; i < n.n_chunks; i++) {
        store_u32(p + 4 * i, checksums[i]);
    }
    return names_encode(content, dst + s.offset[BY_NAME], err);
}

void mxio_head_encode(const mxio_head *head, uint8_t *dst) {
    memset(dst, 0, MXIO_HEAD_NBYTES);
    memcpy(dst, MAGIC, sizeof MAGIC);
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

/* ---- judging a head ------------------------------------------------------ */

static int slot_is_valid(const uint8_t *slot) {
    return memcmp(slot, MAGIC, sizeof MAGIC) == 0
           && load_u32(slot + 124) == mxio_crc32c(0, slot, 124);
}

/* A clause that names the lowest bit that is not known. */
static mxio_status refuse_features(uint64_t unknown, uint64_t offset,
                                   mxio_err *err) {
    static const char *const NAMES[] = {"appending", "delta index",
                                        "chunk records", "boxes"};
    char what[64] = "it needs the feature '";
    size_t at = strlen(what);
    unsigned bit = 0;
    while ((unknown >> bit & 1) == 0) {
        bit++;
    }
    if (bit < sizeof NAMES / sizeof NAMES[0]) {
        memcpy(what + at, NAMES[bit], strlen(NAMES[bit]));
        at += strlen(NAMES[bit]);
    } else {
        memcpy(what + at, "bit ", 4);
        at += 4;
        if (bit >= 10) {
            what[at++] = (char)('0' + bit / 10);
        }
        what[at++] = (char)('0' + bit % 10);
    }
    what[at++] = '\'';
    what[at] = '\0';
    FAIL(err, MXIO_UNSUPPORTED, offset, MXIO_NOWHERE, what);
}

mxio_status mxio_head_decode(const uint8_t *src, uint64_t file_nbytes,
                             mxio_head *out, mxio_err *err) {
    const uint8_t *slots[2] = {src, src + SLOT_1_OFFSET};
    const int valid[2] = {slot_is_valid(slots[0]), slot_is_valid(slots[1])};
    const uint8_t *slot;
    mxio_head head;
    uint64_t at, end;
    int taken;
    if (!valid[0] && !valid[1]) {
        if (memcmp(slots[0], MAGIC, sizeof MAGIC) != 0
            && memcmp(slots[1], MAGIC, sizeof MAGIC) != 0) {
            FAIL(err, MXIO_CORRUPT, 0, MXIO_NOWHERE,
                 "it does not begin as an mxio file does");
        }
        FAIL(err, MXIO_CHECKSUM, 0, MXIO_NOWHERE,
             "checksum mismatch in the head");
    }
    taken = !valid[0];
    if (valid[0] && valid[1]) {
        uint64_t first = load_u64(slots[0] + 32);
        uint64_t second = load_u64(slots[1] + 32);
        if (first == second) {
            FAIL(err, MXIO_CORRUPT, 32, MXIO_NOWHERE,
                 "both slots of the head have one generation");
        }
        taken = second > first;
    }
    slot = slots[taken];
    at = taken ? SLOT_1_OFFSET : 0;
    if (load_u32(slot + 8) != MXIO_VERSION) {
        FAIL(err, MXIO_UNSUPPORTED, at + 8, MXIO_NOWHERE,
             "it has another version of the format than 1");
    }
    head.required = load_u64(slot + 16);
    head.optional = load_u64(slot + 24);
    head.generation = load_u64(slot + 32);
    head.file_nbytes = load_u64(slot + 40);
    head.index_offset = load_u64(slot + 48);
    head.index_nbytes = load_u64(slot + 56);
    head.index_crc = load_u32(slot + 64);
    if ((head.required & ~(uint64_t)MXIO_FEATURE_APPENDING) != 0) {
        return refuse_features(
            head.required & ~(uint64_t)MXIO_FEATURE_APPENDING, at + 16, err);
    }
    if (load_u32(slot + 12) != 0 || !all_zero(slot + 68, 56)
        || !all_zero(src + SLOT_NBYTES, SLOT_1_OFFSET - SLOT_NBYTES)
        || !all_zero(src + SLOT_1_OFFSET + SLOT_NBYTES,
                     MXIO_HEAD_NBYTES - SLOT_1_OFFSET - SLOT_NBYTES)) {
        FAIL(err, MXIO_CORRUPT, at, MXIO_NOWHERE,
             "reserved bytes of the head are not zero");
    }
    if (head.generation == 0) {
        FAIL(err, MXIO_CORRUPT, at + 32, MXIO_NOWHERE, "generation is 0");
    }
    if (head.file_nbytes > file_nbytes) {
        FAIL(err, MXIO_CORRUPT, file_nbytes, MXIO_NOWHERE,
             "the file is cut short: its head says that it is longer");
    }
    if (!(head.required & MXIO_FEATURE_APPENDING)) {
        if (head.file_nbytes != file_nbytes) {
            FAIL(err, MXIO_CORRUPT, head.file_nbytes, MXIO_NOWHERE,
                 "bytes follow the end that its head gives");
        }
        if (!all_zero(slots[!taken], SLOT_NBYTES)) {
            FAIL(err, MXIO_CORRUPT, taken ? 0 : SLOT_1_OFFSET, MXIO_NOWHERE,
                 "the unused slot of the head is not zero");
        }
    }
    if (head.file_nbytes > FILE_NBYTES_MAX || head.index_offset % 64 != 0
        || head.index_offset < MXIO_HEAD_NBYTES
        || !add_u64(head.index_offset, head.index_nbytes, &end)
        || end > head.file_nbytes || head.index_nbytes < HEADER_NBYTES) {
        FAIL(err, MXIO_CORRUPT, at + 48, MXIO_NOWHERE,
             "the index does not lie in the file");
    }
    *out = head;
    return MXIO_OK;
}

/* ---- judging an index ---------------------------------------------------- */

typedef struct extent {
    uint64_t offset, nbytes, alignment;
} extent;

struct mxio_index {
    mxio_head head;
    counts n;
    sections s;
    uint8_t *bytes;      /* the index; dims and checksums in host order     */
    extent *extents;     /* the index itself and all stored entries, sorted */
    uint64_t n_extents;
    uint64_t n_aliases;
    uint64_t *dtype_names; /* where in the strings each dtype's name begins */
};

static const uint8_t *entry_bytes(const mxio_index *index, uint64_t i) {
    return index->bytes + index->s.offset[ENTRIES] + ENTRY_NBYTES * i;
}

static const uint64_t *dims_of(const mxio_index *index) {
    return (const uint64_t *)(const void *)(index->bytes
                                            + index->s.offset[DIMS]);
}

/* In file terms, for messages. */
static uint64_t at_section(const mxio_index *index, int section,
                           uint64_t relative) {
    return index->head.index_offset + index->s.offset[section] + relative;
}

void mxio_index_free(mxio_index *index) {
    if (index != NULL) {
        free(index->bytes);
        free(index->extents);
        free(index->dtype_names);
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
    cursor c = {index->bytes, index->bytes + index->head.index_nbytes};
    const uint8_t *p = cursor_take(&c, HEADER_NBYTES);
    uint64_t where = index->head.index_offset;
    uint64_t at = HEADER_NBYTES;
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
    if (index->n.n_records != 0 || !all_zero(p + 64, HEADER_NBYTES - 64)) {
        FAIL(err, MXIO_CORRUPT, where + 64, MXIO_NOWHERE,
             "reserved bytes of the index are not zero");
    }
    if (!sections_plan(&index->n, &index->s)
        || index->s.end != index->head.index_nbytes) {
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
    uint64_t first_dim, name_offset, first_chunk, n_dtypes;
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

static mxio_status check_entry(mxio_index *index, uint64_t i, sums *sum,
                               mxio_err *err) {
    const uint8_t *p = entry_bytes(index, i);
    const uint64_t where = at_section(index, ENTRIES, ENTRY_NBYTES * i);
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
    if (!name_is_valid((const uint8_t *)entry.name, entry.name_nbytes)) {
        FAIL(err, MXIO_CORRUPT, at_section(index, STRINGS, sum->name_offset),
             i, "a name is not UTF-8 without NUL");
    }
    if (!array_nbytes(entry.shape, entry.ndim,
                      load_u64(index->bytes + index->s.offset[DTYPES]
                               + DTYPE_NBYTES * dtype),
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
    if (entry.first_chunk != sum->first_chunk
        || mxio_entry_n_chunks(&entry)
               > index->n.n_chunks - sum->first_chunk) {
        FAIL(err, MXIO_CORRUPT, where + 24, i, "bad chunks");
    }
    sum->first_chunk += mxio_entry_n_chunks(&entry);
    if (!add_u64(entry.offset, entry.nbytes, &end)
        || end > index->head.file_nbytes) {
        FAIL(err, MXIO_CORRUPT, where, i, "it does not lie in the file");
    }
    index->extents[index->n_extents].offset = entry.offset;
    index->extents[index->n_extents].nbytes = entry.nbytes;
    index->extents[index->n_extents].alignment = alignment_of(entry.nbytes);
    index->n_extents++;
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
        uint64_t relative = DTYPE_NBYTES * row;
        const uint8_t *p
            = index->bytes + index->s.offset[DTYPES] + relative;
        uint32_t nbytes = load_u32(p + 8);
        if (nbytes == 0 || nbytes > MAX_DTYPE_NAME_NBYTES
            || load_u32(p + 12) != 0
            || nbytes > index->n.strings_nbytes - at
            || !name_is_valid(index->bytes + index->s.offset[STRINGS] + at,
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
    return MXIO_OK;
}

/* Strictly ascending names over n numbers below n: a permutation, and names
 * that are unique. */
static mxio_status check_by_name(const mxio_index *index, mxio_err *err) {
    const uint8_t *p = index->bytes + index->s.offset[BY_NAME];
    mxio_entry before, entry;
    for (uint64_t i = 0; i < index->n.n_entries; i++) {
        uint64_t number = load_u64(p + 8 * i);
        if (number >= index->n.n_entries) {
            FAIL(err, MXIO_CORRUPT, at_section(index, BY_NAME, 8 * i),
                 MXIO_NOWHERE, "bad number in by_name");
        }
        mxio_index_entry(index, number, &entry);
        if (i > 0
            && name_compare(before.name, before.name_nbytes, entry.name,
                            entry.name_nbytes) >= 0) {
            FAIL(err, MXIO_CORRUPT, at_section(index, BY_NAME, 8 * i),
                 number, "names are not in order or stand twice");
        }
        before = entry;
    }
    return MXIO_OK;
}

static int extent_compare(const void *left, const void *right) {
    const extent *a = left;
    const extent *b = right;
    return (a->offset > b->offset) - (a->offset < b->offset);
}

/* The extents tile the file: no overlap, and no byte that is not theirs or
 * padding, unless the file has given-up space. */
static mxio_status check_tiling(mxio_index *index, mxio_err *err) {
    int gaps = (index->head.required & MXIO_FEATURE_APPENDING) != 0;
    uint64_t at = MXIO_HEAD_NBYTES;
    int sorted = 1;
    for (uint64_t i = 1; i < index->n_extents; i++) {
        sorted = sorted
                 && index->extents[i - 1].offset <= index->extents[i].offset;
    }
    if (!sorted) {
        qsort(index->extents, (size_t)index->n_extents,
              sizeof *index->extents, extent_compare);
    }
    for (uint64_t i = 0; i < index->n_extents; i++) {
        const extent *e = &index->extents[i];
        uint64_t aligned;
        if (!align_u64(at, e->alignment, &aligned)
            || e->offset % e->alignment != 0
            || (gaps ? e->offset < aligned : e->offset != aligned)) {
            FAIL(err, MXIO_CORRUPT, e->offset, MXIO_NOWHERE,
                 "extents overlap, or leave a gap");
        }
        at = e->offset + e->nbytes;
    }
    if (gaps ? at > index->head.file_nbytes
             : at != index->head.file_nbytes) {
        FAIL(err, MXIO_CORRUPT, at, MXIO_NOWHERE,
             "the extents do not end where the file does");
    }
    return MXIO_OK;
}

static mxio_status check_index(mxio_index *index, mxio_err *err) {
    sums sum = {0};
    uint64_t n;
    TRY(check_header(index, err));
    to_host_order(index);
    n = index->n.n_entries + 1; /* entries are present, 64 bytes each */
    if (n > SIZE_MAX / sizeof *index->extents
        || (index->extents = malloc((size_t)n * sizeof *index->extents))
               == NULL) {
        FAIL(err, MXIO_NOMEM, MXIO_NOWHERE, MXIO_NOWHERE, "out of memory");
    }
    index->extents[0].offset = index->head.index_offset;
    index->extents[0].nbytes = index->head.index_nbytes;
    index->extents[0].alignment = SMALL_ALIGNMENT;
    index->n_extents = 1;
    for (uint64_t i = 0; i < index->n.n_entries; i++) {
        TRY(check_entry(index, i, &sum, err));
    }
    if (sum.first_dim != index->n.n_dims
        || sum.first_chunk != index->n.n_chunks
        || sum.n_dtypes != index->n.n_dtypes) {
        FAIL(err, MXIO_CORRUPT, index->head.index_offset, MXIO_NOWHERE,
             "the entries do not use all dims, chunks and dtypes");
    }
    TRY(check_dtypes(index, sum.name_offset, err));
    TRY(check_by_name(index, err));
    return check_tiling(index, err);
}

mxio_status mxio_index_decode(const uint8_t *src, const mxio_head *head,
                              mxio_index **out, mxio_err *err) {
    mxio_index *index;
    mxio_status status;
    if (head->index_nbytes > SIZE_MAX) {
        FAIL(err, MXIO_NOMEM, MXIO_NOWHERE, MXIO_NOWHERE, "out of memory");
    }
    if (mxio_crc32c(0, src, (size_t)head->index_nbytes) != head->index_crc) {
        FAIL(err, MXIO_CHECKSUM, head->index_offset, MXIO_NOWHERE,
             "checksum mismatch in the index");
    }
    index = calloc(1, sizeof *index);
    if (index == NULL
        || (index->bytes = malloc((size_t)head->index_nbytes)) == NULL) {
        mxio_index_free(index);
        FAIL(err, MXIO_NOMEM, MXIO_NOWHERE, MXIO_NOWHERE, "out of memory");
    }
    memcpy(index->bytes, src, (size_t)head->index_nbytes);
    index->head = *head;
    status = check_index(index, err);
    if (status != MXIO_OK) {
        mxio_index_free(index);
        return status;
    }
    *out = index;
    return MXIO_OK;
}

/* ---- asking an index ----------------------------------------------------- */

const mxio_head *mxio_index_head(const mxio_index *index) {
    return &index->head;
}

uint64_t mxio_index_count(const mxio_index *index) {
    return index->n.n_entries;
}

uint64_t mxio_index_n_aliases(const mxio_index *index) {
    return index->n_aliases;
}

uint64_t mxio_index_n_dtypes(const mxio_index *index) {
    return index->n.n_dtypes;
}

void mxio_index_entry(const mxio_index *index, uint64_t i, mxio_entry *out) {
    const uint8_t *p = entry_bytes(index, i);
    uint64_t alias = load_u64(p + 32);
    out->offset = load_u64(p);
    out->nbytes = load_u64(p + 8);
    out->chunk_nbytes = load_u64(p + 16);
    out->first_chunk = load_u64(p + 24);
    out->alias_of = alias == 0 ? MXIO_NOWHERE : alias - 1;
    out->shape = dims_of(index) + load_u64(p + 40);
    out->name = (const char *)index->bytes + index->s.offset[STRINGS]
                + load_u64(p + 48);
    out->dtype = load_u32(p + 56);
    out->name_nbytes = load_u16(p + 60);
    out->ndim = p[62];
    out->order = p[63];
}

void mxio_index_dtype(const mxio_index *index, uint64_t row,
                      mxio_dtype *out) {
    const uint8_t *rows = index->bytes + index->s.offset[DTYPES];
    out->item_bits = load_u64(rows + DTYPE_NBYTES * row);
    out->name_nbytes = load_u32(rows + DTYPE_NBYTES * row + 8);
    out->name = (const char *)index->bytes + index->s.offset[STRINGS]
                + index->dtype_names[row];
}

uint64_t mxio_index_find(const mxio_index *index, const char *name,
                         size_t name_nbytes) {
    const uint8_t *by_name = index->bytes + index->s.offset[BY_NAME];
    uint64_t low = 0, high = index->n.n_entries;
    mxio_entry entry;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        uint64_t number = load_u64(by_name + 8 * middle);
        int order;
        mxio_index_entry(index, number, &entry);
        order = name_compare(name, name_nbytes, entry.name,
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
    /* The engine only compares when it reads; the cast cannot be avoided while
     * one struct serves both directions. */
    out->checksums = (uint32_t *)(void *)(index->bytes
                                          + index->s.offset[CHECKSUMS])
                     + entry->first_chunk;
}

uint64_t mxio_index_padding(const mxio_index *index, mxio_segment *out) {
    uint64_t at = MXIO_HEAD_NBYTES, n = 0;
    if (index->head.required & MXIO_FEATURE_APPENDING) {
        return 0;
    }
    for (uint64_t i = 0; i < index->n_extents; i++) {
        const extent *e = &index->extents[i];
        if (e->offset > at) {
            mxio_segment gap = {0};
            gap.offset = at;
            gap.nbytes = e->offset - at;
            gap.chunk_nbytes = gap.nbytes;
            out[n++] = gap;
        }
        at = e->offset + e->nbytes;
    }
    return n;
}
