/* SPDX-License-Identifier: Apache-2.0
 *
 * faults.c - the counters behind faults.h.  Part of test builds only.
 */
#include "faults.h"

/* The compiler is told to include faults.h first, here too. */
#undef malloc
#undef calloc
#undef realloc
#undef posix_memalign
#undef free

#include <errno.h>
#include <pthread.h>

#undef malloc
#undef calloc
#undef realloc
#undef posix_memalign
#undef free

enum { NAMES_MAX = 1 << 16, KINDS = 2 };

typedef struct plan {
    uint64_t nth, count;
    int sys_errno, how;
} plan;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static plan plans[KINDS];
static const char *names[NAMES_MAX];
static int met;
static int64_t n_live;

void mxio_fault_arm(int kind, uint64_t nth, int sys_errno, int how) {
    (void)pthread_mutex_lock(&lock);
    plans[kind] = (plan){nth, 0, sys_errno, how};
    met = 0;
    (void)pthread_mutex_unlock(&lock);
}

uint64_t mxio_fault_count(int kind) {
    return plans[kind].count;
}

const char *mxio_fault_name(uint64_t n) {
    return n >= 1 && n <= NAMES_MAX ? names[n - 1] : NULL;
}

int mxio_fault_was_met(void) {
    return met;
}

int64_t mxio_fault_n_live(void) {
    return n_live;
}

static int next(int kind, const char *name) {
    plan *p = &plans[kind];
    int failed = 0;
    (void)pthread_mutex_lock(&lock);
    p->count++;
    if (kind == MXIO_FAULT_CALLS && p->count <= NAMES_MAX) {
        names[p->count - 1] = name;
    }
    if (p->nth != 0
        && (p->count == p->nth
            || (p->how == MXIO_FAULT_ALWAYS && p->count > p->nth))) {
        failed = p->how == MXIO_FAULT_SHORT     ? MXIO_FAULT_HALF
                 : p->how == MXIO_FAULT_NOTHING ? MXIO_FAULT_NONE
                                                : p->sys_errno;
        met = 1;
    }
    (void)pthread_mutex_unlock(&lock);
    return failed;
}

int mxio_fault_next(const char *call) {
    return next(MXIO_FAULT_CALLS, call);
}

static void *counted(void *mem) {
    if (mem != NULL) {
        (void)pthread_mutex_lock(&lock);
        n_live++;
        (void)pthread_mutex_unlock(&lock);
    }
    return mem;
}

static int allocation_fails(void) {
    return next(MXIO_FAULT_ALLOCATIONS, NULL) != 0;
}

void *mxio_fault_malloc(size_t nbytes) {
    return allocation_fails() ? NULL : counted(malloc(nbytes));
}

void *mxio_fault_calloc(size_t n, size_t nbytes) {
    return allocation_fails() ? NULL : counted(calloc(n, nbytes));
}

void *mxio_fault_realloc(void *mem, size_t nbytes) {
    void *grown;
    if (allocation_fails()) {
        return NULL;
    }
    grown = realloc(mem, nbytes);
    return mem == NULL ? counted(grown) : grown;
}

int mxio_fault_memalign(void **out, size_t alignment, size_t nbytes) {
    int failed;
    if (allocation_fails()) {
        return ENOMEM;
    }
    failed = posix_memalign(out, alignment, nbytes);
    if (failed == 0) {
        (void)counted(*out);
    }
    return failed;
}

void mxio_fault_free(void *mem) {
    if (mem != NULL) {
        (void)pthread_mutex_lock(&lock);
        n_live--;
        (void)pthread_mutex_unlock(&lock);
    }
    free(mem);
}
