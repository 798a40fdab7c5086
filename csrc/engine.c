/* SPDX-License-Identifier: Apache-2.0
 *
 * engine.c - segments to a file and back.  The only place with threads.
 *
 * Work is handed out in pieces, in file order, under one lock:
 *
 *     a large segment    whole chunks of it, up to 1 MiB to write or 2 MiB to
 *                        read, moved straight from or to the caller's memory
 *                        (through a buffer if that is strided, or read unaligned);
 *     small segments     as many as lie within 1 MiB, gathered into a buffer:
 *                        one system call for hundreds of arrays.  Those that
 *                        lie in memory as they do in the file are read straight.
 *
 * A checksum is computed on a piece while it is in the cache.  File systems let
 * one thread at a time write to a file and have the others burn their processor
 * until it is their turn.  Where the disk is what all wait for, only one is let
 * in, and the others sleep.  Which thread moves which piece changes no byte of
 * the result, and of several failures the first in file order is reported, so
 * messages do not depend on timing.
 */
#include "internal.h"
#include "os.h"

#include <errno.h>
#include <stdlib.h>

enum {
    BATCH_NBYTES = 1 << 20,   /* of the file, gathered in one piece        */
    SMALL_NBYTES = 1 << 16,   /* a segment up to this long is gathered     */
    WRITE_NBYTES = 1 << 20,   /* of a large segment, in one piece          */
    READ_NBYTES = 2 << 20,    /* likewise                                  */
    GAP_NBYTES_MAX = 4095,    /* between two segments of one batch         */
    ALIKE_NBYTES = 1 << 18,   /* of a batch that may end where memory does */
    STEP_NBYTES = 1 << 18,    /* read by one call                          */
    ALIGNED_NBYTES = 64,      /* memory that a system call fills fast     */
    THREAD_NBYTES = 2 << 20,  /* of work that a thread must be worth       */
    THREADS_MAX = 64
};

typedef struct piece {
    uint64_t segment;    /* the first                                       */
    uint64_t n_segments; /* above 1: whole segments, gathered               */
    uint64_t start;      /* else: where in the segment                      */
    uint64_t nbytes;     /* of the segment, or in the file for a batch      */
    int alike;           /* a batch that lies in memory as in the file      */
} piece;

typedef struct job {
    mxio_file *file;
    const mxio_segment *segments;
    uint64_t n_segments;
    unsigned flags;
    int writing;
    os_lock *turn; /* to write to the file; NULL: nobody waits              */
    os_lock *lock; /* likewise; guards all that follows                     */
    mxio_cursor cursor;
    uint64_t limit; /* file offset not to pass, except with the first piece */
    uint64_t piece_nbytes_max;
    int begun;
    int failed;
    uint64_t failed_segment, failed_offset; /* of the failure in err        */
    mxio_err err;
} job;

/* One thread's buffer, grown when needed. */
typedef struct scratch {
    uint8_t *mem;
    uint64_t nbytes;
} scratch;

static int scratch_reserve(scratch *s, uint64_t nbytes) {
    if (nbytes > s->nbytes) {
        mxio_memory_free(s->mem);
        s->nbytes = 0;
        s->mem = mxio_memory_new(nbytes);
        if (s->mem == NULL) {
            return 0;
        }
        s->nbytes = nbytes;
    }
    return 1;
}

static mxio_status fail_scratch(mxio_err *err) {
    FAIL(err, MXIO_NOMEM, MXIO_NOWHERE, MXIO_NOWHERE, "out of memory");
}

/* ---- handing out pieces --------------------------------------------------- */

/* Whether a segment to read lies behind the one before it in memory as it does
 * in the file, with nothing in between that is not ours to write. */
static int lies_alike(const job *j, const mxio_segment *before,
                      const mxio_segment *s) {
    const uint64_t gap = s->offset - (before->offset + before->nbytes);
    return before->mem != NULL && s->mem != NULL
           && (gap == 0 || ((j->flags & MXIO_GAPS) && gap < MXIO_GAP_NBYTES))
           && (uintptr_t)s->mem - (uintptr_t)before->mem
                  == s->offset - before->offset;
}

