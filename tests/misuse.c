/* SPDX-License-Identifier: Apache-2.0
 *
 * A program that breaks the contract of mxio.h, one call at a time, and says what it
 * was told: a line for each call, its name, then a clause and the item, or "ok".
 * Python never calls C so, which is why this is C.
 */
#include "mxio.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static mxio_err err;

/* The shape of one entry calls for more than 2^63 bytes. */
static const uint64_t SHAPE[] = {2, 3, UINT64_C(1) << 62, UINT64_C(1) << 62};
static const mxio_dtype DTYPES[] = {{"float32", 32, 7}, {"int32", 32, 5}};
static const mxio_dtype BYTES[] = {{"uint8", 8, 5}, {"int8", 8, 4}};

static void said(const char *call, mxio_status status) {
    if (status == MXIO_OK) {
        printf("%s: ok\n", call);
    } else if (status != MXIO_INVALID && status != MXIO_UNSUPPORTED) {
        printf("%s: status %d, %s\n", call, (int)status, err.what);
    } else if (err.item == MXIO_NOWHERE) {
        printf("%s: %s\n", call, err.what);
    } else {
        printf("%s: %s, %d\n", call, err.what, (int)err.item);
    }
}

/* ---- files ---------------------------------------------------------------- */

static void files(const char *path, const char *empty) {
    uint8_t mem[64] = {0};
    mxio_file *file = NULL, *parts[2];
    mxio_map *map = NULL;
    mxio_head head = {0};
    said("memory that wraps", mxio_file_memory(mem, UINT64_MAX, 2, &file, &err));
    said("nothing joined", mxio_file_join(NULL, 0, &file, &err));
    (void)mxio_file_memory(mem, INT64_MAX - 64, 64, &parts[0], &err);
    (void)mxio_file_open(path, &parts[1], &err);
    said("more joined than a file holds", mxio_file_join(parts, 2, &file, &err));
    mxio_file_close(parts[0]);
    mxio_file_close(parts[1]);
    (void)mxio_file_memory(mem, 100, sizeof mem, &file, &err);
    said("put before memory", mxio_file_put(file, mem, 2, 99, &err));
    said("put behind memory", mxio_file_put(file, mem, 2, 165, &err));
    said("put over its end", mxio_file_put(file, mem, 2, 163, &err));
    said("map of memory", mxio_map_new(file, &map, &err));
    said("commit of memory", mxio_file_commit(file, 1, &err));
    said("reserve of memory", mxio_file_reserve(file, 0, 1 << 20, &err));
    said("measure of memory", mxio_file_measure(file, &err));
    mxio_file_close(file);
    (void)mxio_file_open(path, &file, &err);
    said("a map", mxio_map_new(file, &map, &err));
    printf("mapped: %d\n", (int)mxio_map_nbytes(map));
    mxio_map_free(map);
    said("commit of a file to read", mxio_file_commit(file, 0, &err));
    said("switch of a file to read", mxio_file_switch(file, &head, 0, 1, &err));
    said("get beyond any file", mxio_file_get(file, mem, 2, UINT64_MAX, &err));
    said("put beyond any file", mxio_file_put(file, mem, 2, UINT64_MAX, &err));
    mxio_file_close(file);
    (void)mxio_file_open(empty, &file, &err);
    said("map of an empty file", mxio_map_new(file, &map, &err));
    mxio_file_close(file);
    (void)mxio_file_create(path, &file, &err);
    said("switch of a new file", mxio_file_switch(file, &head, 0, 1, &err));
    said("reserve beyond any file", mxio_file_reserve(file, 2, INT64_MAX, &err));
    said("truncate beyond any file", mxio_file_truncate(file, UINT64_MAX, &err));
    mxio_file_close(file);
    said("create of nothing", mxio_file_create("", &file, &err));
    said("create of a folder", mxio_file_create("/", &file, &err));
    mxio_file_close(NULL);
    mxio_map_free(NULL);
}

/* ---- segments ------------------------------------------------------------- */

