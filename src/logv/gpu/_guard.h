/* Runs compiled kernels so that whatever they do to memory ends as a status, never as a dead process.
 *
 * A kernel is straight machine code: it takes no lock and owns no resource, so leaving it with
 * siglongjmp from a signal handler on its own thread is sound. SA_NODEFER keeps the signal mask as it
 * was, so sigsetjmp need not save it (that would be a system call per launch).
 */
#ifndef LOGV_GUARD_H
#define LOGV_GUARD_H

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum { LOGV_RAN = 0, LOGV_TRAPPED = 1, LOGV_FAULTED = 2, LOGV_INTERRUPTED = 3 };

#define LOGV_ABORT_SIGNAL (SIGRTMIN + 6)

typedef int32_t (*logv_kernel_t)(const uint8_t *, uint8_t *, uint8_t *, uint8_t *, const uint32_t *,
                                 uint64_t, uint64_t);

struct logv_guard {
    sigjmp_buf resume;
    volatile sig_atomic_t armed;
    uint64_t run;              /* which run is armed; no number comes twice */
    const uint64_t *abort_run; /* the run that is to end, if it has not yet */
    uintptr_t fault_address;
    int fault_write;
};

static __thread struct logv_guard logv_guard_state;
static struct sigaction logv_previous[65];

static int logv_fault_is_write(const ucontext_t *context)
{
#if defined(__x86_64__)
    return (context->uc_mcontext.gregs[REG_ERR] & 2) != 0; /* page-fault error code, bit 1: write */
#elif defined(__aarch64__)
    /* The ESR follows in the reserved area, in a record tagged ESR_MAGIC; WnR is bit 6. */
    const unsigned char *at = (const unsigned char *)context->uc_mcontext.__reserved;
    for (;;) {
        uint32_t magic, size;
        memcpy(&magic, at, 4);
        memcpy(&size, at + 4, 4);
        if (magic == 0 || size == 0)
            return 0;
        if (magic == 0x45535201u) {
            uint64_t esr;
            memcpy(&esr, at + 8, 8);
            return (int)((esr >> 6) & 1);
        }
        at += size;
    }
#else
    (void)context;
    return 0;
#endif
}

static void logv_on_signal(int signal, siginfo_t *info, void *context)
{
    struct logv_guard *guard = &logv_guard_state;
    if (signal == LOGV_ABORT_SIGNAL) {
        /* It may arrive late, when the run that it was for has ended and somebody else's has begun. */
        if (guard->armed && __atomic_load_n(guard->abort_run, __ATOMIC_ACQUIRE) == guard->run) {
            guard->armed = 0;
            siglongjmp(guard->resume, LOGV_INTERRUPTED);
        }
        return;
    }
    if (guard->armed) {
        guard->armed = 0;
        guard->fault_address = (uintptr_t)info->si_addr;
        guard->fault_write = logv_fault_is_write((const ucontext_t *)context);
        siglongjmp(guard->resume, LOGV_FAULTED);
    }
    /* Not a kernel's doing: whoever had the signal before us gets it. */
    struct sigaction *previous = &logv_previous[signal];
    if (previous->sa_flags & SA_SIGINFO) {
        previous->sa_sigaction(signal, info, context);
    } else if (previous->sa_handler == SIG_DFL || previous->sa_handler == SIG_IGN) {
        sigaction(signal, previous, NULL); /* the faulting instruction runs again, and ends the process */
    } else {
        previous->sa_handler(signal);
    }
}

/* Install the handlers, unless they are in place. Called when an engine starts and when it wakes:
 * other libraries (faulthandler, for one) may have put theirs over ours in between. */
static void logv_guard_install(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, 0};
    struct sigaction action, current;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = logv_on_signal;
    action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    for (int i = 0; i < 5; i++) {
        int signal = signals[i] ? signals[i] : LOGV_ABORT_SIGNAL;
        sigaction(signal, NULL, &current);
        if ((current.sa_flags & SA_SIGINFO) && current.sa_sigaction == logv_on_signal)
            continue;
        logv_previous[signal] = current;
        sigaction(signal, &action, NULL);
    }
}

/* Let the calling thread take only the signals that the guard is for. */
static void logv_guard_thread(void)
{
    sigset_t all;
    sigfillset(&all);
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGFPE);
    sigdelset(&all, SIGILL);
    sigdelset(&all, LOGV_ABORT_SIGNAL);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
}

static int __attribute__((noinline)) logv_guarded_run(logv_kernel_t kernel, const uint8_t *params,
                                                      uint8_t *global_base, uint8_t *shared,
                                                      uint8_t *scratch, const uint32_t *grid,
                                                      uint64_t begin, uint64_t end, uint64_t run,
                                                      const uint64_t *abort_run)
{
    struct logv_guard *guard = &logv_guard_state;
    int outcome = sigsetjmp(guard->resume, 0);
    if (outcome == 0) {
        guard->run = run;
        guard->abort_run = abort_run;
        __asm__ volatile("" ::: "memory"); /* both before armed */
        guard->armed = 1;
        __asm__ volatile("" ::: "memory"); /* armed before the first access of the kernel */
        outcome = kernel(params, global_base, shared, scratch, grid, begin, end) ? LOGV_TRAPPED : LOGV_RAN;
        __asm__ volatile("" ::: "memory");
        guard->armed = 0;
    }
    return outcome;
}

static uintptr_t logv_guard_fault_address(void) { return logv_guard_state.fault_address; }
static int logv_guard_fault_write(void) { return logv_guard_state.fault_write; }

static void logv_guard_interrupt(pid_t tid)
{
    syscall(SYS_tgkill, getpid(), tid, LOGV_ABORT_SIGNAL);
}

#endif
