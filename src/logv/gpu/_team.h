/* How compute threads join a launch: a gate that counts who is inside, and futexes to sleep on. */
#ifndef LOGV_TEAM_H
#define LOGV_TEAM_H

#include <linux/futex.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOGV_GATE_OPEN 0x80000000u

/* Returns when woken, at once if `*word` is not `seen`, or for no reason. */
static inline void logv_sleep(const uint32_t *word, uint32_t seen)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static inline void logv_wake(const uint32_t *word, int threads)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, threads, NULL, NULL, 0);
}

static inline void logv_gate_open(uint32_t *gate)
{
    __atomic_store_n(gate, LOGV_GATE_OPEN, __ATOMIC_RELEASE);
}

/* Whether the caller is inside; what was written before the gate was opened is visible then. */
static inline int logv_gate_enter(uint32_t *gate)
{
    uint32_t seen = __atomic_load_n(gate, __ATOMIC_ACQUIRE);
    while (seen & LOGV_GATE_OPEN) {
        if (__atomic_compare_exchange_n(gate, &seen, seen + 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE))
            return 1;
    }
    return 0;
}

static inline int logv_gate_is_open(const uint32_t *gate)
{
    return (__atomic_load_n(gate, __ATOMIC_RELAXED) & LOGV_GATE_OPEN) != 0;
}

static inline void logv_gate_leave(uint32_t *gate)
{
    if (__atomic_sub_fetch(gate, 1, __ATOMIC_RELEASE) == 0)
        logv_wake(gate, 1);
}

/* Returns when nobody is inside; what they wrote is visible then. */
static inline void logv_gate_close(uint32_t *gate)
{
    uint32_t inside = __atomic_and_fetch(gate, ~LOGV_GATE_OPEN, __ATOMIC_ACQUIRE);
    while (inside) {
        logv_sleep(gate, inside);
        inside = __atomic_load_n(gate, __ATOMIC_ACQUIRE);
    }
}

static inline void logv_add64(uint64_t *total, uint64_t more)
{
    __atomic_fetch_add(total, more, __ATOMIC_RELAXED);
}

#endif
