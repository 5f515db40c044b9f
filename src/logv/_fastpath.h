/* What the compiled core needs from C itself: string moves, futexes, and one loop that
 * wants vector instructions where the CPU has them.
 */
#ifndef LOGV_FASTPATH_H
#define LOGV_FASTPATH_H

#include <errno.h>
#include <linux/futex.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Copy a large span between ranges that do not overlap. `rep movsb` leaves the target in the caches,
 * where libc's memcpy turns to non-temporal stores that whoever reads the copy pays for.
 */
static inline void logv_copy_large(void *target, const void *source, size_t size)
{
#if defined(__x86_64__)
    __asm__ volatile("rep movsb" : "+D"(target), "+S"(source), "+c"(size) : : "memory");
#else
    memcpy(target, source, size);
#endif
}

/* Copy the last bytes of a span between ranges that do not overlap, and fetch the first of the next span
 * line by line meanwhile: the hardware's own prefetchers stop at a page's end. NULL: no next span.
 */
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__)
__attribute__((target_clones("avx2", "default")))
#endif
static void logv_copy_and_fetch(uint8_t *target, const uint8_t *source, size_t size,
                                const uint8_t *next_target, const uint8_t *next_source)
{
    size_t at = 0;
    for (; at + 64 <= size; at += 64) {
        if (next_source)
            __builtin_prefetch(next_source + at, 0, 3);
        if (next_target)
            __builtin_prefetch(next_target + at, 1, 3);
        memcpy(target + at, source + at, 64);
    }
    memcpy(target + at, source + at, size - at);
}

/* Sleep while *word is `expected`, for at most so many nanoseconds; 0 or an errno. The word is shared
 * between processes, so neither operation may be FUTEX_PRIVATE.
 */
static inline int logv_futex_wait(const uint32_t *word, uint32_t expected, uint64_t timeout_ns)
{
    const struct timespec timeout = {
        .tv_sec = (time_t)(timeout_ns / 1000000000u),
        .tv_nsec = (long)(timeout_ns % 1000000000u),
    };
    return syscall(SYS_futex, word, FUTEX_WAIT, expected, &timeout, NULL, 0) == 0 ? 0 : errno;
}

static inline void logv_futex_wake_all(const uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

/* Add, with a full fence. */
static inline void logv_add32(uint32_t *word, int32_t by)
{
    __atomic_fetch_add(word, (uint32_t)by, __ATOMIC_SEQ_CST);
}

/* Of `limit` PTEs, how many from the first on, whose value is known, equal first + i * step; at least 1.
 * Blocks of 32 (a whole 64 KiB table) are compared without a branch between them.
 */
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__)
__attribute__((target_clones("avx2", "default")))
#endif
static size_t logv_pte_run(const uint64_t *pte, uint64_t first, uint64_t step, size_t limit)
{
    uint64_t expected = first;
    size_t run = 0;
    while (run + 32 <= limit) {
        uint64_t differ = 0;
        uint64_t next = expected;
        for (size_t i = 0; i < 32; i++, next += step)
            differ |= pte[run + i] ^ next;
        if (differ)
            break;
        expected = next;
        run += 32;
    }
    for (; run < limit && pte[run] == expected; run++)
        expected += step;
    return run > 0 ? run : 1;
}

#endif
