/* SPDX-License-Identifier: Apache-2.0
 *
 * A library to preload: writes down what a process asks of the file system for
 * the files of one folder, and lets one of these calls fail.
 *
 *   MXIO_SHIM_LOG=path     one line a call: name, 0 or the errno, then offset
 *                          and length of a write, the length of a truncate and
 *                          of what is reserved its end, 1 for a sync of a folder;
 *                          then the path, of a rename both
 *   MXIO_SHIM_FAIL=k:e     the k-th of those calls (from 1) fails with errno e
 *   MXIO_SHIM_KILL=k       the process is killed just before the k-th call
 *   MXIO_SHIM_HALF=1       or, if that is a write, behind the first half of it,
 *                          where that ends with a sector of the disk
 *   MXIO_SHIM_CUT=k        just before the k-th call the file system that is
 *                          mounted at MXIO_SHIM_DISK=path loses all that is not
 *                          on its disk, and the process is killed; the log says
 *                          "cut", behind which nothing counts; with
 *   MXIO_SHIM_FLUSH=1      its journal is written first, so that names of
 *                          files are there without what is in them
 *   MXIO_SHIM_SHORT=1      every write moves half of what it is given
 *   MXIO_SHIM_ALL=1        calls that change nothing count too: open, look,
 *                          read, lock
 *   MXIO_SHIM_DATA=path    what is written, one write behind the other
 *   MXIO_SHIM_LAZY=1       a sync does nothing, which only a power cut would tell
 *   MXIO_SHIM_DELAY=seed   each call waits for some of 0.4 ms, so that threads
 *                          take turns in another way for each seed
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
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
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

/* EXT4_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN; what it is told is a uint32_t. */
#define GOING_DOWN _IOR('X', 125, uint32_t)
enum { LOGFLUSH = 1, NOLOGFLUSH = 2 };

static void append(const char *path, const void *p, size_t n) {
    FILE *file = fopen(path, "ab");
    if (file != NULL) {
        fwrite(p, 1, n, file);
        fclose(file);
    }
}

/* Ends a file system without writing what it has yet to write. */
static void cut_power(const char *log) {
    const char *disk = getenv("MXIO_SHIM_DISK");
    uint32_t how = number("MXIO_SHIM_FLUSH") ? LOGFLUSH : NOLOGFLUSH;
    struct stat at, above;
    int fd = disk == NULL ? -1 : open(disk, O_RDONLY | O_DIRECTORY);
    /* Other threads live on for a moment, fail, and tell of it. */
    (void)dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
    if (log != NULL) {
        append(log, "cut\n", 4);
    }
    /* Where nothing is mounted it would be the file system of the machine. */
    if (fd < 0 || fstat(fd, &at) != 0 || fstatat(fd, "..", &above, 0) != 0 ||
        at.st_dev == above.st_dev || ioctl(fd, GOING_DOWN, &how) != 0) {
        abort();
    }
    kill(getpid(), SIGKILL);
}

/* The path of a descriptor, with one behind it if that is given and not absolute. */
static void tell_path(int fd, const char *path, char *out, size_t room) {
    char link[64];
    ssize_t n = 0;
    if (path == NULL || *path != '/') {
        if (fd == AT_FDCWD) {
            n = getcwd(out, room) == NULL ? 0 : (ssize_t)strlen(out);
        } else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
            n = readlink(link, out, room - 1);
        }
        n = n < 0 ? 0 : n;
        if (path != NULL) {
            out[n++] = '/';
        }
    }
    snprintf(out + n, room - (size_t)n, "%s", path == NULL ? "" : path);
}

typedef struct told {
    const char *name;
    long long a, b;
    int fd;             /* of the file, or of the folder that path is in     */
    const char *path;   /* NULL: that of fd                                  */
    int to_fd;
    const char *to;     /* NULL: the call has one path only                  */
    const void *data;   /* of a write                                        */
} told;

