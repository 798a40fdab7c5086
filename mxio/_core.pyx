# SPDX-License-Identifier: Apache-2.0
"""The Cython boundary: pin, call, raise, free.

Nothing is decided here: which names, which dtypes, which defaults is Python's
business above, where bytes go and whether they are valid is C's below. A
``cdef class`` owns each C handle and frees it; ``check`` is the one place where a
status becomes an exception; each ``with nogil`` block is one C call.
"""

import os

cimport numpy as cnp
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from cpython.ref cimport Py_INCREF, PyObject
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from mxio._c cimport *
from mxio.errors import ChecksumError, FormatError, UnsupportedError, quote

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *nbytes) except NULL
    str PyUnicode_DecodeUTF8(const char *text, Py_ssize_t nbytes, const char *errors)

cdef extern from "numpy/arrayobject.h":
    cnp.ndarray PyArray_NewFromDescr(
        type subtype, cnp.dtype descr, int nd, cnp.npy_intp *dims, cnp.npy_intp *strides,
        void *data, int flags, PyObject *obj)
    int PyArray_SetBaseObject(cnp.ndarray array, object base) except -1

cnp.import_array()

# How much moves between two looks for Ctrl-C, and what one write to a file
# object gets at most.
cdef uint64_t BATCH_NBYTES = 256 << 20
cdef uint64_t REPORT_NBYTES = 32 << 20
cdef uint64_t WINDOW_NBYTES = 2 * MXIO_PIECE_NBYTES
# Arrays up to this long share an allocation, which holds at most MXIO_SLAB_NBYTES:
# what one array that is kept can pin.
cdef uint64_t SHARED_NBYTES = 1 << 16
cdef uint64_t SLABS_AT_ONCE = 4
cdef uint64_t ALIGNMENT = 64
# A run without checksums is cut anywhere; the longest a file can be.
cdef uint64_t FRAMED_CHUNK_NBYTES = 1 << 16
cdef uint64_t MAX_FILE_NBYTES = (1 << 63) - 1


# ---- failing ---------------------------------------------------------------------------------

cdef object checksum_error(Index index, uint64_t offset, str what, object where):
    """The entry and the chunk that the offset of a damaged chunk lies in."""
    cdef mxio_entry entry
    cdef uint64_t i, chunk
    if index is not None:
        for i in range(mxio_index_count(index._index)):
            mxio_index_entry(index._index, i, &entry)
            if entry.nbytes and entry.offset <= offset < entry.offset + entry.nbytes:
                name = text(entry.name, entry.name_nbytes)
                chunk = (offset - entry.offset) // entry.chunk_nbytes
                return ChecksumError(
                    f"{what} in {quote(name)}, chunk {chunk} at offset {offset} of {where}",
                    offset, name, chunk)
    return ChecksumError(f"{what} at offset {offset} of {where}", offset)


cdef int check(mxio_status status, mxio_err *err, object where, Index index=None,
               str kind="mxio") except -1:
    """Raise what a status means; `where` is the file as the caller named it."""
    if status == MXIO_OK:
        return 0
    cdef str what = err.what.decode("ascii")
    if status == MXIO_IO:
        reason = os.strerror(err.sys_errno)
        if what != "cannot open it":
            reason = f"{what}: {reason}"
        raise OSError(err.sys_errno, reason, where)
    if status == MXIO_NOMEM:
        raise MemoryError(f"{what}: {where}")
    if status == MXIO_CHECKSUM:
        raise checksum_error(index, err.offset, what, where)
    if status == MXIO_CORRUPT:
        place = "" if err.offset == MXIO_NOWHERE else f" (offset {err.offset})"
        word = "entry" if kind == "mxio" else "array"
        entry = "" if err.item == MXIO_NOWHERE else f"{word} {err.item}: "
        raise FormatError(
            f"{where} is not a valid {kind} file: {entry}{what}{place}",
            None if err.offset == MXIO_NOWHERE else err.offset)
    if status == MXIO_UNSUPPORTED:
        raise UnsupportedError(f"{where}: {what}")
    raise SystemError(f"{where}: {what}; this is a bug in mxio")


cdef str text(const char *utf8, uint64_t nbytes):
    return PyUnicode_DecodeUTF8(utf8, <Py_ssize_t>nbytes, NULL)


# ---- the index -------------------------------------------------------------------------------

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
            entry.offset,
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
        return mxio_index_head(self._index).index_nbytes

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


# ---- foreign files ---------------------------------------------------------------------------

cdef class Scan:
    """What a scanner found in a foreign file."""

    cdef mxio_scan _scan
    cdef list _table
    cdef mxio_foreign_dtype *_rows
    cdef uint64_t _file_nbytes
    cdef object _where
    cdef str _kind

    def __init__(self):
        raise TypeError("a Scan is made of a File")

    def __dealloc__(self):
        mxio_scan_free(&self._scan)
        free(self._rows)

    cdef int _pin(self, list table) except -1:
        """Rows of a foreign name, a name here, bits in memory and in the file."""
        cdef Py_ssize_t i, nbytes
        self._table = table
        self._rows = <mxio_foreign_dtype *>calloc(len(table) + 1, sizeof(mxio_foreign_dtype))
        if self._rows == NULL:
            raise MemoryError()
        for i in range(len(table)):
            self._rows[i].foreign = PyUnicode_AsUTF8AndSize(table[i][0], &nbytes)
            self._rows[i].dtype.name = PyUnicode_AsUTF8AndSize(table[i][1], &nbytes)
            self._rows[i].dtype.name_nbytes = nbytes
            self._rows[i].dtype.item_bits = table[i][2]
            self._rows[i].stored_bits = table[i][3]
        return 0

    @staticmethod
    def mxnet(File file not None, list table not None):
        return scanned(file, table, "MXNet")

    @staticmethod
    def safetensors(File file not None, list table not None):
        return scanned(file, table, "safetensors")

    @property
    def n_records(self):
        return self._scan.n_records

    @property
    def n_names(self):
        return self._scan.n_names

    @property
    def seen(self):
        return self._scan.seen

    @property
    def end_offset(self):
        return self._scan.end_offset

    @property
    def metadata(self):
        """Offset and nbytes of the user's metadata in the file."""
        return self._scan.metadata_offset, self._scan.metadata_nbytes

    @property
    def dense(self):
        """Whether each record is one array that lies in the file as it is in memory."""
        cdef uint64_t i
        for i in range(self._scan.n_parts):
            if (self._scan.parts[i].kind != MXIO_PART_DENSE
                    or self._scan.parts[i].nbytes != self._scan.parts[i].stored_nbytes):
                return False
        return True

    def names(self):
        cdef uint64_t i, begin = 0, end
        cdef list out = []
        for i in range(self._scan.n_names):
            end = self._scan.name_ends[i]
            out.append(PyBytes_FromStringAndSize(<char *>self._scan.strings + begin,
                                                 <Py_ssize_t>(end - begin)))
            begin = end
        return out

    def dtypes(self):
        cdef uint64_t i
        return [(text(self._scan.dtypes[i].name, self._scan.dtypes[i].name_nbytes),
                 self._scan.dtypes[i].item_bits) for i in range(self._scan.n_dtypes)]

    def parts(self):
        """Kind, row of the dtypes, shape, offset, stored nbytes, shape of the whole array."""
        cdef uint64_t i
        cdef mxio_part part
        cdef list out = []
        for i in range(self._scan.n_parts):
            part = self._scan.parts[i]
            out.append((part.kind, part.dtype, shape_of(self._scan.dims + part.first_dim, part.ndim),
                        part.offset, part.stored_nbytes,
                        shape_of(self._scan.dims + part.first_dense_dim, part.dense_ndim)))
        return out

    def index(self, bytes structure not None):
        """The index where all parts are dense and the names are sound; else FormatError."""
        cdef Index index = Index.__new__(Index)
        cdef mxio_err err
        cdef mxio_status status
        cdef const char *p = structure
        cdef uint64_t nbytes = len(structure)
        with nogil:
            status = mxio_scan_index(&self._scan, p, nbytes, self._file_nbytes, &index._index, &err)
        check(status, &err, self._where, None, self._kind)
        return index