/* As many small segments as fit, from the cursor on. */
static void batch_of(const job *j, piece *out) {
    const mxio_segment *first = &j->segments[j->cursor.segment];
    uint64_t end = first->offset + first->nbytes;
    uint64_t i = j->cursor.segment + 1;
    out->alike = !j->writing;
    while (i < j->n_segments) {
        const mxio_segment *s = &j->segments[i];
        if (s->nbytes > SMALL_NBYTES || s->offset < end
            || s->offset - end > GAP_NBYTES_MAX
            || s->offset + s->nbytes - first->offset > BATCH_NBYTES
            || s->offset + s->nbytes - first->offset
                   > j->piece_nbytes_max) {
            break;
        }
        if (out->alike && !lies_alike(j, s - 1, s)) {
            if (end - first->offset >= ALIKE_NBYTES) {
                break;
            }
            out->alike = 0;
        }
        end = s->offset + s->nbytes;
        i++;
    }
    out->segment = j->cursor.segment;
    out->n_segments = i - j->cursor.segment;
    out->start = 0;
    out->nbytes = end - first->offset;
}

/* Whole chunks of one segment, at least one, from the cursor on. */
static void run_of(const job *j, piece *out) {
    const mxio_segment *s = &j->segments[j->cursor.segment];
    uint64_t left = s->nbytes - j->cursor.offset;
    uint64_t most = min_u64(j->piece_nbytes_max,
                            j->writing ? WRITE_NBYTES : READ_NBYTES);
    if (most > s->chunk_nbytes) {
        most -= most % s->chunk_nbytes;
    } else {
        most = s->chunk_nbytes;
    }
    out->segment = j->cursor.segment;
    out->n_segments = 1;
    out->start = j->cursor.offset;
    out->nbytes = min_u64(most, left);
}

/* The next piece, or 0 if there is none.  REQUIRES: the lock, if any. */
static int piece_next(job *j, piece *out) {
    const mxio_segment *s;
    uint64_t from, to;
    if (j->failed || j->cursor.segment == j->n_segments) {
        return 0;
    }
    s = &j->segments[j->cursor.segment];
    if (j->cursor.offset == 0 && s->nbytes <= SMALL_NBYTES) {
        batch_of(j, out);
    } else {
        run_of(j, out);
    }
    from = s->offset + out->start;
    to = from + out->nbytes;
    if (!j->begun) {
        j->begun = 1;
        if (!add_u64(from, j->limit, &j->limit)) {
            j->limit = UINT64_MAX;
        }
    } else if (to > j->limit) {
        return 0;
    }
    if (out->n_segments > 1 || out->start + out->nbytes == s->nbytes) {
        j->cursor.segment += out->n_segments;
        j->cursor.offset = 0;
    } else {
        j->cursor.offset += out->nbytes;
    }
    return 1;
}

/* ---- checksums ------------------------------------------------------------ */

/* The chunks of the bytes [start, start + nbytes) of a segment, which lie at p.
 * REQUIRES: start is where a chunk begins. */
static void checksums_fill(const mxio_segment *s, uint64_t start,
                           uint64_t nbytes, const uint8_t *p) {
    uint64_t chunk = start / s->chunk_nbytes;
    for (uint64_t at = 0; at < nbytes; at += s->chunk_nbytes) {
        uint64_t n = min_u64(s->chunk_nbytes, nbytes - at);
        s->checksums[chunk++] = mxio_crc32c(0, p + at, (size_t)n);
        if (n < s->chunk_nbytes) {
            break; /* the last one: at + chunk_nbytes might overflow */
        }
    }
}

static mxio_status checksums_compare(const job *j, uint64_t segment,
                                     uint64_t start, uint64_t nbytes,
                                     const uint8_t *p, mxio_err *err) {
    const mxio_segment *s = &j->segments[segment];
    uint64_t chunk = start / s->chunk_nbytes;
    if (j->flags & MXIO_ZEROS) {
        if (!all_zero(p, nbytes)) {
            FAIL(err, MXIO_CHECKSUM, s->offset + start, segment,
                 "padding is not zero");
        }
        return MXIO_OK;
    }
    if (s->checksums == NULL || (j->flags & MXIO_NO_VERIFY)) {
        return MXIO_OK;
    }
    if (j->flags & MXIO_FILL) {
        checksums_fill(s, start, nbytes, p);
        return MXIO_OK;
    }
    for (uint64_t at = 0; at < nbytes; at += s->chunk_nbytes) {
        uint64_t n = min_u64(s->chunk_nbytes, nbytes - at);
        if (mxio_crc32c(0, p + at, (size_t)n) != s->checksums[chunk++]) {
            FAIL(err, MXIO_CHECKSUM, s->offset + start + at, segment,
                 "checksum mismatch");
        }
        if (n < s->chunk_nbytes) {
            break;
        }
    }
    return MXIO_OK;
}

