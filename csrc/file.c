/* SPDX-License-Identifier: Apache-2.0
 *
 * file.c - a file that appears whole or not at all.
 *
 * Writing happens in a temporary file beside the target.  Commit is four steps
 * whose order is the whole promise:
 *
 *     sync the temporary file     the contents are on the disk
 *     rename it over the target   readers see the old file or the new one
 *     sync the folder             the name is on the disk: nothing takes it back
 *     forget the temporary name   close must not remove what it now names
 *
 * Memory can stand for a file, so that the engine knows one kind of target.
 */
#include "format.h"
#include "os.h"

#include <errno.h>
#include <stdlib.h>

static const char NOT_A_FILE[] = "it is a device, a pipe or a socket, not a file";
static const char HELD[] = "another writer has it open";

struct mxio_file {
    int fd;              /* -1: memory                                      */
    uint64_t nbytes;
    os_place place;      /* a created file's                                */
    char *temporary;     /* its name now; NULL when committed or not created */
    uint8_t *mem;        /* memory: borrowed, stands for offsets from base  */
    uint64_t base;
    mxio_file **parts;   /* joined: owned; the base of each is its offset   */
    uint64_t n_parts;
    file_run *runs;      /* of the index that was read last                 */
    uint64_t n_runs;
    int exclusive;       /* commit only where nothing is                    */
    uint64_t process;    /* that created it, or holds it                    */
};

struct mxio_map {
    void *mem;
    uint64_t nbytes;
};

static mxio_status fail_io(mxio_err *err, int sys_errno, const char *what) {
    if (sys_errno == ENOMEM) {
        FAIL(err, MXIO_NOMEM, MXIO_NOWHERE, MXIO_NOWHERE, what);
    }
    return mxio_fail(err, MXIO_IO, sys_errno, MXIO_NOWHERE, MXIO_NOWHERE,
                     what);
}

static mxio_file *file_new(void) {
    mxio_file *file = calloc(1, sizeof *file);
    if (file != NULL) {
        file->fd = -1;
    }
    return file;
}

typedef int create_at(const os_place *place, const os_owner *like,
                      char **temporary, int *fd);

static mxio_status create(const char *path, create_at *create_one,
                          int exclusive, mxio_file **out, mxio_err *err) {
    mxio_file *file = file_new();
    os_owner owner;
    int failed;
    if (file == NULL) {
        return fail_io(err, ENOMEM, "out of memory");
    }
    failed = mxio_os_place_open(path, &file->place);
    if (failed != 0) {
        free(file);
        return fail_io(err, failed, "cannot open its folder");
    }
    file->exclusive = exclusive;
    file->process = mxio_os_process();
    failed = mxio_os_stat(&file->place, &owner);
    if (failed == 0 && exclusive) {
        failed = EEXIST;
    }
    if (failed == 0 || failed == ENOENT) {
        failed = create_one(&file->place, failed == 0 ? &owner : NULL,
                            &file->temporary, &file->fd);
    }
    if (failed != 0) {
        mxio_os_place_close(&file->place);
        free(file);
        /* A new file stands beside it first: its own rights do not matter. */
        return fail_io(err, failed,
                       failed == EINVAL   ? NOT_A_FILE
                       : failed == EAGAIN ? HELD
                       : failed == EISDIR || failed == EEXIST
                           ? "cannot create it"
                           : "cannot create a file in its folder");
    }
    *out = file;
    return MXIO_OK;
}

mxio_status mxio_file_create(const char *path, mxio_file **out,
                             mxio_err *err) {
    return create(path, mxio_os_create, 0, out, err);
}

mxio_status mxio_file_create_held(const char *path, mxio_file **out,
                                  mxio_err *err) {
    return create(path, mxio_os_create_held, 0, out, err);
}

mxio_status mxio_file_create_new(const char *path, mxio_file **out,
                                 mxio_err *err) {
    return create(path, mxio_os_create_held, 1, out, err);
}

static mxio_status fail_open(mxio_file *file, int failed, mxio_err *err) {
    mxio_file_close(file);
    return fail_io(err, failed, failed == EINVAL   ? NOT_A_FILE
                                : failed == EAGAIN ? HELD
                                                   : "cannot open it");
}

