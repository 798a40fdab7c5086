# SPDX-License-Identifier: Apache-2.0
"""The Cython boundary: pin, call, raise, free.

Nothing is decided here: which names, which dtypes, which defaults is Python's
business above, where bytes go and whether they are valid is C's below. A
``cdef class`` owns each C handle and frees it; ``check`` is the one place where a
status becomes an exception; each ``with nogil`` block is one C call. Five parts of
this module, for length, are files of their own: _index.pxi, _memory.pxi, _foreign.pxi, _plan.pxi,
_append.pxi.
"""

import os

cimport numpy as cnp
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from cpython.ref cimport Py_INCREF, PyObject
from cython cimport critical_section, pymutex
from libc.errno cimport EAGAIN
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from mxio._c cimport *
from mxio.errors import ChecksumError, FormatError, UnsupportedError, printable, quote

ctypedef mxio_status (*opener)(const char *, mxio_file **, mxio_err *) noexcept nogil

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
# Longer arrays have huge pages enough of their own; shorter ones get a room together, if
# that is worth it.
cdef uint64_t ROOMY_NBYTES = 2 << 20
cdef uint64_t ROOM_NBYTES_LEAST = 2 << 20
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
                offset = mxio_index_place(index._index, offset)
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
        if err.sys_errno == EAGAIN:  # by us: a lock that is taken
            reason = what
        elif what != "cannot open it":
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


include "_index.pxi"
include "_memory.pxi"


# ---- files -----------------------------------------------------------------------------------

