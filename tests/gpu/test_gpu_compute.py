"""Compute engine: launches, faults in kernels, dependent QMDs, uploads, and the program cache."""

import os
import struct
import time

import numpy as np
import pytest
from tests.gpu.gpu_rig import (
    BASE,
    COMPUTE,
    DATA,
    QMD,
    READ_ONLY_BASE,
    Kernels,
    Rig,
    launch,
    method,
    qmd,
    rig,
)

from logv.hw import clc7c0, clc7c0qmd, dev_ram
from logv.hw.software_gpu import APERTURE_VA_BITS
from logv.uapi import Fault

_HEAD = ".version 7.0\n.target sm_80\n.address_size 64\n"

# y[i] = i * scale, for i below n; one element per thread
_SCALE = (
    _HEAD
    + """
.visible .entry scale(.param .u64 y, .param .u32 factor, .param .u32 n)
{
    .reg .pred %p<2>; .reg .b32 %r<8>; .reg .b64 %rd<4>;
    ld.param.u64 %rd1, [y];
    ld.param.u32 %r1, [factor];
    ld.param.u32 %r2, [n];
    mov.u32 %r3, %ctaid.x; mov.u32 %r4, %ntid.x; mov.u32 %r5, %tid.x;
    mad.lo.s32 %r6, %r3, %r4, %r5;
    setp.ge.u32 %p1, %r6, %r2;
    @%p1 bra DONE;
    mul.lo.s32 %r7, %r6, %r1;
    cvta.to.global.u64 %rd1, %rd1;
    mul.wide.s32 %rd2, %r6, 4;
    add.s64 %rd3, %rd1, %rd2;
    st.global.u32 [%rd3], %r7;
DONE:
    ret;
}
"""
)
# loads a 64-bit address and writes or reads there
_POKE = (
    _HEAD
    + """
.visible .entry poke(.param .u64 at)
{
    .reg .b64 %rd<3>; .reg .b32 %r<2>;
    ld.param.u64 %rd1, [at];
    mov.u32 %r1, 1;
    st.global.u32 [%rd1], %r1;
    ret;
}
"""
)
_PEEK = (
    _HEAD
    + """
.visible .entry peek(.param .u64 at, .param .u64 to)
{
    .reg .b64 %rd<3>; .reg .b32 %r<2>;
    ld.param.u64 %rd1, [at];
    ld.param.u64 %rd2, [to];
    ld.global.u32 %r1, [%rd1];
    st.global.u32 [%rd2], %r1;
    ret;
}
"""
)
_ENDLESS = (
    _HEAD
    + """
.visible .entry endless(.param .u64 at)
{
    .reg .b64 %rd<2>; .reg .b32 %r<2>; .reg .pred %p<2>;
    ld.param.u64 %rd1, [at];
LOOP:
    ld.volatile.global.u32 %r1, [%rd1];
    setp.ne.u32 %p1, %r1, 12345;
    @%p1 bra LOOP;
    ret;
}
"""
)
_TRAP = _HEAD + ".visible .entry stop() { trap; ret; }\n"
# each thread stores what it finds in shared memory, then leaves a mark there
_SHARED = (
    _HEAD
    + """
.visible .entry residue(.param .u64 y)
{
    .reg .b32 %r<4>; .reg .b64 %rd<5>;
    .shared .align 4 .b8 room[1024];
    ld.param.u64 %rd1, [y];
    mov.u32 %r1, %tid.x;
    mul.wide.u32 %rd2, %r1, 4;
    mov.u64 %rd3, room;
    add.u64 %rd3, %rd3, %rd2;
    ld.shared.u32 %r2, [%rd3];
    add.u64 %rd4, %rd1, %rd2;
    st.global.u32 [%rd4], %r2;
    mov.u32 %r3, 0x5EC2E75;
    st.shared.u32 [%rd3], %r3;
    ret;
}
"""
)


@pytest.fixture
def kernels(gpu_rig: Rig) -> Kernels:
    """One channel with a place for programs."""
    space = gpu_rig.space()
    return Kernels(gpu_rig, space, gpu_rig.channel(space))


def _scale(n: int, factor: int = 3, at: int = DATA) -> bytes:
    return struct.pack("<QII", BASE + at, factor, n)


