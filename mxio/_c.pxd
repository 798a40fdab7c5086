# SPDX-License-Identifier: Apache-2.0
# csrc/mxio.h, transcribed: what each function promises stands there.

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "mxio.h" nogil:
    ctypedef enum mxio_status:
        MXIO_OK
        MXIO_IO
        MXIO_NOMEM
        MXIO_CORRUPT
        MXIO_CHECKSUM
        MXIO_UNSUPPORTED
        MXIO_INVALID

    const uint64_t MXIO_NOWHERE

    ctypedef struct mxio_err:
        mxio_status status
        int sys_errno
        uint64_t offset
        uint64_t item
        char what[96]

    const size_t MXIO_HEAD_NBYTES
    const uint32_t MXIO_MAX_NDIM
    const uint32_t MXIO_MAX_NAME_NBYTES
    const uint64_t MXIO_PIECE_NBYTES
    enum:
        MXIO_ORDER_C
        MXIO_ORDER_F
        MXIO_SYNC
        MXIO_CHECKSUM_ONLY
        MXIO_NO_VERIFY
        MXIO_ZEROS
        MXIO_GAPS
        MXIO_FILL
        MXIO_FEATURE_APPENDING
        MXIO_FEATURE_DELTA
        MXIO_FEATURE_RUNS

    ctypedef struct mxio_dtype:
        const char *name
        uint64_t item_bits
        uint32_t name_nbytes

    ctypedef struct mxio_entry:
        const char *name
        const uint64_t *shape
        uint64_t nbytes
        uint64_t offset
        uint64_t chunk_nbytes
        uint64_t first_chunk
        uint64_t alias_of
        uint64_t stored_nbytes
        uint32_t dtype
        uint16_t name_nbytes
        uint8_t ndim
        uint8_t order

    ctypedef struct mxio_run:
        uint64_t entry
        uint64_t offset
        uint64_t nbytes

    ctypedef struct mxio_content:
        mxio_entry *entries
        uint64_t n_entries
        const mxio_dtype *dtypes
        uint64_t n_dtypes
        const char *structure
        uint64_t structure_nbytes
        const char *metadata
        uint64_t metadata_nbytes
        const mxio_run *runs
        uint64_t n_runs
        uint64_t parent_offset
        uint64_t parent_nbytes
        uint32_t parent_crc

    ctypedef struct mxio_layout:
        uint64_t index_offset
        uint64_t index_nbytes
        uint64_t n_chunks
        uint64_t file_nbytes

    ctypedef struct mxio_head:
        uint64_t required
        uint64_t optional
        uint64_t generation
        uint64_t file_nbytes
        uint64_t index_offset
        uint64_t index_nbytes
        uint32_t index_crc
        int slot
        int other_is_damaged

    mxio_status mxio_layout_plan(mxio_content *content, uint64_t begin, mxio_layout *out,
                                 mxio_err *err)
    uint64_t mxio_index_measure(const mxio_content *content, uint64_t n_chunks)
    mxio_status mxio_index_encode(const mxio_content *content, const mxio_layout *layout,
                                  const uint32_t *checksums, uint8_t *dst, mxio_err *err)
    void mxio_head_encode(const mxio_head *head, uint8_t *dst)

    ctypedef struct mxio_index:
        pass
    mxio_status mxio_index_check(const uint8_t *src, const mxio_head *head, mxio_err *err)
    mxio_status mxio_index_decode(const uint8_t *src, const mxio_head *head, mxio_index **out,
                                  mxio_err *err)
    void mxio_index_free(mxio_index *index)
    mxio_status mxio_index_merge(const mxio_index *parent, const mxio_index *delta, uint8_t **out,
                                 uint64_t *nbytes, mxio_err *err)
    const mxio_head *mxio_index_head(const mxio_index *index)
    uint64_t mxio_index_count(const mxio_index *index)
    uint64_t mxio_index_nbytes(const mxio_index *index)
    uint64_t mxio_index_n_aliases(const mxio_index *index)
    uint64_t mxio_index_n_dtypes(const mxio_index *index)
    int mxio_index_has_runs(const mxio_index *index)
    uint64_t mxio_index_n_chain(const mxio_index *index)
    uint64_t mxio_index_n_extents(const mxio_index *index)
    const mxio_run *mxio_index_runs(const mxio_index *index, uint64_t i, uint64_t *n)
    uint64_t mxio_index_place(const mxio_index *index, uint64_t offset)
    void mxio_index_entry(const mxio_index *index, uint64_t i, mxio_entry *out)
    void mxio_index_dtype(const mxio_index *index, uint64_t row, mxio_dtype *out)
    mxio_status mxio_index_foreign(const mxio_content *content, const uint64_t *stored_nbytes,
                                   uint64_t file_nbytes, mxio_index **out, mxio_err *err)
    uint64_t mxio_index_find(const mxio_index *index, const char *name, size_t name_nbytes)
    const uint32_t *mxio_index_checksums(const mxio_index *index)
    const char *mxio_index_structure(const mxio_index *index, uint64_t *nbytes)
    const char *mxio_index_metadata(const mxio_index *index, uint64_t *nbytes)
    uint64_t mxio_entry_n_chunks(const mxio_entry *entry)

    ctypedef struct mxio_strided:
        const uint64_t *shape
        const int64_t *strides
        uint64_t item_nbytes
        uint32_t ndim
        uint32_t swap_nbytes
        int order

    ctypedef struct mxio_array:
        void *mem
        mxio_strided lies
        int as_stored

    mxio_status mxio_arrays_arrange(mxio_content *content, mxio_array *arrays, mxio_err *err)
    void mxio_array_arrange(mxio_array *array, int order)

    ctypedef struct mxio_file:
        pass
    ctypedef struct mxio_map:
        pass
    mxio_status mxio_file_create(const char *path, mxio_file **out, mxio_err *err)
    mxio_status mxio_file_open(const char *path, mxio_file **out, mxio_err *err)
    mxio_status mxio_file_create_held(const char *path, mxio_file **out, mxio_err *err)
    mxio_status mxio_file_create_new(const char *path, mxio_file **out, mxio_err *err)
    mxio_status mxio_file_open_held(const char *path, mxio_file **out, mxio_err *err)
    mxio_status mxio_file_open_shared(const char *path, mxio_file **out, mxio_err *err)
    const char *mxio_file_held_name(const mxio_file *file)
    mxio_status mxio_file_switch(mxio_file *file, const mxio_head *head, int slot, int sync,
                                 mxio_err *err)
    mxio_status mxio_file_truncate(mxio_file *file, uint64_t nbytes, mxio_err *err)
    mxio_status mxio_file_memory(void *mem, uint64_t offset, uint64_t nbytes, mxio_file **out,
                                 mxio_err *err)
    mxio_status mxio_file_join(mxio_file **parts, uint64_t n, mxio_file **out, mxio_err *err)
    uint64_t mxio_file_base(const mxio_file *file, uint64_t i)
    uint64_t mxio_file_nbytes(const mxio_file *file)
    mxio_status mxio_file_reserve(mxio_file *file, uint64_t offset, uint64_t nbytes,
                                  mxio_err *err)
    mxio_status mxio_file_put(mxio_file *file, const void *mem, uint64_t nbytes, uint64_t offset,
                              mxio_err *err)
    mxio_status mxio_file_put_direct(mxio_file *file, const void *mem, uint64_t nbytes,
                                     uint64_t offset, mxio_err *err)
    mxio_status mxio_file_put_pieces(mxio_file *file, const void *mem, uint64_t nbytes,
                                     const uint64_t *offsets, uint64_t n, mxio_err *err)
    mxio_status mxio_file_get(mxio_file *file, void *mem, uint64_t nbytes, uint64_t offset,
                              mxio_err *err)
    mxio_status mxio_file_measure(mxio_file *file, mxio_err *err)
    mxio_status mxio_file_commit(mxio_file *file, int sync, mxio_err *err)
    void mxio_file_close(mxio_file *file)
    mxio_status mxio_map_new(mxio_file *file, mxio_map **out, mxio_err *err)
    void *mxio_map_data(const mxio_map *map)
    uint64_t mxio_map_nbytes(const mxio_map *map)
    void mxio_map_free(mxio_map *map)
    mxio_status mxio_index_read(mxio_file *file, mxio_index **out, mxio_err *err)

    ctypedef struct mxio_foreign_dtype:
        const char *foreign
        mxio_dtype dtype
        uint64_t stored_bits

    enum:
        MXIO_PART_DENSE
        MXIO_SEEN_V0

    ctypedef struct mxio_part:
        uint64_t offset
        uint64_t nbytes
        uint64_t stored_nbytes
        uint64_t first_dim
        uint64_t first_dense_dim
        uint32_t dtype
        uint8_t ndim
        uint8_t dense_ndim
        uint8_t kind

    ctypedef struct mxio_scan:
        mxio_part *parts
        uint64_t n_parts
        uint64_t n_records
        uint64_t *dims
        mxio_dtype *dtypes
        uint64_t n_dtypes
        uint8_t *strings
        uint64_t *name_ends
        uint64_t n_names
        uint64_t metadata_offset
        uint64_t metadata_nbytes
        uint64_t end_offset
        unsigned seen

    mxio_status mxio_mxnet_scan(mxio_file *file, const mxio_foreign_dtype *dtypes, size_t n_dtypes,
                                mxio_scan *scan, mxio_err *err)
    mxio_status mxio_safetensors_scan(mxio_file *file, const mxio_foreign_dtype *dtypes,
                                      size_t n_dtypes, mxio_scan *scan, mxio_err *err)
    mxio_status mxio_scan_index(const mxio_scan *scan, const char *structure,
                                uint64_t structure_nbytes, uint64_t file_nbytes, mxio_index **out,
                                mxio_err *err)
    void mxio_scan_free(mxio_scan *scan)

    ctypedef struct mxio_segment:
        void *mem
        const mxio_strided *strided
        uint64_t nbytes
        uint64_t offset
        uint64_t chunk_nbytes
        uint32_t *checksums

    ctypedef struct mxio_cursor:
        uint64_t segment
        uint64_t offset

    ctypedef struct mxio_io_opts:
        size_t sizeof_opts
        unsigned threads
        unsigned flags
        uint64_t max_nbytes

    mxio_status mxio_write(mxio_file *file, mxio_segment *segments, uint64_t n,
                           mxio_cursor *cursor, const mxio_io_opts *opts, mxio_err *err)
    mxio_status mxio_read(mxio_file *file, const mxio_segment *segments, uint64_t n,
                          mxio_cursor *cursor, const mxio_io_opts *opts, mxio_err *err)
    void mxio_segments_sort(mxio_segment *segments, uint64_t n)
    void mxio_entry_segment(const mxio_index *index, const mxio_entry *entry, void *mem,
                            mxio_segment *out)
    uint64_t mxio_index_padding(const mxio_index *index, mxio_segment *out)
    uint64_t mxio_arrays_segments(const mxio_content *content, const mxio_array *arrays,
                                  uint32_t *checksums, mxio_segment *out)

    uint32_t mxio_crc32c(uint32_t crc, const void *mem, size_t nbytes)
    const char *mxio_crc32c_name(size_t variant, int *runs_here)
    size_t mxio_crc32c_chosen()
    uint32_t mxio_crc32c_variant(size_t variant, uint32_t crc, const void *mem, size_t nbytes)
    void *mxio_memory_new(uint64_t nbytes)
    void mxio_memory_free(void *mem)
    uint64_t MXIO_SLAB_NBYTES
    uint64_t mxio_page_nbytes()
    void *mxio_room_new(uint64_t nbytes)
    void mxio_room_free(void *mem, uint64_t nbytes)
