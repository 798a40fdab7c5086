# SPDX-License-Identifier: Apache-2.0
# Part of _core.pyx: indexes that are put together piece by piece.

def encode_index(list entries not None, list runs not None, list dtypes not None,
                 bytes structure not None, bytes metadata not None, checksums, parent):
    """The bytes of an index.

    Of each entry: name, row of its dtype, shape, order, nbytes, offset, chunk_nbytes, how many of
    the checksums are its own. Of each run: number of the entry, offset, nbytes. The parent's
    offset, nbytes and crc, or None.
    """
    cdef uint64_t i, n = len(entries), n_dims = 0, n_chunks = 0
    cdef mxio_content content
    cdef mxio_layout layout
    cdef mxio_entry *entry
    cdef mxio_dtype *table = NULL
    cdef mxio_run *table_runs = NULL
    cdef uint64_t *dims = NULL
    cdef Py_ssize_t name_nbytes
    cdef Py_buffer view
    cdef mxio_err err
    cdef mxio_status status
    cdef bytes out
    memset(&content, 0, sizeof(content))
    memset(&layout, 0, sizeof(layout))
    for facts in entries:
        n_dims += len(facts[2])
    PyObject_GetBuffer(checksums, &view, PyBUF_SIMPLE)
    try:
        content.entries = <mxio_entry *>calloc(n + 1, sizeof(mxio_entry))
        table = <mxio_dtype *>calloc(len(dtypes) + 1, sizeof(mxio_dtype))
        table_runs = <mxio_run *>calloc(len(runs) + 1, sizeof(mxio_run))
        dims = <uint64_t *>calloc(n_dims + 1, sizeof(uint64_t))
        if content.entries == NULL or table == NULL or table_runs == NULL or dims == NULL:
            raise MemoryError("out of memory for the index")
        n_dims = 0
        for i in range(n):
            entry = &content.entries[i]
            name, row, shape, order, nbytes, offset, chunk_nbytes, own = entries[i]
            entry.name = PyUnicode_AsUTF8AndSize(name, &name_nbytes)
            entry.name_nbytes = name_nbytes
            entry.dtype = row
            entry.shape = dims + n_dims
            entry.ndim = len(shape)
            for dim in shape:
                dims[n_dims] = dim
                n_dims += 1
            entry.order = MXIO_ORDER_F if order == "F" else MXIO_ORDER_C
            entry.nbytes = nbytes
            entry.offset = offset
            entry.chunk_nbytes = chunk_nbytes
            entry.alias_of = MXIO_NOWHERE
            if entry.nbytes:
                entry.first_chunk = n_chunks
                n_chunks += <uint64_t>own
        for i in range(<uint64_t>len(runs)):
            table_runs[i].entry, table_runs[i].offset, table_runs[i].nbytes = runs[i]
        pin_dtypes(dtypes, table)
        content.n_entries = n
        content.dtypes = table
        content.n_dtypes = len(dtypes)
        content.runs = table_runs
        content.n_runs = len(runs)
        content.structure = PyBytes_AS_STRING(structure)
        content.structure_nbytes = len(structure)
        content.metadata = PyBytes_AS_STRING(metadata)
        content.metadata_nbytes = len(metadata)
        if parent is not None:
            content.parent_offset, content.parent_nbytes, content.parent_crc = parent
        if n_chunks * sizeof(uint32_t) != <uint64_t>view.len:
            raise SystemError("the checksums are not those of the entries")
        layout.n_chunks = n_chunks
        layout.index_nbytes = mxio_index_measure(&content, n_chunks)
        if layout.index_nbytes == 0:
            raise ValueError("the index would exceed 2^63 bytes")
        out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>layout.index_nbytes)
        status = mxio_index_encode(&content, &layout, <uint32_t *>view.buf,
                                   <uint8_t *>PyBytes_AS_STRING(out), &err)
        check(status, &err, "the index")
    finally:
        free(content.entries)
        free(table)
        free(table_runs)
        free(dims)
        PyBuffer_Release(&view)
    return out


cdef int pin_head(mxio_head *head, uint64_t required, uint64_t generation, uint64_t file_nbytes,
                  tuple index) except -1:
    memset(head, 0, sizeof(mxio_head))
    head.required = required
    head.generation = generation
    head.file_nbytes = file_nbytes
    head.index_offset, head.index_nbytes, head.index_crc = index
    return 0


def encode_head(uint64_t required, uint64_t generation, uint64_t file_nbytes,
                tuple index not None):
    """The head area of a file, given its index's offset, nbytes and crc."""
    cdef mxio_head head
    cdef bytes out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>MXIO_HEAD_NBYTES)
    pin_head(&head, required, generation, file_nbytes, index)
    mxio_head_encode(&head, <uint8_t *>PyBytes_AS_STRING(out))
    return out


def decode_index(bytes data not None, uint64_t offset, uint64_t file_nbytes, uint64_t required,
                 str where not None):
    """Judge an index that is to stand at an offset of a file."""
    cdef Index self = Index.__new__(Index)
    cdef mxio_head head
    cdef mxio_err err
    cdef mxio_status status
    cdef const uint8_t *p = <const uint8_t *>PyBytes_AS_STRING(data)
    cdef uint32_t crc = mxio_crc32c(0, p, len(data))
    pin_head(&head, required, 1, file_nbytes, (offset, len(data), crc))
    with nogil:
        status = mxio_index_decode(p, &head, &self._index, &err)
    check(status, &err, where)
    return self


def merge_indexes(Index parent not None, Index delta not None, str where not None):
    """The bytes of the index that says what both say."""
    cdef mxio_err err
    cdef mxio_status status
    cdef uint8_t *data = NULL
    cdef uint64_t nbytes = 0
    with nogil:
        status = mxio_index_merge(parent._index, delta._index, &data, &nbytes, &err)
    check(status, &err, where)
    try:
        return PyBytes_FromStringAndSize(<char *>data, <Py_ssize_t>nbytes)
    finally:
        mxio_memory_free(data)
