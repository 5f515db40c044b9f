"""A small GPU application whose result is known exactly, and a kernel that does not end by itself."""

from contextlib import ExitStack
from functools import cache
from importlib import resources

import numpy as np

import logv

ELEMENTS = 4096
_THREADS = 256

_SPIN_PTX = """
.version 7.0
.target sm_80
.address_size 64
.visible .entry spin(.param .u64 flag)
{
    .reg .pred %p<2>;
    .reg .b32 %r<2>;
    .reg .b64 %rd<2>;
    ld.param.u64 %rd1, [flag];
$again:
    ld.volatile.global.u32 %r1, [%rd1];
    setp.eq.u32 %p1, %r1, 0;
    @%p1 bra $again;
    ret;
}
"""


@cache
def _kernel(name: str) -> logv.Kernel:
    text = _SPIN_PTX
    if name != "spin":
        text = (resources.files("logv") / "workloads" / f"{name}.ptx").read_text(encoding="ascii")
    return logv.Program(text, code_type="ptx").compile().get_kernel(name)


def load() -> None:
    """Parse the kernels now, so that no later run takes the time for it."""
    _kernel("saxpy"), _kernel("spin")


def is_right(device: logv.Device, seed: int) -> bool:
    """Run the application; say whether its result is NumPy's, bit for bit.

    It uses GPU memory, pinned memory, both engines and a stream of its own, and gives all of it back.
    """
    rng = np.random.default_rng(seed)
    # Small whole numbers: no rounding, so any difference is an error.
    x, y = rng.integers(-1000, 1000, (2, ELEMENTS)).astype(np.float32)
    scale = np.float32(rng.integers(2, 9))
    out = np.full_like(y, np.nan)
    with ExitStack() as stack:
        stream = stack.enter_context(device.create_stream())
        x_gpu = stack.enter_context(device.allocate(x.nbytes))
        y_gpu = stack.enter_context(device.allocate(y.nbytes))
        # Not whole pages, and of another size each time.
        stack.enter_context(device.allocate(int(rng.integers(1, 1 << 18))))
        result = stack.enter_context(device.allocate_pinned(y.nbytes))
        x_gpu.copy_from(x, stream=stream)
        y_gpu.copy_from(y, stream=stream)
        config = logv.LaunchConfig(grid=ELEMENTS // _THREADS, block=_THREADS)
        logv.launch(stream, config, _kernel("saxpy"), np.int32(ELEMENTS), scale, x_gpu, y_gpu)
        result.copy_from(y_gpu, stream=stream)
        result.copy_to(out, stream=stream)
        stream.sync()
    return np.array_equal(out, scale * x + y)


def launch_endless(device: logv.Device) -> logv.Stream:
    """Launch a kernel that spins until the GPU's watchdog, or the end of its channel; return its stream."""
    flag = device.allocate(4)
    stream = device.create_stream()
    logv.launch(stream, logv.LaunchConfig(grid=1, block=1), _kernel("spin"), flag)
    return stream
