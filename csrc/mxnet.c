/* SPDX-License-Identifier: Apache-2.0
 *
 * mxnet.c - a bounded scanner of MXNet's .params files.
 *
 *     u64 0x112, u64 reserved, u64 N, N records, u64 K, K x (u64 nbytes, bytes)
 *
 * and a record is, all little-endian and packed,
 *
 *     V0   u32 ndim, ndim x u32,                        body
 *     V1   u32 f993fac8, i32 ndim, ndim x i64,          body
 *     V2   u32 f993fac9, i32 stype, [storage shape,] i32 ndim, ndim x i64, body
 *     V3   u32 f993faca, i32 0,     i32 ndim, ndim x i64,                  body
 *
 *     body   i32 device type, i32 device id, i32 dtype,
 *            [for each index array: i32 dtype, i32 ndim, ndim x i64,]
 *            values, [index arrays]
 *
 * There is no length of a record and no checksum, so a record is found by
 * understanding all records before it.
 *
 * Without dimensions a record of V0 or V1 has no array and no body.  In V2 and
 * V3 it has one item: MXNet 1.5 to 1.9.1 write a scalar so in V2, which they
 * cannot read back, because they take it for a record without an array.  Those
 * exist in V0 and V1 only: no release could write one in V2.  (To try both
 * readings would find an array named "" in the beginning of some scalars.)
 */
#include "scan.h"

#include <stdlib.h>

enum { LIST_MAGIC = 0x112, LIST_NBYTES = 24, CONTEXT_NBYTES = 8 };
/* More records without an array than anybody has; each takes memory of ours
 * for four bytes of the file. */
enum { NONE_MAX = 1 << 20 };

static const uint32_t V1 = 0xf993fac8u, V2 = 0xf993fac9u, V3 = 0xf993facau;

typedef struct scanner {
    window w;
    growing g;
    uint64_t at;       /* where the next byte is read                        */
    uint64_t record;   /* the number of the record at hand, for messages     */
    uint64_t n_none;
} scanner;

typedef struct shape {
    uint64_t first;    /* in the scan's dims                                 */
    int64_t ndim;
    int unknown;       /* a dimension is below 0: there is no array          */
} shape;

static mxio_status fail_at(const scanner *s, uint64_t offset,
                           const char *what, mxio_err *err) {
    FAIL(err, MXIO_CORRUPT, offset, s->record, what);
}

static mxio_status take(scanner *s, uint64_t nbytes, const uint8_t **out,
                        mxio_err *err) {
    TRY(mxio_window_take(&s->w, s->at, nbytes, s->record, out, err));
    s->at += nbytes;
    return MXIO_OK;
}

static mxio_status take_i32(scanner *s, int32_t *out, mxio_err *err) {
    const uint8_t *p;
    uint32_t x;
    TRY(take(s, 4, &p, err));
    x = load_u32(p);
    memcpy(out, &x, sizeof x);
    return MXIO_OK;
}

static mxio_status take_u64(scanner *s, uint64_t *out, mxio_err *err) {
    const uint8_t *p;
    TRY(take(s, 8, &p, err));
    *out = load_u64(p);
    return MXIO_OK;
}

static mxio_status take_dims(scanner *s, unsigned width, shape *out,
                             mxio_err *err) {
    const uint64_t where = s->at;
    const uint8_t *p;
    if (out->ndim > (int64_t)MXIO_MAX_NDIM) {
        return fail_at(s, where - 4,
                       "it has more than 64 dimensions, or is no record", err);
    }
    out->first = s->g.scan->n_dims;
    out->unknown = out->ndim < 0;
    if (out->unknown) {
        return MXIO_OK;
    }
    TRY(take(s, (uint64_t)out->ndim * width, &p, err));
    for (int64_t i = 0; i < out->ndim; i++) {
        uint64_t dim = width == 4 ? load_u32(p + 4 * i) : load_u64(p + 8 * i);
        out->unknown = out->unknown || dim > INT64_MAX;
        TRY(mxio_growing_dim(&s->g, dim, err));
    }
    return MXIO_OK;
}

/* i32 ndim, then the dims.  Only a record of V3 may not know one. */
static mxio_status take_shape(scanner *s, shape *out, mxio_err *err) {
    const uint64_t where = s->at;
    int32_t ndim;
    TRY(take_i32(s, &ndim, err));
    if (ndim < -1) {
        return fail_at(s, where, "its number of dimensions is below 0", err);
    }
    out->ndim = ndim;
    return take_dims(s, 8, out, err);
}

static mxio_status take_known_shape(scanner *s, shape *out, mxio_err *err) {
    const uint64_t where = s->at;
    TRY(take_shape(s, out, err));
    if (out->unknown) {
        return fail_at(s, where, "a dimension is below 0", err);
    }
    return MXIO_OK;
}

