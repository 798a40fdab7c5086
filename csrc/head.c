/* SPDX-License-Identifier: Apache-2.0
 *
 * head.c - docs/FORMAT.md 2, judged: which slot of a head counts, and whether
 * it is valid.
 */
#include "format.h"

static int slot_is_valid(const uint8_t *slot) {
    return memcmp(slot, mxio_magic, sizeof mxio_magic) == 0
           && load_u32(slot + 124) == mxio_crc32c(0, slot, 124);
}

static mxio_status refuse_version(uint32_t version, uint64_t offset,
                                  mxio_err *err) {
    char what[96];
    mxio_put_text(mxio_put_number(mxio_put_text(what, "it has version "), version),
             " of the format, and this knows version 1");
    FAIL(err, MXIO_UNSUPPORTED, offset, MXIO_NOWHERE, what);
}

static const uint64_t KNOWN
    = MXIO_FEATURE_APPENDING | MXIO_FEATURE_DELTA | MXIO_FEATURE_RUNS;

/* Names the lowest bit that is not known. */
static mxio_status refuse_features(uint64_t unknown, uint64_t offset,
                                   mxio_err *err) {
    static const char *const NAMES[] = {"appending", "delta index",
                                        "runs", "boxes", "codecs"};
    char what[96];
    char *p = mxio_put_text(what, "it needs the feature '");
    unsigned bit = 0;
    while ((unknown >> bit & 1) == 0) {
        bit++;
    }
    if (bit < sizeof NAMES / sizeof NAMES[0]) {
        p = mxio_put_text(p, NAMES[bit]);
    } else {
        p = mxio_put_number(mxio_put_text(p, "bit "), bit);
    }
    mxio_put_text(p, "'");
    FAIL(err, MXIO_UNSUPPORTED, offset, MXIO_NOWHERE, what);
}

mxio_status mxio_head_decode(const uint8_t *src, uint64_t file_nbytes,
                             mxio_head *out, mxio_err *err) {
    const uint8_t *slots[2] = {src, src + MXIO_SLOT_1_OFFSET};
    const int valid[2] = {slot_is_valid(slots[0]), slot_is_valid(slots[1])};
    const uint8_t *slot;
    mxio_head head;
    uint64_t at, end;
    int taken;
    if (!valid[0] && !valid[1]) {
        if (memcmp(slots[0], mxio_magic, sizeof mxio_magic) != 0
            && memcmp(slots[1], mxio_magic, sizeof mxio_magic) != 0) {
            FAIL(err, MXIO_CORRUPT, 0, MXIO_NOWHERE,
                 "it does not begin as an mxio file does");
        }
        FAIL(err, MXIO_CHECKSUM, 0, MXIO_NOWHERE,
             "checksum mismatch in the head");
    }
    taken = !valid[0];
    if (valid[0] && valid[1]) {
        uint64_t first = load_u64(slots[0] + 32);
        uint64_t second = load_u64(slots[1] + 32);
        if (first == second) {
            FAIL(err, MXIO_CORRUPT, 32, MXIO_NOWHERE,
                 "both slots of the head have one generation");
        }
        taken = second > first;
    }
    slot = slots[taken];
    at = taken ? MXIO_SLOT_1_OFFSET : 0;
    if (load_u32(slot + 8) != MXIO_VERSION) {
        return refuse_version(load_u32(slot + 8), at + 8, err);
    }
    head.required = load_u64(slot + 16);
    head.optional = load_u64(slot + 24);
    head.generation = load_u64(slot + 32);
    head.file_nbytes = load_u64(slot + 40);
    head.index_offset = load_u64(slot + 48);
    head.index_nbytes = load_u64(slot + 56);
    head.index_crc = load_u32(slot + 64);
    head.slot = taken;
    head.other_is_damaged
        = !valid[!taken] && !all_zero(slots[!taken], MXIO_SLOT_NBYTES);
    if ((head.required & ~KNOWN) != 0) {
        return refuse_features(head.required & ~KNOWN, at + 16, err);
    }
    if (load_u32(slot + 12) != 0 || !all_zero(slot + 68, 56)
        || !all_zero(src + MXIO_SLOT_NBYTES, MXIO_SLOT_1_OFFSET - MXIO_SLOT_NBYTES)
        || !all_zero(src + MXIO_SLOT_1_OFFSET + MXIO_SLOT_NBYTES,
                     MXIO_HEAD_NBYTES - MXIO_SLOT_1_OFFSET - MXIO_SLOT_NBYTES)) {
        FAIL(err, MXIO_CORRUPT, at, MXIO_NOWHERE,
             "reserved bytes of the head are not zero");
    }
    if (head.generation == 0) {
        FAIL(err, MXIO_CORRUPT, at + 32, MXIO_NOWHERE, "generation is 0");
    }
    if (head.file_nbytes > file_nbytes) {
        FAIL(err, MXIO_CORRUPT, file_nbytes, MXIO_NOWHERE,
             "the file is cut short: its head says that it is longer");
    }
    if (!(head.required & MXIO_FEATURE_APPENDING)) {
        if (head.file_nbytes != file_nbytes) {
            FAIL(err, MXIO_CORRUPT, head.file_nbytes, MXIO_NOWHERE,
                 "bytes follow the end that its head gives");
        }
        if (!all_zero(slots[!taken], MXIO_SLOT_NBYTES)) {
            FAIL(err, MXIO_CORRUPT, taken ? 0 : MXIO_SLOT_1_OFFSET, MXIO_NOWHERE,
                 "the unused slot of the head is not zero");
        }
    }
    if (head.file_nbytes > FILE_NBYTES_MAX || head.index_offset % 64 != 0
        || head.index_offset < MXIO_HEAD_NBYTES
        || !add_u64(head.index_offset, head.index_nbytes, &end)
        || end > head.file_nbytes || head.index_nbytes < MXIO_HEADER_NBYTES) {
        FAIL(err, MXIO_CORRUPT, at + 48, MXIO_NOWHERE,
             "the index does not lie in the file");
    }
    *out = head;
    return MXIO_OK;
}
