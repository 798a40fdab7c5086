/* SPDX-License-Identifier: Apache-2.0
 *
 * A library to preload: writes down what a process asks of the file system for
 * the files of one folder, and lets one of these calls fail.
 *
 *   MXIO_SHIM_LOG=path     one line a call: name, 0 or the errno, then offset
 *                          and length of a write, the length of a truncate and
 *                          of what is reserved its end, 1 for a sync of a folder
 *   MXIO_SHIM_FAIL=k:e     the k-th of those calls (from 1) fails with errno e
 *   MXIO_SHIM_KILL=k       the process is killed just before the k-th call
 *   MXIO_SHIM_HALF=1       or, if that is a write, behind the first half of it,
 *                          where that ends with a sector of the disk
 *   MXIO_SHIM_SHORT=1      every write moves half of what it is given
 *   MXIO_SHIM_ALL=1        calls that change nothing count too: open, look,
 *                          read, lock
 *   MXIO_SHIM_DATA=path    what is written, one write behind the other
 *   MXIO_SHIM_LAZY=1       a sync does nothing, which only a power cut would tell
 *
 * Counting begins when the environment holds MXIO_SHIM_ON, which the program
 * under test sets.
 */
#define _GNU_SOURCE 1
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int calls;

static int number(const char *name) {
    const char *text = getenv(name);
    return text == NULL ? 0 : atoi(text);
}

enum { SECTOR_NBYTES = 512, HALF = -1 };

/* The errno to fail with, 0, or HALF; counts the call and writes it down. */
static int before(const char *name, long long a, long long b) {
    const char *log = getenv("MXIO_SHIM_LOG");
    const char *fail = getenv("MXIO_SHIM_FAIL");
    int failed = 0;
    if (getenv("MXIO_SHIM_ON") == NULL) {
        return 0;
    }
    pthread_mutex_lock(&lock);
    calls++;
    if (calls == number("MXIO_SHIM_KILL")) {
        if (!number("MXIO_SHIM_HALF") || strcmp(name, "write") != 0) {
            kill(getpid(), SIGKILL);
        }
        failed = HALF;
    }
    if (fail != NULL && calls == atoi(fail)) {
        failed = atoi(strchr(fail, ':') + 1);
    }
    if (log != NULL) {
        FILE *file = fopen(log, "a");
        if (file != NULL) {
            fprintf(file, "%s %d %lld %lld\n", name, failed, a, b);
            fclose(file);
        }
    }
    pthread_mutex_unlock(&lock);
    return failed;
}

static void record(const void *p, size_t n) {
    const char *data = getenv("MXIO_SHIM_DATA");
    FILE *file;
    if (getenv("MXIO_SHIM_ON") == NULL || data == NULL) {
        return;
    }
    pthread_mutex_lock(&lock);
    file = fopen(data, "ab");
    if (file != NULL) {
        fwrite(p, 1, n, file);
        fclose(file);
    }
    pthread_mutex_unlock(&lock);
}

#define REAL(type, name, ...) ((type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name))

#define FAIL_IF_TOLD(name, a, b)       \
    do {                               \
        int failed = before(name, a, b); \
        if (failed != 0) {             \
            errno = failed;            \
            return -1;                 \
        }                              \
    } while (0)

#define FAIL_IF_ALL(name)           \
    do {                            \
        if (number("MXIO_SHIM_ALL")) { \
            FAIL_IF_TOLD(name, 0, 0); \
        }                           \
    } while (0)

int openat64(int folder, const char *path, int flags, ...) {
    va_list args;
    mode_t mode;
    va_start(args, flags);
    mode = (flags & O_CREAT) ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (flags & O_CREAT) {
        FAIL_IF_TOLD("create", 0, 0);
    } else {
        FAIL_IF_ALL("open");
    }
    return REAL(int, "openat64", int, const char *, int, ...)(folder, path,
                                                              flags, mode);
}

int openat(int folder, const char *path, int flags, ...) {
    va_list args;
    mode_t mode;
    va_start(args, flags);
    mode = (flags & O_CREAT) ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (flags & O_CREAT) {
        FAIL_IF_TOLD("create", 0, 0);
    } else {
        FAIL_IF_ALL("open");
    }
    return REAL(int, "openat", int, const char *, int, ...)(folder, path,
                                                            flags, mode);
}

