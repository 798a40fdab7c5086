/* SPDX-License-Identifier: Apache-2.0
 *
 * faults_calls.h - the seam of os.h: every call of the system that os_posix.c and
 * os_memory.c make and that can fail, through a counter that may fail it (faults.h).
 * Test builds only.  Included last, when the system's own headers are done with.
 */
#ifndef MXIO_FAULTS_CALLS_H
#define MXIO_FAULTS_CALLS_H

#include "faults.h"

#include <errno.h>
#include <string.h>

/* 1, and errno set, if the call is to fail. */
static inline int fault_fails(const char *call) {
    int failed = mxio_fault_next(call);
    if (failed > 0) {
        errno = failed;
    }
    return failed > 0;
}

/* As many bytes as a transfer is let move; below 0: it is to fail, and errno set. */
static inline ssize_t fault_nbytes(const char *call, size_t nbytes) {
    int failed = mxio_fault_next(call);
    if (failed > 0) {
        errno = failed;
        return -1;
    }
    if (failed == MXIO_FAULT_NONE) {
        return 0;
    }
    return (ssize_t)(failed == MXIO_FAULT_HALF && nbytes > 1 ? nbytes / 2 : nbytes);
}

#define FAULT_INT(name, call) (fault_fails(name) ? -1 : (call))
#define FAULT_ERRNO(name, call) (fault_fails(name) ? errno : (call))
#define FAULT_MAP(name, call) (fault_fails(name) ? MAP_FAILED : (call))

static inline ssize_t fault_pread(int fd, void *mem, size_t nbytes, off_t offset) {
    const ssize_t n = fault_nbytes("pread", nbytes);
    const size_t moved = n < 0 ? 0 : (size_t)n;
    if (moved < nbytes) {
        /* What a read before left there may be what is wanted now. */
        memset((char *)mem + moved, 0x5a, nbytes - moved);
    }
    return n <= 0 ? n : pread(fd, mem, moved, offset);
}

static inline ssize_t fault_pwrite(int fd, const void *mem, size_t nbytes, off_t offset) {
    const ssize_t n = fault_nbytes("pwrite", nbytes);
    return n <= 0 ? n : pwrite(fd, mem, (size_t)n, offset);
}

#define pread(...) fault_pread(__VA_ARGS__)
#define pwrite(...) fault_pwrite(__VA_ARGS__)
#define open(...) FAULT_INT("open", open(__VA_ARGS__))
#define openat(...) FAULT_INT("openat", openat(__VA_ARGS__))
#define fstat(...) FAULT_INT("fstat", fstat(__VA_ARGS__))
#define fstatat(...) FAULT_INT("fstatat", fstatat(__VA_ARGS__))
#define fchmod(...) FAULT_INT("fchmod", fchmod(__VA_ARGS__))
#define fchown(...) FAULT_INT("fchown", fchown(__VA_ARGS__))
#define flock(...) FAULT_INT("flock", flock(__VA_ARGS__))
#define fcntl(...) FAULT_INT("fcntl", fcntl(__VA_ARGS__))
#define fallocate(...) FAULT_INT("fallocate", fallocate(__VA_ARGS__))
#define ftruncate(...) FAULT_INT("ftruncate", ftruncate(__VA_ARGS__))
#define sync_file_range(...) FAULT_INT("sync_file_range", sync_file_range(__VA_ARGS__))
#define fsync(...) FAULT_INT("fsync", fsync(__VA_ARGS__))
#define renameat(...) FAULT_INT("renameat", renameat(__VA_ARGS__))
#define renameat2(...) FAULT_INT("renameat2", renameat2(__VA_ARGS__))
#define unlinkat(...) FAULT_INT("unlinkat", unlinkat(__VA_ARGS__))
#define gethostname(...) FAULT_INT("gethostname", gethostname(__VA_ARGS__))
#define mmap(...) FAULT_MAP("mmap", mmap(__VA_ARGS__))
#define munmap(...) FAULT_INT("munmap", munmap(__VA_ARGS__))
#define madvise(...) FAULT_INT("madvise", madvise(__VA_ARGS__))
#define pthread_create(...) FAULT_ERRNO("pthread_create", pthread_create(__VA_ARGS__))
#define pthread_mutex_init(...) FAULT_ERRNO("pthread_mutex_init", pthread_mutex_init(__VA_ARGS__))

#endif