static mxio_status open_file(const char *path,
                             int (*open_one)(const char *, int *),
                             mxio_file **out, mxio_err *err) {
    mxio_file *file = file_new();
    int failed;
    if (file == NULL) {
        return fail_io(err, ENOMEM, "out of memory");
    }
    failed = open_one(path, &file->fd);
    if (failed == 0) {
        failed = mxio_os_nbytes(file->fd, &file->nbytes);
    }
    if (failed != 0) {
        return fail_open(file, failed, err);
    }
    *out = file;
    return MXIO_OK;
}

mxio_status mxio_file_open(const char *path, mxio_file **out,
                           mxio_err *err) {
    return open_file(path, mxio_os_open, out, err);
}

mxio_status mxio_file_open_shared(const char *path, mxio_file **out,
                                  mxio_err *err) {
    return open_file(path, mxio_os_open_shared, out, err);
}

mxio_status mxio_file_open_held(const char *path, mxio_file **out,
                                mxio_err *err) {
    mxio_file *file = file_new();
    int failed;
    if (file == NULL) {
        return fail_io(err, ENOMEM, "out of memory");
    }
    failed = mxio_os_place_open(path, &file->place);
    file->process = mxio_os_process();
    if (failed == 0) {
        failed = mxio_os_open_held(&file->place, &file->fd);
    }
    if (failed == 0) {
        failed = mxio_os_nbytes(file->fd, &file->nbytes);
    }
    if (failed != 0) {
        return fail_open(file, failed, err);
    }
    *out = file;
    return MXIO_OK;
}

mxio_status mxio_file_memory(void *mem, uint64_t offset, uint64_t nbytes,
                             mxio_file **out, mxio_err *err) {
    mxio_file *file = file_new();
    if (file == NULL) {
        return fail_io(err, ENOMEM, "out of memory");
    }
    if (!add_u64(offset, nbytes, &file->nbytes)) {
        free(file);
        FAIL(err, MXIO_INVALID, offset, MXIO_NOWHERE, "memory has no end");
    }
    file->mem = mem;
    file->base = offset;
    *out = file;
    return MXIO_OK;
}

mxio_status mxio_file_join(mxio_file *const *parts, uint64_t n,
                           mxio_file **out, mxio_err *err) {
    mxio_file *file;
    uint64_t at = 0;
    if (n == 0) {
        FAIL(err, MXIO_INVALID, MXIO_NOWHERE, MXIO_NOWHERE,
             "there are no files to join");
    }
    file = file_new();
    /* As many as parts holds, so the product fits. */
    if (file == NULL
        || (file->parts = malloc((size_t)n * sizeof *file->parts)) == NULL) {
        free(file);
        return fail_io(err, ENOMEM, "out of memory");
    }
    for (uint64_t i = 0; i < n; i++) {
        if (!align_u64(at, MXIO_BASE_NBYTES, &at)
            || at > INT64_MAX - parts[i]->nbytes) {
            free(file->parts);
            free(file);
            FAIL(err, MXIO_UNSUPPORTED, MXIO_NOWHERE, i,
                 "the files would exceed 2^63 bytes");
        }
        at += parts[i]->nbytes;
    }
    at = 0;
    for (uint64_t i = 0; i < n; i++) {
        at = ceil_div_u64(at, MXIO_BASE_NBYTES) * MXIO_BASE_NBYTES;
        file->parts[i] = parts[i];
        parts[i]->base = at;
        at += parts[i]->nbytes;
    }
    file->n_parts = n;
    file->nbytes = at;
    *out = file;
    return MXIO_OK;
}

uint64_t mxio_file_base(const mxio_file *file, uint64_t i) {
    return file->parts[i]->base;
}

uint64_t mxio_file_nbytes(const mxio_file *file) {
    return file->nbytes;
}

mxio_status mxio_file_reserve(mxio_file *file, uint64_t offset,
                              uint64_t nbytes, mxio_err *err) {
    if (file->fd >= 0) {
        int failed = mxio_os_reserve(file->fd, offset, nbytes);
        if (failed != 0) {
            return fail_io(err, failed, "cannot reserve its space");
        }
        file->nbytes = offset + nbytes;
    }
    return MXIO_OK;
}

