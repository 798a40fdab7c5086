/* SPDX-License-Identifier: Apache-2.0
 *
 * safetensors.c - a bounded scanner of .safetensors files.
 *
 *     u64 n, n bytes of JSON, the arrays
 *
 *     {"__metadata__": {"key": "value", ...},
 *      "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...}
 *
 * Only the JSON that such a header needs is understood; values of unknown keys
 * are passed over.  Data offsets count from the end of the header; sorted, the
 * arrays tile the rest of the file: no hole, no overlap, no byte behind.
 */
#include "scan.h"

#include <stdlib.h>

enum { HEADER_NBYTES_MAX = 100000000, DEPTH_MAX = 64, PREFIX_NBYTES = 8 };

typedef struct parser {
    growing g;
    const uint8_t *text;  /* the header                                      */
    uint64_t nbytes;
    uint64_t at;
    uint64_t record;      /* the number of the array at hand                 */
    uint64_t last_row;    /* of the table: the last one found                */
    uint8_t *scratch;     /* where a string is put; as long as the header    */
    uint8_t *unknown;     /* names of dtypes that are not in the table       */
    uint64_t unknown_nbytes;
} parser;

typedef struct string {
    const uint8_t *bytes; /* in the header, or in the scratch: until the
                             next string                                     */
    uint64_t nbytes;
} string;

static mxio_status bad(const parser *p, const char *what, mxio_err *err) {
    FAIL(err, MXIO_CORRUPT, PREFIX_NBYTES + p->at, p->record, what);
}

/* ---- JSON ----------------------------------------------------------------- */

static void skip_space(parser *p) {
    if (p->text[p->at] > ' ') {
        return; /* as nearly always; a NUL stands behind the header */
    }
    while (p->at < p->nbytes
           && (p->text[p->at] == ' ' || p->text[p->at] == '\n'
               || p->text[p->at] == '\t' || p->text[p->at] == '\r')) {
        p->at++;
    }
}

/* The next character that is no space, 0 at the end. */
static uint8_t peek(parser *p) {
    skip_space(p);
    return p->at < p->nbytes ? p->text[p->at] : 0;
}

static mxio_status expect(parser *p, uint8_t wanted, mxio_err *err) {
    if (p->text[p->at] != wanted && peek(p) != wanted) {
        char what[] = "the header is not JSON: expected ' '";
        what[sizeof what - 3] = (char)wanted;
        return bad(p, what, err);
    }
    p->at++;
    return MXIO_OK;
}

/* After an item of a list or object: whether another one follows.  Consumes
 * the comma or the closing bracket. */
static mxio_status more_items(parser *p, uint8_t closing, int *more,
                              mxio_err *err) {
    *more = peek(p) == ',';
    if (*more) {
        p->at++;
        return MXIO_OK;
    }
    return expect(p, closing, err);
}

static int hex4(const parser *p, uint64_t at, uint32_t *out) {
    *out = 0;
    if (p->nbytes - at < 4) {
        return 0;
    }
    for (unsigned i = 0; i < 4; i++) {
        uint8_t c = p->text[at + i];
        uint32_t digit;
        if (c >= '0' && c <= '9') {
            digit = (uint32_t)(c - '0');
        } else if (c >= 'a' && c <= 'f') {
            digit = (uint32_t)(c - 'a') + 10;
        } else if (c >= 'A' && c <= 'F') {
            digit = (uint32_t)(c - 'A') + 10;
        } else {
            return 0;
        }
        *out = *out << 4 | digit;
    }
    return 1;
}

static uint8_t *put_utf8(uint8_t *to, uint32_t c) {
    if (c < 0x80) {
        *to++ = (uint8_t)c;
    } else if (c < 0x800) {
        *to++ = (uint8_t)(0xc0 | c >> 6);
        *to++ = (uint8_t)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        *to++ = (uint8_t)(0xe0 | c >> 12);
        *to++ = (uint8_t)(0x80 | (c >> 6 & 0x3f));
        *to++ = (uint8_t)(0x80 | (c & 0x3f));
    } else {
        *to++ = (uint8_t)(0xf0 | c >> 18);
        *to++ = (uint8_t)(0x80 | (c >> 12 & 0x3f));
        *to++ = (uint8_t)(0x80 | (c >> 6 & 0x3f));
        *to++ = (uint8_t)(0x80 | (c & 0x3f));
    }
    return to;
}

