/* SPDX-License-Identifier: Apache-2.0
 *
 * chain.c - head and index of a file, read: its indexes, as many as follow one
 * another (docs/FORMAT.md 3.10), folded into one.
 */
#include "format.h"

#include <stdlib.h>

/* Enough for head and index of most files in one read. */
enum { FIRST_READ_NBYTES = 65536 };

static mxio_status fail_memory(mxio_err *err) {
    FAIL(err, MXIO_NOMEM, MXIO_NOWHERE, MXIO_NOWHERE, "out of memory");
}

/* The bytes of an index, of which the first of the file's have been read. */
static mxio_status read_index(mxio_file *file, const mxio_head *head,
                              int is_parent, const uint8_t *begin,
                              uint64_t first, mxio_index **out,
                              mxio_err *err) {
    uint64_t have = 0;
    mxio_status status;
    /* It lies inside the file, so as much is present. */
    uint8_t *bytes = mxio_memory_new(head->index_nbytes);
    if (bytes == NULL) {
        return fail_memory(err);
    }
    if (head->index_offset < first) {
        have = min_u64(first - head->index_offset, head->index_nbytes);
        memcpy(bytes, begin + head->index_offset, (size_t)have);
    }
    status = mxio_file_get(file, bytes + have, head->index_nbytes - have,
                           head->index_offset + have, err);
    if (status != MXIO_OK) {
        mxio_memory_free(bytes);
        return status;
    }
    return mxio_index_take(bytes, head, is_parent, out, err);
}

/* The parents behind the newest index, which is chain[0]; n counts them all. */
static mxio_status read_chain(mxio_file *file, const mxio_head *head,
                              const uint8_t *begin, uint64_t first,
                              mxio_index **chain, extent *where, uint64_t *n,
                              mxio_err *err) {
    mxio_head at = *head;
    while (mxio_index_parent(chain[*n - 1], &where[*n - 1], &at.index_crc)) {
        at.index_offset = where[*n - 1].offset;
        at.index_nbytes = where[*n - 1].nbytes;
        if (*n == MXIO_CHAIN_MAX) {
            FAIL(err, MXIO_CORRUPT, at.index_offset, MXIO_NOWHERE,
                 "more than 64 indexes follow one another");
        }
        TRY(read_index(file, &at, 1, begin, first, &chain[*n], err));
        (*n)++;
    }
    return MXIO_OK;
}

/* Makes one of two, the older of which names no parent unless both are deltas, and
 * frees them.  is_parent: more follow.  parents: what the whole chain has behind its newest index. */
static mxio_status fold_two(mxio_index **older, mxio_index **newer,
                            const mxio_head *head, int is_parent,
                            const extent *parents, uint64_t n_parents,
                            mxio_index **out,
                            mxio_err *err) {
    uint8_t *bytes = NULL;
    uint64_t nbytes = 0;
    TRY(mxio_index_merge(*older, *newer, &bytes, &nbytes, err));
    mxio_index_free(*older);
    mxio_index_free(*newer);
    *older = *newer = NULL;
    return mxio_index_take_merged(bytes, nbytes, head, is_parent, parents,
                                  n_parents, out, err);
}

/* Folds a chain into one index: from its newest on, as that is short as a rule, so
 * that most bytes are moved once; but from its oldest on where one that adds to
 * another has second names, which mean what stands there when they are met. */
static mxio_status fold_chain(const mxio_head *head, mxio_index **chain,
                              uint64_t n, const extent *where,
                              mxio_err *err) {
    int from_oldest = 0;
    for (uint64_t i = 0; i + 1 < n; i++) {
        from_oldest = from_oldest || mxio_index_n_aliases(chain[i]) > 0;
    }
    for (uint64_t left = n; left > 1; left--) {
        mxio_index **older = from_oldest ? &chain[left - 1] : &chain[n - left + 1];
        mxio_index **newer = from_oldest ? &chain[left - 2] : &chain[0];
        mxio_index *folded = NULL;
        TRY(fold_two(older, newer, head, left > 2, where, n - 1, &folded,
                     err));
        *newer = folded;
    }
    return MXIO_OK;
}

static mxio_status read_whole(mxio_file *file, const mxio_head *head,
                              const uint8_t *begin, uint64_t first,
                              mxio_index **out, mxio_err *err) {
    mxio_index *chain[MXIO_CHAIN_MAX] = {0};
    extent where[MXIO_CHAIN_MAX];
    uint64_t n = 1;
    mxio_status status
        = read_index(file, head, 0, begin, first, &chain[0], err);
    if (status == MXIO_OK) {
        status = read_chain(file, head, begin, first, chain, where, &n, err);
    }
    if (status == MXIO_OK) {
        status = fold_chain(head, chain, n, where, err);
    }
    if (status == MXIO_OK) {
        *out = chain[0];
        return MXIO_OK;
    }
    for (uint64_t i = 0; i < MXIO_CHAIN_MAX; i++) {
        mxio_index_free(chain[i]);
    }
    return status;
}

mxio_status mxio_index_read(mxio_file *file, mxio_index **out,
                            mxio_err *err) {
    uint64_t first = min_u64(mxio_file_nbytes(file), FIRST_READ_NBYTES);
    uint8_t *begin = malloc((size_t)first + 1);
    mxio_index *index = NULL;
    file_run *runs = NULL;
    uint64_t n_runs = 0;
    mxio_head head;
    mxio_status status;
    if (begin == NULL) {
        return fail_memory(err);
    }
    status = mxio_file_get(file, begin, first, 0, err);
    if (status == MXIO_OK && first < MXIO_HEAD_NBYTES) {
        status = mxio_fail(err, MXIO_CORRUPT, 0, mxio_file_nbytes(file), MXIO_NOWHERE,
                           "it is shorter than the head of an mxio file");
    }
    if (status == MXIO_OK) {
        const uint64_t nbytes = mxio_file_nbytes(file);
        mxio_err again;
        status = mxio_head_decode(begin, nbytes, &head, err);
        /* A writer may have committed since the file was opened and measured. */
        if (status == MXIO_CORRUPT && mxio_file_measure(file, &again) == MXIO_OK
            && mxio_file_nbytes(file) > nbytes) {
            status = mxio_head_decode(begin, mxio_file_nbytes(file), &head, err);
        }
    }
    if (status == MXIO_OK) {
        status = read_whole(file, &head, begin, first, &index, err);
    }
    free(begin);
    if (status == MXIO_OK) {
        runs = mxio_runs_table(index, &n_runs);
        if (runs == NULL && n_runs > 0) {
            status = fail_memory(err);
        }
    }
    if (status != MXIO_OK) {
        mxio_index_free(index);
        return status;
    }
    mxio_file_set_runs(file, runs, n_runs);
    *out = index;
    return MXIO_OK;
}
