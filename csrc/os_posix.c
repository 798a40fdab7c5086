/* SPDX-License-Identifier: Apache-2.0
 *
 * os_posix.c - os.h on POSIX systems: files and threads.  Only this file and
 * os_memory.c include system headers.  What every call here must do, nobody above has to think of:
 * resume after a signal, continue after a short transfer, split what is longer
 * than one call may be, close on exec, never follow a link it did not mean to.
 */
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE 1 /* fallocate, sync_file_range, O_CLOEXEC in C99 */
#elif !defined(_POSIX_C_SOURCE) && !defined(__APPLE__)
#define _POSIX_C_SOURCE 200809L
#endif
#define _FILE_OFFSET_BITS 64

#include "os.h"

#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h> /* POSIX declares renameat here */
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#ifdef MXIO_TEST_HOOKS
#include "faults_calls.h"
#endif

/* Linux moves at most 0x7ffff000 bytes in one call; others may refuse more. */
static const uint64_t TRANSFER_NBYTES_MAX = 1u << 30;

/* What one call hands to the disk past the page cache: its pages are held meanwhile. */
static const uint64_t DIRECT_NBYTES = 8u << 20;

enum { NAME_NBYTES_MAX = 255, TEMPORARY_TRIES = 100 };

static int offset_fits(uint64_t offset, uint64_t nbytes) {
    return offset <= INT64_MAX && nbytes <= INT64_MAX - offset;
}

/* ---- places -------------------------------------------------------------- */

int mxio_os_place_open(const char *path, os_place *out) {
    const char *slash = strrchr(path, '/');
    const char *name = slash == NULL ? path : slash + 1;
    char *folder;
    int fd;
    if (*name == '\0') {
        return *path == '\0' ? ENOENT : EISDIR;
    }
    if (slash == NULL) {
        fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    } else {
        size_t nbytes = slash == path ? 1 : (size_t)(slash - path);
        folder = malloc(nbytes + 1);
        if (folder == NULL) {
            return ENOMEM;
        }
        memcpy(folder, path, nbytes);
        folder[nbytes] = '\0';
        fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        free(folder);
    }
    if (fd < 0) {
        return errno;
    }
    out->name = malloc(strlen(name) + 1);
    if (out->name == NULL) {
        close(fd);
        return ENOMEM;
    }
    memcpy(out->name, name, strlen(name) + 1);
    out->folder = fd;
    return 0;
}

void mxio_os_place_close(os_place *place) {
    close(place->folder);
    free(place->name);
}

static int judge_kind(mode_t mode) {
    if (S_ISREG(mode)) {
        return 0;
    }
    return S_ISDIR(mode) ? EISDIR : EINVAL;
}