cdef Scan scanned(File file, list table, str kind):
    cdef Scan self = Scan.__new__(Scan)
    cdef mxio_err err
    cdef mxio_status status
    cdef bint mxnet = kind == "MXNet"
    cdef size_t n = len(table)
    self._pin(table)
    self._where = file.name
    self._kind = kind
    file._enter()
    try:
        self._file_nbytes = mxio_file_nbytes(file._file)
        with nogil:
            status = (
                mxio_mxnet_scan(file._file, self._rows, n, &self._scan, &err) if mxnet
                else mxio_safetensors_scan(file._file, self._rows, n, &self._scan, &err))
        check(status, &err, file.name, None, kind)
    finally:
        file._leave()
    return self


cdef int pin_dtypes(list dtypes, mxio_dtype *out) except -1:
    """Names and bits; `dtypes` must outlive their use."""
    cdef Py_ssize_t row, nbytes
    for row in range(len(dtypes)):
        out[row].name = PyUnicode_AsUTF8AndSize(dtypes[row][0], &nbytes)
        out[row].name_nbytes = nbytes
        out[row].item_bits = dtypes[row][1]
    return 0


def foreign_index(uint64_t file_nbytes, list names not None, list shapes not None,
                  str orders not None, list offsets not None, list stored_nbytes not None,
                  list rows not None, list dtypes not None, bytes structure not None,
                  str where not None, str kind not None):
    """The judged index of a foreign file, from what its format has read."""
    cdef Index index = Index.__new__(Index)
    cdef mxio_content content
    cdef mxio_entry *entry
    cdef mxio_err err
    cdef mxio_status status = MXIO_OK
    cdef Py_ssize_t nbytes
    cdef uint64_t i, n = len(names)
    cdef uint64_t *dim
    cdef uint64_t *stored = <uint64_t *>calloc(n + 1, sizeof(uint64_t))
    cdef uint64_t *dims = <uint64_t *>calloc(sum(map(len, shapes)) + 1, sizeof(uint64_t))
    cdef mxio_dtype *table = <mxio_dtype *>calloc(len(dtypes) + 1, sizeof(mxio_dtype))
    memset(&content, 0, sizeof(content))
    content.entries = <mxio_entry *>calloc(n + 1, sizeof(mxio_entry))
    try:
        if stored == NULL or dims == NULL or table == NULL or content.entries == NULL:
            raise MemoryError()
        if {len(shapes), len(orders), len(offsets), len(stored_nbytes), len(rows)} != {len(names)}:
            raise SystemError("the lists of a foreign index differ in length")
        pin_dtypes(dtypes, table)
        dim = dims
        for i in range(n):
            entry = &content.entries[i]
            try:
                entry.name = PyUnicode_AsUTF8AndSize(names[i], &nbytes)
            except UnicodeEncodeError:
                raise FormatError(f"{where} is not a valid {kind} file: the name "
                                  f"{quote(names[i])} is no text", offsets[i]) from None
            if nbytes > <Py_ssize_t>MXIO_MAX_NAME_NBYTES:
                raise UnsupportedError(f"{where}: the name {quote(names[i])} has more than "
                                       f"{MXIO_MAX_NAME_NBYTES} bytes")
            entry.name_nbytes = nbytes
            if len(shapes[i]) > MXIO_MAX_NDIM:
                raise FormatError(f"{where} is not a valid {kind} file: {quote(names[i])} has "
                                  f"more than {MXIO_MAX_NDIM} dimensions", offsets[i])
            entry.shape = dim
            entry.ndim = len(shapes[i])
            count = table[rows[i]].item_bits
            for extent in shapes[i]:
                count *= extent
                if not 0 <= extent <= MAX_FILE_NBYTES or count > 8 * MAX_FILE_NBYTES:
                    raise FormatError(f"{where} is not a valid {kind} file: the shape of "
                                      f"{quote(names[i])} is impossible", offsets[i])
                dim[0] = extent
                dim += 1
            entry.dtype = rows[i]
            entry.order = (MXIO_ORDER_F if orders[i] == "F" and entry.ndim > 1
                           else MXIO_ORDER_C)
            entry.offset = offsets[i]
            stored[i] = stored_nbytes[i]
            entry.nbytes = (count + 7) // 8
        content.n_entries = n
        content.dtypes = table
        content.n_dtypes = len(dtypes)
        content.structure = PyBytes_AS_STRING(structure)
        content.structure_nbytes = len(structure)
        with nogil:
            status = mxio_index_foreign(&content, stored, file_nbytes, &index._index, &err)
        if status == MXIO_CORRUPT and err.item < n:
            raise FormatError(f"{where} is not a valid {kind} file: {quote(names[err.item])}: "
                              f"{err.what.decode('ascii')} (offset {err.offset})", err.offset)
        check(status, &err, where, None, kind)
    finally:
        free(content.entries)
        free(stored)
        free(dims)
        free(table)
    return index


# ---- memory ----------------------------------------------------------------------------------

