/* SPDX-License-Identifier: Apache-2.0
 *
 * mxio.h - the C boundary of mxio.  C99.  No Python anywhere under csrc/.
 *
 * mxio moves named arrays between memory and a file (docs/FORMAT.md).  This
 * header is the whole contract: a program that reads a file needs nothing else
 * (tests/embed.c is one in a dozen lines).
 *
 * CAVEATS
 *
 *  - Memory belongs to whoever allocated it.  The library borrows what it is
 *    given for the length of the call and keeps no pointer to it, with two
 *    exceptions that say so: mxio_file_memory and mxio_segment arrays that a
 *    caller itself keeps.
 *  - On failure a function fills *err (if err is not NULL), leaves its other
 *    outputs untouched unless it says otherwise, and leaks nothing.  On
 *    success *err is untouched.
 *  - Reads on one open file from several threads at once are fine.  Creating,
 *    writing and committing one file is one thread's business.
 *  - Threads that a call starts are joined before it returns: nothing is left
 *    to meet a fork.
 *  - No function touches errno's meaning, signal handlers, the umask or the
 *    working folder.  There is no global state but the choice of a CRC
 *    implementation, made once.
 */
#ifndef MXIO_H
#define MXIO_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------------
 * Failure
 * --------------------------------------------------------------------- */

typedef enum mxio_status {
    MXIO_OK = 0,
    MXIO_IO,          /* a system call failed: err->sys_errno says how       */
    MXIO_NOMEM,
    MXIO_CORRUPT,     /* the bytes contradict docs/FORMAT.md                 */
    MXIO_CHECKSUM,    /* well formed, but the contents changed               */
    MXIO_UNSUPPORTED, /* valid, but needs a feature this library lacks       */
    MXIO_INVALID      /* the caller broke this header's contract             */
} mxio_status;

#define MXIO_NOWHERE UINT64_MAX

typedef struct mxio_err {
    mxio_status status;
    int sys_errno;    /* MXIO_IO only, else 0                                */
    uint64_t offset;  /* in the file, or MXIO_NOWHERE                        */
    uint64_t item;    /* number of an entry (format.c) or of a segment
                         (engine.c), or MXIO_NOWHERE                         */
    char what[96];    /* a clause, NUL-terminated, plain ASCII               */
} mxio_err;

/* ------------------------------------------------------------------------
 * format.c: memory to memory.  No files, no threads.
 * --------------------------------------------------------------------- */

#define MXIO_VERSION 1u
#define MXIO_HEAD_NBYTES 4096u       /* the head area                        */
#define MXIO_MAX_NDIM 64u
#define MXIO_MAX_NAME_NBYTES 65535u
#define MXIO_CHUNK_NBYTES 65536u     /* what a writer aims at, FORMAT.md 3.2 */

/* Bits of a head's `required` (FORMAT.md 5). */
#define MXIO_FEATURE_APPENDING 1u
#define MXIO_FEATURE_DELTA 2u
#define MXIO_FEATURE_RUNS 4u

enum { MXIO_ORDER_C = 0, MXIO_ORDER_F = 1 };

typedef struct mxio_dtype {
    const char *name;     /* not NUL-terminated                              */
    uint64_t item_bits;   /* all that C knows of a dtype                     */
    uint32_t name_nbytes;
} mxio_dtype;

typedef struct mxio_entry {   /* one named array                             */
    const char *name;         /* UTF-8, not NUL-terminated                   */
    const uint64_t *shape;    /* ndim extents, in the order of the axes      */
    uint64_t nbytes;
    uint64_t offset;          /* the five up to alias_of: mxio_layout_plan
                                 fills them, except alias_of.  Of data in
                                 runs: 0 to encode; once judged, a place
                                 behind every file, where mxio_read finds it */
    uint64_t chunk_nbytes;
    uint64_t first_chunk;
    uint64_t alias_of;        /* number of an earlier entry or MXIO_NOWHERE  */
    uint64_t stored_nbytes;   /* out: in the file.  Only in a foreign file
                                 something else than nbytes: such bytes have
                                 to be decoded                               */
    uint32_t dtype;           /* row of the table of dtypes                  */
    uint16_t name_nbytes;
    uint8_t ndim;
    uint8_t order;            /* MXIO_ORDER_C or MXIO_ORDER_F                */
} mxio_entry;

