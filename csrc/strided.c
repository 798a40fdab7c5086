/* SPDX-License-Identifier: Apache-2.0
 *
 * strided.c - memory that is not stored as it lies: strided, reversed,
 * broadcast, permuted, of the other byte order.
 *
 * The naive way walks the items in stored order and copies one after the other.
 * Three things make it fast without changing what it does:
 *
 *  - axes that lie one behind the other in memory are merged, so that runs are
 *    as long as they can be, and a run of neighbours is one memcpy;
 *  - the innermost loop knows the size of an item;
 *  - where the innermost stored axis takes long steps through memory while an
 *    outer one takes short ones (a permuted array), a block of both is copied
 *    with the short steps innermost: each cache line that is fetched is used
 *    whole, and the scattered side is the destination, which is small and hot.
 */
#include "internal.h"

typedef struct walk {
    const uint8_t *mem;
    uint32_t ndim;
    uint64_t shape[MXIO_MAX_NDIM];
    int64_t strides[MXIO_MAX_NDIM];
    uint64_t inner[MXIO_MAX_NDIM]; /* items per step of an axis             */
    uint64_t item_nbytes;
    uint32_t swap_nbytes;
} walk;

/* n items from p, `stride` apart, to dst, `step` apart. */
static void copy_items(uint8_t *dst, uint64_t step, const uint8_t *p,
                       int64_t stride, uint64_t n, uint64_t item_nbytes) {
/* A constant size lets the compiler turn memcpy into one load and store. */
#define COPY_ITEMS(size)                                       \
    for (uint64_t i = 0; i < n; i++) {                         \
        memcpy(dst, p, (size));                                \
        dst += step;                                           \
        p += stride;                                           \
    }                                                          \
    break
    if (stride == (int64_t)item_nbytes && step == item_nbytes) {
        memcpy(dst, p, (size_t)(n * item_nbytes));
        return;
    }
    switch (item_nbytes) {
    case 1: COPY_ITEMS(1);
    case 2: COPY_ITEMS(2);
    case 4: COPY_ITEMS(4);
    case 8: COPY_ITEMS(8);
    case 16: COPY_ITEMS(16);
    default: COPY_ITEMS((size_t)item_nbytes);
    }
#undef COPY_ITEMS
}

static void swap_bytes(uint8_t *p, uint64_t nbytes, uint32_t swap_nbytes) {
    /* REQUIRES: swap_nbytes divides nbytes. */
    switch (swap_nbytes) {
    case 2:
        for (uint64_t i = 0; i < nbytes; i += 2) {
            uint16_t x;
            memcpy(&x, p + i, 2);
            x = (uint16_t)(x << 8 | x >> 8);
            memcpy(p + i, &x, 2);
        }
        break;
    case 4:
        for (uint64_t i = 0; i < nbytes; i += 4) {
            uint32_t x;
            memcpy(&x, p + i, 4);
            x = x << 24 | (x & 0xff00u) << 8 | (x >> 8 & 0xff00u) | x >> 24;
            memcpy(p + i, &x, 4);
        }
        break;
    default:
        for (uint64_t i = 0; i < nbytes; i += swap_nbytes) {
            for (uint32_t a = 0, b = swap_nbytes - 1; a < b; a++, b--) {
                uint8_t x = p[i + a];
                p[i + a] = p[i + b];
                p[i + b] = x;
            }
        }
    }
}

/* Slowest stored axis first; leaves out axes of one, merges axes that continue
 * each other. */