/* Behind a backslash: never writes more bytes than it consumes. */
static mxio_status take_escape(parser *p, uint8_t **to, mxio_err *err) {
    static const char FROM[] = "\"\\/bfnrt";
    static const char TO[] = "\"\\/\b\f\n\r\t";
    uint8_t c = p->at < p->nbytes ? p->text[p->at] : 0;
    const char *found = c == 0 ? NULL : strchr(FROM, c);
    uint32_t high, low;
    if (found != NULL) {
        *(*to)++ = (uint8_t)TO[found - FROM];
        p->at++;
        return MXIO_OK;
    }
    if (c != 'u' || !hex4(p, p->at + 1, &high)) {
        return bad(p, "the header is not JSON: bad escape in a string", err);
    }
    p->at += 5;
    if (high >= 0xd800 && high < 0xe000) {
        if (high >= 0xdc00 || p->nbytes - p->at < 6
            || p->text[p->at] != '\\' || p->text[p->at + 1] != 'u'
            || !hex4(p, p->at + 2, &low) || low < 0xdc00 || low >= 0xe000) {
            return bad(p, "the header is not JSON: half a surrogate pair",
                       err);
        }
        p->at += 6;
        high = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
    }
    *to = put_utf8(*to, high);
    return MXIO_OK;
}

/* The characters of a string that stand for themselves. */
static void skip_plain(parser *p) {
    const uint8_t *at = p->text + p->at;
    while (*at >= 0x20 && *at != '"' && *at != '\\') {
        at++; /* a NUL stands behind the header */
    }
    p->at = (uint64_t)(at - p->text);
}

static mxio_status take_string(parser *p, string *out, mxio_err *err) {
    uint8_t *to = p->scratch;
    TRY(expect(p, '"', err));
    out->bytes = p->text + p->at;
    for (;;) {
        const uint64_t begin = p->at;
        uint8_t c;
        skip_plain(p);
        c = p->at < p->nbytes ? p->text[p->at] : 0;
        if (c == '"' && out->bytes != p->scratch) {
            out->nbytes = p->at - begin; /* as it stands in the header */
            p->at++;
            return MXIO_OK;
        }
        out->bytes = p->scratch;
        memcpy(to, p->text + begin, (size_t)(p->at - begin));
        to += p->at - begin;
        if (c != '"' && c != '\\') {
            return bad(p, p->at < p->nbytes
                              ? "the header is not JSON: a control character "
                                "in a string"
                              : "the header is not JSON: a string does not "
                                "end", err);
        }
        p->at++;
        if (c == '"') {
            out->nbytes = (uint64_t)(to - p->scratch);
            return MXIO_OK;
        }
        TRY(take_escape(p, &to, err));
    }
}

static int is_string(const string *s, const char *text) {
    size_t n = strlen(text);
    return s->nbytes == n && memcmp(s->bytes, text, n) == 0;
}

static mxio_status take_u64(parser *p, uint64_t *out, mxio_err *err) {
    const int zero = peek(p) == '0';
    const uint8_t *at = p->text + p->at; /* a NUL stands behind the header */
    uint64_t x = 0;
    uint64_t n = 0;
    for (; *at >= '0' && *at <= '9'; at++) {
        uint64_t digit = (uint64_t)(*at - '0');
        /* 19 digits always fit. */
        if (n >= 19 && x > (UINT64_MAX - digit) / 10) {
            return bad(p, "a number does not fit 64 bits", err);
        }
        x = 10 * x + digit;
        n++;
    }
    p->at = (uint64_t)(at - p->text);
    if (n == 0 || (zero && n > 1)
        || (p->at < p->nbytes
            && (p->text[p->at] == '.' || p->text[p->at] == 'e'
                || p->text[p->at] == 'E'))) {
        return bad(p, "expected a whole number of 0 or more", err);
    }
    *out = x;
    return MXIO_OK;
}

/* A number, true, false or null: judged by its characters only. */
static mxio_status skip_word(parser *p, mxio_err *err) {
    uint64_t begin = p->at;
    while (p->at < p->nbytes) {
        uint8_t c = p->text[p->at];
        int plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z')
                    || c == '-' || c == '+' || c == '.' || c == 'E';
        if (!plain) {
            break;
        }
        p->at++;
    }
    if (p->at == begin) {
        return bad(p, "the header is not JSON: expected a value", err);
    }
    return MXIO_OK;
}

/* Any value.  Depth is counted, not recursed: a stack of bits says whether each
 * container is an object. */
