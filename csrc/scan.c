/* SPDX-License-Identifier: Apache-2.0
 *
 * scan.c - what the scanners of foreign files share, and the way from a scan to
 * an index.
 */
#include "index.h"
#include "scan.h"

#include <stdlib.h>

/* Read after a jump; a gap up to NEAR_NBYTES is no jump. */
enum { JUMP_NBYTES = 4096, NEAR_NBYTES = 65536 };

static mxio_status no_memory(mxio_err *err) {
    FAIL(err, MXIO_NOMEM, MXIO_NOWHERE, MXIO_NOWHERE, "out of memory");
}

/* ---- the window ----------------------------------------------------------- */

void mxio_window_open(window *w, mxio_file *file) {
    memset(w, 0, sizeof *w);
    w->file = file;
    w->file_nbytes = mxio_file_nbytes(file);
    w->mem = mxio_file_peek(file, w->file_nbytes, 0);
    w->nbytes = w->mem == NULL ? 0 : w->file_nbytes;
}

void mxio_window_close(window *w) {
    free(w->owned);
    memset(w, 0, sizeof *w);
}

static mxio_status window_fill(window *w, uint64_t offset, uint64_t nbytes,
                               mxio_err *err) {
    const uint64_t end = w->offset + w->nbytes;
    uint64_t n = JUMP_NBYTES;
    if (w->nbytes > 0 && offset >= w->offset && offset < end + NEAR_NBYTES) {
        n = min_u64(4 * w->nbytes, MXIO_WINDOW_NBYTES);
    }
    if (n < nbytes) {
        n = nbytes;
    }
    n = min_u64(n, w->file_nbytes - offset);
    if (n > w->room) {
        uint8_t *mem = realloc(w->owned, (size_t)n);
        if (mem == NULL) {
            return no_memory(err);
        }
        w->owned = mem;
        w->room = n;
    }
    w->nbytes = 0;
    w->mem = w->owned;
    TRY(mxio_file_get(w->file, w->owned, n, offset, err));
    w->offset = offset;
    w->nbytes = n;
    return MXIO_OK;
}

mxio_status mxio_window_take(window *w, uint64_t offset, uint64_t nbytes,
                             uint64_t record, const uint8_t **out,
                             mxio_err *err) {
    if (offset > w->file_nbytes || nbytes > w->file_nbytes - offset) {
        FAIL(err, MXIO_CORRUPT, w->file_nbytes, record,
             "the file is cut short");
    }
    if (offset < w->offset || offset - w->offset > w->nbytes
        || nbytes > w->nbytes - (offset - w->offset)) {
        TRY(window_fill(w, offset, nbytes, err));
    }
    *out = w->mem + (offset - w->offset);
    return MXIO_OK;
}

/* ---- growing -------------------------------------------------------------- */

/* Room for n + more items; twice what there is, at least. */
static int grow(void **mem, uint64_t n, uint64_t more, size_t item_nbytes,
                uint64_t *room) {
    /* Neither sum nor product overflows: room is in memory, and more is at most
     * the length of a file. */
    uint64_t wanted = n + more;
    void *grown;
    if (wanted <= *room) {
        return 1;
    }
    if (wanted < 2 * *room) {
        wanted = 2 * *room;
    }
    if (wanted < 16) {
        wanted = 16;
    }
    if (wanted > SIZE_MAX / item_nbytes
        || (grown = realloc(*mem, (size_t)wanted * item_nbytes)) == NULL) {
        return 0;
    }
    *mem = grown;
    *room = wanted;
    return 1;
}

#define GROW(g, array, n, more, room)                                      \
    do {                                                                   \
        void *mem_ = (g)->scan->array;                                     \
        int grown_ = grow(&mem_, (g)->scan->n, (more),                     \
                          sizeof *(g)->scan->array, &(g)->room);           \
        (g)->scan->array = mem_;                                           \
        if (!grown_) {                                                     \
            return no_memory(err);                                         \
        }                                                                  \
    } while (0)