cdef class Memory:
    """An allocation that arrays view; it lives as long as one of them does."""

    cdef void *_data
    cdef bint _is_slab

    def __cinit__(self, uint64_t nbytes):
        if nbytes:
            self._data = mxio_memory_new(nbytes)
            if self._data == NULL:
                raise MemoryError(f"cannot allocate {nbytes} bytes")

    def __dealloc__(self):
        if self._is_slab:
            mxio_slabs_free(self._data, 1)
        else:
            mxio_memory_free(self._data)


cdef list slabs_of(uint64_t n):
    """Slabs that are taken from the system at once, and given back one by one."""
    cdef char *data = <char *>mxio_slabs_new(n)
    cdef Memory memory
    cdef uint64_t i
    cdef list out = []
    if data == NULL:
        raise MemoryError(f"cannot allocate {n * MXIO_SLAB_NBYTES} bytes")
    for i in range(n):
        memory = Memory.__new__(Memory, 0)
        memory._data = data + i * MXIO_SLAB_NBYTES
        memory._is_slab = True
        out.append(memory)
    return out


cdef class Mapping:
    """A whole file in memory, private and writable, as a buffer."""

    cdef mxio_map *_map

    def __init__(self):
        raise TypeError("a Mapping is made by a File")

    def __dealloc__(self):
        mxio_map_free(self._map)

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, mxio_map_data(self._map),
                          <Py_ssize_t>mxio_map_nbytes(self._map), 0, flags)


cdef object view_of(const mxio_entry *entry, cnp.dtype dtype, char *data, object base):
    """An array over memory that `base` keeps."""
    cdef cnp.npy_intp dims[64]
    cdef int k
    for k in range(entry.ndim):
        dims[k] = <cnp.npy_intp>entry.shape[k]
    cdef int flags = (cnp.NPY_ARRAY_FARRAY if entry.order == MXIO_ORDER_F
                      else cnp.NPY_ARRAY_CARRAY)
    Py_INCREF(dtype)  # PyArray_NewFromDescr takes a reference over
    array = PyArray_NewFromDescr(
        cnp.ndarray, dtype, entry.ndim, dims, NULL, data, flags, NULL)
    if base is not None:
        Py_INCREF(base)  # and so does PyArray_SetBaseObject
        PyArray_SetBaseObject(array, base)
    return array


def stand_in(tuple shape not None, cnp.dtype dtype not None, str order not None):
    """An array that says shape, dtype and order and has no memory: never to be touched."""
    cdef mxio_entry entry
    cdef uint64_t dims[64]
    cdef int k
    if len(shape) > 64:
        raise SystemError("more than 64 dimensions")
    for k in range(len(shape)):
        dims[k] = shape[k]
    entry.shape = dims
    entry.ndim = len(shape)
    entry.order = MXIO_ORDER_F if order == "F" else MXIO_ORDER_C
    # An address of its own, which tells two of them apart.
    stand_in_address[0] += 64
    array = view_of(&entry, dtype, stand_in_address[0], None)
    array.flags.writeable = False
    return array


cdef char *stand_in_address[1]
stand_in_address[0] = <char *>4096


# ---- files -----------------------------------------------------------------------------------