static void segments(void) {
    uint8_t mem[64] = {0};
    mxio_strided strided = {0};
    mxio_segment two[2] = {{mem, NULL, 8, 8, 8, NULL}, {mem + 8, NULL, 8, 16, 8, NULL}};
    mxio_io_opts opts = {sizeof opts, 0, 0, 0};
    mxio_file *file = NULL;
    (void)mxio_file_memory(mem, 0, sizeof mem, &file, &err);
    said("no threads", mxio_read(file, two, 2, NULL, &opts, &err));
    opts.threads = 1000;
    said("too many threads", mxio_read(file, two, 2, NULL, &opts, &err));
    opts.sizeof_opts = 1;
    said("short options", mxio_read(file, two, 2, NULL, &opts, &err));
    two[1].strided = &strided;
    said("read of strided memory", mxio_read(file, two, 2, NULL, NULL, &err));
    two[1].strided = NULL;
    two[1].nbytes = 0;
    said("no bytes", mxio_read(file, two, 2, NULL, NULL, &err));
    two[1].nbytes = 8;
    two[1].chunk_nbytes = 0;
    said("no chunks", mxio_write(file, two, 2, NULL, NULL, &err));
    two[1].chunk_nbytes = 8;
    two[1].offset = 60;
    printf("no err: %d\n", (int)mxio_read(file, two, 2, NULL, NULL, NULL));
    mxio_file_close(file);
}

/* ---- contents ------------------------------------------------------------- */

/* Three entries, the last of which is a second name of the first. */
static mxio_content content(mxio_entry *three) {
    mxio_content all = {0};
    memset(three, 0, 3 * sizeof *three);
    for (int i = 0; i < 3; i++) {
        three[i].name = &"abc"[i];
        three[i].name_nbytes = 1;
        three[i].shape = SHAPE;
        three[i].ndim = 2;
        three[i].nbytes = 24;
        three[i].alias_of = i < 2 ? MXIO_NOWHERE : 0;
    }
    all.entries = three;
    all.n_entries = 3;
    all.dtypes = DTYPES;
    all.n_dtypes = 2;
    return all;
}

static void contents(void) {
    static const uint64_t other[] = {3, 2};
    uint32_t checksums[3] = {0};
    uint8_t index[1024];
    mxio_entry three[3];
    mxio_content all = content(three);
    mxio_index *judged = NULL;
    mxio_head head = {0};
    mxio_layout layout;
    uint64_t nbytes;
    memset(index, 0, sizeof index);
    said("a plan", mxio_layout_plan(&all, 0, &layout, &err));
    said("a plan behind any file", mxio_layout_plan(&all, UINT64_MAX, &layout, &err));
    nbytes = layout.index_nbytes;
    layout.index_nbytes--;
    said("another layout", mxio_index_encode(&all, &layout, checksums, index, &err));
    layout.index_nbytes = nbytes;
    three[1].name = "\xff";
    said("a name that is no text", mxio_index_encode(&all, &layout, checksums, index, &err));
    three[1].name = "c";
    said("a name twice", mxio_index_encode(&all, &layout, checksums, index, &err));
#define BROKEN(call, change)                                       \
    do {                                                           \
        all = content(three);                                      \
        change;                                                    \
        said(call, mxio_layout_plan(&all, 0, &layout, &err));      \
    } while (0)
    BROKEN("65 dimensions", three[1].ndim = 65);
    BROKEN("no such dtype", three[1].dtype = 2);
    BROKEN("no such order", three[1].order = 2);
    BROKEN("one dimension in F", (three[1].order = 1, three[1].ndim = 1));
    BROKEN("other nbytes", three[1].nbytes = 23);
    BROKEN("a shape without an end", (three[1].shape = SHAPE + 2));
    BROKEN("a name of itself", three[2].alias_of = 2);
    BROKEN("a name of nothing", (three[2].shape = SHAPE + 2, three[2].ndim = 0,
                                 three[2].nbytes = 4));
    BROKEN("a name of a name", (three[1].alias_of = 0, three[2].alias_of = 1));
    BROKEN("a name of another dtype", three[2].dtype = 1);
    BROKEN("a name of another order", three[2].order = 1);
    BROKEN("a name of another shape", three[2].shape = other);
    BROKEN("a content that is too long", all.structure_nbytes = UINT64_MAX - 8);
    head.index_nbytes = 64;
    head.index_crc = mxio_crc32c(0, index, 64);
    said("an index that is no header", mxio_index_decode(index, &head, &judged, &err));
    head.index_crc++;
    said("an index of another crc", mxio_index_check(index, &head, &err));
    BROKEN("arrays that no file holds",
           (three[0].shape = three[1].shape = SHAPE + 2, three[0].ndim = three[1].ndim = 1,
            three[0].nbytes = three[1].nbytes = UINT64_C(1) << 62, all.dtypes = BYTES,
            all.n_entries = 2));
    all = content(three);
    all.structure_nbytes = INT64_MAX;
    printf("measured: %d\n", (int)mxio_index_measure(&all, 0));
#undef BROKEN
}