int mxio_os_stat(const os_place *place, os_owner *out) {
    struct stat st;
    int failed;
    if (fstatat(place->folder, place->name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        return errno;
    }
    failed = judge_kind(st.st_mode);
    if (failed == 0) {
        out->mode = (uint32_t)st.st_mode & 07777u;
        out->uid = (uint32_t)st.st_uid;
        out->gid = (uint32_t)st.st_gid;
    }
    return failed;
}

/* ---- creating ------------------------------------------------------------ */

static char *put_hex(char *p, uint64_t x, unsigned digits) {
    for (unsigned i = digits; i-- > 0;) {
        *p++ = "0123456789abcdef"[x >> (4 * i) & 15];
    }
    return p;
}

/* Uniqueness comes from O_EXCL; randomness only keeps processes, also those of
 * other machines on one network disk, from trying the same name. */
static uint64_t random_u64(void) {
    int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    uint64_t out = 0;
    struct timespec now = {0};
    ssize_t n = 0;
    if (fd >= 0) {
        n = read(fd, &out, sizeof out);
        close(fd);
    }
    if (n != (ssize_t)sizeof out) {
        (void)clock_gettime(CLOCK_REALTIME, &now); /* which every system has */
        out = (uint64_t)now.tv_nsec * 0x9e3779b97f4a7c15u;
        out ^= (uint64_t)now.tv_sec << 20 ^ (uint64_t)getpid();
    }
    return out;
}

static uint32_t host_hash(void) {
    char host[256] = {0};
    if (gethostname(host, sizeof host - 1) != 0) {
        return 0;
    }
    return mxio_crc32c(0, host, strlen(host));
}

/* .NAME.mxio-, NAME cut so that it fits; not in the middle of a UTF-8 character,
 * which some file systems refuse. */
static char *put_name(char *p, const char *name) {
    size_t n = strlen(name);
    if (n > NAME_NBYTES_MAX - 64) {
        n = NAME_NBYTES_MAX - 64;
        while (n > 0 && ((uint8_t)name[n] & 0xc0) == 0x80) {
            n--;
        }
    }
    *p++ = '.';
    memcpy(p, name, n);
    p += n;
    memcpy(p, ".mxio-", 6);
    return p + 6;
}

/* .NAME.mxio-writer-HASH.tmp: the same for all who hold this file. */
static void held_name(const char *name, char *out) {
    char *p = put_name(out, name);
    memcpy(p, "writer-", 7);
    p = put_hex(p + 7, mxio_crc32c(0, name, strlen(name)), 8);
    memcpy(p, ".tmp", 5);
}

/* .NAME.mxio-HOST-PID-RANDOM.tmp */
static void temporary_name(const char *name, char *out) {
    char *p = put_name(out, name);
    p = put_hex(p, host_hash(), 8);
    *p++ = '-';
    p = put_hex(p, (uint64_t)getpid(), 8);
    *p++ = '-';
    p = put_hex(p, random_u64(), 16);
    memcpy(p, ".tmp", 5);
}

/* The file is ours: what a file system without modes or owners answers. */
static int is_not_offered(int failed) {
    return failed == EPERM || failed == EINVAL || failed == ENOSYS
           || failed == EOPNOTSUPP;
}

/* What a file is created with that takes on the mode of another: nobody else can
 * open it before it has that. */
static mode_t first_mode(const os_owner *like) {
    return like == NULL ? 0666 : 0600;
}

/* Takes on mode and owner of the file that will be replaced.  The owner, or the
 * group alone, only where the system lets us; then the mode, which chown may
 * have cut. */
static int take_on(int fd, const os_owner *like) {
    if (fchown(fd, like->uid, like->gid) != 0
        && (!is_not_offered(errno) || fchown(fd, (uid_t)-1, like->gid) != 0)
        && !is_not_offered(errno)) {
        return errno;
    }
    if (fchmod(fd, (mode_t)like->mode) != 0 && !is_not_offered(errno)) {
        return errno;
    }
    return 0;
}

/* What is left to do for a new file under a temporary name, locked if that is
 * possible. */
static int finish_create(const os_place *place, const os_owner *like,
                         const char *name, int made, char **temporary,
                         int *fd) {
    int failed = like == NULL ? 0 : take_on(made, like);
    char *copy = malloc(strlen(name) + 1);
    if (copy == NULL && failed == 0) {
        failed = ENOMEM;
    }
    if (failed != 0) {
        (void)unlinkat(place->folder, name, 0);
        close(made);
        free(copy);
        return failed;
    }
    memcpy(copy, name, strlen(name) + 1);
    *temporary = copy;
    *fd = made;
    return 0;
}

int mxio_os_create(const os_place *place, const os_owner *like,
                   char **temporary, int *fd) {
    char name[NAME_NBYTES_MAX + 1];
    int failed = EEXIST;
    int made = -1;
    for (int i = 0; i < TEMPORARY_TRIES && failed == EEXIST; i++) {
        temporary_name(place->name, name);
        made = openat(place->folder, name,
                      O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                      first_mode(like));
        failed = made < 0 ? errno : 0;
    }
    if (failed != 0) {
        return failed;
    }
    /* The lock tells a living writer from a dead one; where locks do not work
     * the name has to do. */
    (void)flock(made, LOCK_EX | LOCK_NB);
    return finish_create(place, like, name, made, temporary, fd);
}

/* ---- holding ------------------------------------------------------------- */

/* EAGAIN if a living process has the file locked.  Where locks do not work there
 * is nothing to find out. */
static int lock(int fd) {
    return flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK
               ? EAGAIN : 0;
}

void mxio_os_unlock(int fd) {
    (void)flock(fd, LOCK_UN);
}

/* ESTALE unless fd is the file of that name. */
static int is_named(int folder, const char *name, int fd, struct stat *st) {
    struct stat named;
    if (fstat(fd, st) != 0) {
        return errno;
    }
    if (fstatat(folder, name, &named, AT_SYMLINK_NOFOLLOW) != 0) {
        return errno == ENOENT ? ESTALE : errno;
    }
    return st->st_ino == named.st_ino && st->st_dev == named.st_dev ? 0
                                                                     : ESTALE;
}

int mxio_os_is_at(const os_place *place, int fd) {
    struct stat st;
    return is_named(place->folder, place->name, fd, &st);
}

/* Whether somebody else holds the file of a name, if there is one. */
static int look_for_holder(int folder, const char *name) {
    int failed;
    int fd = openat(folder, name,
                    O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return 0; /* none, or none of our business */
    }
    failed = lock(fd);
    close(fd);
    return failed;
}

int mxio_os_create_held(const os_place *place, const os_owner *like,
                        char **temporary, int *fd) {
    char name[NAME_NBYTES_MAX + 1];
    struct stat st;
    int failed = ESTALE;
    int made = -1;
    held_name(place->name, name);
    /* What a dead writer left is taken over; the name may go to a file that is
     * being committed between opening and locking. */
    for (int i = 0; i < TEMPORARY_TRIES && failed == ESTALE; i++) {
        int is_new = 1;
        made = openat(place->folder, name,
                      O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                      first_mode(like));
        if (made < 0 && errno == EEXIST) {
            is_new = 0;
            made = openat(place->folder, name,
                          O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
            if (made < 0 && errno == ENOENT) {
                continue;
            }
        }
        if (made < 0) {
            return errno;
        }
        failed = lock(made);
        if (failed == 0) {
            failed = is_named(place->folder, name, made, &st);
        }
        /* Not what another user has put there, whose file it would stay. */
        if (failed == 0 && !is_new && S_ISREG(st.st_mode)
            && st.st_uid != geteuid()) {
            failed = unlinkat(place->folder, name, 0) != 0 ? errno : ESTALE;
        }
        if (failed != 0) {
            close(made);
        }
    }
    if (failed != 0) {
        return failed;
    }
    failed = look_for_holder(place->folder, place->name);
    if (failed == 0 && (!S_ISREG(st.st_mode) || st.st_nlink != 1)) {
        failed = EEXIST; /* nothing that a writer left */
        close(made);
        return failed;
    }
    /* Not where it is empty: ext4 would write such a file to the disk at close. */
    if (failed == 0 && st.st_size > 0 && ftruncate(made, 0) != 0) {
        failed = errno;
    }
    if (failed != 0) {
        (void)unlinkat(place->folder, name, 0);
        close(made);
        return failed;
    }
    return finish_create(place, like, name, made, temporary, fd);
}

int mxio_os_open_held(const os_place *place, int *out) {
    char name[NAME_NBYTES_MAX + 1];
    struct stat st;
    int failed = ESTALE;
    int fd = -1;
    held_name(place->name, name);
    for (int i = 0; i < TEMPORARY_TRIES && failed == ESTALE; i++) {
        fd = openat(place->folder, place->name,
                    O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0) {
            return errno;
        }
        failed = lock(fd);
        if (failed == 0) {
            failed = is_named(place->folder, place->name, fd, &st);
        }
        if (failed == 0) {
            failed = judge_kind(st.st_mode);
        }
        if (failed == 0) {
            failed = look_for_holder(place->folder, name);
        }
        if (failed != 0) {
            close(fd);
        }
    }
    if (failed == 0) {
        *out = fd;
    }
    return failed;
}

uint64_t mxio_os_process(void) {
    return (uint64_t)getpid();
}

/* ---- reading and writing -------------------------------------------------- */

static int open_file(const char *path, int how, int *out) {
    struct stat st;
    int failed;
    /* Not to wait for the writer of a FIFO; no effect on a regular file. */
    int fd;
    do {
        fd = open(path, how | O_CLOEXEC | O_NONBLOCK);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        return errno;
    }
    failed = fstat(fd, &st) == 0 ? judge_kind(st.st_mode) : errno;
    if (failed != 0) {
        close(fd);
        return failed;
    }
    *out = fd;
    return 0;
}

int mxio_os_open(const char *path, int *out) {
    return open_file(path, O_RDONLY, out);
}

int mxio_os_open_shared(const char *path, int *out) {
    return open_file(path, O_RDWR, out);
}

int mxio_os_nbytes(int fd, uint64_t *out) {
    struct stat st;
    if (fstat(fd, &st) != 0) {
        return errno;
    }
    *out = st.st_size < 0 ? 0 : (uint64_t)st.st_size;
    return 0;
}

void mxio_os_close(int fd) {
    /* After a successful sync an error here loses nothing, and without one
     * nothing was promised.  Never repeated: the descriptor is gone. */
    (void)close(fd);
}

int mxio_os_read(int fd, void *mem, uint64_t nbytes, uint64_t offset,
                 uint64_t *got) {
    uint8_t *p = mem;
    uint64_t done = 0;
    if (!offset_fits(offset, nbytes)) {
        return EINVAL;
    }
    while (done < nbytes) {
        size_t want = (size_t)min_u64(nbytes - done, TRANSFER_NBYTES_MAX);
        ssize_t n = pread(fd, p + done, want, (off_t)(offset + done));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return errno;
        }
        if (n == 0) {
            break;
        }
        done += (uint64_t)n;
    }
    *got = done;
    return 0;
}

static int write_all(int fd, const uint8_t *p, uint64_t nbytes,
                     uint64_t offset, uint64_t most) {
    uint64_t done = 0;
    if (!offset_fits(offset, nbytes)) {
        return EFBIG;
    }
    while (done < nbytes) {
        size_t want = (size_t)min_u64(nbytes - done, most);
        ssize_t n = pwrite(fd, p + done, want, (off_t)(offset + done));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return errno;
        }
        if (n == 0) {
            return EIO; /* POSIX leaves it open; never loop on it */
        }
        done += (uint64_t)n;
    }
    return 0;
}