static mxio_status take_dtype(scanner *s, uint64_t *out, mxio_err *err) {
    const uint64_t where = s->at;
    int32_t code;
    TRY(take_i32(s, &code, err));
    if (code < 0 || (uint64_t)code >= s->g.n_table) {
        char what[96];
        char *p = mxio_put_text(what, "its dtype has the code ");
        if (code < 0) {
            p = mxio_put_text(p, "-");
        }
        p = mxio_put_number(p, (uint64_t)(code < 0 ? -(int64_t)code : code));
        mxio_put_text(p, ", which means nothing");
        return fail_at(s, where, what, err);
    }
    *out = (uint64_t)code;
    return MXIO_OK;
}

/* The bytes of a part begin where the scanner stands. */
static mxio_status add_part(scanner *s, uint8_t kind, const shape *of,
                            const shape *dense, uint64_t dtype,
                            mxio_err *err) {
    const uint64_t bits = s->g.table[dtype].dtype.item_bits;
    mxio_part part = {0};
    part.kind = kind;
    part.offset = s->at;
    part.first_dim = of->first;
    part.ndim = (uint8_t)of->ndim;
    if (dense != NULL) {
        part.first_dense_dim = dense->first;
        part.dense_ndim = (uint8_t)dense->ndim;
    }
    if (!mxio_array_nbytes(s->g.scan->dims + of->first, part.ndim, bits,
                           &part.nbytes)
        || part.nbytes > s->w.file_nbytes - s->at) {
        return fail_at(s, s->at,
                       "its shape calls for more bytes than follow", err);
    }
    part.stored_nbytes = part.nbytes;
    s->at += part.nbytes;
    TRY(mxio_growing_dtype(&s->g, dtype, &part.dtype, err));
    return mxio_growing_part(&s->g, &part, err);
}

static mxio_status add_none(scanner *s, mxio_err *err) {
    mxio_part part = {0};
    part.kind = MXIO_PART_NONE;
    part.offset = s->at;
    if (++s->n_none > NONE_MAX) {
        return fail_at(s, s->at, "more than a million records have no array",
                       err);
    }
    return mxio_growing_part(&s->g, &part, err);
}

static mxio_status take_context(scanner *s, mxio_err *err) {
    const uint8_t *p;
    return take(s, CONTEXT_NBYTES, &p, err); /* any device is the CPU's here */
}

static mxio_status dense_body(scanner *s, const shape *of, mxio_err *err) {
    uint64_t dtype;
    TRY(take_context(s, err));
    TRY(take_dtype(s, &dtype, err));
    return add_part(s, MXIO_PART_DENSE, of, NULL, dtype, err);
}

/* The stored rows are as many as there are indices, whatever the storage shape
 * says: so MXNet reads it. */
static mxio_status sparse_body(scanner *s, int csr, uint64_t where,
                               const shape *storage, const shape *of,
                               mxio_err *err) {
    const int n_aux = csr ? 2 : 1;
    uint64_t dtype, aux_dtype[2] = {0, 0};
    uint64_t *dims;
    shape aux[2];
    TRY(take_context(s, err));
    TRY(take_dtype(s, &dtype, err));
    for (int i = 0; i < n_aux; i++) {
        TRY(take_dtype(s, &aux_dtype[i], err));
        TRY(take_known_shape(s, &aux[i], err));
        if (aux[i].ndim != 1) {
            return fail_at(s, where, "an index of a sparse array is not of "
                                     "one dimension", err);
        }
    }
    if (csr ? of->ndim != 2 || storage->ndim != 1
            : of->ndim < 1 || storage->ndim != of->ndim) {
        return fail_at(s, where, "a sparse array's dimensions do not fit "
                                 "together", err);
    }
    dims = s->g.scan->dims;
    dims[storage->first] = dims[aux[n_aux - 1].first];
    for (int64_t i = 1; i < storage->ndim; i++) {
        if (dims[storage->first + (uint64_t)i]
            != dims[of->first + (uint64_t)i]) {
            return fail_at(s, where, "the stored rows of a sparse array are "
                                     "not as long as its rows", err);
        }
    }
    TRY(add_part(s, csr ? MXIO_PART_CSR : MXIO_PART_ROW_SPARSE, storage, of,
                 dtype, err));
    if (csr) {
        TRY(add_part(s, MXIO_PART_INDPTR, &aux[0], NULL, aux_dtype[0], err));
    }
    return add_part(s, MXIO_PART_INDICES, &aux[n_aux - 1], NULL,
                    aux_dtype[n_aux - 1], err);
}

