# SPDX-License-Identifier: Apache-2.0
# Part of _core.pyx: an index that has been judged.

cdef object shape_of(const uint64_t *dims, uint64_t ndim):
    cdef uint64_t k
    return tuple([dims[k] for k in range(ndim)])


cdef class Index:
    """A judged index; entries are made when they are asked for."""

    cdef mxio_index *_index

    def __init__(self):
        raise TypeError("an Index is read from a File")

    def __dealloc__(self):
        mxio_index_free(self._index)

    def __len__(self):
        return mxio_index_count(self._index)

    def find(self, str name not None):
        cdef Py_ssize_t nbytes
        cdef const char *utf8
        try:
            utf8 = PyUnicode_AsUTF8AndSize(name, &nbytes)
        except UnicodeEncodeError:
            return -1
        cdef uint64_t number = mxio_index_find(self._index, utf8, nbytes)
        return -1 if number == MXIO_NOWHERE else <object>number

    def names(self):
        cdef mxio_entry entry
        cdef uint64_t i
        cdef list out = []
        for i in range(mxio_index_count(self._index)):
            mxio_index_entry(self._index, i, &entry)
            out.append(text(entry.name, entry.name_nbytes))
        return out

    def entry(self, uint64_t number):
        cdef mxio_entry entry
        if number >= mxio_index_count(self._index):
            raise IndexError(number)
        mxio_index_entry(self._index, number, &entry)
        return (
            text(entry.name, entry.name_nbytes),
            entry.dtype,
            shape_of(entry.shape, entry.ndim),
            "F" if entry.order == MXIO_ORDER_F else "C",
            entry.nbytes,
            mxio_index_place(self._index, entry.offset),
            entry.chunk_nbytes,
            None if entry.alias_of == MXIO_NOWHERE else entry.alias_of,
            entry.stored_nbytes,
        )

    def entries(self, list numbers not None):
        """Row of the dtype, shape, order, nbytes and number, a second name's being the first's."""
        cdef mxio_entry entry
        cdef uint64_t number, count = mxio_index_count(self._index)
        cdef list out = []
        for number in numbers:
            if number >= count:
                raise IndexError(number)
            mxio_index_entry(self._index, number, &entry)
            out.append((entry.dtype, shape_of(entry.shape, entry.ndim),
                        "F" if entry.order == MXIO_ORDER_F else "C", entry.nbytes,
                        number if entry.alias_of == MXIO_NOWHERE else entry.alias_of))
        return out

    def runs(self, uint64_t number):
        """Offset and nbytes of each run of an entry's data; none if it has no bytes."""
        cdef uint64_t i, n = 0
        cdef mxio_entry entry
        cdef const mxio_run *runs
        if number >= mxio_index_count(self._index):
            raise IndexError(number)
        mxio_index_entry(self._index, number, &entry)
        runs = mxio_index_runs(self._index, number, &n)
        if runs == NULL:
            return [(entry.offset, entry.nbytes)] if entry.nbytes else []
        return [(runs[i].offset, runs[i].nbytes) for i in range(n)]

    def is_scattered(self, uint64_t number):
        """Whether an entry's data lies in several places."""
        cdef uint64_t n = 0
        if number >= mxio_index_count(self._index):
            raise IndexError(number)
        return mxio_index_runs(self._index, number, &n) != NULL

    def checksums(self, uint64_t number):
        """Of an entry's chunks, four bytes each as this machine has them; none of a foreign one."""
        cdef mxio_entry entry
        cdef const uint32_t *checksums = mxio_index_checksums(self._index)
        if number >= mxio_index_count(self._index):
            raise IndexError(number)
        mxio_index_entry(self._index, number, &entry)
        if checksums == NULL or not entry.nbytes:
            return b""
        return PyBytes_FromStringAndSize(
            <const char *>(checksums + entry.first_chunk),
            <Py_ssize_t>(mxio_entry_n_chunks(&entry) * sizeof(uint32_t)))

    def dtypes(self):
        cdef mxio_dtype dtype
        cdef uint64_t row
        cdef list out = []
        for row in range(mxio_index_n_dtypes(self._index)):
            mxio_index_dtype(self._index, row, &dtype)
            out.append((text(dtype.name, dtype.name_nbytes), dtype.item_bits))
        return out

    @property
    def structure(self):
        cdef uint64_t nbytes
        cdef const char *p = mxio_index_structure(self._index, &nbytes)
        return p[:nbytes]

    @property
    def metadata(self):
        cdef uint64_t nbytes
        cdef const char *p = mxio_index_metadata(self._index, &nbytes)
        return p[:nbytes]

    @property
    def nbytes(self):
        return mxio_index_nbytes(self._index)

    @property
    def identity(self):
        """What a native file's head says of its contents."""
        cdef const mxio_head *head = mxio_index_head(self._index)
        return head.file_nbytes, head.generation, head.index_crc

    @property
    def n_aliases(self):
        return mxio_index_n_aliases(self._index)

    @property
    def has_checksums(self):
        return mxio_index_checksums(self._index) != NULL

    @property
    def generation(self):
        return mxio_index_head(self._index).generation

    @property
    def head(self):
        """Required features, slot, and the index's offset, nbytes and crc."""
        cdef const mxio_head *head = mxio_index_head(self._index)
        return (head.required, head.slot,
                (head.index_offset, head.index_nbytes, head.index_crc))

    @property
    def other_slot_is_damaged(self):
        return bool(mxio_index_head(self._index).other_is_damaged)

    @property
    def has_runs(self):
        """Whether the data of some entry lies in several places."""
        return mxio_index_has_runs(self._index) != 0

    @property
    def n_chain(self):
        """How many indexes of the file this one was made of."""
        return mxio_index_n_chain(self._index)