/* ---- writing -------------------------------------------------------------- */

/* The bytes [start, start + nbytes) of a segment as stored, in *out: the
 * caller's own where they lie so, else gathered at the end of the scratch from
 * `at` on.  The items at both ends may be cut by the range. */
static mxio_status stored_bytes(const mxio_segment *s, uint64_t start,
                                uint64_t nbytes, scratch *buffer,
                                const uint8_t **out, mxio_err *err) {
    const mxio_strided *strided = s->strided;
    uint64_t first, last;
    if (strided == NULL) {
        *out = (const uint8_t *)s->mem + start;
        return MXIO_OK;
    }
    first = start / strided->item_nbytes;
    last = ceil_div_u64(start + nbytes, strided->item_nbytes);
    if (!scratch_reserve(buffer, (last - first) * strided->item_nbytes)) {
        return fail_scratch(err);
    }
    mxio_strided_gather(s->mem, strided, first, last - first, buffer->mem);
    *out = buffer->mem + (start - first * strided->item_nbytes);
    return MXIO_OK;
}

static void take(os_lock *lock) {
    if (lock != NULL) {
        mxio_os_lock_take(lock);
    }
}

static void give(os_lock *lock) {
    if (lock != NULL) {
        mxio_os_lock_give(lock);
    }
}

static mxio_status put(const job *j, const uint8_t *bytes, uint64_t nbytes,
                       uint64_t offset, mxio_err *err) {
    mxio_status status;
    if (j->flags & MXIO_CHECKSUM_ONLY) {
        return MXIO_OK;
    }
    take(j->turn);
    status = mxio_file_put(j->file, bytes, nbytes, offset, err);
    give(j->turn);
    if (status == MXIO_OK && (j->flags & MXIO_SYNC)) {
        mxio_file_start_writeback(j->file, nbytes, offset);
    }
    return status;
}

static mxio_status write_run(job *j, const piece *p, scratch *buffer,
                             mxio_err *err) {
    const mxio_segment *s = &j->segments[p->segment];
    const uint64_t offset = s->offset + p->start;
    const uint8_t *bytes;
    TRY(stored_bytes(s, p->start, p->nbytes, buffer, &bytes, err));
    if (s->checksums != NULL) {
        checksums_fill(s, p->start, p->nbytes, bytes);
    }
    return put(j, bytes, p->nbytes, offset, err);
}

static mxio_status write_batch(job *j, const piece *p, scratch *batch,
                               scratch *buffer, mxio_err *err) {
    const uint64_t offset = j->segments[p->segment].offset;
    uint64_t at = 0;
    if (!scratch_reserve(batch, BATCH_NBYTES)) {
        return fail_scratch(err);
    }
    for (uint64_t i = 0; i < p->n_segments; i++) {
        const mxio_segment *s = &j->segments[p->segment + i];
        const uint64_t gap = s->offset - offset - at;
        const uint8_t *bytes;
        TRY(stored_bytes(s, 0, s->nbytes, buffer, &bytes, err));
        if (s->checksums != NULL) {
            checksums_fill(s, 0, s->nbytes, bytes);
        }
        memset(batch->mem + at, 0, (size_t)gap);
        memcpy(batch->mem + at + gap, bytes, (size_t)s->nbytes);
        at += gap + s->nbytes;
    }
    return put(j, batch->mem, p->nbytes, offset, err);
}

/* ---- reading -------------------------------------------------------------- */

/* In steps, so that what has been read is compared while it is in the cache;
 * through a buffer where the bytes are only to be checked, and where the system
 * would copy slowly because the memory is not aligned. */