/* ---- scans ---------------------------------------------------------------- */

static void scans(void) {
    static uint8_t mem[64], page[MXIO_HEAD_NBYTES];
    mxio_head head;
    uint64_t two = 2;
    mxio_dtype byte = {"uint8", 8, 5};
    mxio_entry entry;
    mxio_foreign_dtype table[65];
    mxio_part part = {0};
    mxio_scan scan;
    mxio_file *file = NULL;
    mxio_index *index = NULL;
    memset(table, 0, sizeof table);
    (void)mxio_file_memory(mem, 0, sizeof mem, &file, &err);
    said("65 dtypes", mxio_mxnet_scan(file, table, 65, &scan, &err));
    mxio_scan_free(&scan);
    said("a list that is none", mxio_mxnet_scan(file, table, 1, &scan, &err));
    mxio_scan_free(&scan);
    said("a header that is none", mxio_safetensors_scan(file, table, 1, &scan, &err));
    mxio_scan_free(&scan);
    mxio_file_close(file);
    (void)mxio_file_memory(mem, 0, 4, &file, &err);
    said("no header", mxio_safetensors_scan(file, table, 1, &scan, &err));
    mxio_scan_free(&scan);
    said("a head that is none", mxio_head_decode(page, sizeof page, &head, &err));
    memset(&scan, 0, sizeof scan);
    scan.n_names = 1;
    said("more names than parts", mxio_scan_index(&scan, NULL, 0, 64, &index, &err));
    scan.n_names = 0;
    scan.n_parts = 1;
    scan.parts = &part;
    part = (mxio_part){0, 2, 1, 0, 0, 0, 1, 0, MXIO_PART_DENSE};
    scan.dims = &two;
    scan.dtypes = &byte;
    scan.n_dtypes = 1;
    said("a packed part", mxio_scan_index(&scan, NULL, 0, 1, &index, &err));
    mxio_index_entry(index, 0, &entry);
    printf("%.*s: %d bytes, stored in %d\n", (int)entry.name_nbytes, entry.name,
           (int)entry.nbytes, (int)entry.stored_nbytes);
    mxio_index_free(index);
    part.kind = MXIO_PART_CSR;
    said("a sparse part", mxio_scan_index(&scan, NULL, 0, 64, &index, &err));
    mxio_file_close(file);
}

/* ---- memory --------------------------------------------------------------- */

static void memory(void) {
    printf("memory without an end: %s\n",
           mxio_memory_new(UINT64_MAX) == NULL ? "none" : "some");
    printf("a room of nothing: %s\n", mxio_room_new(0) == NULL ? "none" : "some");
    printf("a room without an end: %s\n",
           mxio_room_new(UINT64_MAX) == NULL ? "none" : "some");
    mxio_room_free(NULL, 0);
    mxio_memory_free(NULL);
    mxio_index_free(NULL);
}

int main(int argc, char **argv) {
    if (argc != 3) {
        return 2;
    }
    files(argv[1], argv[2]);
    segments();
    contents();
    scans();
    memory();
    return 0;
}
