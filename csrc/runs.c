/* SPDX-License-Identifier: Apache-2.0
 *
 * runs.c - data that lies in several places of a file.
 *
 * An array that has been appended to has its bytes in runs.  Nobody but this file
 * and file.c knows: an entry in runs is given a place behind the end of every
 * file, as long as its data, and reading from there reads from the runs.  So
 * segments, chunks and checksums are of the data as a whole.
 */
#include "index.h"

#include <stdlib.h>

/* Where such places begin: a file in which there are some is shorter.  They are so
 * far apart that no read runs from one into another. */
static const uint64_t PLACES_OFFSET = UINT64_C(1) << 62;
static const uint64_t PLACE_NBYTES = MXIO_BASE_NBYTES;

/* ---- judging -------------------------------------------------------------- */

/* Memory for as many runs and entries in runs as there are records, which are
 * present. */
static mxio_status make_room(mxio_index *index, mxio_err *err) {
    const uint64_t n = index->n.n_records;
    if (n > SIZE_MAX / sizeof *index->scattered
        || (index->runs = malloc((size_t)n * sizeof *index->runs)) == NULL
        || (index->scattered = malloc((size_t)n * sizeof *index->scattered))
               == NULL) {
        FAIL(err, MXIO_NOMEM, MXIO_NOWHERE, MXIO_NOWHERE, "out of memory");
    }
    return MXIO_OK;
}

/* A record, and whether it says something that is possible.  end: where the run
 * before it ends in the file, left: bytes of the entry that are not in runs
 * yet. */
static int run_is_sound(const mxio_index *index, const uint8_t *p,
                        const mxio_run *run, int is_first, uint64_t end,
                        uint64_t left) {
    uint64_t behind;
    if (run->nbytes == 0 || run->nbytes > left || load_u64(p + 24) != 0) {
        return 0;
    }
    if (run->offset == 0) {
        return index->is_delta && is_first;
    }
    return run->offset >= MXIO_HEAD_NBYTES && run->offset != end
           && add_u64(run->offset, run->nbytes, &behind)
           && behind <= index->head.file_nbytes;
}

mxio_status mxio_runs_check(mxio_index *index, uint64_t i,
                            const mxio_entry *entry, uint64_t *run,
                            mxio_err *err) {
    const uint8_t *records = index->bytes + index->s.offset[RECORDS];
    const uint64_t first = *run;
    uint64_t left = entry->nbytes, end = 0, k = first;
    scattered one = {0};
    if (index->n.n_records > 0 && index->runs == NULL) {
        TRY(make_room(index, err));
    }
    for (; k < index->n.n_records && left > 0; k++) {
        const uint8_t *p = records + MXIO_RECORD_NBYTES * k;
        mxio_run *out = &index->runs[k];
        if (load_u64(p) != i) {
            break;
        }
        out->entry = i;
        out->offset = load_u64(p + 8);
        out->nbytes = load_u64(p + 16);
        if (!run_is_sound(index, p, out, k == first, end, left)) {
            FAIL(err, MXIO_CORRUPT,
                 at_section(index, RECORDS, MXIO_RECORD_NBYTES * k), i,
                 "bad run");
        }
        left -= out->nbytes;
        end = out->offset + out->nbytes;
    }
    if (left > 0 || k == first
        || (k - first < 2 && index->runs[first].offset != 0)) {
        FAIL(err, MXIO_CORRUPT, at_section(index, ENTRIES, MXIO_ENTRY_NBYTES * i),
             i, "its data is nowhere, or in runs that do not add up");
    }
    one.entry = i;
    one.first_run = first;
    one.n_runs = k - first;
    index->scattered[index->n_scattered++] = one;
    *run = k;
    return MXIO_OK;
}

mxio_status mxio_runs_place(mxio_index *index, mxio_err *err) {
    uint64_t at = PLACES_OFFSET;
    mxio_entry entry;
    if (index->n_scattered > 0 && index->head.file_nbytes > PLACES_OFFSET) {
        FAIL(err, MXIO_UNSUPPORTED, MXIO_NOWHERE, MXIO_NOWHERE,
             "it has data in runs and more than 2^62 bytes");
    }
    for (uint64_t k = 0; k < index->n_scattered; k++) {
        scattered *one = &index->scattered[k];
        mxio_index_entry(index, one->entry, &entry);
        /* All sums stay below 2^64: each term is below 2^63. */
        if (!align_u64(at + PLACE_NBYTES, PLACE_NBYTES, &at)
            || at > FILE_NBYTES_MAX || entry.nbytes > FILE_NBYTES_MAX - at) {
            FAIL(err, MXIO_UNSUPPORTED, MXIO_NOWHERE, one->entry,
                 "the file would exceed 2^63 bytes");
        }
        one->offset = at;
        at += entry.nbytes;
    }
    return MXIO_OK;
}

/* ---- asking --------------------------------------------------------------- */

const scattered *mxio_scattered_find(const mxio_index *index, uint64_t i) {
    uint64_t low = 0, high = index->n_scattered;
    while (low < high) {
        const uint64_t middle = low + (high - low) / 2;
        if (index->scattered[middle].entry == i) {
            return &index->scattered[middle];
        }
        if (index->scattered[middle].entry < i) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

const mxio_run *mxio_index_runs(const mxio_index *index, uint64_t i,
                                uint64_t *n) {
    const scattered *one;
    mxio_entry entry;
    mxio_index_entry(index, i, &entry);
    one = mxio_scattered_find(
        index, entry.alias_of == MXIO_NOWHERE ? i : entry.alias_of);
    *n = one == NULL ? 0 : one->n_runs;
    return one == NULL ? NULL : index->runs + one->first_run;
}

uint64_t mxio_index_place(const mxio_index *index, uint64_t offset) {
    uint64_t low = 0, high = index->n_scattered;
    const scattered *one;
    if (high == 0 || offset < index->scattered[0].offset) {
        return offset;
    }
    while (high - low > 1) {
        const uint64_t middle = low + (high - low) / 2;
        if (index->scattered[middle].offset <= offset) {
            low = middle;
        } else {
            high = middle;
        }
    }
    one = &index->scattered[low];
    offset -= one->offset;
    for (uint64_t k = one->first_run; k < one->first_run + one->n_runs; k++) {
        const mxio_run *run = &index->runs[k];
        if (offset < run->nbytes) {
            return run->offset + offset;
        }
        offset -= run->nbytes;
    }
    return MXIO_NOWHERE;
}

file_run *mxio_runs_table(const mxio_index *index, uint64_t *n) {
    file_run *table;
    uint64_t k = 0;
    *n = index->n_scattered > 0 ? index->n.n_records : 0;
    if (*n == 0 || *n > SIZE_MAX / sizeof *table
        || (table = malloc((size_t)*n * sizeof *table)) == NULL) {
        return NULL;
    }
    for (uint64_t i = 0; i < index->n_scattered; i++) {
        const scattered *one = &index->scattered[i];
        uint64_t at = one->offset;
        for (uint64_t r = 0; r < one->n_runs; r++) {
            const mxio_run *run = &index->runs[one->first_run + r];
            table[k].at = at;
            table[k].offset = run->offset;
            table[k++].nbytes = run->nbytes;
            at += run->nbytes;
        }
    }
    return table;
}