static mxio_status read_steps(const job *j, const piece *p, uint8_t *mem,
                              scratch *buffer, mxio_err *err) {
    const mxio_segment *s = &j->segments[p->segment];
    const int straight
        = mem != NULL && (uintptr_t)mem % ALIGNED_NBYTES == 0;
    uint64_t step = s->chunk_nbytes;
    if (step < STEP_NBYTES) {
        step = STEP_NBYTES - STEP_NBYTES % step;
    }
    step = min_u64(step, p->nbytes);
    if (!straight && !scratch_reserve(buffer, step)) {
        return fail_scratch(err);
    }
    for (uint64_t at = 0; at < p->nbytes; at += step) {
        const uint64_t n = min_u64(step, p->nbytes - at);
        const uint64_t start = p->start + at;
        uint8_t *into = straight ? mem + at : buffer->mem;
        TRY(mxio_file_get(j->file, into, n, s->offset + start, err));
        TRY(checksums_compare(j, p->segment, start, n, into, err));
        if (mem != NULL && !straight) {
            memcpy(mem + at, into, (size_t)n);
        }
    }
    return MXIO_OK;
}

static mxio_status read_run(const job *j, const piece *p, scratch *buffer,
                            mxio_err *err) {
    const mxio_segment *s = &j->segments[p->segment];
    const uint64_t offset = s->offset + p->start;
    const uint8_t *bytes = mxio_file_peek(j->file, p->nbytes, offset);
    uint8_t *mem = s->mem == NULL ? NULL : (uint8_t *)s->mem + p->start;
    if (bytes == NULL) {
        return read_steps(j, p, mem, buffer, err);
    }
    TRY(checksums_compare(j, p->segment, p->start, p->nbytes, bytes, err));
    if (mem != NULL) {
        memcpy(mem, bytes, (size_t)p->nbytes);
    }
    return MXIO_OK;
}

static mxio_status read_batch(const job *j, const piece *p, scratch *batch,
                              mxio_err *err) {
    const uint64_t offset = j->segments[p->segment].offset;
    const uint8_t *bytes = mxio_file_peek(j->file, p->nbytes, offset);
    uint8_t *into = j->segments[p->segment].mem;
    if (bytes == NULL) {
        if (!p->alike) {
            if (!scratch_reserve(batch, BATCH_NBYTES)) {
                return fail_scratch(err);
            }
            into = batch->mem;
        }
        TRY(mxio_file_get(j->file, into, p->nbytes, offset, err));
        bytes = into;
    }
    for (uint64_t i = p->segment; i < p->segment + p->n_segments; i++) {
        const mxio_segment *s = &j->segments[i];
        const uint8_t *from = bytes + (s->offset - offset);
        TRY(checksums_compare(j, i, 0, s->nbytes, from, err));
        if (s->mem != NULL && s->mem != from) {
            memcpy(s->mem, from, (size_t)s->nbytes);
        }
    }
    return MXIO_OK;
}

/* ---- running -------------------------------------------------------------- */

/* Keeps the failure that comes first in the file.  REQUIRES: the lock. */
static void note_failure(job *j, const piece *p, const mxio_err *err) {
    if (!j->failed || p->segment < j->failed_segment
        || (p->segment == j->failed_segment
            && p->start < j->failed_offset)) {
        j->failed = 1;
        j->failed_segment = p->segment;
        j->failed_offset = p->start;
        j->err = *err;
    }
}

static void work(void *arg) {
    job *j = arg;
    scratch batch = {0}, buffer = {0};
    mxio_err err = {0};
    piece p;
    for (;;) {
        mxio_status status;
        int more;
        take(j->lock);
        more = piece_next(j, &p);
        give(j->lock);
        if (!more) {
            break;
        }
        if (j->writing) {
            status = p.n_segments > 1
                         ? write_batch(j, &p, &batch, &buffer, &err)
                         : write_run(j, &p, &buffer, &err);
        } else {
            status = p.n_segments > 1 ? read_batch(j, &p, &batch, &err)
                                      : read_run(j, &p, &buffer, &err);
        }
        if (status != MXIO_OK) {
            take(j->lock);
            note_failure(j, &p, &err);
            give(j->lock);
        }
    }
    mxio_memory_free(batch.mem);
    mxio_memory_free(buffer.mem);
}