def test_launch(kernels: Kernels) -> None:
    """A kernel runs over its whole grid and nothing more, and counts as one launch."""
    n = 100_000
    assert kernels.run(_SCALE, _scale(n), grid=(-(-n // 256), 1, 1), block=(256, 1, 1)) is Fault.NONE
    assert np.array_equal(kernels.array(n), np.arange(n, dtype=np.uint32) * 3)
    assert kernels.array(n + 1)[n] == 0
    assert kernels.rig.port.counters().launches == 1


def test_launch_resumes_where_the_qmd_says(kernels: Kernels) -> None:
    """The QMD's resume fields name the first block to run."""
    n = 1024
    fault = kernels.run(_SCALE, _scale(n), grid=(4, 1, 1), block=(256, 1, 1), CTA_RASTER_WIDTH_RESUME=3)
    assert fault is Fault.NONE
    assert not kernels.array(n)[:768].any()
    assert np.array_equal(kernels.array(n)[768:], np.arange(768, n, dtype=np.uint32) * 3)


def test_inline_qmd(kernels: Kernels) -> None:
    """A QMD written through LOAD_INLINE_QMD_DATA launches like one written by the CPU."""
    kernels.qmd(_SCALE, _scale(8), block=(8, 1, 1))
    words = struct.unpack("<64I", kernels.memory[QMD : QMD + 256])
    kernels.memory[QMD : QMD + 256] = bytes(256)
    address = (BASE + QMD) >> 8
    kernels.channel.run(
        method(COMPUTE, clc7c0.NVC7C0_SET_INLINE_QMD_ADDRESS_A, address >> 32, address & 0xFFFFFFFF),
        method(COMPUTE, clc7c0.NVC7C0_LOAD_INLINE_QMD_DATA, *words),
        launch(BASE + QMD),
    )
    assert kernels.channel.fault() is Fault.NONE
    assert kernels.array(8).tolist() == [3 * i for i in range(8)]


def test_dependent_qmd_and_releases(kernels: Kernels) -> None:
    """A dependent QMD follows by itself; both releases are written after their kernel."""
    at = 0x130000
    kernels.qmd(_SCALE, _scale(4, factor=7, at=DATA + 4096), at=QMD + 256, block=(4, 1, 1))
    fault = kernels.run(
        _SCALE,
        _scale(4),
        block=(4, 1, 1),
        DEPENDENT_QMD0_ENABLE=1,
        DEPENDENT_QMD0_ACTION=clc7c0qmd.NVC7C0_QMDV03_00_DEPENDENT_QMD0_ACTION_QMD_SCHEDULE,
        DEPENDENT_QMD0_POINTER=(BASE + QMD + 256) >> 8,
        RELEASE0_ENABLE=1,
        RELEASE0_ADDRESS_LOWER=(BASE + at) & 0xFFFFFFFF,
        RELEASE0_ADDRESS_UPPER=(BASE + at) >> 32,
        RELEASE0_STRUCTURE_SIZE=clc7c0qmd.NVC7C0_QMDV03_00_RELEASE_STRUCTURE_SIZE_ONE_WORD,
        RELEASE0_PAYLOAD_LOWER=5,
        RELEASE1_ENABLE=1,
        RELEASE1_ADDRESS_LOWER=(BASE + at + 16) & 0xFFFFFFFF,
        RELEASE1_ADDRESS_UPPER=(BASE + at) >> 32,
        RELEASE1_PAYLOAD_LOWER=6,
    )
    assert fault is Fault.NONE
    assert kernels.array(4).tolist() == [0, 3, 6, 9]
    assert kernels.array(4, DATA + 4096).tolist() == [0, 7, 14, 21]
    first, second, time_ns = struct.unpack("<I12xI4xQ", kernels.memory[at : at + 32])
    assert (first, second) == (5, 6)
    assert 0 < time_ns <= time.monotonic_ns()
    assert kernels.rig.port.counters().launches == 2


def test_inline_upload(kernels: Kernels) -> None:
    """Inline data lands byte by byte where it was sent, and no further."""
    data = os.urandom(13)
    words = struct.unpack("<4I", data + bytes(3))
    address = BASE + DATA + 1
    kernels.memory[DATA : DATA + 32] = b"\xee" * 32
    kernels.channel.run(
        method(COMPUTE, clc7c0.NVC7C0_LINE_LENGTH_IN, 13, 1, address >> 32, address & 0xFFFFFFFF),
        method(COMPUTE, clc7c0.NVC7C0_LAUNCH_DMA, 0x41),
        method(COMPUTE, clc7c0.NVC7C0_LOAD_INLINE_DATA, *words, kind=3),
    )
    assert bytes(kernels.memory[DATA : DATA + 16]) == b"\xee" + data + b"\xee" * 2
    assert kernels.rig.port.counters().bytes_copied == 13


@pytest.mark.parametrize("one_word", [0, 1])
def test_report_semaphore(kernels: Kernels, one_word: int) -> None:
    """The compute class's own release, in both sizes."""
    address = BASE + DATA
    size = clc7c0.NVC7C0_SET_REPORT_SEMAPHORE_D_STRUCTURE_SIZE.encode(one_word)
    kernels.channel.run(
        method(COMPUTE, clc7c0.NVC7C0_SET_REPORT_SEMAPHORE_A, address >> 32, address & 0xFFFFFFFF, 9, size)
    )
    assert kernels.array(1)[0] == 9
    assert (kernels.array(4)[2:].any()) == (not one_word)


@pytest.mark.parametrize(
    ("address", "access"),
    [
        (0, 2),
        (BASE - 4096, 2),
        (BASE + (16 << 20), 2),
        ((1 << APERTURE_VA_BITS) - 4, 2),
    ],
)
def test_a_kernel_that_writes_outside_faults(kernels: Kernels, address: int, access: int) -> None:
    """The report names address, access and kernel; another channel's results stay right."""
    neighbour = kernels.rig.channel(kernels.space)
    assert kernels.run(_POKE, struct.pack("<Q", address)) is Fault.MMU_FAULT
    assert kernels.channel.fault_address() == address
    assert kernels.channel.word(dev_ram.NOTIFIER_ACCESS) == access
    assert kernels.channel.text(dev_ram.NOTIFIER_KERNEL, dev_ram.NOTIFIER_KERNEL__SIZE) == "poke"
    assert (
        Kernels(kernels.rig, kernels.space, neighbour).run(_SCALE, _scale(64), block=(64, 1, 1)) is Fault.NONE
    )
    assert kernels.array(64).tolist() == [3 * i for i in range(64)]


@pytest.mark.parametrize("address", [1 << 49, 1 << 63, (1 << 64) - 4096, 0x7FFF_FFFF_F000])
def test_wild_addresses_never_leave_the_aperture(kernels: Kernels, address: int) -> None:
    """A 64-bit address beyond the aperture ends in a fault or in the kernel's own address space."""
    space, other = kernels.space, kernels.rig.channel(kernels.space)
    kernels.rig.other_vram.memory[: 1 << 20] = b"\x77" * (1 << 20)
    kernels.run(_PEEK, struct.pack("<QQ", address, BASE + DATA))
    kernels.run(_POKE, struct.pack("<Q", address))
    assert bytes(kernels.rig.other_vram.memory[: 1 << 20]) == b"\x77" * (1 << 20)
    assert Kernels(kernels.rig, space, other).run(_SCALE, _scale(4), block=(4, 1, 1)) is Fault.NONE


def test_a_read_only_page_faults_on_write(kernels: Kernels) -> None:
    """Kernels see the PTE's read-only bit."""
    assert kernels.run(_POKE, struct.pack("<Q", READ_ONLY_BASE + 8)) is Fault.MMU_FAULT
    assert kernels.channel.fault_address() == READ_ONLY_BASE + 8
    assert kernels.channel.word(dev_ram.NOTIFIER_ACCESS) == 2


def test_a_trap_stops_the_channel(kernels: Kernels) -> None:
    """PTX's trap is reported as such."""
    assert kernels.run(_TRAP) is Fault.TRAP


def test_the_watchdog_stops_an_endless_kernel() -> None:
    """An endless kernel loses its channel; the others get the GPU back."""
    with rig(watchdog_s=0.2) as made:
        space = made.space()
        kernels = Kernels(made, space, made.channel(space))
        neighbour = made.channel(space)
        assert kernels.run(_ENDLESS, struct.pack("<Q", BASE + DATA)) is Fault.TIMEOUT
        assert kernels.channel.text(dev_ram.NOTIFIER_KERNEL, 32) == "endless"
        neighbour.run()
        assert neighbour.fault() is Fault.NONE


def test_stopping_a_channel_ends_its_kernel(kernels: Kernels) -> None:
    """stop_channel does not wait for a kernel that does not end."""
    neighbour = kernels.rig.channel(kernels.space)
    kernels.channel.submit(kernels.qmd(_ENDLESS, struct.pack("<Q", BASE + DATA)))
    time.sleep(0.05)
    kernels.channel.stop()
    neighbour.run()
    assert neighbour.fault() is Fault.NONE
    assert kernels.rig.port.counters().faults == 0


def test_closing_the_gpu_ends_an_endless_kernel() -> None:
    """close() comes back whatever runs."""
    with rig() as made:
        space = made.space()
        kernels = Kernels(made, space, made.channel(space))
        kernels.channel.submit(kernels.qmd(_ENDLESS, struct.pack("<Q", BASE + DATA)))
        time.sleep(0.05)


@pytest.mark.parametrize(
    "options",
    [
        {"block": (0, 1, 1)},
        {"block": (1025, 1, 1)},
        {"block": (512, 4, 1)},
        {"block": (1, 1, 65)},
        {"grid": (0, 1, 1)},
        {"grid": (0xFFFFFFFF, 1, 1)},
        {"grid": (1, 0, 1)},
        {"shared": (1 << 18) - 1},
        {"QMD_MAJOR_VERSION": 2},
        {"CTA_RASTER_WIDTH_RESUME": 1},
        {"CTA_RASTER_DEPTH_RESUME": 0xFFFF},
        {"CONSTANT_BUFFER_VALID0": 0},
    ],
)
def test_impossible_launches(kernels: Kernels, options: dict[str, object]) -> None:
    """What no hardware could launch stops the channel with a reason in words."""
    assert kernels.run(_SCALE, _scale(1), **options) is Fault.BAD_LAUNCH
    assert kernels.channel.text(dev_ram.NOTIFIER_MESSAGE, dev_ram.NOTIFIER_MESSAGE__SIZE)


def test_shared_memory_must_hold_the_static_part(kernels: Kernels) -> None:
    """A QMD that gives a kernel less shared memory than it declares is refused."""
    assert kernels.run(_SHARED, struct.pack("<Q", BASE + DATA), shared=512) is Fault.BAD_LAUNCH


@pytest.mark.parametrize("text", ["", "nonsense", _HEAD, "//.entry other\n" + _SCALE, "\x7fELF\x01"])
def test_programs_that_do_not_compile(kernels: Kernels, text: str) -> None:
    """The compiler's message reaches the error notifier."""
    assert kernels.run(text, _scale(1)) is Fault.BAD_PROGRAM
    assert kernels.channel.text(dev_ram.NOTIFIER_MESSAGE, dev_ram.NOTIFIER_MESSAGE__SIZE)


def test_a_program_without_an_end_is_refused(kernels: Kernels) -> None:
    """Text that runs out of mapped memory before its NUL is no program."""
    tail = kernels.memory[-8192:]
    tail[:] = b" " * 8192
    kernels.channel.vram.memory[QMD : QMD + 256] = qmd(BASE + len(kernels.memory) - 8192)
    neighbour = kernels.rig.channel(kernels.space, kernels.rig.vram)
    kernels.channel.submit(launch(BASE + QMD))
    while not kernels.channel.fault():
        time.sleep(0.001)
    assert kernels.channel.fault() is Fault.BAD_PROGRAM
    assert neighbour.fault() is Fault.NONE


def test_the_cache_holds_until_it_is_invalidated(kernels: Kernels) -> None:
    """A program that is overwritten takes effect after an instruction-cache invalidate, not before."""
    program = kernels.program(_SCALE) - BASE
    kernels.run(_SCALE, _scale(4), block=(4, 1, 1))
    changed = _SCALE.replace("mul.lo.s32", "add.s32   ").encode()
    kernels.memory[program : program + len(changed)] = changed
    kernels.run(_SCALE, _scale(4), block=(4, 1, 1))
    assert kernels.array(4).tolist() == [0, 3, 6, 9]
    kernels.channel.run(method(COMPUTE, clc7c0.NVC7C0_INVALIDATE_SHADER_CACHES, 0x1011))
    kernels.run(_SCALE, _scale(4), block=(4, 1, 1))
    assert kernels.array(4).tolist() == [3, 4, 5, 6]


def test_shared_memory_carries_nothing_between_address_spaces(kernels: Kernels) -> None:
    """A kernel finds no trace of another address space's shared memory."""
    parameters = struct.pack("<Q", BASE + DATA)
    kernels.run(_SHARED, parameters, block=(256, 1, 1), shared=1024)
    other_space = kernels.rig.space(kernels.rig.other_vram)
    other = Kernels(kernels.rig, other_space, kernels.rig.channel(other_space, kernels.rig.other_vram))
    assert other.run(_SHARED, parameters, block=(256, 1, 1), shared=1024) is Fault.NONE
    assert not other.array(256).any()


def test_a_long_kernel_yields_to_other_channels(kernels: Kernels) -> None:
    """Work is cut at block ranges: a short submission is served while a long kernel runs."""
    short = kernels.rig.channel(kernels.space)
    n = 1 << 31
    kernels.run(_SCALE, _scale(4), grid=(4, 1, 1), block=(1, 1, 1))  # compiled, so that it starts at once
    release, value = kernels.channel.release()
    kernels.channel.submit(kernels.qmd(_SCALE, _scale(4), grid=(n - 1, 1, 1), block=(1, 1, 1)), release)
    short.run()
    short.run()
    assert short.fault() is Fault.NONE
    assert kernels.channel.value() < value
    kernels.channel.stop()