typedef struct mxio_run {     /* of data that lies in several places         */
    uint64_t entry;           /* its number                                  */
    uint64_t offset;          /* 0: as much of what the parent has           */
    uint64_t nbytes;
} mxio_run;

typedef struct mxio_content { /* everything an index says                    */
    mxio_entry *entries;
    uint64_t n_entries;
    const mxio_dtype *dtypes;
    uint64_t n_dtypes;
    const char *structure;    /* JSON, FORMAT.md 3.8; opaque here            */
    uint64_t structure_nbytes;
    const char *metadata;
    uint64_t metadata_nbytes;
    const mxio_run *runs;     /* in the order of FORMAT.md 3.5               */
    uint64_t n_runs;
    uint64_t parent_offset;   /* of the index that this one adds to; 0: none */
    uint64_t parent_nbytes;
    uint32_t parent_crc;
} mxio_content;

typedef struct mxio_layout {
    uint64_t index_offset;
    uint64_t index_nbytes;
    uint64_t n_chunks;
    uint64_t file_nbytes;
} mxio_layout;

typedef struct mxio_head {
    uint64_t required;
    uint64_t optional;
    uint64_t generation;
    uint64_t file_nbytes;
    uint64_t index_offset;
    uint64_t index_nbytes;
    uint32_t index_crc;
    int slot;                 /* which one it was taken from                 */
    int other_is_damaged;     /* the other one is neither valid nor zero     */
} mxio_head;

/* Decides where everything goes: behind head and index, or, where those are not
 * wanted, from the offset begin on, if that is not 0.  Reads of each entry: name, shape, nbytes,
 * alias_of, dtype, ndim, order; fills offset, chunk_nbytes and first_chunk.
 * No I/O, no allocation.  MXIO_INVALID with err->item: nbytes contradicts
 * shape and dtype, or an alias its entry.  MXIO_UNSUPPORTED: the file would
 * exceed 2^63 - 1 bytes. */
mxio_status mxio_layout_plan(mxio_content *content, uint64_t begin,
                             mxio_layout *out, mxio_err *err);

/* Writes the index_nbytes bytes of a planned index to dst.  checksums has
 * layout->n_chunks values.  MXIO_INVALID: a name is not as FORMAT.md 3.2 wants
 * it or stands twice (err->item: the later entry).  MXIO_NOMEM. */
mxio_status mxio_index_encode(const mxio_content *content,
                              const mxio_layout *layout,
                              const uint32_t *checksums, uint8_t *dst,
                              mxio_err *err);

/* The nbytes of the index of this content with so many checksums; 0 if it would
 * exceed 2^63. */
uint64_t mxio_index_measure(const mxio_content *content, uint64_t n_chunks);

/* Writes the MXIO_HEAD_NBYTES bytes of a head area with *head in slot 0, and the
 * MXIO_SLOT_NBYTES bytes of a slot. */
#define MXIO_SLOT_NBYTES 128u
void mxio_head_encode(const mxio_head *head, uint8_t *dst);
void mxio_slot_encode(const mxio_head *head, uint8_t *dst);

/* Judges the MXIO_HEAD_NBYTES bytes of a head area, given the length of the
 * file they come from, and takes the slot that counts. */
mxio_status mxio_head_decode(const uint8_t *src, uint64_t file_nbytes,
                             mxio_head *out, mxio_err *err);

/* An index that has been judged.  Immutable: any number of threads may ask.
 * All pointers handed out live until mxio_index_free. */
typedef struct mxio_index mxio_index;

/* The one function that decides whether an index is valid; src holds
 * head->index_nbytes bytes and is not kept.  Memory used is at most three
 * times that.  One that names a parent is judged by itself; it can only be
 * merged. */
mxio_status mxio_index_decode(const uint8_t *src, const mxio_head *head,
                              mxio_index **out, mxio_err *err);
/* The same verdict, and nothing is made.  REQUIRES: src is 8-byte aligned. */
mxio_status mxio_index_check(const uint8_t *src, const mxio_head *head,
                             mxio_err *err);
void mxio_index_free(mxio_index *index); /* NULL allowed */