cdef class File:
    """An open file, a file being made, or memory that stands for one.

    Threads may read at once; a file that is closed meanwhile goes when the last
    of them is done.
    """

    cdef mxio_file *_file
    cdef readonly object name
    cdef Py_buffer _buffer
    cdef bint _has_buffer
    cdef int _users
    cdef bint _closing

    def __init__(self):
        raise TypeError("a File is opened, created or memory")

    def __dealloc__(self):
        self._free()

    cdef int _free(self) except -1:
        cdef mxio_file *file = self._file
        self._file = NULL
        mxio_file_close(file)
        if self._has_buffer:
            self._has_buffer = False
            PyBuffer_Release(&self._buffer)
        return 0

    cdef int _enter(self) except -1:
        if self._file == NULL or self._closing:
            raise ValueError(f"{self.name} is closed")
        self._users += 1
        return 0

    cdef int _leave(self) except -1:
        self._users -= 1
        if self._closing and self._users == 0:
            self._free()
        return 0

    @staticmethod
    def open(bytes path not None, name):
        return opened(path, name, False)

    @staticmethod
    def create(bytes path not None, name):
        return opened(path, name, True)

    @staticmethod
    def memory(buffer, name):
        cdef File self = File.__new__(File)
        cdef mxio_err err
        self.name = name
        PyObject_GetBuffer(buffer, &self._buffer, PyBUF_SIMPLE)
        self._has_buffer = True
        check(mxio_file_memory(self._buffer.buf, 0, self._buffer.len, &self._file, &err), &err,
              name)
        return self

    def join(self, list parts not None):
        """Stand for other open files, one after another, from now on; the offset of each."""
        cdef File part
        cdef mxio_err err
        cdef mxio_file *joined = NULL
        cdef uint64_t i, n = len(parts)
        cdef mxio_file **handles = <mxio_file **>malloc((n + 1) * sizeof(mxio_file *))
        if handles == NULL:
            raise MemoryError()
        try:
            for i in range(n):
                part = parts[i]
                handles[i] = part._file
                if part._file == NULL or part._users:
                    raise SystemError("a part is closed or in use")
            if self._users:
                raise SystemError("the file is in use")
            check(mxio_file_join(handles, n, &joined, &err), &err, self.name)
        finally:
            free(handles)
        for part in parts:
            part._file = NULL
        self._free()
        self._file = joined
        return [mxio_file_base(joined, i) for i in range(n)]

    @property
    def nbytes(self):
        if self._file == NULL:
            raise ValueError(f"{self.name} is closed")
        return mxio_file_nbytes(self._file)

    @property
    def closed(self):
        return self._file == NULL or self._closing

    def close(self):
        self._closing = True
        if self._users == 0:
            self._free()

    def index(self):
        cdef Index index = Index.__new__(Index)
        cdef mxio_index *handle = NULL
        cdef mxio_err err
        cdef mxio_status status
        self._enter()
        try:
            with nogil:
                status = mxio_index_read(self._file, &handle, &err)
            check(status, &err, self.name)
            index._index = handle
        finally:
            self._leave()
        return index

    def map(self):
        cdef Mapping mapping = Mapping.__new__(Mapping)
        cdef mxio_err err
        self._enter()
        try:
            check(mxio_map_new(self._file, &mapping._map, &err), &err, self.name)
        finally:
            self._leave()
        return mapping

    def get(self, uint64_t offset, uint64_t nbytes):
        cdef bytes out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>nbytes)
        cdef char *p = PyBytes_AS_STRING(out)
        cdef mxio_err err
        cdef mxio_status status
        self._enter()
        try:
            with nogil:
                status = mxio_file_get(self._file, p, nbytes, offset, &err)
            check(status, &err, self.name)
        finally:
            self._leave()
        return out

    def put(self, buffer, uint64_t offset):
        cdef Py_buffer view
        cdef mxio_err err
        cdef mxio_status status
        self._enter()
        try:
            PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE)
            with nogil:
                status = mxio_file_put(self._file, view.buf, view.len, offset, &err)
            PyBuffer_Release(&view)
            check(status, &err, self.name)
        finally:
            self._leave()

    def measure(self):
        """Let a file being made be read as far as it is written."""
        cdef mxio_err err
        self._enter()
        try:
            check(mxio_file_measure(self._file, &err), &err, self.name)
        finally:
            self._leave()

    def commit(self, bint sync):
        cdef mxio_err err
        cdef mxio_status status
        self._enter()
        try:
            with nogil:
                status = mxio_file_commit(self._file, sync, &err)
            check(status, &err, self.name)
        finally:
            self._leave()

    cdef int _read(self, mxio_segment *segments, uint64_t n, unsigned flags, unsigned threads,
                   Index index, object progress=None) except -1:
        """Run segments, looking for signals in between; `progress` is told how many are done."""
        cdef mxio_cursor cursor
        cdef mxio_io_opts opts
        cdef mxio_err err
        cdef mxio_status status
        memset(&cursor, 0, sizeof(cursor))
        opts.sizeof_opts = sizeof(opts)
        opts.threads = threads
        opts.flags = flags
        opts.max_nbytes = BATCH_NBYTES if progress is None else REPORT_NBYTES
        self._enter()
        try:
            while cursor.segment < n:
                with nogil:
                    status = mxio_read(self._file, segments, n, &cursor, &opts, &err)
                check(status, &err, self.name, index)
                PyErr_CheckSignals()
                if progress is not None:
                    progress(done_nbytes(segments, &cursor))
        finally:
            self._leave()
        return 0

    def read(self, Index index not None, numbers not None, list dtypes not None,
             bint verify, unsigned threads):
        cdef uint64_t i = 0, number, n = len(numbers), n_segments = 0
        cdef list arrays = []
        cdef mxio_segment *segments = <mxio_segment *>malloc((n + 1) * sizeof(mxio_segment))
        cdef uint64_t *wanted = <uint64_t *>malloc((n + 1) * sizeof(uint64_t))
        try:
            if segments == NULL or wanted == NULL:
                raise MemoryError()
            for number in numbers:
                if i == n or number >= mxio_index_count(index._index):
                    raise IndexError(number)
                wanted[i] = number
                i += 1
            n_segments = allocate(index, wanted, i, dtypes, segments, arrays)
            mxio_segments_sort(segments, n_segments)
            self._read(segments, n_segments, MXIO_GAPS | (0 if verify else MXIO_NO_VERIFY),
                       threads, index)
        finally:
            free(segments)
            free(wanted)
        return arrays

    def read_chunks(self, Index index not None, uint64_t number, list firsts not None,
                    list counts not None, cnp.ndarray into not None, bint verify,
                    unsigned threads):
        """Read runs of an entry's chunks, ascending and apart, one behind another into bytes."""
        cdef mxio_entry entry
        cdef uint64_t i, first, count, n_chunks, k = 0, at = 0, n = len(firsts)
        cdef uint64_t room = cnp.PyArray_NBYTES(into)
        cdef mxio_segment *segments = <mxio_segment *>malloc((n + 1) * sizeof(mxio_segment))
        if segments == NULL:
            raise MemoryError()
        try:
            mxio_index_entry(index._index, number, &entry)
            n_chunks = mxio_entry_n_chunks(&entry)
            for i in range(n):
                first, count = firsts[i], counts[i]
                if first < k or first > n_chunks or count > n_chunks - first or not count:
                    raise SystemError("runs of chunks that are not there")
                mxio_entry_segment(index._index, &entry, <char *>cnp.PyArray_DATA(into) + at,
                                   &segments[i])
                segments[i].offset += first * entry.chunk_nbytes
                if segments[i].checksums != NULL:  # a foreign file has none
                    segments[i].checksums += first
                segments[i].nbytes = min(count * entry.chunk_nbytes,
                                         entry.nbytes - first * entry.chunk_nbytes)
                if segments[i].nbytes > room - at:
                    raise SystemError("a buffer is shorter than the chunks to read")
                at += segments[i].nbytes
                k = first + count
            self._read(segments, n, 0 if verify else MXIO_NO_VERIFY, threads, index)
        finally:
            free(segments)

    def check_chunks(self, Index index not None, uint64_t number, uint64_t first,
                     unsigned threads):
        """Compare an entry's checksums from a chunk on, keeping no byte."""
        cdef mxio_entry entry
        cdef mxio_segment segment
        mxio_index_entry(index._index, number, &entry)
        if first >= mxio_entry_n_chunks(&entry):
            return
        mxio_entry_segment(index._index, &entry, NULL, &segment)
        segment.offset += first * entry.chunk_nbytes
        if segment.checksums != NULL:  # a foreign file has none
            segment.checksums += first
        segment.nbytes -= first * entry.chunk_nbytes
        self._read(&segment, 1, 0, threads, index)

    def read_into(self, Index index not None, list numbers not None, list arrays not None,
                  bint verify, unsigned threads):
        """Fill arrays that lie as their entries do, of which none has two names here."""
        cdef uint64_t i, number, n = len(numbers), n_segments = 0
        cdef mxio_entry entry
        cdef cnp.ndarray array
        cdef int wanted
        cdef mxio_segment *segments = <mxio_segment *>malloc((n + 1) * sizeof(mxio_segment))
        if segments == NULL:
            raise MemoryError()
        try:
            for i in range(n):
                number = numbers[i]
                array = arrays[i]
                if number >= mxio_index_count(index._index):
                    raise IndexError(number)
                mxio_index_entry(index._index, number, &entry)
                wanted = (cnp.NPY_ARRAY_F_CONTIGUOUS if entry.order == MXIO_ORDER_F
                          else cnp.NPY_ARRAY_C_CONTIGUOUS) | cnp.NPY_ARRAY_WRITEABLE
                if (<uint64_t>cnp.PyArray_NBYTES(array) != entry.nbytes
                        or not cnp.PyArray_CHKFLAGS(array, wanted)):
                    raise SystemError("an array to fill does not lie as its entry does")
                if entry.nbytes:
                    mxio_entry_segment(index._index, &entry, cnp.PyArray_DATA(array),
                                       &segments[n_segments])
                    n_segments += 1
            mxio_segments_sort(segments, n_segments)
            self._read(segments, n_segments, 0 if verify else MXIO_NO_VERIFY, threads, index)
        finally:
            free(segments)

    def check(self, Index index not None, numbers not None, unsigned threads, progress):
        """Read entries that are stored as they are and compare checksums, keeping no byte."""
        cdef uint64_t i, number, k = 0, n = 0, count = len(numbers)
        cdef mxio_entry entry
        cdef mxio_segment *segments = <mxio_segment *>malloc((count + 1) * sizeof(mxio_segment))
        if segments == NULL:
            raise MemoryError()
        try:
            for i in range(count):
                number = numbers[i]
                if number >= mxio_index_count(index._index):
                    raise IndexError(number)
                mxio_index_entry(index._index, number, &entry)
                if entry.nbytes and entry.stored_nbytes == entry.nbytes:
                    mxio_entry_segment(index._index, &entry, NULL, &segments[n])
                    n += 1
            mxio_segments_sort(segments, n)
            for i in range(n):  # several names of one array are read once
                if i == 0 or segments[i].offset != segments[k - 1].offset:
                    segments[k] = segments[i]
                    k += 1
            self._read(segments, k, 0, threads, index, progress)
        finally:
            free(segments)

    def check_padding(self, Index index not None, uint64_t offset):
        """Look for bytes that are not zero in the padding from an offset on."""
        cdef uint64_t count = mxio_index_count(index._index)
        cdef uint64_t n, i, skip = 0
        cdef mxio_segment *segments = <mxio_segment *>malloc((count + 2) * sizeof(mxio_segment))
        if segments == NULL:
            raise MemoryError()
        try:
            n = mxio_index_padding(index._index, segments)
            while skip < n and segments[skip].offset < offset:
                skip += 1
            self._read(segments + skip, n - skip, MXIO_ZEROS, 1, None)
        finally:
            free(segments)