/* How many threads the work is worth. */
static unsigned threads_for(const job *j, unsigned asked) {
    uint64_t nbytes = 0;
    unsigned most = asked == 0 ? 1 : asked;
    uint64_t enough;
    if (most > THREADS_MAX) {
        most = THREADS_MAX;
    }
    enough = (uint64_t)most * THREAD_NBYTES;
    for (uint64_t i = j->cursor.segment;
         i < j->n_segments && nbytes < enough && nbytes < j->limit; i++) {
        nbytes += min_u64(j->segments[i].nbytes, enough);
    }
    nbytes = min_u64(min_u64(nbytes, j->limit), enough);
    return nbytes < 2 * THREAD_NBYTES ? 1
                                      : (unsigned)(nbytes / THREAD_NBYTES);
}

static mxio_status run(job *j, unsigned threads, mxio_err *err) {
    os_thread *started[THREADS_MAX];
    unsigned n_started = 0;
    if (threads > 1
        && (mxio_os_lock_new(&j->lock) != 0
            || ((j->flags & MXIO_SYNC) && mxio_os_lock_new(&j->turn) != 0))) {
        threads = 1; /* then this thread does it all */
    }
    while (n_started + 1 < threads
           && mxio_os_thread_start(work, j, &started[n_started]) == 0) {
        n_started++;
    }
    work(j);
    while (n_started > 0) {
        mxio_os_thread_join(started[--n_started]);
    }
    mxio_os_lock_free(j->lock);
    mxio_os_lock_free(j->turn);
    if (j->failed) {
        if (err != NULL) {
            *err = j->err;
        }
        return j->err.status;
    }
    return MXIO_OK;
}

static mxio_status move(mxio_file *file, const mxio_segment *segments,
                        uint64_t n, mxio_cursor *cursor,
                        const mxio_io_opts *opts, int writing,
                        mxio_err *err) {
    job j = {0};
    unsigned threads = 1;
    for (uint64_t i = 0; i < n; i++) {
        if (segments[i].nbytes == 0 || segments[i].chunk_nbytes == 0) {
            FAIL(err, MXIO_INVALID, MXIO_NOWHERE, i,
                 "a segment has no bytes or no chunks");
        }
    }
    j.file = file;
    j.segments = segments;
    j.n_segments = n;
    j.writing = writing;
    j.limit = UINT64_MAX;
    j.piece_nbytes_max = UINT64_MAX;
    if (opts != NULL) {
        if (opts->sizeof_opts < sizeof *opts) {
            FAIL(err, MXIO_INVALID, MXIO_NOWHERE, MXIO_NOWHERE,
                 "sizeof_opts is too small");
        }
        j.flags = opts->flags;
        threads = opts->threads;
        if (opts->max_nbytes != 0) {
            j.limit = opts->max_nbytes;
            j.piece_nbytes_max = opts->max_nbytes;
        }
    }
    if (cursor != NULL) {
        j.cursor = *cursor;
    }
    TRY(run(&j, threads_for(&j, threads), err));
    if (cursor != NULL) {
        *cursor = j.cursor;
    }
    return MXIO_OK;
}

mxio_status mxio_write(mxio_file *file, mxio_segment *segments, uint64_t n,
                       mxio_cursor *cursor, const mxio_io_opts *opts,
                       mxio_err *err) {
    return move(file, segments, n, cursor, opts, 1, err);
}

mxio_status mxio_read(mxio_file *file, const mxio_segment *segments,
                      uint64_t n, mxio_cursor *cursor,
                      const mxio_io_opts *opts, mxio_err *err) {
    for (uint64_t i = 0; i < n; i++) {
        if (segments[i].strided != NULL) {
            FAIL(err, MXIO_INVALID, MXIO_NOWHERE, i,
                 "a segment to read cannot be strided");
        }
    }
    return move(file, segments, n, cursor, opts, 0, err);
}

static int segment_compare(const void *left, const void *right) {
    const mxio_segment *a = left;
    const mxio_segment *b = right;
    return (a->offset > b->offset) - (a->offset < b->offset);
}

void mxio_segments_sort(mxio_segment *segments, uint64_t n) {
    for (uint64_t i = 1; i < n; i++) {
        if (segments[i - 1].offset > segments[i].offset) {
            qsort(segments, (size_t)n, sizeof *segments, segment_compare);
            return;
        }
    }
}