int mxio_os_write(int fd, const void *mem, uint64_t nbytes,
                  uint64_t offset) {
    return write_all(fd, mem, nbytes, offset, TRANSFER_NBYTES_MAX);
}

#if defined(__linux__)
int mxio_os_write_direct(int fd, const void *mem, uint64_t nbytes,
                         uint64_t offset) {
    const int flags = fcntl(fd, F_GETFL);
    uint64_t whole = nbytes - nbytes % OS_BLOCK_NBYTES;
    int failed = 0;
    if (flags < 0 || (uintptr_t)mem % OS_BLOCK_NBYTES != 0
        || offset % OS_BLOCK_NBYTES != 0
        || fcntl(fd, F_SETFL, flags | O_DIRECT) != 0) {
        whole = 0; /* tmpfs, for one, does not offer it */
    }
    if (whole > 0) {
        failed = write_all(fd, mem, whole, offset, DIRECT_NBYTES);
        if (fcntl(fd, F_SETFL, flags) != 0) {
            return errno;
        }
        if (failed == EINVAL) { /* offered, and not for these blocks */
            failed = 0;
            whole = 0;
        }
    }
    return failed != 0 ? failed
                       : mxio_os_write(fd, (const uint8_t *)mem + whole,
                                       nbytes - whole, offset + whole);
}
#else
int mxio_os_write_direct(int fd, const void *mem, uint64_t nbytes,
                         uint64_t offset) {
    return mxio_os_write(fd, mem, nbytes, offset);
}
#endif