static ssize_t put(const char *real, int fd, const void *p, size_t n,
                   off64_t at) {
    int failed = before("write", at, (long long)n);
    if (failed == HALF) {
        off64_t end = (at + (off64_t)n / 2) / SECTOR_NBYTES * SECTOR_NBYTES;
        if (end > at) {
            (void)REAL(ssize_t, real, int, const void *, size_t, off64_t)(
                fd, p, (size_t)(end - at), at);
        }
        kill(getpid(), SIGKILL);
    }
    if (failed != 0) {
        errno = failed;
        return -1;
    }
    if (number("MXIO_SHIM_SHORT") && n > 1) {
        n /= 2;
    }
    record(p, n);
    return REAL(ssize_t, real, int, const void *, size_t, off64_t)(fd, p, n,
                                                                   at);
}

ssize_t pwrite64(int fd, const void *p, size_t n, off64_t at) {
    return put("pwrite64", fd, p, n, at);
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at) {
    return put("pwrite", fd, p, n, at);
}

int fallocate64(int fd, int mode, off64_t at, off64_t n) {
    FAIL_IF_TOLD("reserve", at + n, 0);
    return REAL(int, "fallocate64", int, int, off64_t, off64_t)(fd, mode, at,
                                                                n);
}

int fallocate(int fd, int mode, off_t at, off_t n) {
    FAIL_IF_TOLD("reserve", at + n, 0);
    return REAL(int, "fallocate", int, int, off_t, off_t)(fd, mode, at, n);
}

int ftruncate64(int fd, off64_t n) {
    FAIL_IF_TOLD("truncate", n, 0);
    return REAL(int, "ftruncate64", int, off64_t)(fd, n);
}

int fchmod(int fd, mode_t mode) {
    FAIL_IF_TOLD("chmod", 0, 0);
    return REAL(int, "fchmod", int, mode_t)(fd, mode);
}

int fsync(int fd) {
    struct stat st;
    int is_folder = fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
    FAIL_IF_TOLD("sync", is_folder, 0);
    if (number("MXIO_SHIM_LAZY")) {
        return 0;
    }
    return REAL(int, "fsync", int)(fd);
}

int renameat(int a, const char *from, int b, const char *to) {
    FAIL_IF_TOLD("rename", 0, 0);
    return REAL(int, "renameat", int, const char *, int, const char *)(
        a, from, b, to);
}

int renameat2(int a, const char *from, int b, const char *to,
              unsigned flags) {
    FAIL_IF_TOLD("rename", 0, 0);
    return REAL(int, "renameat2", int, const char *, int, const char *,
                unsigned)(a, from, b, to, flags);
}

int unlinkat(int folder, const char *path, int flags) {
    FAIL_IF_TOLD("unlink", 0, 0);
    return REAL(int, "unlinkat", int, const char *, int)(folder, path, flags);
}

int open64(const char *path, int flags, ...) {
    va_list args;
    mode_t mode;
    va_start(args, flags);
    mode = (flags & O_CREAT) ? va_arg(args, mode_t) : 0;
    va_end(args);
    FAIL_IF_ALL("open");
    return REAL(int, "open64", const char *, int, ...)(path, flags, mode);
}

ssize_t pread64(int fd, void *p, size_t n, off64_t at) {
    FAIL_IF_ALL("read");
    return REAL(ssize_t, "pread64", int, void *, size_t, off64_t)(fd, p, n,
                                                                  at);
}

int fstat64(int fd, struct stat64 *st) {
    FAIL_IF_ALL("look");
    return REAL(int, "fstat64", int, struct stat64 *)(fd, st);
}

int fstatat64(int folder, const char *path, struct stat64 *st, int flags) {
    FAIL_IF_ALL("look");
    return REAL(int, "fstatat64", int, const char *, struct stat64 *, int)(
        folder, path, st, flags);
}

int flock(int fd, int how) {
    FAIL_IF_ALL("lock");
    return REAL(int, "flock", int, int)(fd, how);
}

int fchown(int fd, uid_t user, gid_t group) {
    FAIL_IF_ALL("chown");
    return REAL(int, "fchown", int, uid_t, gid_t)(fd, user, group);
}
