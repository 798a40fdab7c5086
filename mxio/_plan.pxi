# SPDX-License-Identifier: Apache-2.0
# Part of _core.pyx: arrays laid out as a file, and written.

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
    cdef uint64_t _room_nbytes
    cdef bint _framed
    cdef bint _is_part

    def __init__(self):
        raise TypeError("a Plan is native or framed")

    @staticmethod
    def native(list names not None, list arrays not None, list rows not None,
               list dtypes not None, bytes structure not None, bytes metadata not None, sources,
               uint64_t begin):
        """As docs/FORMAT.md lays it out: head and index in front, checksums in the index.

        Or, if `begin` is not 0, the data alone, from that offset on.
        """
        cdef Plan self = Plan.__new__(Plan)
        cdef mxio_err err
        cdef mxio_status status
        cdef uint64_t i, n = len(names)
        if len(arrays) != <Py_ssize_t>n or len(rows) != <Py_ssize_t>n:
            raise SystemError("names, arrays and rows differ in length")
        self._kept = [dtypes, structure, metadata]
        self._is_part = begin != 0
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
            status = mxio_layout_plan(&self._content, begin, &self._layout, &err)
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
            self._room_nbytes = whole_pages(room)
            self._room = mxio_room_new(self._room_nbytes)
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
        if self._room_nbytes:
            mxio_room_free(self._room, self._room_nbytes)
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

    @property
    def data_nbytes(self):
        """Bytes of all segments: what progress is told."""
        cdef mxio_cursor end
        end.segment = self._n_segments
        end.offset = 0
        return done_nbytes(self._segments, &end)

    cdef int _run(self, mxio_file *file, unsigned flags, unsigned threads, object where,
                  object progress=None) except -1:
        """Run all segments, looking for signals in between; `progress` as in File._read."""
        cdef mxio_cursor cursor
        cdef mxio_io_opts opts
        cdef mxio_err err
        cdef mxio_status status
        cdef uint64_t end, first = 0, done = 0
        opts.sizeof_opts = sizeof(opts)
        opts.threads = threads
        opts.flags = flags
        opts.max_nbytes = BATCH_NBYTES if progress is None else REPORT_NBYTES
        while first < self._n_segments:
            memset(&cursor, 0, sizeof(cursor))
            if self._is_streamed(first):
                end = self._pump(file, &opts, first, where, progress, done)
                cursor.segment = end - first
            else:
                end = first + 1 if self._sources else self._n_segments
                while end < self._n_segments and not self._is_streamed(end):
                    end += 1
            while cursor.segment < end - first:
                with nogil:
                    status = mxio_write(file, self._segments + first, end - first, &cursor, &opts,
                                        &err)
                check(status, &err, where)
                PyErr_CheckSignals()
                if progress is not None:
                    progress(done + done_nbytes(self._segments + first, &cursor))
            done += done_nbytes(self._segments + first, &cursor)
            first = end
        return 0

    cdef uint64_t _pump(self, mxio_file *file, mxio_io_opts *opts, uint64_t first, object where,
                        object progress, uint64_t done) except? 0:
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
            if progress is not None:
                for i in range(first, end):
                    done += self._segments[i].nbytes
                progress(done)
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
            if progress is not None:
                progress(done + start)
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

    def write(self, File file not None, bint sync, unsigned threads, progress=None):
        """Data, then head and index: the file waits for its commit."""
        cdef mxio_err err
        cdef mxio_status status
        file._enter()
        try:
            if not self._is_part:
                with nogil:
                    status = mxio_file_reserve(file._file, 0, self._layout.file_nbytes, &err)
                check(status, &err, file.name)
            self._run(file._file, MXIO_SYNC if sync else 0, threads, file.name, progress)
            self._put_begin(file._file, file.name)
        finally:
            file._leave()

    def placed(self):
        """Of each array, once written: order, nbytes, offset, chunk_nbytes and checksums."""
        cdef mxio_entry *entry
        cdef uint64_t i
        cdef list out = []
        for i in range(self._content.n_entries):
            entry = &self._content.entries[i]
            out.append(("F" if entry.order == MXIO_ORDER_F else "C", entry.nbytes, entry.offset,
                        entry.chunk_nbytes,
                        PyBytes_FromStringAndSize(
                            <char *>(self._checksums + entry.first_chunk),
                            <Py_ssize_t>(mxio_entry_n_chunks(entry) * sizeof(uint32_t)))))
        return out

    def to_bytes(self, unsigned threads):
        """The whole file as bytes."""
        cdef bytes out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>self._layout.file_nbytes)
        self._fill(PyBytes_AS_STRING(out), threads, "the bytes")
        return out

    def fill(self, buffer, unsigned threads):
        """The whole file, into memory of its length."""
        cdef Py_buffer view
        PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE)
        try:
            if <uint64_t>view.len != self._layout.file_nbytes:
                raise SystemError("memory of the file's length")
            self._fill(<char *>view.buf, threads, "the snapshot")
        finally:
            PyBuffer_Release(&view)

    cdef int _fill(self, char *p, unsigned threads, object where) except -1:
        cdef mxio_err err
        cdef mxio_file *file = NULL
        cdef uint64_t i, at = self._layout.index_offset + self._layout.index_nbytes
        for i in range(self._n_segments):
            memset(p + at, 0, self._segments[i].offset - at)
            at = self._segments[i].offset + self._segments[i].nbytes
        memset(p + at, 0, self._layout.file_nbytes - at)
        check(mxio_file_memory(p, 0, self._layout.file_nbytes, &file, &err), &err, where)
        try:
            self._run(file, 0, threads, where)
            self._put_begin(file, where)
        finally:
            mxio_file_close(file)
        return 0

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