cdef class File:
    """An open file, a file being made, or memory that stands for one.

    Threads may read at once; a file that is closed meanwhile goes when the last
    of them is done. Who uses it is counted in critical sections, which are the GIL
    where there is one.
    """

    cdef mxio_file *_file
    cdef readonly object name
    cdef Py_buffer _buffer
    cdef bint _has_buffer
    cdef int _users
    cdef bint _closing
    cdef object __weakref__

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
        with critical_section(self):
            if self._file == NULL or self._closing:
                raise ValueError(f"{printable(self.name)} is closed")
            self._users += 1
        return 0

    cdef int _leave(self) except -1:
        with critical_section(self):
            self._users -= 1
            if self._closing and self._users == 0:
                self._free()
        return 0

    @staticmethod
    def open(bytes path not None, name):
        return opened(path, name, mxio_file_open)

    @staticmethod
    def create(bytes path not None, name):
        return opened(path, name, mxio_file_create)

    @staticmethod
    def create_held(bytes path not None, name, bint exclusive):
        return opened(path, name, mxio_file_create_new if exclusive else mxio_file_create_held)

    @staticmethod
    def open_held(bytes path not None, name):
        return opened(path, name, mxio_file_open_held)

    @staticmethod
    def open_shared(bytes path not None, name):
        return opened(path, name, mxio_file_open_shared)

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
        with critical_section(self):
            if self._file == NULL:
                raise ValueError(f"{printable(self.name)} is closed")
            return mxio_file_nbytes(self._file)

    @property
    def held_name(self):
        """The name that a held file has in its folder now."""
        with critical_section(self):
            if self._file == NULL:
                raise ValueError(f"{printable(self.name)} is closed")
            return <bytes>mxio_file_held_name(self._file)

    @property
    def closed(self):
        return self._file == NULL or self._closing

    def close(self):
        with critical_section(self):
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

    def put(self, buffer, uint64_t offset, bint direct=False):
        """Write bytes; `direct`: past the page cache, if that goes."""
        cdef Py_buffer view
        cdef mxio_err err
        cdef mxio_status status
        self._enter()
        try:
            PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE)
            with nogil:
                status = (mxio_file_put_direct if direct else mxio_file_put)(
                    self._file, view.buf, view.len, offset, &err)
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

    def switch(self, uint64_t required, uint64_t generation, uint64_t file_nbytes,
               tuple index not None, int slot, bint sync):
        """Commit what was put behind the end of a held file."""
        cdef mxio_head head
        cdef mxio_err err
        cdef mxio_status status
        pin_head(&head, required, generation, file_nbytes, index)
        self._enter()
        try:
            with nogil:
                status = mxio_file_switch(self._file, &head, slot, sync, &err)
            check(status, &err, self.name)
        finally:
            self._leave()

    def reserve(self, uint64_t offset, uint64_t nbytes):
        """Let a held file end behind what begins at an offset, and ask for the space of that."""
        cdef mxio_err err
        cdef mxio_status status
        self._enter()
        try:
            with nogil:
                status = mxio_file_reserve(self._file, offset, nbytes, &err)
            check(status, &err, self.name)
        finally:
            self._leave()

    def truncate(self, uint64_t nbytes):
        """Set the length of a held file."""
        cdef mxio_err err
        cdef mxio_status status
        self._enter()
        try:
            with nogil:
                status = mxio_file_truncate(self._file, nbytes, &err)
            check(status, &err, self.name)
        finally:
            self._leave()

    def write_run(self, cnp.ndarray array not None, uint64_t offset, uint64_t chunk_nbytes,
                  cnp.ndarray checksums not None, bint sync, unsigned threads):
        """Write contiguous bytes that begin where a chunk does, and fill in its checksums."""
        cdef mxio_segment segment
        cdef mxio_cursor cursor
        cdef mxio_io_opts opts
        cdef mxio_err err
        cdef mxio_status status
        memset(&segment, 0, sizeof(segment))
        memset(&cursor, 0, sizeof(cursor))
        segment.mem = cnp.PyArray_DATA(array)
        segment.nbytes = cnp.PyArray_NBYTES(array)
        segment.offset = offset
        segment.chunk_nbytes = chunk_nbytes
        segment.checksums = <uint32_t *>cnp.PyArray_DATA(checksums)
        if not segment.nbytes or not chunk_nbytes or <uint64_t>cnp.PyArray_SIZE(checksums) != (
                (segment.nbytes - 1) // chunk_nbytes + 1):
            raise SystemError("as many checksums as chunks")
        opts.sizeof_opts = sizeof(opts)
        opts.threads = threads
        opts.flags = MXIO_SYNC if sync else 0
        opts.max_nbytes = BATCH_NBYTES
        self._enter()
        try:
            while cursor.segment < 1:
                with nogil:
                    status = mxio_write(self._file, &segment, 1, &cursor, &opts, &err)
                check(status, &err, self.name)
                PyErr_CheckSignals()
        finally:
            self._leave()

    def fill_checksums(self, uint64_t offset, uint64_t nbytes, uint64_t chunk_nbytes,
                       cnp.ndarray checksums not None, unsigned threads):
        """Read bytes that begin where a chunk does, for the checksums of their chunks."""
        cdef mxio_segment segment
        memset(&segment, 0, sizeof(segment))
        segment.nbytes = nbytes
        segment.offset = offset
        segment.chunk_nbytes = chunk_nbytes
        segment.checksums = <uint32_t *>cnp.PyArray_DATA(checksums)
        if not nbytes or not chunk_nbytes or <uint64_t>cnp.PyArray_SIZE(checksums) != (
                (nbytes - 1) // chunk_nbytes + 1):
            raise SystemError("as many checksums as chunks")
        self._read(&segment, 1, MXIO_FILL, threads, None)

    def put_pieces(self, cnp.ndarray array not None, cnp.ndarray offsets not None):
        """Write contiguous bytes in pieces of one length, each to an offset of its own."""
        cdef mxio_err err
        cdef mxio_status status
        cdef const char *p = <const char *>cnp.PyArray_DATA(array)
        cdef const uint64_t *places = <const uint64_t *>cnp.PyArray_DATA(offsets)
        cdef uint64_t n = cnp.PyArray_SIZE(offsets)
        cdef uint64_t nbytes = cnp.PyArray_NBYTES(array) // n
        self._enter()
        try:
            with nogil:
                status = mxio_file_put_pieces(self._file, p, nbytes, places, n, &err)
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
             bint verify, unsigned threads, progress=None):
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
                       threads, index, progress)
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

    def read_chunk(self, Index index not None, uint64_t number, uint64_t k, bint verify):
        """One chunk of an entry that is stored as it is, as bytes in an array."""
        cdef mxio_entry entry
        cdef mxio_segment segment
        cdef cnp.npy_intp nbytes
        cdef uint64_t skip
        if number >= mxio_index_count(index._index):
            raise IndexError(number)
        mxio_index_entry(index._index, number, &entry)
        if k >= mxio_entry_n_chunks(&entry):
            raise SystemError("a chunk that is not there")
        mxio_entry_segment(index._index, &entry, NULL, &segment)
        segment.offset += k * entry.chunk_nbytes
        if segment.checksums != NULL:  # a foreign file has none
            segment.checksums += k
        segment.nbytes = min(entry.chunk_nbytes, entry.nbytes - k * entry.chunk_nbytes)
        # Aligned, since the kernel copies faster to such memory.
        nbytes = segment.nbytes + ALIGNMENT
        room = cnp.PyArray_SimpleNew(1, &nbytes, cnp.NPY_UINT8)
        skip = -<uint64_t>cnp.PyArray_DATA(room) % ALIGNMENT
        out = room[skip:skip + segment.nbytes]
        segment.mem = cnp.PyArray_DATA(out)
        self._read(&segment, 1, 0 if verify else MXIO_NO_VERIFY, 1, index)
        return out

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
        cdef uint64_t count = mxio_index_n_extents(index._index)
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


cdef File opened(bytes path, object name, opener open_one):
    """A file for reading, or for writing."""
    cdef File self = File.__new__(File)
    cdef const char *c_path = path
    cdef mxio_err err
    cdef mxio_status status
    self.name = name
    with nogil:
        status = open_one(c_path, &self._file, &err)
    check(status, &err, name)
    return self


# ---- foreign files, plans --------------------------------------------------------------------

include "_foreign.pxi"
include "_plan.pxi"
include "_append.pxi"


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