static void wait_a_while(int seed) {
    static unsigned state;
    useconds_t time;
    pthread_mutex_lock(&lock);
    state = state == 0 ? (unsigned)seed : state;
    time = (useconds_t)rand_r(&state) % 400;
    pthread_mutex_unlock(&lock);
    usleep(time);
}

/* The errno to fail with, 0, or HALF; counts the call and writes it down. */
static int before(told t) {
    const char *name = t.name, *data = getenv("MXIO_SHIM_DATA");
    char line[10000], from[4096], to[4096] = "";
    const char *log = getenv("MXIO_SHIM_LOG");
    const char *fail = getenv("MXIO_SHIM_FAIL");
    int failed = 0;
    if (getenv("MXIO_SHIM_ON") == NULL) {
        return 0;
    }
    if (number("MXIO_SHIM_DELAY")) {
        wait_a_while(number("MXIO_SHIM_DELAY"));
    }
    pthread_mutex_lock(&lock);
    calls++;
    if (calls == number("MXIO_SHIM_KILL")) {
        if (!number("MXIO_SHIM_HALF") || strcmp(name, "write") != 0) {
            kill(getpid(), SIGKILL);
        }
        failed = HALF;
    }
    if (calls == number("MXIO_SHIM_CUT")) {
        cut_power(log);
    }
    if (fail != NULL && calls == atoi(fail)) {
        failed = atoi(strchr(fail, ':') + 1);
    }
    if (log != NULL) {
        tell_path(t.fd, t.path, from, sizeof from);
        if (t.to != NULL) {
            tell_path(t.to_fd, t.to, to, sizeof to);
        }
        snprintf(line, sizeof line, "%s %d %lld %lld %s%s%s\n", name, failed,
                 t.a, t.b, from, *to ? " " : "", to);
        append(log, line, strlen(line));
    }
    if (t.data != NULL && data != NULL && failed == 0) {
        append(data, t.data, (size_t)t.b);
    }
    pthread_mutex_unlock(&lock);
    return failed;
}

#define REAL(type, name, ...) ((type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name))

#define FAIL_IF_TOLD(...)                    \
    do {                                     \
        int failed = before((told){__VA_ARGS__}); \
        if (failed != 0) {                   \
            errno = failed;                  \
            return -1;                       \
        }                                    \
    } while (0)

#define FAIL_IF_ALL(...)               \
    do {                               \
        if (number("MXIO_SHIM_ALL")) { \
            FAIL_IF_TOLD(__VA_ARGS__); \
        }                              \
    } while (0)

int openat64(int folder, const char *path, int flags, ...) {
    va_list args;
    mode_t mode;
    va_start(args, flags);
    mode = (flags & O_CREAT) ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (flags & O_CREAT) {
        FAIL_IF_TOLD("create", .fd = folder, .path = path);
    } else {
        FAIL_IF_ALL("open", .fd = folder, .path = path);
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
        FAIL_IF_TOLD("create", .fd = folder, .path = path);
    } else {
        FAIL_IF_ALL("open", .fd = folder, .path = path);
    }
    return REAL(int, "openat", int, const char *, int, ...)(folder, path,
                                                            flags, mode);
}

static ssize_t put(const char *real, int fd, const void *p, size_t n,
                   off64_t at) {
    int failed;
    if (number("MXIO_SHIM_SHORT") && n > 1) {
        n /= 2;
    }
    failed = before((told){"write", at, (long long)n, .fd = fd, .data = p});
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
    FAIL_IF_TOLD("reserve", at + n, .fd = fd);
    return REAL(int, "fallocate64", int, int, off64_t, off64_t)(fd, mode, at,
                                                                n);
}

int fallocate(int fd, int mode, off_t at, off_t n) {
    FAIL_IF_TOLD("reserve", at + n, .fd = fd);
    return REAL(int, "fallocate", int, int, off_t, off_t)(fd, mode, at, n);
}

