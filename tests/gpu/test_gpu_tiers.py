"""Tiered compilation: kernels begin with baseline code and go over to optimised code while they run."""

import struct
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from tests.gpu.gpu_rig import BASE, COMPUTE, DATA, Kernels, method, rig

from logv import ptx
from logv.errors import PtxError
from logv.gpu import gpu as gpu_module
from logv.gpu.disk_cache import DiskCache
from logv.gpu.kernel_cache import Block, KernelCache
from logv.hw import clc7c0
from logv.uapi import Fault

COUNTERS = 1024
STEPS = 2000
# The longest launch below: seconds of baseline code, of which it runs some hundredths.
BLOCKS = 1 << 16
THREADS = 32
# counters[i % 1024] += the number that a generator comes to from i
WORK = f"""
.version 7.0
.target sm_80
.address_size 64
.visible .entry work(.param .u64 counters)
{{
    .reg .pred %p<2>; .reg .b32 %r<8>; .reg .b64 %rd<4>;
    ld.param.u64 %rd1, [counters];
    mov.u32 %r1, %ctaid.x; mov.u32 %r2, %tid.x;
    mad.lo.s32 %r3, %r1, {THREADS}, %r2;
    and.b32 %r4, %r3, {COUNTERS - 1};
    mov.u32 %r5, 0;
LOOP:
    mad.lo.s32 %r3, %r3, 1664525, 1013904223;
    add.u32 %r5, %r5, 1;
    setp.lt.u32 %p1, %r5, {STEPS};
    @%p1 bra LOOP;
    mul.wide.u32 %rd2, %r4, 4;
    add.s64 %rd3, %rd1, %rd2;
    red.global.add.u32 [%rd3], %r3;
    ret;
}}
"""
PARAMETERS = struct.pack("<Q", BASE + DATA)


