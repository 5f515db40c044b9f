"""PBDMA: fetches GP entries and pushbuffer segments, carries out host methods, hands the rest on."""

from libc.stdint cimport uint64_t
from logv.gpu._state cimport Channel, Gpu

# Run a channel until it is idle, blocked, stopped, or `deadline_ns` has passed. Returns a STEP_*;
# `*progress` counts what was done (methods, entries, chunks, block ranges).
cdef int channel_run(Gpu *gpu, Channel *channel, uint64_t deadline_ns, uint64_t *progress) noexcept nogil