static mxio_status skip_value(parser *p, mxio_err *err) {
    uint64_t objects = 0;
    unsigned depth = 0;
    string ignored;
    for (;;) {
        uint8_t c = peek(p);
        int more = 0;
        if (c == '{' || c == '[') {
            if (depth == DEPTH_MAX) {
                return bad(p, "the header is nested more than 64 deep", err);
            }
            p->at++;
            depth++;
            objects = objects << 1 | (c == '{');
            more = peek(p) != (c == '{' ? '}' : ']');
            if (!more) {
                p->at++;
                depth--;
                objects >>= 1;
            }
        } else if (c == '"') {
            TRY(take_string(p, &ignored, err));
        } else {
            TRY(skip_word(p, err));
        }
        while (!more && depth > 0) {
            TRY(more_items(p, objects & 1 ? '}' : ']', &more, err));
            if (!more) {
                depth--;
                objects >>= 1;
            }
        }
        if (depth == 0) {
            return MXIO_OK;
        }
        if (objects & 1) {
            TRY(take_string(p, &ignored, err));
            TRY(expect(p, ':', err));
        }
    }
}

/* ---- the header ----------------------------------------------------------- */

typedef struct info {         /* of one array                                */
    mxio_part part;
    uint64_t begin, end;      /* data_offsets                                */
    int has_dtype, has_shape, has_offsets;
    uint64_t row;             /* of the table; n_table: unknown              */
    uint8_t *name;            /* an unknown dtype's                          */
    uint32_t name_nbytes;
} info;

static mxio_status take_dtype(parser *p, info *out, mxio_err *err) {
    string s;
    TRY(take_string(p, &s, err));
    if (p->g.n_table > 0 && is_string(&s, p->g.table[p->last_row].foreign)) {
        out->row = p->last_row; /* most arrays have the dtype of the last one */
        return MXIO_OK;
    }
    for (out->row = 0; out->row < p->g.n_table; out->row++) {
        if (is_string(&s, p->g.table[out->row].foreign)) {
            p->last_row = out->row;
            return MXIO_OK;
        }
    }
    if (s.nbytes == 0 || s.nbytes >= MXIO_DTYPE_NAME_NBYTES_MAX
        || !mxio_name_is_valid(s.bytes, s.nbytes)) {
        return bad(p, "a dtype has no name", err);
    }
    /* With a mark, so that it is not taken for a name of ours: no longer than
     * with its quotes in the header. */
    out->name = p->unknown + p->unknown_nbytes;
    out->name_nbytes = (uint32_t)s.nbytes + 1;
    out->name[0] = '?';
    memcpy(out->name + 1, s.bytes, (size_t)s.nbytes);
    p->unknown_nbytes += s.nbytes + 1;
    return MXIO_OK;
}

static mxio_status take_shape(parser *p, info *out, mxio_err *err) {
    int more;
    out->part.first_dim = p->g.scan->n_dims;
    TRY(expect(p, '[', err));
    if (peek(p) == ']') {
        p->at++;
        return MXIO_OK;
    }
    do {
        uint64_t dim;
        TRY(take_u64(p, &dim, err));
        if (out->part.ndim == MXIO_MAX_NDIM) {
            return bad(p, "it has more than 64 dimensions", err);
        }
        out->part.ndim++;
        TRY(mxio_growing_dim(&p->g, dim, err));
        TRY(more_items(p, ']', &more, err));
    } while (more);
    return MXIO_OK;
}

static mxio_status take_offsets(parser *p, info *out, mxio_err *err) {
    TRY(expect(p, '[', err));
    TRY(take_u64(p, &out->begin, err));
    TRY(expect(p, ',', err));
    TRY(take_u64(p, &out->end, err));
    return expect(p, ']', err);
}

/* Once: a key that stands twice could say two things. */
static mxio_status once(const parser *p, int *has, mxio_err *err) {
    if (*has) {
        return bad(p, "a key stands twice", err);
    }
    *has = 1;
    return MXIO_OK;
}

static mxio_status take_fields(parser *p, info *out, mxio_err *err) {
    int more = 1;
    TRY(expect(p, '{', err));
    if (peek(p) == '}') {
        p->at++;
        more = 0;
    }
    while (more) {
        string key;
        TRY(take_string(p, &key, err));
        TRY(expect(p, ':', err));
        if (is_string(&key, "dtype")) {
            TRY(once(p, &out->has_dtype, err));
            TRY(take_dtype(p, out, err));
        } else if (is_string(&key, "shape")) {
            TRY(once(p, &out->has_shape, err));
            TRY(take_shape(p, out, err));
        } else if (is_string(&key, "data_offsets")) {
            TRY(once(p, &out->has_offsets, err));
            TRY(take_offsets(p, out, err));
        } else {
            TRY(skip_value(p, err));
        }
        TRY(more_items(p, '}', &more, err));
    }
    if (!out->has_dtype || !out->has_shape || !out->has_offsets) {
        return bad(p, "an array lacks dtype, shape or data_offsets", err);
    }
    return MXIO_OK;
}