/* The bytes, from mxio_memory_new, of the index that says what parent and delta
 * say together (FORMAT.md 3.10); it has parent's parent, or none.  Both have been
 * judged; the result has yet to be. */
mxio_status mxio_index_merge(const mxio_index *parent,
                             const mxio_index *delta, uint8_t **out,
                             uint64_t *nbytes, mxio_err *err);

const mxio_head *mxio_index_head(const mxio_index *index);
uint64_t mxio_index_count(const mxio_index *index);
uint64_t mxio_index_nbytes(const mxio_index *index); /* in memory */
uint64_t mxio_index_n_aliases(const mxio_index *index);
uint64_t mxio_index_n_dtypes(const mxio_index *index);
/* Of the file's indexes, this one included. */
uint64_t mxio_index_n_chain(const mxio_index *index);
uint64_t mxio_index_n_extents(const mxio_index *index);
/* Whether the data of some entry lies in several places. */
int mxio_index_has_runs(const mxio_index *index);

/* The runs of an entry, in order, or NULL if its data lies in one place. */
const mxio_run *mxio_index_runs(const mxio_index *index, uint64_t i,
                                uint64_t *n);
/* Where in the file a byte lies that mxio_read finds at `offset`. */
uint64_t mxio_index_place(const mxio_index *index, uint64_t offset);

/* REQUIRES: i < count, or row < n_dtypes. */
void mxio_index_entry(const mxio_index *index, uint64_t i, mxio_entry *out);
void mxio_index_dtype(const mxio_index *index, uint64_t row, mxio_dtype *out);

/* The index of a foreign file, made of what a scanner found in it: of each
 * entry name, shape, nbytes, offset, dtype, ndim and order are looked at.  stored_nbytes: how many bytes of the file each entry takes from its
 * offset on; NULL means its nbytes.  Judged as a native index is, but extents
 * lie as they come: inside the file, without overlap.  There are no checksums.
 * Nothing that is passed is kept. */
mxio_status mxio_index_foreign(const mxio_content *content,
                               const uint64_t *stored_nbytes,
                               uint64_t file_nbytes, mxio_index **out,
                               mxio_err *err);

/* Number of the entry of that name, or MXIO_NOWHERE.  Binary search, or a hash. */
uint64_t mxio_index_find(const mxio_index *index, const char *name,
                         size_t name_nbytes);

/* All checksums of the file; an entry's begin at its first_chunk.  NULL: a
 * foreign file, which has none. */
const uint32_t *mxio_index_checksums(const mxio_index *index);
const char *mxio_index_structure(const mxio_index *index, uint64_t *nbytes);
const char *mxio_index_metadata(const mxio_index *index, uint64_t *nbytes);

/* Chunks of an entry: 0 if it has no bytes. */
uint64_t mxio_entry_n_chunks(const mxio_entry *entry);

/* ------------------------------------------------------------------------
 * arrays.c, strided.c: arrays as they lie in the caller's memory
 * --------------------------------------------------------------------- */

typedef struct mxio_strided {   /* memory that is not stored as it lies      */
    const uint64_t *shape;      /* ndim extents, in the order of the axes    */
    const int64_t *strides;     /* in bytes, one for each                    */
    uint64_t item_nbytes;       /* at least 1                                */
    uint32_t ndim;
    uint32_t swap_nbytes;       /* above 1: reverse each run of this many
                                   bytes; divides item_nbytes                */
    int order;                  /* in which it is stored                     */
} mxio_strided;

typedef struct mxio_array {     /* one for each entry                        */
    void *mem;
    mxio_strided lies;          /* order: mxio_arrays_arrange                */
    int as_stored;              /* out: contiguous in that order, no swap    */
} mxio_array;

/* Decides for each entry that has bytes order and alias_of, from how its array
 * lies: it is stored as it lies if it lies in C or Fortran order, else in the
 * one whose innermost axis takes the shorter steps; one that has the very same
 * memory as an earlier one, seen the very same way, becomes its alias.  Sets
 * arrays[i].lies.order and as_stored.  MXIO_NOMEM. */
mxio_status mxio_arrays_arrange(mxio_content *content, mxio_array *arrays,
                                mxio_err *err);

/* For a format that says itself in which order an array is stored: sets
 * array->lies.order and as_stored. */