cdef uint64_t done_nbytes(mxio_segment *segments, const mxio_cursor *cursor) noexcept:
    """How many bytes of the segments lie before the cursor."""
    cdef uint64_t i, nbytes = cursor.offset
    for i in range(cursor.segment):
        nbytes += segments[i].nbytes
    return nbytes


cdef File opened(bytes path, object name, bint new):
    """A file for reading, or a new one for writing."""
    cdef File self = File.__new__(File)
    cdef const char *c_path = path
    cdef mxio_err err
    cdef mxio_status status
    self.name = name
    with nogil:
        status = (mxio_file_create(c_path, &self._file, &err) if new
                  else mxio_file_open(c_path, &self._file, &err))
    check(status, &err, name)
    return self


cdef uint64_t allocate(Index index, const uint64_t *numbers, uint64_t n, list dtypes,
                       mxio_segment *segments, list arrays) except? 0xffffffffffffffff:
    """Make the arrays and the segments that fill them; the number of segments.

    Names of one array get views of one memory. Small arrays share allocations.
    """
    cdef mxio_entry entry, ahead
    cdef uint64_t i, k, first, used = 0, room = 0, n_segments = 0, n_slabs = 0
    cdef Memory slab = None
    cdef list slabs = None
    cdef Memory memory
    cdef char *data
    cdef dict seen = {}
    cdef bint aliases = mxio_index_n_aliases(index._index) != 0
    for i in range(n):
        mxio_index_entry(index._index, numbers[i], &entry)
        dtype = dtypes[entry.dtype]
        if type(dtype) is UnsupportedError:
            raise UnsupportedError(f"{quote(text(entry.name, entry.name_nbytes))}: {dtype}")
        if entry.nbytes == 0:
            arrays.append(view_of(&entry, dtype, NULL, None))
            continue
        first = numbers[i]
        if aliases:
            if entry.alias_of != MXIO_NOWHERE:
                first = entry.alias_of
            other = seen.get(first)
            if other is not None:
                arrays.append(view_of(
                    &entry, dtype, <char *>cnp.PyArray_DATA(other), cnp.get_array_base(other)))
                continue
        if entry.nbytes > SHARED_NBYTES:
            memory = Memory.__new__(Memory, entry.nbytes)
            data = <char *>memory._data
        else:
            if used + entry.nbytes > room:
                # As many slabs as the small arrays to come fill; a few or more are taken at once.
                used = room = 0
                if n_slabs == 0:
                    n_slabs = 1
                    for k in range(i, n):
                        mxio_index_entry(index._index, numbers[k], &ahead)
                        if ahead.nbytes <= SHARED_NBYTES:
                            if room + ahead.nbytes > MXIO_SLAB_NBYTES:
                                n_slabs += 1
                                room = 0
                            room += -(-ahead.nbytes // ALIGNMENT) * ALIGNMENT
                    if n_slabs >= SLABS_AT_ONCE:
                        slabs = slabs_of(n_slabs)[::-1]
                if n_slabs > 1:
                    room = MXIO_SLAB_NBYTES
                slab = slabs.pop() if slabs else Memory.__new__(Memory, room)
            memory = slab
            data = <char *>slab._data + used
            used += -(-entry.nbytes // ALIGNMENT) * ALIGNMENT
        array = view_of(&entry, dtype, data, memory)
        mxio_entry_segment(index._index, &entry, data, &segments[n_segments])
        n_segments += 1
        if aliases:
            seen[first] = array
        arrays.append(array)
    return n_segments


def views(Index index not None, numbers not None, list dtypes not None,
          Mapping mapping not None):
    """Arrays over a mapped file."""
    cdef mxio_entry entry
    cdef char *data = <char *>mxio_map_data(mapping._map)
    cdef uint64_t i
    cdef list arrays = []
    for i in numbers:
        mxio_index_entry(index._index, i, &entry)
        dtype = dtypes[entry.dtype]
        if isinstance(dtype, Exception):
            raise UnsupportedError(f"{quote(text(entry.name, entry.name_nbytes))}: {dtype}")
        if entry.nbytes == 0:
            arrays.append(view_of(&entry, dtype, NULL, None))
        else:
            arrays.append(view_of(&entry, dtype, data + entry.offset, mapping))
    return arrays


def spans(list arrays not None):
    """Of each array the addresses of the first byte and behind the last that it has."""
    cdef cnp.npy_intp dims[2]
    cdef cnp.npy_intp i, reach
    cdef cnp.ndarray array
    cdef uint64_t *bounds
    cdef int k
    dims[0], dims[1] = len(arrays), 2
    out = cnp.PyArray_SimpleNew(2, dims, cnp.NPY_UINT64)
    bounds = <uint64_t *>cnp.PyArray_DATA(out)
    for i in range(dims[0]):
        array = arrays[i]
        bounds[0] = bounds[1] = <uint64_t>cnp.PyArray_DATA(array)
        if cnp.PyArray_SIZE(array):
            bounds[1] += cnp.PyArray_ITEMSIZE(array)
            for k in range(cnp.PyArray_NDIM(array)):
                reach = (cnp.PyArray_DIM(array, k) - 1) * cnp.PyArray_STRIDE(array, k)
                bounds[reach >= 0] += <uint64_t>reach  # modulo 2^64, also below 0
        bounds += 2
    return out


# ---- plans -----------------------------------------------------------------------------------

cdef class Plan:
    """Arrays and bytes, laid out as a file: everything decided, nothing done.

    Holds the arrays, whose memory goes to the file as it lies where it can. `sources`
    has, by number, the arrays that come from another file piece by piece: for
    those an array only says shape and dtype.
    """

    cdef list _names
    cdef list _arrays
    cdef object _sources
    cdef list _kept
    cdef mxio_content _content
    cdef mxio_layout _layout
    cdef mxio_dtype *_dtypes
    cdef uint64_t *_dims
    cdef int64_t *_strides
    cdef mxio_array *_lie
    cdef mxio_segment *_segments
    cdef uint64_t *_numbers
    cdef uint64_t _n_segments
    cdef uint32_t *_checksums
    cdef void *_room
    cdef uint64_t _room_slabs
    cdef bint _framed

    def __init__(self):
        raise TypeError("a Plan is native or framed")

    @staticmethod
    def native(list names not None, list arrays not None, list rows not None,
               list dtypes not None, bytes structure not None, bytes metadata not None, sources):
        """As docs/FORMAT.md lays it out: head and index in front, checksums in the index."""
        cdef Plan self = Plan.__new__(Plan)
        cdef mxio_err err
        cdef mxio_status status
        cdef uint64_t i, n = len(names)
        if len(arrays) != <Py_ssize_t>n or len(rows) != <Py_ssize_t>n:
            raise SystemError("names, arrays and rows differ in length")
        self._kept = [dtypes, structure, metadata]
        self._allocate(names, arrays, sources, n, len(dtypes))
        self._content.structure = PyBytes_AS_STRING(structure)
        self._content.structure_nbytes = len(structure)
        self._content.metadata = PyBytes_AS_STRING(metadata)
        self._content.metadata_nbytes = len(metadata)
        pin_dtypes(dtypes, self._dtypes)
        self._pin_names(rows)
        with nogil:
            status = mxio_arrays_arrange(&self._content, self._lie, &err)
        check(status, &err, "the plan")
        with nogil:
            status = mxio_layout_plan(&self._content, &self._layout, &err)
        check(status, &err, "the plan")
        self._checksums = <uint32_t *>calloc(self._layout.n_chunks + 1, sizeof(uint32_t))
        if self._checksums == NULL:
            raise MemoryError("out of memory for the checksums")
        self._n_segments = mxio_arrays_segments(&self._content, self._lie, self._checksums,
                                                self._segments)
        n = 0
        for i in range(self._content.n_entries):
            if (self._content.entries[i].nbytes
                    and self._content.entries[i].alias_of == MXIO_NOWHERE):
                self._numbers[n] = i
                n += 1
        return self

    @staticmethod
    def framed(list names not None, list arrays not None, str orders not None,
               list items not None, sources):
        """One thing after another: bytes as they are, and arrays by their numbers."""
        cdef Plan self = Plan.__new__(Plan)
        cdef mxio_segment *segment
        cdef mxio_array *lie
        cdef uint64_t number, at = 0, n = 0
        self._framed = True
        self._kept = [items]
        self._allocate(names, arrays, sources, len(items), 0)
        for item in items:
            segment = &self._segments[n]
            if isinstance(item, bytes):
                self._numbers[n] = MXIO_NOWHERE
                segment.mem = PyBytes_AS_STRING(item)
                segment.strided = NULL
                segment.nbytes = len(item)
            else:
                number = item
                lie = &self._lie[number]
                mxio_array_arrange(lie, MXIO_ORDER_F if orders[number] == "F" else MXIO_ORDER_C)
                self._numbers[n] = number
                segment.mem = lie.mem
                segment.strided = NULL if lie.as_stored else &lie.lies
                segment.nbytes = self._content.entries[number].nbytes
            segment.offset = at
            segment.chunk_nbytes = FRAMED_CHUNK_NBYTES
            if segment.nbytes > MAX_FILE_NBYTES - at:
                raise ValueError("the file would exceed 2^63 bytes")
            at += segment.nbytes
            if segment.nbytes:
                n += 1
        self._n_segments = n
        self._layout.file_nbytes = at
        return self

    cdef int _allocate(self, list names, list arrays, object sources, uint64_t n_segments,
                       uint64_t n_dtypes) except -1:
        cdef uint64_t n = len(arrays)
        cdef uint64_t n_dims = 0
        cdef uint64_t i, k
        cdef cnp.ndarray array
        cdef mxio_entry *entry
        cdef mxio_strided *lies
        cdef uint64_t *shape
        cdef int64_t *strides
        for array in arrays:
            n_dims += array.ndim
        self._names = names
        self._arrays = arrays
        self._sources = sources
        self._content.n_entries = n
        self._content.n_dtypes = n_dtypes
        # One room for all of it, zeros, in huge pages where there is much: a page fault for
        # each 4 KiB would take as long as all else that is done here.
        cdef uint64_t room = (
            n * (sizeof(mxio_entry) + sizeof(mxio_array)) + n_dtypes * sizeof(mxio_dtype)
            + n_dims * (sizeof(uint64_t) + sizeof(int64_t))
            + n_segments * (sizeof(mxio_segment) + sizeof(uint64_t)) + 1)
        if room < MXIO_SLAB_NBYTES:
            self._room = calloc(1, room)
        else:
            self._room_slabs = (room + MXIO_SLAB_NBYTES - 1) // MXIO_SLAB_NBYTES
            self._room = mxio_slabs_new(self._room_slabs)
        if self._room == NULL:
            raise MemoryError(f"cannot allocate {room} bytes for the plan")
        # Eight bytes align each of these.
        self._content.entries = <mxio_entry *>self._room
        self._lie = <mxio_array *>(self._content.entries + n)
        self._segments = <mxio_segment *>(self._lie + n)
        self._dtypes = <mxio_dtype *>(self._segments + n_segments)
        self._content.dtypes = self._dtypes
        self._dims = <uint64_t *>(self._dtypes + n_dtypes)
        self._strides = <int64_t *>(self._dims + n_dims)
        self._numbers = <uint64_t *>(self._strides + n_dims)
        shape, strides = self._dims, self._strides
        for i in range(n):
            entry = &self._content.entries[i]
            lies = &self._lie[i].lies
            array = arrays[i]
            entry.shape = lies.shape = shape
            entry.nbytes = cnp.PyArray_NBYTES(array)
            entry.ndim = lies.ndim = array.ndim
            self._lie[i].mem = cnp.PyArray_DATA(array)
            lies.strides = strides
            lies.item_nbytes = cnp.PyArray_ITEMSIZE(array)
            lies.swap_nbytes = swap_nbytes(array)
            for k in range(entry.ndim):
                shape[k] = array.shape[k]
                strides[k] = array.strides[k]
            shape += entry.ndim
            strides += entry.ndim
        return 0

    def __dealloc__(self):
        if self._room_slabs:
            mxio_slabs_free(self._room, self._room_slabs)
        else:
            free(self._room)
        free(self._checksums)

    cdef int _pin_names(self, list rows) except -1:
        cdef mxio_entry *entry
        cdef Py_ssize_t nbytes
        cdef uint64_t i
        for i in range(self._content.n_entries):
            entry = &self._content.entries[i]
            entry.name = PyUnicode_AsUTF8AndSize(self._names[i], &nbytes)
            if nbytes > <Py_ssize_t>MXIO_MAX_NAME_NBYTES:
                raise ValueError(f"{quote(self._names[i])}: the name is too long")
            entry.name_nbytes = nbytes
            entry.dtype = rows[i]
        return 0

    @property
    def file_nbytes(self):
        return self._layout.file_nbytes

    cdef bint _is_streamed(self, uint64_t segment) except -1:
        return (self._sources is not None and self._numbers[segment] != MXIO_NOWHERE
                and self._numbers[segment] in self._sources)

    cdef int _run(self, mxio_file *file, unsigned flags, unsigned threads,
                  object where) except -1:
        """Run all segments, looking for signals in between."""
        cdef mxio_cursor cursor
        cdef mxio_io_opts opts
        cdef mxio_err err
        cdef mxio_status status
        cdef uint64_t end, first = 0
        opts.sizeof_opts = sizeof(opts)
        opts.threads = threads
        opts.flags = flags
        opts.max_nbytes = BATCH_NBYTES
        while first < self._n_segments:
            if self._is_streamed(first):
                first = self._pump(file, &opts, first, where)
                continue
            end = first + 1 if self._sources else self._n_segments
            while end < self._n_segments and not self._is_streamed(end):
                end += 1
            memset(&cursor, 0, sizeof(cursor))
            while cursor.segment < end - first:
                with nogil:
                    status = mxio_write(file, self._segments + first, end - first, &cursor, &opts,
                                        &err)
                check(status, &err, where)
                PyErr_CheckSignals()
            first = end
        return 0

    cdef uint64_t _pump(self, mxio_file *file, mxio_io_opts *opts, uint64_t first,
                        object where) except? 0:
        """Bring streamed arrays over: several small ones, or one in pieces; the next segment."""
        cdef mxio_segment *segment = &self._segments[first]
        cdef mxio_segment piece
        cdef mxio_err err
        cdef mxio_status status
        cdef uint64_t i, start, nbytes, step
        cdef uint64_t end = first
        cdef uint64_t room = WINDOW_NBYTES
        streamed = []
        # Small bytes in between, such as the header of each record, go along.
        while (end < self._n_segments and self._segments[end].nbytes <= SHARED_NBYTES
               and self._segments[end].nbytes <= room):
            room -= self._segments[end].nbytes
            if self._is_streamed(end):
                streamed.append(end)
            end += 1
        if end > first:
            fetched = self._sources.fetch([self._numbers[i] for i in streamed])
            for i, buffer in zip(streamed, fetched):
                if cnp.PyArray_NBYTES(buffer) != <cnp.npy_intp>self._segments[i].nbytes:
                    raise SystemError("a source gave another number of bytes")
                self._segments[i].mem = cnp.PyArray_DATA(buffer)
                self._segments[i].strided = NULL
            with nogil:
                status = mxio_write(file, segment, end - first, NULL, opts, &err)
            for i in streamed:
                self._segments[i].mem = NULL
            check(status, &err, where)
            return end
        # Whole chunks; none is longer than a window in a file that mxio writes.
        step = WINDOW_NBYTES // segment.chunk_nbytes * segment.chunk_nbytes
        buffer = bytearray(min(step, segment.nbytes))
        cdef char *p = buffer
        view = memoryview(buffer)
        start = 0
        piece = segment[0]
        piece.mem = p
        piece.strided = NULL
        while start < segment.nbytes:
            nbytes = min(step, segment.nbytes - start)
            self._sources.fill(self._numbers[first], start, view[:nbytes])
            piece.nbytes = nbytes
            piece.offset = segment.offset + start
            if segment.checksums != NULL:
                piece.checksums = segment.checksums + start // segment.chunk_nbytes
            with nogil:
                status = mxio_write(file, &piece, 1, NULL, opts, &err)
            check(status, &err, where)
            PyErr_CheckSignals()
            start += nbytes
        return first + 1

    cdef Memory _begin(self):
        """Head and index, after the checksums are known, judged before they go out."""
        cdef mxio_err err
        cdef mxio_status status
        cdef mxio_head head
        cdef Memory out = Memory.__new__(
            Memory, self._layout.index_offset + self._layout.index_nbytes)
        cdef uint8_t *p = <uint8_t *>out._data
        cdef uint8_t *index = p + self._layout.index_offset
        memset(&head, 0, sizeof(head))
        head.generation = 1
        head.file_nbytes = self._layout.file_nbytes
        head.index_offset = self._layout.index_offset
        head.index_nbytes = self._layout.index_nbytes
        with nogil:
            status = mxio_index_encode(&self._content, &self._layout, self._checksums, index,
                                       &err)
        if status == MXIO_INVALID and err.item < self._content.n_entries:
            raise ValueError(f"{quote(self._names[err.item])}: {err.what.decode('ascii')}")
        check(status, &err, "the index")
        head.index_crc = mxio_crc32c(0, index, head.index_nbytes)
        with nogil:
            status = mxio_index_check(index, &head, &err)
        check(status, &err, "the index")
        mxio_head_encode(&head, p)
        return out

    cdef int _put_begin(self, mxio_file *file, object where) except -1:
        cdef Memory begin
        cdef mxio_err err
        cdef mxio_status status
        cdef uint64_t nbytes = self._layout.index_offset + self._layout.index_nbytes
        if nbytes:  # of a native file
            begin = self._begin()
            with nogil:
                status = mxio_file_put(file, begin._data, nbytes, 0, &err)
            check(status, &err, where)
        return 0

    def write(self, File file not None, bint sync, unsigned threads):
        """Data, then head and index: the file waits for its commit."""
        cdef mxio_err err
        cdef mxio_status status
        file._enter()
        try:
            with nogil:
                status = mxio_file_reserve(file._file, self._layout.file_nbytes, &err)
            check(status, &err, file.name)
            self._run(file._file, MXIO_SYNC if sync else 0, threads, file.name)
            self._put_begin(file._file, file.name)
        finally:
            file._leave()

    def to_bytes(self, unsigned threads):
        """The whole file as bytes."""
        cdef mxio_err err
        cdef mxio_file *file = NULL
        cdef bytes out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>self._layout.file_nbytes)
        cdef char *p = PyBytes_AS_STRING(out)
        memset(p, 0, self._layout.file_nbytes)
        check(mxio_file_memory(p, 0, self._layout.file_nbytes, &file, &err), &err, "the bytes")
        try:
            self._run(file, 0, threads, "the bytes")
            self._put_begin(file, "the bytes")
        finally:
            mxio_file_close(file)
        return out

    def stream(self, write, unsigned threads):
        """Give the file's bytes in order to `write`, a window at a time.

        A native index stands before the data and holds its checksums, so the arrays
        are then read twice.
        """
        cdef Memory begin
        cdef mxio_err err
        cdef mxio_file *file = NULL
        cdef uint64_t at, end, first = 0
        if not self._framed:
            check(mxio_file_memory(NULL, 0, 0, &file, &err), &err, "the stream")
            try:
                self._run(file, MXIO_CHECKSUM_ONLY, threads, "the stream")
            finally:
                mxio_file_close(file)
        at = self._layout.index_offset + self._layout.index_nbytes
        if at:
            begin = self._begin()
            write(PyBytes_FromStringAndSize(<char *>begin._data, <Py_ssize_t>at))
            begin = None
        while first < self._n_segments:
            end = first + 1
            if self._is_streamed(first):
                self._stream_one(write, first, at)
            else:
                while end < self._n_segments and not self._is_streamed(end):
                    end += 1
                self._stream_run(write, first, end, at, threads)
            at = self._segments[end - 1].offset + self._segments[end - 1].nbytes
            first = end

    cdef int _stream_one(self, write, uint64_t number, uint64_t at) except -1:
        """A streamed array, and the padding from `at` on to it."""
        cdef mxio_segment *segment = &self._segments[number]
        cdef uint64_t nbytes, start = 0
        if segment.offset > at:
            write(bytes(segment.offset - at))
        while start < segment.nbytes:
            nbytes = min(WINDOW_NBYTES, segment.nbytes - start)
            window = bytearray(nbytes)
            self._sources.fill(self._numbers[number], start, memoryview(window))
            write(bytes(window))
            PyErr_CheckSignals()
            start += nbytes
        return 0

    cdef int _stream_run(self, write, uint64_t first, uint64_t end, uint64_t at,
                         unsigned threads) except -1:
        """Segments from memory, and the padding from `at` on to them."""
        cdef mxio_cursor cursor
        cdef mxio_io_opts opts
        cdef mxio_err err
        cdef mxio_status status
        cdef mxio_file *file = NULL
        cdef mxio_segment *segments = self._segments + first
        cdef mxio_segment *segment
        cdef uint64_t n = end - first, to
        # Padding before the first segment of a window counts too.
        window = bytearray(min(WINDOW_NBYTES + 4096,
                               segments[n - 1].offset + segments[n - 1].nbytes - at))
        cdef char *p = window
        cdef uint64_t room = len(window)
        memset(&cursor, 0, sizeof(cursor))
        opts.sizeof_opts = sizeof(opts)
        opts.threads = threads
        opts.flags = 0
        opts.max_nbytes = WINDOW_NBYTES
        while cursor.segment < n:
            memset(p, 0, room)
            check(mxio_file_memory(p, at, room, &file, &err), &err, "the stream")
            try:
                with nogil:
                    status = mxio_write(file, segments, n, &cursor, &opts, &err)
                check(status, &err, "the stream")
            finally:
                mxio_file_close(file)
            if cursor.offset:
                segment = &segments[cursor.segment]
                to = segment.offset + cursor.offset
            else:
                segment = &segments[cursor.segment - 1]
                to = segment.offset + segment.nbytes
            write(PyBytes_FromStringAndSize(p, <Py_ssize_t>(to - at)))
            at = to
            PyErr_CheckSignals()
        return 0


cdef uint32_t swap_nbytes(cnp.ndarray array) noexcept:
    """How many bytes to reverse at a time, 0 for none."""
    cdef int kind = cnp.PyArray_TYPE(array)
    if not cnp.PyArray_ISBYTESWAPPED(array):
        return 0
    if kind == cnp.NPY_UNICODE:
        return 4
    if kind == cnp.NPY_CFLOAT or kind == cnp.NPY_CDOUBLE:
        return cnp.PyArray_ITEMSIZE(array) // 2
    return cnp.PyArray_ITEMSIZE(array)


# ---- checksums -------------------------------------------------------------------------------

def crc32c(buffer, uint32_t value, variant):
    """The CRC-32C of bytes that follow others; by a given implementation if not None."""
    cdef Py_buffer view
    cdef size_t number = 0
    cdef uint32_t crc
    if variant is not None:
        names = [name for name, runs_here in crc32c_variants() if runs_here]
        if variant not in names:
            raise ValueError(f"no CRC-32C variant {variant!r} runs here: {', '.join(names)} do")
        number = [name for name, _ in crc32c_variants()].index(variant)
    PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE)
    try:
        if variant is None:
            with nogil:
                crc = mxio_crc32c(value, view.buf, view.len)
        else:
            with nogil:
                crc = mxio_crc32c_variant(number, value, view.buf, view.len)
    finally:
        PyBuffer_Release(&view)
    return crc


def crc32c_variants():
    """Name, and whether this processor can run it, of each implementation."""
    cdef int runs_here = 0
    cdef const char *name
    out = []
    while True:
        name = mxio_crc32c_name(len(out), &runs_here)
        if name == NULL:
            return out
        out.append((name.decode("ascii"), bool(runs_here)))


def crc32c_chosen():
    """Name of the implementation in use."""
    return crc32c_variants()[mxio_crc32c_chosen()][0]