/* The row of an unknown dtype whose items take so many bits. */
static mxio_status unknown_dtype(parser *p, const info *array,
                                 uint32_t *out, mxio_err *err) {
    const uint64_t *shape = p->g.scan->dims + array->part.first_dim;
    const uint64_t nbytes = array->end - array->begin;
    mxio_dtype dtype = {0};
    uint64_t n = 1;
    for (uint8_t i = 0; i < array->part.ndim; i++) {
        if (!mul_u64(n, shape[i], &n)) {
            return bad(p, "its shape is too large", err);
        }
    }
    dtype.name = (const char *)array->name;
    dtype.name_nbytes = array->name_nbytes;
    dtype.item_bits = 8;
    if (n > 0) {
        if (nbytes > UINT64_MAX / 8 || nbytes * 8 / n == 0) {
            return bad(p, "an item of an unknown dtype has no size", err);
        }
        dtype.item_bits = nbytes * 8 / n;
    }
    for (uint32_t row = 0; row < p->g.scan->n_dtypes; row++) {
        const mxio_dtype *known = &p->g.scan->dtypes[row];
        if (known->name_nbytes == dtype.name_nbytes
            && memcmp(known->name, dtype.name, dtype.name_nbytes) == 0) {
            if (n > 0 && known->item_bits != dtype.item_bits) {
                return bad(p, "an unknown dtype has items of two sizes", err);
            }
            *out = row;
            return MXIO_OK;
        }
    }
    return mxio_growing_new_dtype(&p->g, &dtype, out, err);
}

static mxio_status take_array(parser *p, mxio_err *err) {
    info array;
    mxio_part *part = &array.part;
    const uint64_t *shape;
    uint64_t stored;
    memset(&array, 0, sizeof array);
    TRY(take_fields(p, &array, err));
    if (array.begin > array.end) {
        return bad(p, "its data ends before it begins", err);
    }
    if (array.row < p->g.n_table) {
        TRY(mxio_growing_dtype(&p->g, array.row, &part->dtype, err));
        stored = p->g.table[array.row].stored_bits;
    } else {
        TRY(unknown_dtype(p, &array, &part->dtype, err));
        stored = p->g.scan->dtypes[part->dtype].item_bits;
    }
    shape = p->g.scan->dims + part->first_dim;
    if (!mxio_array_nbytes(shape, part->ndim,
                           p->g.scan->dtypes[part->dtype].item_bits,
                           &part->nbytes)
        || !mxio_array_nbytes(shape, part->ndim, stored,
                              &part->stored_nbytes)
        || part->stored_nbytes != array.end - array.begin) {
        return bad(p, "data_offsets contradict shape and dtype", err);
    }
    part->offset = array.begin; /* the header's length is added at the end */
    return mxio_growing_part(&p->g, part, err);
}

static mxio_status take_header(parser *p, mxio_err *err) {
    int more, has_metadata = 0;
    p->record = MXIO_NOWHERE;
    if (p->nbytes == 0 || p->text[0] != '{') {
        return bad(p, "the header does not begin with {", err);
    }
    TRY(expect(p, '{', err));
    more = peek(p) != '}';
    if (!more) {
        p->at++;
    }
    while (more) {
        string name;
        p->record = MXIO_NOWHERE;
        TRY(take_string(p, &name, err));
        if (is_string(&name, "__metadata__")) {
            TRY(once(p, &has_metadata, err));
            TRY(expect(p, ':', err));
            skip_space(p);
            p->g.scan->metadata_offset = PREFIX_NBYTES + p->at;
            TRY(skip_value(p, err));
            p->g.scan->metadata_nbytes
                = PREFIX_NBYTES + p->at - p->g.scan->metadata_offset;
        } else {
            p->record = p->g.scan->n_records++;
            TRY(mxio_growing_name(&p->g, name.bytes, name.nbytes, err));
            TRY(expect(p, ':', err));
            TRY(take_array(p, err));
        }
        TRY(more_items(p, '}', &more, err));
    }
    p->record = MXIO_NOWHERE;
    skip_space(p);
    if (p->at != p->nbytes) {
        return bad(p, "something follows the header's JSON", err);
    }
    return MXIO_OK;
}

/* ---- the tiling ----------------------------------------------------------- */

typedef struct tile {
    uint64_t begin, end, number;
} tile;

static int tile_compare(const void *left, const void *right) {
    const tile *a = left;
    const tile *b = right;
    if (a->begin != b->begin) {
        return a->begin < b->begin ? -1 : 1;
    }
    return (a->end > b->end) - (a->end < b->end);
}