void mxio_array_arrange(mxio_array *array, int order);

/* Copies items [first, first + n) of strided memory, in stored order, to dst
 * as they are stored.  REQUIRES: they exist. */
void mxio_strided_gather(const void *mem, const mxio_strided *strided,
                         uint64_t first, uint64_t n, void *dst);

/* ------------------------------------------------------------------------
 * file.c: a file that appears whole or not at all
 * --------------------------------------------------------------------- */

typedef struct mxio_file mxio_file;
typedef struct mxio_map mxio_map;

/* Begins a file that will have the name path after mxio_file_commit, in a
 * temporary file beside it.  path must not be a symbolic link (resolve it
 * first).  An existing regular file lends its mode (and its owner and group
 * as far as the system lets us); a new one gets what the umask says.  MXIO_IO: EISDIR
 * if path is a folder, EINVAL if it is neither file nor absent. */
mxio_status mxio_file_create(const char *path, mxio_file **out,
                             mxio_err *err);

/* Opens a regular file for reading.  MXIO_IO: as open(2), EISDIR for a folder,
 * EINVAL for what is neither file nor folder. */
mxio_status mxio_file_open(const char *path, mxio_file **out, mxio_err *err);

/* nbytes of memory that stand for the bytes [offset, offset + nbytes) of a
 * file.  mem is borrowed until mxio_file_close; it is written only by
 * mxio_write and mxio_file_put. */
mxio_status mxio_file_memory(void *mem, uint64_t offset, uint64_t nbytes,
                             mxio_file **out, mxio_err *err);

/* n files one after another, as one to read: the bytes of part i stand from
 * mxio_file_base(file, i) on, which is a multiple of MXIO_BASE_NBYTES, so that
 * all of them can be mapped; zeros lie in between.  On success the parts belong
 * to the new file.  REQUIRES: the parts are opened files, not joined ones.
 * MXIO_NOMEM; MXIO_UNSUPPORTED if there would be 2^63 bytes; MXIO_INVALID: n is 0. */
#define MXIO_BASE_NBYTES 65536u
mxio_status mxio_file_join(mxio_file *const *parts, uint64_t n,
                           mxio_file **out, mxio_err *err);
/* REQUIRES: file is a joined one and i < n. */
uint64_t mxio_file_base(const mxio_file *file, uint64_t i);

/* Length of the file when it was opened; of memory: offset + nbytes. */
uint64_t mxio_file_nbytes(const mxio_file *file);

/* As mxio_file_create, for a writer that holds the file for long: the temporary
 * file's name is the one that all such writers of path use, and both it and what
 * is at path are looked at for another living one: MXIO_IO with EAGAIN.  The
 * file stays locked until it is closed, after mxio_file_commit too, and may then be
 * written on. */
mxio_status mxio_file_create_held(const char *path, mxio_file **out,
                                  mxio_err *err);
/* Likewise; EEXIST if path exists, now or at mxio_file_commit. */
mxio_status mxio_file_create_new(const char *path, mxio_file **out,
                                 mxio_err *err);

/* Opens a file to read and to append to it, and holds it likewise. */
mxio_status mxio_file_open_held(const char *path, mxio_file **out,
                                mxio_err *err);

/* Opens a file to write into what another process holds. */
mxio_status mxio_file_open_shared(const char *path, mxio_file **out,
                                  mxio_err *err);

/* Lets a created or held file end behind offset + nbytes and asks for the space from
 * offset on, so that a full disk is found out early.  MXIO_IO with ENOSPC. */
mxio_status mxio_file_reserve(mxio_file *file, uint64_t offset,
                              uint64_t nbytes, mxio_err *err);

/* Plain transfers, complete or an error.  A file that ends early: CORRUPT. */
mxio_status mxio_file_put(mxio_file *file, const void *mem, uint64_t nbytes,
                          uint64_t offset, mxio_err *err);
/* As mxio_file_put, past the page cache where the system offers that and mem and
 * offset are multiples of 4096: the processor copies nothing, and what is in the
 * cache stays.  REQUIRES: nobody else uses the file meanwhile. */
mxio_status mxio_file_put_direct(mxio_file *file, const void *mem,
                                 uint64_t nbytes, uint64_t offset,
                                 mxio_err *err);