/* Where memory holds these offsets, NULL if it does not. */
static uint8_t *memory_at(const mxio_file *file, uint64_t nbytes,
                          uint64_t offset) {
    if (offset < file->base || offset > file->nbytes
        || nbytes > file->nbytes - offset) {
        return NULL;
    }
    return file->mem + (offset - file->base);
}

typedef int write_at(int fd, const void *mem, uint64_t nbytes,
                     uint64_t offset);

static mxio_status put(mxio_file *file, write_at *write_one, const void *mem,
                       uint64_t nbytes, uint64_t offset, mxio_err *err) {
    int failed;
    if (nbytes == 0) {
        return MXIO_OK;
    }
    if (file->fd < 0) {
        uint8_t *p = memory_at(file, nbytes, offset);
        if (p == NULL) {
            FAIL(err, MXIO_INVALID, offset, MXIO_NOWHERE,
                 "a write lies outside of the memory");
        }
        memcpy(p, mem, (size_t)nbytes);
        return MXIO_OK;
    }
    failed = write_one(file->fd, mem, nbytes, offset);
    if (failed != 0) {
        return mxio_fail(err, MXIO_IO, failed, offset, MXIO_NOWHERE,
                         "cannot write");
    }
    return MXIO_OK;
}

mxio_status mxio_file_put(mxio_file *file, const void *mem, uint64_t nbytes,
                          uint64_t offset, mxio_err *err) {
    return put(file, mxio_os_write, mem, nbytes, offset, err);
}

mxio_status mxio_file_put_direct(mxio_file *file, const void *mem,
                                 uint64_t nbytes, uint64_t offset,
                                 mxio_err *err) {
    return put(file, mxio_os_write_direct, mem, nbytes, offset, err);
}

mxio_status mxio_file_put_pieces(mxio_file *file, const void *mem,
                                 uint64_t nbytes, const uint64_t *offsets,
                                 uint64_t n, mxio_err *err) {
    const uint8_t *p = mem;
    for (uint64_t i = 0; i < n; i++) {
        TRY(mxio_file_put(file, p + i * nbytes, nbytes, offsets[i], err));
    }
    return MXIO_OK;
}

mxio_status mxio_file_measure(mxio_file *file, mxio_err *err) {
    if (file->fd >= 0) {
        int failed = mxio_os_nbytes(file->fd, &file->nbytes);
        if (failed != 0) {
            return fail_io(err, failed, "cannot tell its length");
        }
    }
    return MXIO_OK;
}

/* The part that holds an offset, or the one before the gap it lies in. */
static const mxio_file *part_at(const mxio_file *file, uint64_t offset) {
    uint64_t low = 0, high = file->n_parts;
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        if (file->parts[middle]->base <= offset) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return file->parts[low];
}

static mxio_status get_joined(mxio_file *file, uint8_t *mem, uint64_t nbytes,
                              uint64_t offset, mxio_err *err) {
    if (offset > file->nbytes || nbytes > file->nbytes - offset) {
        FAIL(err, MXIO_CORRUPT, file->nbytes, MXIO_NOWHERE,
             "the file is cut short");
    }
    while (nbytes > 0) {
        const mxio_file *part = part_at(file, offset);
        const uint64_t start = offset - part->base;
        uint64_t n;
        if (start < part->nbytes) {
            n = min_u64(nbytes, part->nbytes - start);
            TRY(mxio_file_get((mxio_file *)(uintptr_t)part, mem, n, start,
                              err));
        } else { /* the gap behind it */
            uint64_t end = ceil_div_u64(offset + 1, MXIO_BASE_NBYTES)
                           * MXIO_BASE_NBYTES;
            n = min_u64(nbytes, end - offset);
            memset(mem, 0, (size_t)n);
        }
        mem += n;
        offset += n;
        nbytes -= n;
    }
    return MXIO_OK;
}