static mxio_status record_v2(scanner *s, mxio_err *err) {
    const uint64_t where = s->at;
    shape storage, of;
    int32_t stype;
    TRY(take_i32(s, &stype, err));
    if (stype < 0 || stype > 2) {
        return fail_at(s, where, "its storage type is none of MXNet's", err);
    }
    if (stype != 0) {
        TRY(take_known_shape(s, &storage, err));
        TRY(take_known_shape(s, &of, err));
        return sparse_body(s, stype == 2, where, &storage, &of, err);
    }
    TRY(take_shape(s, &of, err));
    if (of.ndim < 0) {
        return add_none(s, err);
    }
    if (of.unknown) {
        return fail_at(s, where + 4, "a dimension is below 0", err);
    }
    return dense_body(s, &of, err);
}

static mxio_status record_v3(scanner *s, mxio_err *err) {
    const uint64_t where = s->at;
    int32_t stype;
    shape of;
    TRY(take_i32(s, &stype, err));
    if (stype != 0) {
        return fail_at(s, where, "a record of V3 is not dense", err);
    }
    TRY(take_shape(s, &of, err));
    return of.unknown ? add_none(s, err) : dense_body(s, &of, err);
}

static mxio_status record_any(scanner *s, mxio_err *err) {
    const uint8_t *p;
    uint32_t first;
    shape of;
    TRY(take(s, 4, &p, err));
    first = load_u32(p);
    if (first == V2) {
        s->g.scan->seen |= MXIO_SEEN_V2;
        return record_v2(s, err);
    }
    if (first == V3) {
        s->g.scan->seen |= MXIO_SEEN_V3;
        return record_v3(s, err);
    }
    if (first == V1) {
        s->g.scan->seen |= MXIO_SEEN_V1;
        TRY(take_known_shape(s, &of, err));
    } else {
        s->g.scan->seen |= MXIO_SEEN_V0;
        of.ndim = first;
        TRY(take_dims(s, 4, &of, err)); /* of 32 bits: none is below 0 */
    }
    return of.ndim == 0 ? add_none(s, err) : dense_body(s, &of, err);
}

static mxio_status take_names(scanner *s, uint64_t n_records,
                              mxio_err *err) {
    const uint64_t where = s->at;
    uint64_t n, nbytes;
    s->record = MXIO_NOWHERE;
    TRY(take_u64(s, &n, err));
    if (n != 0 && n != n_records) {
        char what[96];
        char *p = mxio_put_number(what, n_records);
        p = mxio_put_number(mxio_put_text(p, " arrays, but "), n);
        mxio_put_text(p, " names");
        return fail_at(s, where, what, err);
    }
    for (uint64_t i = 0; i < n; i++) {
        const uint64_t begin = s->at;
        const uint8_t *p;
        s->record = i;
        TRY(take_u64(s, &nbytes, err));
        if (nbytes > s->w.file_nbytes - s->at) {
            return fail_at(s, begin, "a name ends behind the end of the file",
                           err);
        }
        if (nbytes > MXIO_WINDOW_NBYTES) {
            FAIL(err, MXIO_UNSUPPORTED, begin, i,
                 "a name has more than 65535 bytes");
        }
        TRY(take(s, nbytes, &p, err));
        TRY(mxio_growing_name(&s->g, p, nbytes, err));
    }
    return MXIO_OK;
}

static mxio_status scan_list(scanner *s, mxio_err *err) {
    uint64_t magic, reserved, n_records;
    s->record = MXIO_NOWHERE;
    TRY(take_u64(s, &magic, err));
    if (magic != LIST_MAGIC) {
        return fail_at(s, 0, "it does not begin as a list of arrays does",
                       err);
    }
    TRY(take_u64(s, &reserved, err));
    if (reserved != 0) {
        s->g.scan->seen |= MXIO_SEEN_RESERVED;
    }
    TRY(take_u64(s, &n_records, err));
    if (n_records > (s->w.file_nbytes - LIST_NBYTES) / 4) {
        return fail_at(s, 16, "it says that it has more arrays than fit", err);
    }
    /* No more than a fraction of the file, however many it claims. */
    TRY(mxio_growing_reserve(&s->g,
                             min_u64(n_records, s->w.file_nbytes / 256),
                             err));
    for (uint64_t i = 0; i < n_records; i++) {
        s->record = i;
        TRY(record_any(s, err));
        s->g.scan->n_records++;
    }
    TRY(take_names(s, n_records, err));
    s->g.scan->end_offset = s->at;
    return MXIO_OK;
}

mxio_status mxio_mxnet_scan(mxio_file *file, const mxio_foreign_dtype *dtypes,
                            size_t n_dtypes, mxio_scan *scan, mxio_err *err) {
    scanner s = {0};
    mxio_status status;
    TRY(mxio_growing_open(&s.g, scan, dtypes, n_dtypes, err));
    mxio_window_open(&s.w, file);
    status = scan_list(&s, err);
    mxio_window_close(&s.w);
    return status;
}