/* n pieces of nbytes each, one after another in memory, each to its offset. */
mxio_status mxio_file_put_pieces(mxio_file *file, const void *mem,
                                 uint64_t nbytes, const uint64_t *offsets,
                                 uint64_t n, mxio_err *err);
mxio_status mxio_file_get(mxio_file *file, void *mem, uint64_t nbytes,
                          uint64_t offset, mxio_err *err);

/* Looks how long a file has become: a created one, so that what was written can
 * be read before it is committed, or one that a writer appends to. */
mxio_status mxio_file_measure(mxio_file *file, mxio_err *err);

/* With sync: makes the contents durable, renames, makes the name durable; when
 * it returns MXIO_OK a power cut cannot bring the older file back.  Without:
 * renames.  Failure before the rename leaves the older file; a failure to make
 * the name durable says in err->what that the new file is in place.
 * Whatever it returns, the file only waits for mxio_file_close. */
mxio_status mxio_file_commit(mxio_file *file, int sync, mxio_err *err);

/* The name that a held file has in its folder now. */
const char *mxio_file_held_name(const mxio_file *file);

/* Commits what was put behind the end of a held file: makes it durable, writes a
 * slot of its head, makes that durable; without sync, writes the slot.  MXIO_IO
 * with ESTALE if path has become another file.  Failure before the slot is written
 * leaves the state before; after it, either. */
mxio_status mxio_file_switch(mxio_file *file, const mxio_head *head, int slot,
                             int sync, mxio_err *err);

/* Cuts a held file off. */
mxio_status mxio_file_truncate(mxio_file *file, uint64_t nbytes,
                               mxio_err *err);

/* NULL allowed.  A created file that was not committed vanishes, unless this is
 * another process than the one that made it. */
void mxio_file_close(mxio_file *file);

/* The whole file in memory, private and writable: changes stay in this process.
 * The map may outlive the file.  If somebody truncates the file meanwhile,
 * touching what is gone raises SIGBUS, as with any mapping. */
mxio_status mxio_map_new(mxio_file *file, mxio_map **out, mxio_err *err);
void *mxio_map_data(const mxio_map *map);
uint64_t mxio_map_nbytes(const mxio_map *map);
void mxio_map_free(mxio_map *map); /* NULL allowed */

/* Reads and judges head and index; of a chain of indexes, all.  From now on
 * mxio_file_get and mxio_read find the data of entries in runs. */
mxio_status mxio_index_read(mxio_file *file, mxio_index **out, mxio_err *err);

/* ------------------------------------------------------------------------
 * mxnet.c, safetensors.c: bounded scanners of foreign files
 *
 * A scanner reads a file's headers, jumping over the arrays, and notes the
 * parts it finds.  It trusts nothing: every count is bounded by bytes that are
 * present before memory is taken for it, so that what it allocates is a small
 * multiple of the headers' length.
 * --------------------------------------------------------------------- */

/* A dtype of a foreign format, and what it is called here. */
typedef struct mxio_foreign_dtype {
    const char *foreign;      /* its name there; NULL: its code is its row   */
    mxio_dtype dtype;         /* its name here, bits of an item in memory    */
    uint64_t stored_bits;     /* of an item in the file                      */
} mxio_foreign_dtype;

enum {                        /* what a part is of its record                */
    MXIO_PART_DENSE,          /* the array                                   */
    MXIO_PART_NONE,           /* a record without an array; no bytes         */
    MXIO_PART_ROW_SPARSE,     /* the values; its indices follow              */
    MXIO_PART_CSR,            /* the values; its indptr and indices follow   */
    MXIO_PART_INDPTR,
    MXIO_PART_INDICES
};

typedef struct mxio_part {
    uint64_t offset;          /* of the bytes                                */
    uint64_t nbytes;          /* in memory                                   */
    uint64_t stored_nbytes;   /* in the file                                 */
    uint64_t first_dim;       /* of its shape, in the scan's dims            */
    uint64_t first_dense_dim; /* sparse values: of the whole array's shape   */
    uint32_t dtype;           /* row of the scan's dtypes                    */
    uint8_t ndim;
    uint8_t dense_ndim;
    uint8_t kind;             /* MXIO_PART_...                               */
} mxio_part;

