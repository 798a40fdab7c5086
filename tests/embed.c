/* SPDX-License-Identifier: Apache-2.0
 *
 * A program that reads one array of float32 from a file and prints its sum:
 * what it takes to use csrc/ without Python.
 *
 *     cc -std=c99 -Icsrc tests/embed.c csrc/[a-z]*.c -lpthread
 */
#include "mxio.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
    mxio_err err;
    mxio_file *file = NULL;
    mxio_index *index = NULL;
    mxio_entry entry;
    mxio_dtype dtype;
    mxio_segment segment;
    double sum = 0;
    if (argc != 3 || mxio_file_open(argv[1], &file, &err) != MXIO_OK
        || mxio_index_read(file, &index, &err) != MXIO_OK) {
        return 2;
    }
    uint64_t i = mxio_index_find(index, argv[2], strlen(argv[2]));
    if (i == MXIO_NOWHERE) {
        return 3;
    }
    mxio_index_entry(index, i, &entry);
    mxio_index_dtype(index, entry.dtype, &dtype);
    if (dtype.name_nbytes != 7 || memcmp(dtype.name, "float32", 7) != 0) {
        return 4;
    }
    float *x = mxio_memory_new(entry.nbytes);
    if (x == NULL) {
        return 5;
    }
    if (entry.nbytes > 0) { /* an empty array has nothing to read */
        mxio_entry_segment(index, &entry, x, &segment);
    }
    if (entry.nbytes > 0
        && mxio_read(file, &segment, 1, NULL, NULL, &err) != MXIO_OK) {
        fprintf(stderr, "%s at offset %llu\n", err.what,
                (unsigned long long)err.offset);
        return 1;
    }
    for (uint64_t k = 0; k < entry.nbytes / sizeof *x; k++) {
        sum += x[k];
    }
    printf("%.*s: %u dims, sum %g\n", (int)entry.name_nbytes, entry.name,
           entry.ndim, sum);
    mxio_memory_free(x);
    mxio_index_free(index);
    mxio_file_close(file);
    return 0;
}