/* What a place behind the file stands for; zeros between two of them. */
static mxio_status get_runs(mxio_file *file, uint8_t *mem, uint64_t nbytes,
                            uint64_t offset, mxio_err *err) {
    uint64_t low = 0, high = file->n_runs;
    while (high - low > 1) {
        const uint64_t middle = low + (high - low) / 2;
        if (file->runs[middle].at <= offset) {
            low = middle;
        } else {
            high = middle;
        }
    }
    while (nbytes > 0) {
        const file_run *run = &file->runs[low];
        const uint64_t start = offset - run->at;
        uint64_t n = nbytes;
        if (start < run->nbytes) {
            n = min_u64(n, run->nbytes - start);
            TRY(mxio_file_get(file, mem, n, run->offset + start, err));
        } else {
            if (low + 1 < file->n_runs) {
                n = min_u64(n, file->runs[low + 1].at - offset);
            }
            memset(mem, 0, (size_t)n);
        }
        mem += n;
        offset += n;
        nbytes -= n;
        if (low + 1 < file->n_runs && offset == file->runs[low + 1].at) {
            low++;
        }
    }
    return MXIO_OK;
}

mxio_status mxio_file_get(mxio_file *file, void *mem, uint64_t nbytes,
                          uint64_t offset, mxio_err *err) {
    uint64_t got = 0;
    int failed;
    if (nbytes == 0) {
        return MXIO_OK;
    }
    if (file->n_runs > 0 && offset >= file->runs[0].at) {
        return get_runs(file, mem, nbytes, offset, err);
    }
    if (file->parts != NULL) {
        return get_joined(file, mem, nbytes, offset, err);
    }
    if (file->fd < 0) {
        const uint8_t *p = memory_at(file, nbytes, offset);
        if (p == NULL) {
            FAIL(err, MXIO_CORRUPT, offset, MXIO_NOWHERE,
                 "the file is cut short");
        }
        memcpy(mem, p, (size_t)nbytes);
        return MXIO_OK;
    }
    failed = mxio_os_read(file->fd, mem, nbytes, offset, &got);
    if (failed != 0) {
        return mxio_fail(err, MXIO_IO, failed, offset, MXIO_NOWHERE,
                         "cannot read");
    }
    if (got != nbytes) {
        FAIL(err, MXIO_CORRUPT, offset + got, MXIO_NOWHERE,
             "the file is cut short");
    }
    return MXIO_OK;
}

void mxio_file_set_runs(mxio_file *file, file_run *runs, uint64_t n) {
    free(file->runs);
    file->runs = runs;
    file->n_runs = n;
}

const uint8_t *mxio_file_peek(const mxio_file *file, uint64_t nbytes,
                              uint64_t offset) {
    return file->fd < 0 && file->parts == NULL
               ? memory_at(file, nbytes, offset) : NULL;
}

void mxio_file_start_writeback(mxio_file *file, uint64_t nbytes,
                               uint64_t offset) {
    if (file->fd >= 0) {
        mxio_os_start_writeback(file->fd, offset, nbytes);
    }
}

mxio_status mxio_file_commit(mxio_file *file, int sync, mxio_err *err) {
    int failed;
    if (file->temporary == NULL) {
        FAIL(err, MXIO_INVALID, MXIO_NOWHERE, MXIO_NOWHERE,
             "nothing to commit");
    }
    if (sync) {
        failed = mxio_os_sync(file->fd);
        if (failed != 0) {
            return fail_io(err, failed, "cannot sync it to the disk");
        }
    }
    failed = mxio_os_rename(&file->place, file->temporary, file->exclusive);
    if (failed != 0) {
        return fail_io(err, failed, "cannot put it in place");
    }
    free(file->temporary);
    file->temporary = NULL;
    if (sync) {
        failed = mxio_os_sync_folder(&file->place);
        if (failed != 0) {
            return fail_io(err, failed,
                           "the new file is in place, but its folder could "
                           "not be synced: a power cut may undo it");
        }
    }
    return MXIO_OK;
}

const char *mxio_file_held_name(const mxio_file *file) {
    return file->temporary != NULL ? file->temporary : file->place.name;
}