/* Turns offsets into those of the file. */
static mxio_status check_tiles(mxio_scan *scan, uint64_t base,
                               uint64_t file_nbytes, mxio_err *err) {
    const uint64_t n = scan->n_parts;
    uint64_t at = 0, wrong = MXIO_NOWHERE;
    int sorted = 1;
    tile *tiles;
    if (n >= SIZE_MAX / sizeof *tiles
        || (tiles = malloc(((size_t)n + 1) * sizeof *tiles)) == NULL) {
        FAIL(err, MXIO_NOMEM, MXIO_NOWHERE, MXIO_NOWHERE, "out of memory");
    }
    for (uint64_t i = 0; i < n; i++) {
        mxio_part *part = &scan->parts[i];
        tiles[i].begin = part->offset;
        tiles[i].end = part->offset + part->stored_nbytes; /* data_offsets */
        tiles[i].number = i;
        sorted = sorted && (i == 0 || tile_compare(&tiles[i - 1], &tiles[i]) <= 0);
        part->offset += base;
    }
    if (!sorted) {
        qsort(tiles, (size_t)n, sizeof *tiles, tile_compare);
    }
    for (uint64_t i = 0; i < n && wrong == MXIO_NOWHERE; i++) {
        if (tiles[i].begin != at) {
            wrong = tiles[i].number;
        }
        at = tiles[i].end;
    }
    free(tiles);
    if (wrong != MXIO_NOWHERE) {
        FAIL(err, MXIO_CORRUPT,
             min_u64(scan->parts[wrong].offset, file_nbytes), wrong,
             "its data overlaps the data before it, or leaves a hole");
    }
    if (at != file_nbytes - base) {
        FAIL(err, MXIO_CORRUPT, min_u64(base + at, file_nbytes), MXIO_NOWHERE,
             at > file_nbytes - base
                 ? "the file is cut short: its header calls for more bytes"
                 : "bytes follow the last array");
    }
    return MXIO_OK;
}

static mxio_status scan_header(parser *p, mxio_file *file, uint64_t nbytes,
                               uint8_t **text, mxio_err *err) {
    p->nbytes = nbytes;
    /* As many bytes as the header follow the prefix, so this is bounded by the
     * file.  A string is at most as long as its JSON. */
    *text = malloc((size_t)nbytes + 1);
    p->scratch = malloc((size_t)nbytes + 1);
    p->unknown = malloc((size_t)nbytes + 1);
    if (*text == NULL || p->scratch == NULL || p->unknown == NULL) {
        FAIL(err, MXIO_NOMEM, MXIO_NOWHERE, MXIO_NOWHERE, "out of memory");
    }
    p->text = *text;
    TRY(mxio_file_get(file, *text, nbytes, PREFIX_NBYTES, err));
    (*text)[nbytes] = 0;
    return take_header(p, err);
}

mxio_status mxio_safetensors_scan(mxio_file *file,
                                  const mxio_foreign_dtype *dtypes,
                                  size_t n_dtypes, mxio_scan *scan,
                                  mxio_err *err) {
    const uint64_t file_nbytes = mxio_file_nbytes(file);
    parser p = {0};
    uint8_t prefix[PREFIX_NBYTES];
    uint8_t *text = NULL;
    uint64_t nbytes;
    mxio_status status;
    TRY(mxio_growing_open(&p.g, scan, dtypes, n_dtypes, err));
    if (file_nbytes < PREFIX_NBYTES) {
        FAIL(err, MXIO_CORRUPT, file_nbytes, MXIO_NOWHERE,
             "the file is cut short");
    }
    TRY(mxio_file_get(file, prefix, PREFIX_NBYTES, 0, err));
    nbytes = load_u64(prefix);
    if (nbytes > HEADER_NBYTES_MAX) {
        FAIL(err, MXIO_CORRUPT, 0, MXIO_NOWHERE,
             "its header is longer than 100,000,000 bytes");
    }
    if (nbytes > file_nbytes - PREFIX_NBYTES) {
        FAIL(err, MXIO_CORRUPT, file_nbytes, MXIO_NOWHERE,
             "the file is cut short: its header is longer");
    }
    status = scan_header(&p, file, nbytes, &text, err);
    if (status == MXIO_OK) {
        status = check_tiles(scan, PREFIX_NBYTES + nbytes, file_nbytes, err);
    }
    scan->end_offset = file_nbytes;
    free(text);
    free(p.scratch);
    if (status == MXIO_OK) {
        /* The scan keeps the names of unknown dtypes. */
        scan->dtype_names = p.unknown;
    } else {
        free(p.unknown);
    }
    return status;
}