enum {                        /* bits of mxio_scan.seen                      */
    MXIO_SEEN_V0 = 1,         /* records of these versions                   */
    MXIO_SEEN_V1 = 2,
    MXIO_SEEN_V2 = 4,
    MXIO_SEEN_V3 = 8,
    MXIO_SEEN_RESERVED = 16   /* the reserved word is not 0                  */
};

typedef struct mxio_scan {    /* what a scanner found; its own memory        */
    mxio_part *parts;
    uint64_t n_parts;
    uint64_t n_records;
    uint64_t *dims;
    uint64_t n_dims;
    mxio_dtype *dtypes;       /* those in use, in order of first use         */
    uint64_t n_dtypes;
    uint8_t *dtype_names;     /* of dtypes that are not in the table         */
    uint8_t *strings;         /* the names, one after another, not judged    */
    uint64_t strings_nbytes;
    uint64_t *name_ends;      /* where each name ends in strings             */
    uint64_t n_names;         /* n_records, or 0 for a list                  */
    uint64_t metadata_offset; /* of the user's metadata in the file          */
    uint64_t metadata_nbytes;
    uint64_t end_offset;      /* what lies behind it was not looked at       */
    unsigned seen;            /* MXIO_SEEN_...                               */
} mxio_scan;

/* Zeroes *scan, then fills it.  On failure too it waits for mxio_scan_free.
 * dtypes: n_dtypes rows; they are borrowed until mxio_scan_free.
 * CORRUPT with err->item, the number of the record.
 *
 * A .params file of MXNet: any version of its records. */
mxio_status mxio_mxnet_scan(mxio_file *file, const mxio_foreign_dtype *dtypes,
                            size_t n_dtypes, mxio_scan *scan, mxio_err *err);

/* A .safetensors file: its extents tile the file behind the header.  A dtype
 * that is not in the table gets a row under its own name, with the bits that
 * its extent gives an item. */
mxio_status mxio_safetensors_scan(mxio_file *file,
                                  const mxio_foreign_dtype *dtypes,
                                  size_t n_dtypes, mxio_scan *scan,
                                  mxio_err *err);

/* The index of a scan all of whose parts are dense and whose names, if there
 * are any, are those of the entries. */
mxio_status mxio_scan_index(const mxio_scan *scan, const char *structure,
                            uint64_t structure_nbytes, uint64_t file_nbytes,
                            mxio_index **out, mxio_err *err);
void mxio_scan_free(mxio_scan *scan);

/* ------------------------------------------------------------------------
 * engine.c: segments to a file and back
 * --------------------------------------------------------------------- */

/* The engine's unit of work: a run of whole chunks of one entry.  Segments of
 * one call are in ascending, disjoint order of offset.  A write may fill the
 * bytes between two segments with zeros where they are fewer than 4096. */
typedef struct mxio_segment {
    void *mem;                  /* NULL when reading: check, keep nothing    */
    const mxio_strided *strided;/* NULL: mem holds the nbytes as stored.
                                   Writing only.                             */
    uint64_t nbytes;            /* at least 1                                */
    uint64_t offset;            /* in the file                               */
    uint64_t chunk_nbytes;      /* at least 1; the last chunk may be shorter */
    uint32_t *checksums;        /* one for each chunk: filled when writing,
                                   compared when reading.  NULL: none.       */
} mxio_segment;

/* Where a call begins and, after MXIO_OK, where it ended.  Zeroed at first;
 * finished when segment equals the number of segments. */
typedef struct mxio_cursor {
    uint64_t segment;
    uint64_t offset;            /* in the segment; a multiple of its chunks  */
} mxio_cursor;

enum {
    MXIO_SYNC = 1,              /* write: start the disk behind each piece   */
    MXIO_CHECKSUM_ONLY = 2,     /* write: fill the checksums, write nothing  */
    MXIO_NO_VERIFY = 4,         /* read: compare no checksums                */
    MXIO_ZEROS = 8,             /* read: the bytes must be zero; mem is NULL */
    MXIO_FILL = 32,             /* read: fill the checksums, compare none    */
    MXIO_GAPS = 16              /* read: where segments lie in memory as they
                                   do in the file, fewer than MXIO_GAP_NBYTES
                                   apart, what is between may be written too */
};
#define MXIO_GAP_NBYTES 64u     /* less than lies between two allocations    */

