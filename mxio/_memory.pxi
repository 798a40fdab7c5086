# SPDX-License-Identifier: Apache-2.0
# Part of _core.pyx: memory for arrays, and arrays over it.

cdef class Memory:
    """An allocation that arrays view; it lives as long as one of them does."""

    cdef void *_data
    cdef uint64_t _nbytes
    cdef uint64_t _room_nbytes  # of a room; 0: allocated by itself

    def __cinit__(self, uint64_t nbytes):
        self._nbytes = nbytes
        if nbytes:
            self._data = mxio_memory_new(nbytes)
            if self._data == NULL:
                raise MemoryError(f"cannot allocate {nbytes} bytes")

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self._data, <Py_ssize_t>self._nbytes, 0, flags)

    def __dealloc__(self):
        if self._room_nbytes:
            mxio_room_free(self._data, self._room_nbytes)
        else:
            mxio_memory_free(self._data)


cdef uint64_t whole_pages(uint64_t nbytes) noexcept:
    cdef uint64_t page = mxio_page_nbytes()
    return (nbytes + page - 1) // page * page


cdef uint64_t aligned(uint64_t nbytes) noexcept:
    return (nbytes + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT


cdef class Room:
    """Memory for arrays that are loaded together, taken at once and given back one by one."""

    cdef char *_at
    cdef uint64_t _left

    def __cinit__(self, uint64_t nbytes):
        if nbytes >= ROOM_NBYTES_LEAST:
            self._at = <char *>mxio_room_new(nbytes)
            if self._at == NULL:
                raise MemoryError(f"cannot allocate {nbytes} bytes")
            self._left = nbytes

    def __dealloc__(self):
        mxio_room_free(self._at, self._left)

    cdef Memory take(self, uint64_t nbytes):
        """Memory for one array or slab; of its own where there is no room."""
        cdef uint64_t pages = whole_pages(nbytes)
        cdef Memory memory = Memory.__new__(Memory, 0 if pages <= self._left else nbytes)
        if pages <= self._left:
            memory._data = self._at
            memory._room_nbytes = pages
            self._at += pages
            self._left -= pages
        return memory


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
    cdef char *address
    cdef int k
    if len(shape) > 64:
        raise SystemError("more than 64 dimensions")
    for k in range(len(shape)):
        dims[k] = shape[k]
    entry.shape = dims
    entry.ndim = len(shape)
    entry.order = MXIO_ORDER_F if order == "F" else MXIO_ORDER_C
    with stand_in_lock:
        stand_in_address[0] += 64
        address = stand_in_address[0]
    array = view_of(&entry, dtype, address, None)
    array.flags.writeable = False
    return array


# Each has an address of its own, which tells two of them apart.
cdef pymutex stand_in_lock
cdef char *stand_in_address[1]
stand_in_address[0] = <char *>4096


cdef uint64_t slabs_for(Index index, const uint64_t *numbers, uint64_t n, uint64_t *last_nbytes,
                        uint64_t *room_nbytes) noexcept:
    """How many slabs the small arrays fill, what the last one holds, and how long a room is."""
    cdef mxio_entry entry
    cdef uint64_t i, used = MXIO_SLAB_NBYTES, n_slabs = 0
    room_nbytes[0] = 0
    for i in range(n):
        mxio_index_entry(index._index, numbers[i], &entry)
        if entry.nbytes > SHARED_NBYTES:
            if entry.nbytes <= ROOMY_NBYTES:
                room_nbytes[0] += whole_pages(entry.nbytes)
        elif entry.nbytes:
            if used + entry.nbytes > MXIO_SLAB_NBYTES:
                n_slabs += 1
                used = 0
            used += aligned(entry.nbytes)
    last_nbytes[0] = used
    if n_slabs:
        room_nbytes[0] += (n_slabs - 1) * MXIO_SLAB_NBYTES + whole_pages(used)
    return n_slabs


cdef uint64_t allocate(Index index, const uint64_t *numbers, uint64_t n, list dtypes,
                       mxio_segment *segments, list arrays) except? 0xffffffffffffffff:
    """Make the arrays and the segments that fill them; the number of segments.

    Names of one array get views of one memory. Small arrays share allocations.
    """
    cdef mxio_entry entry
    cdef uint64_t i, first, last_nbytes, room_nbytes
    cdef uint64_t used = 0, slab_nbytes = 0, n_segments = 0
    cdef uint64_t n_slabs = slabs_for(index, numbers, n, &last_nbytes, &room_nbytes)
    cdef Room room = Room.__new__(Room, room_nbytes)
    cdef Memory memory, slab = None
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
        if entry.nbytes > ROOMY_NBYTES:
            memory = Memory.__new__(Memory, entry.nbytes)
            data = <char *>memory._data
        elif entry.nbytes > SHARED_NBYTES:
            memory = room.take(entry.nbytes)
            data = <char *>memory._data
        else:
            # Second names were counted and take nothing, so a slab may be too long, never short.
            if used + entry.nbytes > slab_nbytes:
                n_slabs -= 1
                slab_nbytes = MXIO_SLAB_NBYTES if n_slabs else last_nbytes
                slab = room.take(slab_nbytes)
                used = 0
            memory = slab
            data = <char *>slab._data + used
            used += aligned(entry.nbytes)
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
