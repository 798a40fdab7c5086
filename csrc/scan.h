/* SPDX-License-Identifier: Apache-2.0
 *
 * scan.h - what the scanners of foreign files share: a window on the file, and
 * a scan that grows.
 */
#ifndef MXIO_SCAN_H
#define MXIO_SCAN_H

#include "format.h"

/* Some bytes of a file.  It grows as long as what is asked for lies close
 * together, and shrinks after a jump: headers between large arrays cost a page
 * each, thousands of small records one read. */
typedef struct window {
    mxio_file *file;
    uint64_t file_nbytes;
    const uint8_t *mem;
    uint8_t *owned;           /* NULL: mem is the whole file, in memory      */
    uint64_t room;
    uint64_t offset, nbytes;  /* of the file, in mem                         */
} window;

void mxio_window_open(window *w, mxio_file *file);
void mxio_window_close(window *w);

/* Points *out at nbytes of the file, until the next call.  CORRUPT with the
 * file's length as offset if they do not exist.  REQUIRES: nbytes is at most
 * MXIO_WINDOW_NBYTES. */
enum { MXIO_WINDOW_NBYTES = 262144 };
mxio_status mxio_window_take(window *w, uint64_t offset, uint64_t nbytes,
                             uint64_t record, const uint8_t **out,
                             mxio_err *err);

enum { MXIO_FOREIGN_DTYPES_MAX = 64 };

/* A scan that grows: how much room each of its arrays has. */
typedef struct growing {
    mxio_scan *scan;
    const mxio_foreign_dtype *table;
    uint64_t n_table;
    uint64_t parts, dims, dtypes, strings, names;
    uint32_t row_of[MXIO_FOREIGN_DTYPES_MAX]; /* UINT32_MAX: not in use yet */
} growing;

mxio_status mxio_growing_open(growing *g, mxio_scan *scan,
                              const mxio_foreign_dtype *table,
                              size_t n_table, mxio_err *err);

/* Room for that many more parts.  REQUIRES: the caller has bounded it. */
mxio_status mxio_growing_reserve(growing *g, uint64_t more, mxio_err *err);
mxio_status mxio_growing_part(growing *g, const mxio_part *part,
                              mxio_err *err);
mxio_status mxio_growing_dim(growing *g, uint64_t dim, mxio_err *err);
/* The row in the scan of a row of the table. */
mxio_status mxio_growing_dtype(growing *g, uint64_t row, uint32_t *out,
                               mxio_err *err);
/* Adds a row that is not in the table. */
mxio_status mxio_growing_new_dtype(growing *g, const mxio_dtype *dtype,
                                   uint32_t *out, mxio_err *err);
/* Ends a name where the strings end, behind nbytes more of them. */
mxio_status mxio_growing_name(growing *g, const uint8_t *name,
                              uint64_t nbytes, mxio_err *err);
mxio_status mxio_growing_strings(growing *g, uint64_t nbytes, mxio_err *err);

#endif