mxio_status mxio_growing_open(growing *g, mxio_scan *scan,
                              const mxio_foreign_dtype *table,
                              size_t n_table, mxio_err *err) {
    memset(scan, 0, sizeof *scan);
    memset(g, 0, sizeof *g);
    g->scan = scan;
    g->table = table;
    g->n_table = n_table;
    if (n_table > MXIO_FOREIGN_DTYPES_MAX) {
        FAIL(err, MXIO_INVALID, MXIO_NOWHERE, MXIO_NOWHERE,
             "the table of dtypes is too long");
    }
    memset(g->row_of, 0xff, sizeof g->row_of);
    /* So that a shape without dims and a name without bytes have a place too:
     * C does not even let 0 be added to NULL. */
    GROW(g, dims, n_dims, 1, dims);
    GROW(g, strings, strings_nbytes, 1, strings);
    return MXIO_OK;
}

mxio_status mxio_growing_part(growing *g, const mxio_part *part,
                              mxio_err *err) {
    GROW(g, parts, n_parts, 1, parts);
    g->scan->parts[g->scan->n_parts++] = *part;
    return MXIO_OK;
}

mxio_status mxio_growing_reserve(growing *g, uint64_t more, mxio_err *err) {
    GROW(g, parts, n_parts, more, parts);
    return MXIO_OK;
}

mxio_status mxio_growing_dim(growing *g, uint64_t dim, mxio_err *err) {
    GROW(g, dims, n_dims, 1, dims);
    g->scan->dims[g->scan->n_dims++] = dim;
    return MXIO_OK;
}

mxio_status mxio_growing_new_dtype(growing *g, const mxio_dtype *dtype,
                                   uint32_t *out, mxio_err *err) {
    GROW(g, dtypes, n_dtypes, 1, dtypes);
    *out = (uint32_t)g->scan->n_dtypes; /* a header has no 2^32 of them */
    g->scan->dtypes[g->scan->n_dtypes++] = *dtype;
    return MXIO_OK;
}

mxio_status mxio_growing_dtype(growing *g, uint64_t row, uint32_t *out,
                               mxio_err *err) {
    if (g->row_of[row] == UINT32_MAX) {
        TRY(mxio_growing_new_dtype(g, &g->table[row].dtype, &g->row_of[row],
                                   err));
    }
    *out = g->row_of[row];
    return MXIO_OK;
}

mxio_status mxio_growing_strings(growing *g, uint64_t nbytes,
                                 mxio_err *err) {
    GROW(g, strings, strings_nbytes, nbytes, strings);
    return MXIO_OK;
}

mxio_status mxio_growing_name(growing *g, const uint8_t *name,
                              uint64_t nbytes, mxio_err *err) {
    mxio_scan *scan = g->scan;
    if (nbytes > 0) {
        TRY(mxio_growing_strings(g, nbytes, err));
        memcpy(scan->strings + scan->strings_nbytes, name, (size_t)nbytes);
        scan->strings_nbytes += nbytes;
    }
    GROW(g, name_ends, n_names, 1, names);
    scan->name_ends[scan->n_names++] = scan->strings_nbytes;
    return MXIO_OK;
}

void mxio_scan_free(mxio_scan *scan) {
    free(scan->parts);
    free(scan->dims);
    free(scan->dtypes);
    free(scan->dtype_names);
    free(scan->strings);
    free(scan->name_ends);
    memset(scan, 0, sizeof *scan);
}

/* ---- from a scan to an index ---------------------------------------------- */

/* The names of a list: 0, 1, ... one after another; where each ends. */
static int number_names(uint64_t n, uint8_t **names, uint64_t *ends) {
    uint64_t at = 0;
    if (n > SIZE_MAX / 24 || (*names = malloc((size_t)n * 21 + 1)) == NULL) {
        return 0;
    }
    for (uint64_t i = 0; i < n; i++) {
        char *p = (char *)*names + at;
        at += (uint64_t)(mxio_put_number(p, i) - p);
        ends[i] = at;
    }
    return 1;
}