int ftruncate64(int fd, off64_t n) {
    FAIL_IF_TOLD("truncate", n, .fd = fd);
    return REAL(int, "ftruncate64", int, off64_t)(fd, n);
}

int ftruncate(int fd, off_t n) {
    FAIL_IF_TOLD("truncate", n, .fd = fd);
    return REAL(int, "ftruncate", int, off_t)(fd, n);
}

int fchmod(int fd, mode_t mode) {
    FAIL_IF_TOLD("chmod", .fd = fd);
    return REAL(int, "fchmod", int, mode_t)(fd, mode);
}

int fsync(int fd) {
    struct stat st;
    int is_folder = fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
    FAIL_IF_TOLD("sync", is_folder, .fd = fd);
    if (number("MXIO_SHIM_LAZY")) {
        return 0;
    }
    return REAL(int, "fsync", int)(fd);
}

int renameat(int a, const char *from, int b, const char *to) {
    FAIL_IF_TOLD("rename", .fd = a, .path = from, .to_fd = b, .to = to);
    return REAL(int, "renameat", int, const char *, int, const char *)(
        a, from, b, to);
}

int renameat2(int a, const char *from, int b, const char *to,
              unsigned flags) {
    FAIL_IF_TOLD("rename", .fd = a, .path = from, .to_fd = b, .to = to);
    return REAL(int, "renameat2", int, const char *, int, const char *,
                unsigned)(a, from, b, to, flags);
}

int unlinkat(int folder, const char *path, int flags) {
    FAIL_IF_TOLD("unlink", .fd = folder, .path = path);
    return REAL(int, "unlinkat", int, const char *, int)(folder, path, flags);
}

int unlink(const char *path) {
    FAIL_IF_TOLD("unlink", .fd = AT_FDCWD, .path = path);
    return REAL(int, "unlink", const char *)(path);
}

int rename(const char *from, const char *to) {
    FAIL_IF_TOLD("rename", .fd = AT_FDCWD, .path = from, .to_fd = AT_FDCWD,
                 .to = to);
    return REAL(int, "rename", const char *, const char *)(from, to);
}

int mkdir(const char *path, mode_t mode) {
    FAIL_IF_TOLD("mkdir", .fd = AT_FDCWD, .path = path);
    return REAL(int, "mkdir", const char *, mode_t)(path, mode);
}

int open64(const char *path, int flags, ...) {
    va_list args;
    mode_t mode;
    va_start(args, flags);
    mode = (flags & O_CREAT) ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (flags & O_CREAT) {
        FAIL_IF_TOLD("create", .fd = AT_FDCWD, .path = path);
    } else {
        FAIL_IF_ALL("open", .fd = AT_FDCWD, .path = path);
    }
    return REAL(int, "open64", const char *, int, ...)(path, flags, mode);
}

ssize_t pread64(int fd, void *p, size_t n, off64_t at) {
    FAIL_IF_ALL("read", .fd = fd);
    return REAL(ssize_t, "pread64", int, void *, size_t, off64_t)(fd, p, n,
                                                                  at);
}

int fstat64(int fd, struct stat64 *st) {
    FAIL_IF_ALL("look", .fd = fd);
    return REAL(int, "fstat64", int, struct stat64 *)(fd, st);
}

int fstatat64(int folder, const char *path, struct stat64 *st, int flags) {
    FAIL_IF_ALL("look", .fd = folder, .path = path);
    return REAL(int, "fstatat64", int, const char *, struct stat64 *, int)(
        folder, path, st, flags);
}

int flock(int fd, int how) {
    FAIL_IF_ALL("lock", .fd = fd);
    return REAL(int, "flock", int, int)(fd, how);
}

int fchown(int fd, uid_t user, gid_t group) {
    FAIL_IF_ALL("chown", .fd = fd);
    return REAL(int, "fchown", int, uid_t, gid_t)(fd, user, group);
}
