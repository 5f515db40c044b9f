/* The baseline of bench_polling: two threads that hand a word to and fro, each sleeping for its turn. */
#include <linux/futex.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

static void wait_until(uint32_t *word, uint32_t mine)
{
    uint32_t now;
    while ((now = __atomic_load_n(word, __ATOMIC_ACQUIRE)) != mine && now != 2)
        syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, now, NULL, NULL, 0);
}

static void hand_over(uint32_t *word, uint32_t to)
{
    __atomic_store_n(word, to, __ATOMIC_RELEASE);
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* Serve: give the word back each time, until it is 2. */
void pong(uint32_t *word)
{
    for (;;) {
        wait_until(word, 1);
        if (__atomic_load_n(word, __ATOMIC_ACQUIRE) == 2)
            return;
        hand_over(word, 0);
    }
}

void ping(uint32_t *word, uint32_t rounds)
{
    while (rounds--) {
        hand_over(word, 1);
        wait_until(word, 0);
    }
}

void stop(uint32_t *word)
{
    hand_over(word, 2);
}