/* A scan whose names are known, as entries. */
typedef struct view {
    const mxio_scan *scan;
    const uint8_t *names;
    const uint64_t *ends;
} view;

static void entry_of_view(const void *context, uint64_t i, mxio_entry *out) {
    const view *v = context;
    const mxio_part *part = &v->scan->parts[i];
    const uint64_t begin = i == 0 ? 0 : v->ends[i - 1];
    out->name = (const char *)v->names + begin;
    out->name_nbytes = (uint16_t)(v->ends[i] - begin); /* checked before */
    out->shape = v->scan->dims + part->first_dim;
    out->ndim = part->ndim;
    out->nbytes = part->nbytes;
    out->offset = part->offset;
    out->dtype = part->dtype;
    out->order = MXIO_ORDER_C;
    mxio_foreign_entry(out);
}

static mxio_status check_view(const view *v, counts *n, int *encoded,
                              mxio_err *err) {
    const mxio_scan *scan = v->scan;
    uint64_t begin = 0;
    for (uint64_t i = 0; i < scan->n_parts; i++) {
        const mxio_part *part = &scan->parts[i];
        if (v->ends[i] - begin > MXIO_MAX_NAME_NBYTES) {
            FAIL(err, MXIO_UNSUPPORTED, part->offset, i,
                 "a name has more than 65535 bytes");
        }
        if (part->kind != MXIO_PART_DENSE) {
            FAIL(err, MXIO_INVALID, part->offset, i, "a part is not dense");
        }
        begin = v->ends[i];
        n->n_dims += part->ndim;
        *encoded = *encoded || part->stored_nbytes != part->nbytes;
    }
    n->n_entries = scan->n_parts;
    n->n_dtypes = scan->n_dtypes;
    n->strings_nbytes = begin;
    for (uint64_t i = 0; i < scan->n_dtypes; i++) {
        n->strings_nbytes += scan->dtypes[i].name_nbytes;
    }
    return MXIO_OK;
}

static mxio_status index_of(const view *v, const mxio_content *content,
                            uint64_t file_nbytes, mxio_index **out,
                            mxio_err *err) {
    const mxio_scan *scan = v->scan;
    uint64_t *stored = NULL;
    int encoded = 0;
    counts n = {0};
    mxio_status status;
    TRY(check_view(v, &n, &encoded, err));
    n.structure_nbytes = content->structure_nbytes;
    if (encoded) {
        stored = malloc((size_t)scan->n_parts * sizeof *stored);
        if (stored == NULL) {
            return no_memory(err);
        }
        for (uint64_t i = 0; i < scan->n_parts; i++) {
            stored[i] = scan->parts[i].stored_nbytes;
        }
    }
    status = mxio_index_adopt(content, &n, entry_of_view, v, stored,
                              file_nbytes, out, err);
    free(stored);
    return status;
}

mxio_status mxio_scan_index(const mxio_scan *scan, const char *structure,
                            uint64_t structure_nbytes, uint64_t file_nbytes,
                            mxio_index **out, mxio_err *err) {
    const uint64_t n = scan->n_parts;
    mxio_content content = {0};
    view v = {scan, scan->strings, scan->name_ends};
    uint8_t *numbers = NULL;
    uint64_t *ends = NULL;
    mxio_status status;
    if (scan->n_names != 0 && scan->n_names != n) {
        FAIL(err, MXIO_INVALID, MXIO_NOWHERE, MXIO_NOWHERE,
             "the names are not those of the parts");
    }
    content.structure = structure;
    content.structure_nbytes = structure_nbytes;
    content.dtypes = scan->dtypes;
    content.n_dtypes = scan->n_dtypes;
    if (scan->n_names == 0 && n > 0) {
        if (n > SIZE_MAX / sizeof *ends
            || (ends = malloc((size_t)n * sizeof *ends)) == NULL
            || !number_names(n, &numbers, ends)) {
            free(ends);
            return no_memory(err);
        }
        v.names = numbers;
        v.ends = ends;
    }
    status = index_of(&v, &content, file_nbytes, out, err);
    free(ends);
    free(numbers);
    return status;
}
