/* SPDX-License-Identifier: Apache-2.0
 *
 * arrays.c - arrays as they lie in the caller's memory, before anything is
 * written: the order each is stored in, which of them are one array under two
 * names, and the segments that write them.
 */
#include "internal.h"

#include <stdlib.h>

static uint64_t step_of(int64_t stride) {
    /* An axis that repeats the same memory is never worth being innermost. */
    if (stride == 0) {
        return UINT64_MAX;
    }
    return stride < 0 ? 0 - (uint64_t)stride : (uint64_t)stride;
}

/* Whether the axes lie without a gap, the last one innermost, or the first. */
static int lies_so(const mxio_strided *lies, int fortran) {
    uint64_t step = lies->item_nbytes;
    for (uint32_t i = 0; i < lies->ndim; i++) {
        uint32_t axis = fortran ? i : lies->ndim - 1 - i;
        if (lies->shape[axis] != 1 && lies->strides[axis] != (int64_t)step) {
            return 0;
        }
        step *= lies->shape[axis];
    }
    return 1;
}

static void choose_order(mxio_array *array) {
    const mxio_strided *lies = &array->lies;
    uint32_t first = 0, last = lies->ndim;
    int contiguous = 1;
    array->lies.order = MXIO_ORDER_C;
    if (!lies_so(lies, 0)) {
        contiguous = lies_so(lies, 1);
        while (first < lies->ndim && lies->shape[first] == 1) {
            first++;
        }
        while (last > first && lies->shape[last - 1] == 1) {
            last--;
        }
        if (contiguous
            || (last - first >= 2
                && step_of(lies->strides[first])
                       < step_of(lies->strides[last - 1]))) {
            array->lies.order = MXIO_ORDER_F;
        }
    }
    array->as_stored = contiguous && lies->swap_nbytes <= 1;
}

void mxio_array_arrange(mxio_array *array, int order) {
    array->lies.order = order;
    array->as_stored = lies_so(&array->lies, order == MXIO_ORDER_F)
                       && array->lies.swap_nbytes <= 1;
}

/* ---- aliases -------------------------------------------------------------- */

/* A table of the arrays met so far, by memory; open addressing, at most half
 * full. */
typedef struct table {
    uint64_t *slots; /* number of an entry, or MXIO_NOWHERE */
    uint64_t mask;
} table;

static int table_new(uint64_t n_entries, table *out) {
    uint64_t n = 16;
    while (n < 2 * n_entries) {
        n *= 2;
    }
    if (n > SIZE_MAX / sizeof *out->slots
        || (out->slots = malloc((size_t)n * sizeof *out->slots)) == NULL) {
        return 0;
    }
    memset(out->slots, 0xff, (size_t)n * sizeof *out->slots);
    out->mask = n - 1;
    return 1;
}

static uint64_t hash_of(const mxio_entry *entry, const mxio_array *array) {
    uint64_t h = (uint64_t)(uintptr_t)array->mem;
    h = (h ^ entry->nbytes) * 0x9e3779b97f4a7c15u;
    h = (h ^ h >> 29 ^ entry->ndim) * 0x9e3779b97f4a7c15u;
    for (uint32_t i = 0; i < entry->ndim; i++) {
        h = (h ^ h >> 31 ^ entry->shape[i]) * 0x9e3779b97f4a7c15u;
    }
    return h ^ h >> 32;
}

static int is_same(const mxio_entry *a, const mxio_array *x,
                   const mxio_entry *b, const mxio_array *y) {
    if (x->mem != y->mem || a->nbytes != b->nbytes || a->dtype != b->dtype
        || a->ndim != b->ndim || x->lies.swap_nbytes != y->lies.swap_nbytes
        || x->lies.order != y->lies.order) {
        return 0;
    }
    for (uint32_t i = 0; i < a->ndim; i++) {
        if (a->shape[i] != b->shape[i]
            || (a->shape[i] != 1
                && x->lies.strides[i] != y->lies.strides[i])) {
            return 0;
        }
    }
    return 1;
}

/* The entry that was first to have this memory, which may be i itself. */
static uint64_t table_take(table *t, const mxio_content *content,
                           const mxio_array *arrays, uint64_t i) {
    const mxio_entry *entries = content->entries;
    uint64_t at = hash_of(&entries[i], &arrays[i]) & t->mask;
    while (t->slots[at] != MXIO_NOWHERE) {
        uint64_t first = t->slots[at];
        if (is_same(&entries[first], &arrays[first], &entries[i],
                    &arrays[i])) {
            return first;
        }
        at = (at + 1) & t->mask;
    }
    t->slots[at] = i;
    return i;
}

mxio_status mxio_arrays_arrange(mxio_content *content, mxio_array *arrays,
                                mxio_err *err) {
    table t;
    if (!table_new(content->n_entries, &t)) {
        FAIL(err, MXIO_NOMEM, MXIO_NOWHERE, MXIO_NOWHERE, "out of memory");
    }
    for (uint64_t i = 0; i < content->n_entries; i++) {
        mxio_entry *entry = &content->entries[i];
        uint64_t first = i;
        entry->order = MXIO_ORDER_C;
        if (entry->nbytes > 0) {
            choose_order(&arrays[i]);
            entry->order = (uint8_t)arrays[i].lies.order;
            first = table_take(&t, content, arrays, i);
        }
        entry->alias_of = first == i ? MXIO_NOWHERE : first;
    }
    free(t.slots);
    return MXIO_OK;
}

/* ---- segments ------------------------------------------------------------- */

uint64_t mxio_arrays_segments(const mxio_content *content,
                              const mxio_array *arrays, uint32_t *checksums,
                              mxio_segment *out) {
    uint64_t n = 0;
    for (uint64_t i = 0; i < content->n_entries; i++) {
        const mxio_entry *entry = &content->entries[i];
        if (entry->nbytes == 0 || entry->alias_of != MXIO_NOWHERE) {
            continue;
        }
        out[n].mem = arrays[i].mem;
        out[n].strided = arrays[i].as_stored ? NULL : &arrays[i].lies;
        out[n].nbytes = entry->nbytes;
        out[n].offset = entry->offset;
        out[n].chunk_nbytes = entry->chunk_nbytes;
        out[n].checksums = checksums + entry->first_chunk;
        n++;
    }
    return n;
}
