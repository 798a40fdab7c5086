/* SPDX-License-Identifier: Apache-2.0
 *
 * os.h - the system, in the operations mxio needs and their guarantees.
 *
 * One implementation exists, os_posix.c and os_memory.c; a port to another system is
 * files like these.  Every function that can fail returns 0 or an errno value, never both
 * and never -1.  Transfers are complete or fail: interrupted calls are resumed,
 * short ones continued, long ones split.
 *
 * In test builds (MXIO_TEST_HOOKS) each call of the system goes through
 * tests/faults_calls.h, which may fail it.
 */
#ifndef MXIO_OS_H
#define MXIO_OS_H

#include <stddef.h>
#include <stdint.h>

/* ---- files --------------------------------------------------------------- */

/* A name in a folder: the folder is open, so that it cannot be exchanged
 * between two steps of a commit. */
typedef struct os_place {
    int folder;     /* descriptor                                            */
    char *name;     /* owned                                                 */
} os_place;

/* Splits path and opens its folder. */
int mxio_os_place_open(const char *path, os_place *out);
void mxio_os_place_close(os_place *place);

/* What is at a place: 0 and *mode, *uid, *gid of a regular file; ENOENT;
 * EISDIR; EINVAL for anything else. */
typedef struct os_owner {
    uint32_t mode, uid, gid;
} os_owner;
int mxio_os_stat(const os_place *place, os_owner *out);

/* A new file, locked, under a name beside the place that no other process
 * uses: mode 0666 less the umask, or mode and owner of *like if that is not
 * NULL, and never open to more before.  *temporary receives its name, owned by the caller. */
int mxio_os_create(const os_place *place, const os_owner *like,
                   char **temporary, int *fd);

/* Likewise, under the one name that all who hold a file for long use.  EAGAIN: a
 * living process has that file, or the one at the place, locked.  What another
 * user has put there is removed, or EPERM, EACCES. */
int mxio_os_create_held(const os_place *place, const os_owner *like,
                        char **temporary, int *fd);

/* A regular file for reading.  EISDIR, EINVAL: as mxio_os_stat. */
int mxio_os_open(const char *path, int *fd);
/* Likewise, to read and write. */
int mxio_os_open_shared(const char *path, int *fd);
/* The file at a place to read and write, locked.  EAGAIN as above. */
int mxio_os_open_held(const os_place *place, int *fd);
/* Gives up the lock of a file, also where a child of this process has it open. */
void mxio_os_unlock(int fd);
/* ESTALE unless the file is the one at the place. */
int mxio_os_is_at(const os_place *place, int fd);
int mxio_os_truncate(int fd, uint64_t nbytes);
/* Which process this is. */
uint64_t mxio_os_process(void);
int mxio_os_nbytes(int fd, uint64_t *out);
void mxio_os_close(int fd);

/* EIO never means "the end": *got tells how much there was. */
int mxio_os_read(int fd, void *mem, uint64_t nbytes, uint64_t offset,
                 uint64_t *got);
int mxio_os_write(int fd, const void *mem, uint64_t nbytes, uint64_t offset);
/* As mxio_os_write, past the page cache as far as the system offers that: whole
 * blocks, if mem and offset are multiples of them.  REQUIRES: nobody else uses fd
 * meanwhile. */
#define OS_BLOCK_NBYTES 4096u
int mxio_os_write_direct(int fd, const void *mem, uint64_t nbytes,
                         uint64_t offset);

/* Lets the file end behind offset + nbytes and asks for the space from offset on; a
 * system that cannot promise space sets the length only. */
int mxio_os_reserve(int fd, uint64_t offset, uint64_t nbytes);

/* Starts writing a range to the disk.  A hint: promises nothing, fails
 * silently. */
void mxio_os_start_writeback(int fd, uint64_t offset, uint64_t nbytes);

/* After these, what was written, or the folder's names, survive a power cut.
 * A system without folder syncs succeeds.  A failed sync must not be tried
 * again: the kernel may have dropped the pages (fsync-gate). */
int mxio_os_sync(int fd);
int mxio_os_sync_folder(const os_place *place);

/* Atomic: readers of the name see the old file or the new one.  exclusive: EEXIST
 * if there is an old one. */
int mxio_os_rename(const os_place *place, const char *temporary,
                   int exclusive);
void mxio_os_unlink(const os_place *place, const char *temporary);

/* ---- memory -------------------------------------------------------------- */

/* nbytes of a file from its start, private and writable. */
int mxio_os_map(int fd, uint64_t nbytes, void **out);
void mxio_os_unmap(void *mem, uint64_t nbytes);

/* Addresses without memory, for mxio_os_map_at, which maps a file there.
 * REQUIRES: at is a multiple of the page size, inside of such addresses. */
int mxio_os_map_nothing(uint64_t nbytes, void **out);
int mxio_os_map_at(int fd, uint64_t nbytes, void *at);

/* Asks for huge pages.  A hint. */
void mxio_os_advise_huge(void *mem, uint64_t nbytes);

/* ---- threads ------------------------------------------------------------- */

typedef struct os_lock os_lock;
int mxio_os_lock_new(os_lock **out);
void mxio_os_lock_free(os_lock *lock); /* NULL allowed */
void mxio_os_lock_take(os_lock *lock);
void mxio_os_lock_give(os_lock *lock);

typedef struct os_thread os_thread;
int mxio_os_thread_start(void (*run)(void *), void *arg, os_thread **out);
void mxio_os_thread_join(os_thread *thread); /* and frees it */

#endif
