# SPDX-License-Identifier: Apache-2.0
# Part of _core.pyx: what scanners find in foreign files, and the index it makes.

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