typedef struct mxio_io_opts {
    size_t sizeof_opts;         /* sizeof(mxio_io_opts)                      */
    unsigned threads;           /* at most this many; 0 means 1              */
    unsigned flags;
    uint64_t max_nbytes;        /* stop before a piece that would end more
                                   than this behind the first one's offset,
                                   but do one piece at least; 0: do all      */
} mxio_io_opts;

/* Moves segments [cursor->segment, n) until done or until max_nbytes.  A
 * NULL cursor means from the start, NULL opts one thread and no flags.
 * MXIO_INVALID: a segment without bytes, or a strided one to read.  No piece is longer than max_nbytes if that
 * is MXIO_PIECE_NBYTES or more and no chunk is longer.
 *
 * On MXIO_CHECKSUM, err->item is the segment, err->offset the file offset of
 * the first chunk that fails; target memory then holds unspecified bytes.
 * With MXIO_ZEROS, the offset of the first piece of padding that fails. */
#define MXIO_PIECE_NBYTES (4u << 20)
mxio_status mxio_write(mxio_file *file, mxio_segment *segments, uint64_t n,
                       mxio_cursor *cursor, const mxio_io_opts *opts,
                       mxio_err *err);
mxio_status mxio_read(mxio_file *file, const mxio_segment *segments,
                      uint64_t n, mxio_cursor *cursor,
                      const mxio_io_opts *opts, mxio_err *err);

/* Puts segments in ascending order of offset. */
void mxio_segments_sort(mxio_segment *segments, uint64_t n);

/* The segments that write arranged and planned arrays: fills up to n_entries,
 * returns how many.  They point into arrays and checksums, which has
 * layout->n_chunks values. */
uint64_t mxio_arrays_segments(const mxio_content *content,
                              const mxio_array *arrays, uint32_t *checksums,
                              mxio_segment *out);

/* A segment for all of an entry's bytes.  REQUIRES: entry->nbytes > 0. */
void mxio_entry_segment(const mxio_index *index, const mxio_entry *entry,
                        void *mem, mxio_segment *out);

/* The padding of a file, as segments for mxio_read with MXIO_ZEROS: fills up to
 * count + 1 of them, returns how many.  None for a file with the feature
 * `appending`, whose gaps may be space that was given up. */
uint64_t mxio_index_padding(const mxio_index *index, mxio_segment *out);

/* ------------------------------------------------------------------------
 * crc32c.c: CRC-32C (Castagnoli), RFC 3720
 * --------------------------------------------------------------------- */

/* The crc of bytes that follow others whose crc is `crc` (0: none do). */
uint32_t mxio_crc32c(uint32_t crc, const void *mem, size_t nbytes);

/* The implementations compiled in, portable one first, and whether this
 * processor can run them.  NULL past the last. */
const char *mxio_crc32c_name(size_t variant, int *runs_here);
/* The number of the one mxio_crc32c uses. */
size_t mxio_crc32c_chosen(void);
/* As mxio_crc32c, with a given one.  REQUIRES: it runs here. */
uint32_t mxio_crc32c_variant(size_t variant, uint32_t crc, const void *mem,
                             size_t nbytes);

/* ------------------------------------------------------------------------
 * Memory for arrays: 64-byte aligned, from 2 MiB on in huge pages where the
 * system has them.  NULL: out of memory.
 * --------------------------------------------------------------------- */
void *mxio_memory_new(uint64_t nbytes);
void mxio_memory_free(void *mem); /* NULL allowed */

/* A room for several arrays, of nbytes zeros, in huge pages where the system has
 * them, which of memory for one array only its middle can be.  Each part of it
 * is given back by itself.  What was never written to costs nothing.  NULL: out
 * of memory.  REQUIRES: nbytes and what is given back are whole pages. */
uint64_t mxio_page_nbytes(void);
void *mxio_room_new(uint64_t nbytes);
void mxio_room_free(void *mem, uint64_t nbytes);

/* Of a room, what arrays shorter than a page share. */
#define MXIO_SLAB_NBYTES (UINT64_C(1) << 20)

#ifdef __cplusplus
}
#endif
#endif