static void walk_begin(walk *w, const void *mem, const mxio_strided *s) {
    uint64_t items = 1;
    w->mem = mem;
    w->ndim = 0;
    w->item_nbytes = s->item_nbytes;
    w->swap_nbytes = s->swap_nbytes;
    for (uint32_t k = 0; k < s->ndim; k++) {
        uint32_t last = w->ndim - 1;
        uint32_t i = s->order == MXIO_ORDER_F ? s->ndim - 1 - k : k;
        if (s->shape[i] == 1) {
            continue;
        }
        if (w->ndim > 0
            && w->strides[last]
                   == s->strides[i] * (int64_t)s->shape[i]) {
            w->shape[last] *= s->shape[i];
            w->strides[last] = s->strides[i];
        } else {
            w->shape[w->ndim] = s->shape[i];
            w->strides[w->ndim] = s->strides[i];
            w->ndim++;
        }
    }
    for (uint32_t i = w->ndim; i-- > 0;) {
        w->inner[i] = items;
        items *= w->shape[i];
    }
}

static uint64_t magnitude(int64_t stride) {
    return stride < 0 ? 0 - (uint64_t)stride : (uint64_t)stride;
}

/* A box of whole steps: `steps` of axis `top`, all of the axes behind it. */
typedef struct box {
    uint32_t top;
    uint64_t steps;
} box;

static uint64_t box_extent(const walk *w, const box *b, uint32_t axis) {
    return axis == b->top ? b->steps : w->shape[axis];
}

/* The axis to copy innermost: the last one, or one whose steps are shorter by
 * so much that fewer cache lines are fetched. */
static uint32_t best_axis(const walk *w, const box *b) {
    uint32_t best = w->ndim - 1;
    for (uint32_t i = b->top; i + 1 < w->ndim; i++) {
        if (box_extent(w, b, i) > 1
            && magnitude(w->strides[i]) * 2 <= magnitude(w->strides[best])) {
            best = i;
        }
    }
    return best;
}

/* Copies a box whose memory begins at p. */
static void copy_box(const walk *w, const box *b, const uint8_t *p,
                     uint8_t *dst) {
    const uint32_t axis = best_axis(w, b);
    const uint64_t step = w->inner[axis] * w->item_nbytes;
    uint64_t at[MXIO_MAX_NDIM] = {0};
    for (;;) {
        uint32_t k = w->ndim;
        copy_items(dst, step, p, w->strides[axis], box_extent(w, b, axis),
                   w->item_nbytes);
        /* The next index of the other axes, the last one fastest. */
        for (;;) {
            uint64_t extent;
            if (k == b->top) {
                return;
            }
            k--;
            if (k == axis) {
                continue;
            }
            extent = box_extent(w, b, k);
            p += w->strides[k];
            dst += w->inner[k] * w->item_nbytes;
            if (++at[k] < extent) {
                break;
            }
            p -= w->strides[k] * (int64_t)extent;
            dst -= w->inner[k] * w->item_nbytes * extent;
            at[k] = 0;
        }
    }
}

void mxio_strided_gather(const void *mem, const mxio_strided *strided,
                         uint64_t first, uint64_t n, void *dst) {
    walk w;
    uint8_t *out = dst;
    uint64_t left = n;
    walk_begin(&w, mem, strided);
    if (w.ndim == 0) {
        memcpy(out, w.mem, (size_t)(n * w.item_nbytes));
        left = 0;
    }
    while (left > 0) {
        const uint8_t *p = w.mem;
        uint64_t rest = first;
        box b = {w.ndim, 0};
        for (uint32_t i = 0; i < w.ndim; i++) {
            uint64_t index = rest / w.inner[i];
            rest -= index * w.inner[i];
            p += (int64_t)index * w.strides[i];
            if (b.top == w.ndim && rest == 0 && left >= w.inner[i]) {
                b.top = i;
                b.steps = min_u64(w.shape[i] - index, left / w.inner[i]);
            }
        }
        copy_box(&w, &b, p, out);
        first += b.steps * w.inner[b.top];
        left -= b.steps * w.inner[b.top];
        out += b.steps * w.inner[b.top] * w.item_nbytes;
    }
    if (w.swap_nbytes > 1) {
        swap_bytes(dst, n * w.item_nbytes, w.swap_nbytes);
    }
}