class Optimizer(KernelCache):
    """A cache of its own, that notes what is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.first: list[ptx.Executable] = []
        self.asked: list[ptx.Executable] = []
        self.answers: list[ptx.Executable] = []
        self.instead: Callable[[], None] = lambda: None

    def get(
        self, text: bytes | None, block: Block, disk: DiskCache | None = None, *, tiered: bool = False
    ) -> ptx.Executable:
        """Get, and take note of what a channel waits for."""
        kernel = super().get(text, block, disk, tiered=tiered)
        self.first += [kernel] if not self.asked else []
        return kernel

    def optimize(
        self, kernel: ptx.Executable, text: bytes | None, block: Block, disk: DiskCache | None = None
    ) -> ptx.Executable:
        """Optimise, and take note."""
        self.asked.append(kernel)
        self.instead()
        self.answers.append(super().optimize(kernel, text, block, disk))
        return self.answers[-1]


@pytest.fixture
def optimizer(monkeypatch: pytest.MonkeyPatch) -> Optimizer:
    """What the GPU compiles with."""
    made = Optimizer()
    monkeypatch.setattr(gpu_module, "_KERNELS", made)
    return made


@pytest.fixture
def kernels(optimizer: Optimizer) -> Iterator[Kernels]:
    """A channel of a new GPU to launch on."""
    with rig() as made:
        space = made.space()
        yield Kernels(made, space, made.channel(space))


def expected(blocks: int, step: Callable[[np.ndarray], np.ndarray]) -> list[int]:
    """Return what a launch adds to the counters."""
    numbers = np.arange(blocks * THREADS, dtype=np.uint32)
    for _ in range(STEPS):
        numbers = step(numbers)
    counters = np.zeros(COUNTERS, np.uint32)
    np.add.at(counters, np.arange(blocks * THREADS) % COUNTERS, numbers)
    return [int(counter) for counter in counters]


def generator(numbers: np.ndarray) -> np.ndarray:
    """One step of the program."""
    return numbers * np.uint32(1664525) + np.uint32(1013904223)


def launch_until(kernels: Kernels, done: Callable[[], object]) -> int:
    """Launch a short grid until something has happened; return how often."""
    launches = 0
    while not done():
        assert kernels.run(WORK, PARAMETERS, grid=(64, 1, 1), block=(THREADS, 1, 1)) is Fault.NONE
        launches += 1
    return launches


def test_a_launch_goes_over_to_optimised_code(kernels: Kernels, optimizer: Optimizer) -> None:
    """Every block runs once, whichever code it runs in."""
    assert kernels.run(WORK, PARAMETERS, grid=(BLOCKS, 1, 1), block=(THREADS, 1, 1)) is Fault.NONE
    assert kernels.array(COUNTERS).tolist() == expected(BLOCKS, generator)
    (baseline,) = optimizer.first
    assert not baseline.optimized
    assert baseline in optimizer.asked
    (optimized,) = set(optimizer.answers)
    assert optimized.optimized
    # The next one begins with it.
    asked = len(optimizer.asked)
    kernels.memory[DATA : DATA + 4 * COUNTERS] = bytes(4 * COUNTERS)
    assert kernels.run(WORK, PARAMETERS, grid=(BLOCKS, 1, 1), block=(THREADS, 1, 1)) is Fault.NONE
    assert kernels.array(COUNTERS).tolist() == expected(BLOCKS, generator)
    assert len(optimizer.asked) == asked


def test_short_kernels_keep_their_baseline_code(kernels: Kernels, optimizer: Optimizer) -> None:
    """What runs for a moment is not worth more."""
    assert kernels.run(WORK, PARAMETERS, grid=(1, 1, 1), block=(THREADS, 1, 1)) is Fault.NONE
    assert kernels.array(COUNTERS).tolist() == expected(1, generator)
    assert not optimizer.asked


def test_a_program_that_was_overwritten_is_not_optimised(kernels: Kernels, optimizer: Optimizer) -> None:
    """Until the instruction cache is invalidated, what runs is the program that was there."""
    assert kernels.run(WORK, PARAMETERS, grid=(64, 1, 1), block=(THREADS, 1, 1)) is Fault.NONE
    changed = WORK.replace("1664525, 1013904223", "1664525, 1013904224").encode()
    program = kernels.program(WORK) - BASE
    kernels.memory[program : program + len(changed)] = changed
    kernels.memory[DATA : DATA + 4 * COUNTERS] = bytes(4 * COUNTERS)
    launches = launch_until(kernels, lambda: optimizer.answers)
    assert optimizer.answers == [optimizer.first[0]]
    total = np.array(expected(64, generator), dtype=np.uint32) * np.uint32(launches)
    assert kernels.array(COUNTERS).tolist() == total.tolist()
    kernels.channel.run(method(COMPUTE, clc7c0.NVC7C0_INVALIDATE_SHADER_CACHES, 0x1011))
    kernels.memory[DATA : DATA + 4 * COUNTERS] = bytes(4 * COUNTERS)
    assert kernels.run(WORK, PARAMETERS, grid=(64, 1, 1), block=(THREADS, 1, 1)) is Fault.NONE
    assert kernels.array(COUNTERS).tolist() == expected(
        64, lambda numbers: numbers * np.uint32(1664525) + np.uint32(1013904224)
    )


@pytest.mark.parametrize("error", [PtxError("too complex"), MemoryError("none left")])
def test_code_that_cannot_be_optimised_stays(
    kernels: Kernels, optimizer: Optimizer, error: Exception
) -> None:
    """The kernel goes on as it is, and is not compiled again and again."""

    def fail() -> None:
        raise error

    optimizer.instead = fail
    assert kernels.run(WORK, PARAMETERS, grid=(BLOCKS // 8, 1, 1), block=(THREADS, 1, 1)) is Fault.NONE
    assert kernels.array(COUNTERS).tolist() == expected(BLOCKS // 8, generator)
    assert optimizer.asked == optimizer.first


def test_optimised_code_may_be_waited_for(optimizer: Optimizer) -> None:
    """Without tiers there is one compilation, the full one."""
    with rig(tiered_compilation=False) as made:
        space = made.space()
        kernels = Kernels(made, space, made.channel(space))
        assert kernels.run(WORK, PARAMETERS, grid=(32, 1, 1), block=(THREADS, 1, 1)) is Fault.NONE
        assert kernels.array(COUNTERS).tolist() == expected(32, generator)
    assert [kernel.optimized for kernel in optimizer.first] == [True]
