/* SPDX-License-Identifier: Apache-2.0
 *
 * os_memory.c - os.h on POSIX systems: memory, its own and that of files.
 */
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE 1 /* madvise, MAP_ANONYMOUS in C99 */
#elif !defined(_POSIX_C_SOURCE) && !defined(__APPLE__)
#define _POSIX_C_SOURCE 200809L
#endif
#define _FILE_OFFSET_BITS 64

#include "os.h"

#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef MXIO_TEST_HOOKS
#include "faults_calls.h"
#endif

/* ---- memory -------------------------------------------------------------- */

#if !defined(MAP_NORESERVE)
#define MAP_NORESERVE 0
#endif

int mxio_os_map(int fd, uint64_t nbytes, void **out) {
    void *mem;
    if (nbytes > SIZE_MAX) {
        return ENOMEM;
    }
    mem = mmap(NULL, (size_t)nbytes, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_NORESERVE, fd, 0);
    if (mem == MAP_FAILED) {
        return errno;
    }
    *out = mem;
    return 0;
}

int mxio_os_map_nothing(uint64_t nbytes, void **out) {
    void *mem;
    if (nbytes > SIZE_MAX) {
        return ENOMEM;
    }
    mem = mmap(NULL, (size_t)nbytes, PROT_NONE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mem == MAP_FAILED) {
        return errno;
    }
    *out = mem;
    return 0;
}

int mxio_os_map_at(int fd, uint64_t nbytes, void *at) {
    void *mem = mmap(at, (size_t)nbytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED, fd, 0);
    return mem == MAP_FAILED ? errno : 0;
}

void mxio_os_unmap(void *mem, uint64_t nbytes) {
    (void)munmap(mem, (size_t)nbytes);
}

void mxio_os_advise_huge(void *mem, uint64_t nbytes) {
#if defined(MADV_HUGEPAGE)
    (void)madvise(mem, (size_t)nbytes, MADV_HUGEPAGE);
#else
    (void)mem;
    (void)nbytes;
#endif
}

void *mxio_memory_new(uint64_t nbytes) {
    const uint64_t huge = 2u << 20;
    void *mem = NULL;
    if (nbytes > SIZE_MAX - huge) {
        return NULL;
    }
    if (nbytes >= huge) {
        if (posix_memalign(&mem, (size_t)huge, (size_t)nbytes) != 0) {
            return NULL;
        }
        /* Whole huge pages only: rounding up would take memory beyond. */
        mxio_os_advise_huge(mem, nbytes - nbytes % huge);
        return mem;
    }
    return posix_memalign(&mem, 64, (size_t)(nbytes == 0 ? 1 : nbytes)) == 0
               ? mem : NULL;
}

void mxio_memory_free(void *mem) {
    free(mem);
}

uint64_t mxio_page_nbytes(void) {
    long nbytes = sysconf(_SC_PAGESIZE);
    return nbytes > 0 ? (uint64_t)nbytes : 65536;
}

void *mxio_room_new(uint64_t nbytes) {
    const uint64_t huge = 2u << 20;
    uint64_t before;
    void *mem;
    if (nbytes == 0 || nbytes > SIZE_MAX - huge) {
        return NULL;
    }
    mem = mmap(NULL, (size_t)(nbytes + huge), PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mem == MAP_FAILED) {
        return NULL;
    }
    /* A huge page begins at a multiple of its size. */
    before = (huge - (uintptr_t)mem % huge) % huge;
    if (before > 0) {
        mxio_os_unmap(mem, before);
    }
    mem = (char *)mem + before;
    mxio_os_unmap((char *)mem + nbytes, huge - before);
    mxio_os_advise_huge(mem, nbytes - nbytes % huge);
    return mem;
}

void mxio_room_free(void *mem, uint64_t nbytes) {
    if (nbytes == 0) {
        return;
    }
    if (munmap(mem, (size_t)nbytes) != 0) {
        /* Too many mappings: the addresses stay, the memory does not. */
        (void)madvise(mem, (size_t)nbytes, MADV_DONTNEED);
    }
}