/* Steps 2 and 3 of appending, docs/FORMAT.md 2. */
mxio_status mxio_file_switch(mxio_file *file, const mxio_head *head, int slot,
                             int sync, mxio_err *err) {
    uint8_t bytes[MXIO_SLOT_NBYTES];
    int failed = 0;
    if (file->place.name == NULL || file->temporary != NULL) {
        FAIL(err, MXIO_INVALID, MXIO_NOWHERE, MXIO_NOWHERE,
             "nothing to append to");
    }
    failed = mxio_os_is_at(&file->place, file->fd);
    if (failed != 0) {
        return fail_io(err, failed,
                       "it was replaced or removed since it was opened to be "
                       "written");
    }
    if (sync) {
        failed = mxio_os_sync(file->fd);
        if (failed != 0) {
            return fail_io(err, failed, "cannot sync it to the disk");
        }
    }
    mxio_slot_encode(head, bytes);
    TRY(mxio_file_put(file, bytes, sizeof bytes,
                      slot ? MXIO_SLOT_1_OFFSET : 0, err));
    if (sync) {
        failed = mxio_os_sync(file->fd);
        if (failed != 0) {
            return fail_io(err, failed, "cannot sync its head to the disk");
        }
    }
    return MXIO_OK;
}

mxio_status mxio_file_truncate(mxio_file *file, uint64_t nbytes,
                               mxio_err *err) {
    int failed = mxio_os_truncate(file->fd, nbytes);
    return failed == 0 ? MXIO_OK : fail_io(err, failed, "cannot cut it off");
}

void mxio_file_close(mxio_file *file) {
    if (file == NULL) {
        return;
    }
    if (file->temporary != NULL) {
        if (file->process == mxio_os_process()) {
            mxio_os_unlink(&file->place, file->temporary);
        }
        free(file->temporary);
    }
    free(file->runs);
    if (file->fd >= 0) {
        if (file->place.name != NULL && file->process == mxio_os_process()) {
            mxio_os_unlock(file->fd);
        }
        mxio_os_close(file->fd);
    }
    for (uint64_t i = 0; i < file->n_parts; i++) {
        mxio_file_close(file->parts[i]);
    }
    free(file->parts);
    if (file->place.name != NULL) {
        mxio_os_place_close(&file->place);
    }
    free(file);
}

/* ---- maps ---------------------------------------------------------------- */

/* Parts in one range of addresses, at their bases. */
static int map_parts(const mxio_file *file, void **out) {
    void *mem;
    int failed = mxio_os_map_nothing(file->nbytes, &mem);
    if (failed != 0) {
        return failed;
    }
    for (uint64_t i = 0; i < file->n_parts && failed == 0; i++) {
        const mxio_file *part = file->parts[i];
        if (part->nbytes > 0) {
            failed = mxio_os_map_at(part->fd, part->nbytes,
                                    (uint8_t *)mem + part->base);
        }
    }
    if (failed != 0) {
        mxio_os_unmap(mem, file->nbytes);
        return failed;
    }
    *out = mem;
    return 0;
}

mxio_status mxio_map_new(mxio_file *file, mxio_map **out, mxio_err *err) {
    mxio_map *map;
    int failed;
    if ((file->fd < 0 && file->parts == NULL) || file->nbytes == 0) {
        FAIL(err, MXIO_INVALID, MXIO_NOWHERE, MXIO_NOWHERE,
             "only a file that has bytes can be mapped");
    }
    map = malloc(sizeof *map);
    if (map == NULL) {
        return fail_io(err, ENOMEM, "out of memory");
    }
    map->nbytes = file->nbytes;
    failed = file->parts == NULL
                 ? mxio_os_map(file->fd, file->nbytes, &map->mem)
                 : map_parts(file, &map->mem);
    if (failed != 0) {
        free(map);
        return fail_io(err, failed, "cannot map it");
    }
    *out = map;
    return MXIO_OK;
}

void *mxio_map_data(const mxio_map *map) {
    return map->mem;
}

uint64_t mxio_map_nbytes(const mxio_map *map) {
    return map->nbytes;
}

void mxio_map_free(mxio_map *map) {
    if (map != NULL) {
        mxio_os_unmap(map->mem, map->nbytes);
        free(map);
    }
}
