/* SPDX-License-Identifier: Apache-2.0
 *
 * faults.h - in test builds only (MXIO_TEST_HOOKS, setup.py): any call of the system
 * or any allocation can be told to fail, by its number.  Allocations are counted here,
 * for every C file, since the compiler is told to include this first; calls of the
 * system in faults_calls.h.  tests/faulty.py tells them through ctypes.
 */
#ifndef MXIO_FAULTS_H
#define MXIO_FAULTS_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

enum { MXIO_FAULT_CALLS, MXIO_FAULT_ALLOCATIONS };
enum { MXIO_FAULT_ONCE = 1, MXIO_FAULT_ALWAYS, MXIO_FAULT_SHORT, MXIO_FAULT_NOTHING };

#define MXIO_FAULT_API __attribute__((visibility("default")))

/* From now on number nth of this kind, counted from 1, fails with sys_errno: once, or
 * with all after it; or it moves half of what it is told to, or nothing.  nth 0: none
 * does. */
MXIO_FAULT_API void mxio_fault_arm(int kind, uint64_t nth, int sys_errno, int how);
/* How many there were since that; which call number n was; whether the fault met one. */
MXIO_FAULT_API uint64_t mxio_fault_count(int kind);
MXIO_FAULT_API const char *mxio_fault_name(uint64_t n);
MXIO_FAULT_API int mxio_fault_was_met(void);
/* Allocations that were not freed. */
MXIO_FAULT_API int64_t mxio_fault_n_live(void);

/* The errno that a call is to fail with, 0, or one of these. */
#define MXIO_FAULT_HALF (-1)
#define MXIO_FAULT_NONE (-2)
int mxio_fault_next(const char *call);

void *mxio_fault_malloc(size_t nbytes);
void *mxio_fault_calloc(size_t n, size_t nbytes);
void *mxio_fault_realloc(void *mem, size_t nbytes);
int mxio_fault_memalign(void **out, size_t alignment, size_t nbytes);
void mxio_fault_free(void *mem);

#define malloc(nbytes) mxio_fault_malloc(nbytes)
#define calloc(n, nbytes) mxio_fault_calloc(n, nbytes)
#define realloc(mem, nbytes) mxio_fault_realloc(mem, nbytes)
#define posix_memalign(out, alignment, nbytes) mxio_fault_memalign(out, alignment, nbytes)
#define free(mem) mxio_fault_free(mem)

#endif