int mxio_os_reserve(int fd, uint64_t offset, uint64_t nbytes) {
    if (!offset_fits(offset, nbytes)) {
        return EFBIG;
    }
#if defined(__linux__)
    /* fallocate, not posix_fallocate: glibc's falls back to writing every
     * page. */
    if (nbytes > 0) {
        int failed;
        do {
            failed = fallocate(fd, 0, (off_t)offset, (off_t)nbytes) == 0
                         ? 0 : errno;
        } while (failed == EINTR);
        if (failed != EOPNOTSUPP && failed != ENOSYS && failed != EINVAL) {
            return failed;
        }
    }
#endif
    return mxio_os_truncate(fd, offset + nbytes);
}

int mxio_os_truncate(int fd, uint64_t nbytes) {
    if (!offset_fits(0, nbytes)) {
        return EFBIG;
    }
    while (ftruncate(fd, (off_t)nbytes) != 0) {
        if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}

void mxio_os_start_writeback(int fd, uint64_t offset, uint64_t nbytes) {
#if defined(__linux__)
    (void)sync_file_range(fd, (off_t)offset, (off_t)nbytes,
                          SYNC_FILE_RANGE_WRITE);
#else
    (void)fd;
    (void)offset;
    (void)nbytes;
#endif
}

/* A signal is no verdict; everything else is final. */
static int sync_descriptor(int fd) {
    while (fsync(fd) != 0) {
        if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}

int mxio_os_sync(int fd) {
#if defined(__APPLE__)
    /* fsync there stops at the drive's cache. */
    if (fcntl(fd, F_FULLFSYNC) == 0) {
        return 0;
    }
#endif
    return sync_descriptor(fd);
}

int mxio_os_sync_folder(const os_place *place) {
    int failed = sync_descriptor(place->folder);
    if (failed == EINVAL || failed == ENOSYS || failed == EOPNOTSUPP) {
        return 0;
    }
    return failed;
}

int mxio_os_rename(const os_place *place, const char *temporary,
                   int exclusive) {
    struct stat st;
    if (exclusive) {
#if defined(RENAME_NOREPLACE)
        if (renameat2(place->folder, temporary, place->folder, place->name,
                      RENAME_NOREPLACE) == 0) {
            return 0;
        }
        if (errno != EINVAL && errno != ENOSYS) {
            return errno;
        }
#endif
        /* The best there is without: another process may come in between. */
        if (fstatat(place->folder, place->name, &st, AT_SYMLINK_NOFOLLOW)
            == 0) {
            return EEXIST;
        }
    }
    return renameat(place->folder, temporary, place->folder, place->name) == 0
               ? 0 : errno;
}

void mxio_os_unlink(const os_place *place, const char *temporary) {
    (void)unlinkat(place->folder, temporary, 0);
}

/* ---- threads ------------------------------------------------------------- */

struct os_lock {
    pthread_mutex_t mutex;
};

struct os_thread {
    pthread_t thread;
    void (*run)(void *);
    void *arg;
};

int mxio_os_lock_new(os_lock **out) {
    os_lock *lock = malloc(sizeof *lock);
    int failed;
    if (lock == NULL) {
        return ENOMEM;
    }
    failed = pthread_mutex_init(&lock->mutex, NULL);
    if (failed != 0) {
        free(lock);
        return failed;
    }
    *out = lock;
    return 0;
}

void mxio_os_lock_free(os_lock *lock) {
    if (lock != NULL) {
        (void)pthread_mutex_destroy(&lock->mutex);
        free(lock);
    }
}

void mxio_os_lock_take(os_lock *lock) {
    (void)pthread_mutex_lock(&lock->mutex);
}

void mxio_os_lock_give(os_lock *lock) {
    (void)pthread_mutex_unlock(&lock->mutex);
}

static void *thread_main(void *arg) {
    os_thread *thread = arg;
    thread->run(thread->arg);
    return NULL;
}

int mxio_os_thread_start(void (*run)(void *), void *arg, os_thread **out) {
    os_thread *thread = malloc(sizeof *thread);
    int failed;
    if (thread == NULL) {
        return ENOMEM;
    }
    thread->run = run;
    thread->arg = arg;
    failed = pthread_create(&thread->thread, NULL, thread_main, thread);
    if (failed != 0) {
        free(thread);
        return failed;
    }
    *out = thread;
    return 0;
}

void mxio_os_thread_join(os_thread *thread) {
    (void)pthread_join(thread->thread, NULL);
    free(thread);
}
