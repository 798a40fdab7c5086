/* SPDX-License-Identifier: Apache-2.0
 *
 * A library to preload: writes down what a process asks of the file system for
 * the files of one folder, and lets one of these calls fail.
 *
 *   MXIO_SHIM_LOG=path     one line a call: name, then "ok" or the errno
 *   MXIO_SHIM_FAIL=k:e     the k-th of those calls (from 1) fails with errno e
 *   MXIO_SHIM_KILL=k       the process is killed just before the k-th call
 *   MXIO_SHIM_SHORT=1      every write moves half of what it is given
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
#include <sys/types.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int calls;

static int number(const char *name) {
    const char *text = getenv(name);
    return text == NULL ? 0 : atoi(text);
}

/* The errno to fail with, or 0; counts the call and writes it down. */
static int before(const char *name) {
    const char *log = getenv("MXIO_SHIM_LOG");
    const char *fail = getenv("MXIO_SHIM_FAIL");
    int failed = 0;
    if (getenv("MXIO_SHIM_ON") == NULL) {
        return 0;
    }
    pthread_mutex_lock(&lock);
    calls++;
    if (calls == number("MXIO_SHIM_KILL")) {
        kill(getpid(), SIGKILL);
    }
    if (fail != NULL && calls == atoi(fail)) {
        failed = atoi(strchr(fail, ':') + 1);
    }
    if (log != NULL) {
        FILE *file = fopen(log, "a");
        if (file != NULL) {
            fprintf(file, "%s %d\n", name, failed);
            fclose(file);
        }
    }
    pthread_mutex_unlock(&lock);
    return failed;
}

#define REAL(type, name, ...) ((type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name))

#define FAIL_IF_TOLD(name)       \
    do {                         \
        int failed = before(name); \
        if (failed != 0) {       \
            errno = failed;      \
            return -1;           \
        }                        \
    } while (0)

int openat64(int folder, const char *path, int flags, ...) {
    va_list args;
    mode_t mode;
    va_start(args, flags);
    mode = (flags & O_CREAT) ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (flags & O_CREAT) {
        FAIL_IF_TOLD("create");
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
        FAIL_IF_TOLD("create");
    }
    return REAL(int, "openat", int, const char *, int, ...)(folder, path,
                                                            flags, mode);
}

static ssize_t put(const char *real, int fd, const void *p, size_t n,
                   off64_t at) {
    FAIL_IF_TOLD("write");
    if (number("MXIO_SHIM_SHORT") && n > 1) {
        n /= 2;
    }
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
    FAIL_IF_TOLD("reserve");
    return REAL(int, "fallocate64", int, int, off64_t, off64_t)(fd, mode, at,
                                                                n);
}

int fallocate(int fd, int mode, off_t at, off_t n) {
    FAIL_IF_TOLD("reserve");
    return REAL(int, "fallocate", int, int, off_t, off_t)(fd, mode, at, n);
}

int ftruncate64(int fd, off64_t n) {
    FAIL_IF_TOLD("truncate");
    return REAL(int, "ftruncate64", int, off64_t)(fd, n);
}

int fchmod(int fd, mode_t mode) {
    FAIL_IF_TOLD("chmod");
    return REAL(int, "fchmod", int, mode_t)(fd, mode);
}

int fsync(int fd) {
    FAIL_IF_TOLD("sync");
    return REAL(int, "fsync", int)(fd);
}

int renameat(int a, const char *from, int b, const char *to) {
    FAIL_IF_TOLD("rename");
    return REAL(int, "renameat", int, const char *, int, const char *)(
        a, from, b, to);
}

int unlinkat(int folder, const char *path, int flags) {
    FAIL_IF_TOLD("unlink");
    return REAL(int, "unlinkat", int, const char *, int)(folder, path, flags);
}
