"""Copy engine: linear, pitch, fill, semaphores, and copies that must fail."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gpu.gpu_rig import BASE, COPY, LINEAR, READ_ONLY_BASE, SYSTEM_BASE, Rig, copy, method

from logv.hw import clc7b5, dev_ram
from logv.uapi import Fault

_AREA = 1 << 20


def _remap(components: list[int], size: int) -> int:
    word = clc7b5.NVC7B5_SET_REMAP_COMPONENTS_COMPONENT_SIZE.encode(size - 1)
    word |= clc7b5.NVC7B5_SET_REMAP_COMPONENTS_NUM_DST_COMPONENTS.encode(len(components) - 1)
    for position, source in enumerate(components):
        word |= source << (4 * position)
    return word


def _fill(target: int, count: int, constants: tuple[int, int], components: list[int], size: int) -> bytes:
    return method(COPY, clc7b5.NVC7B5_SET_REMAP_CONST_A, *constants, _remap(components, size)) + copy(
        target, 0, count, flags=LINEAR | clc7b5.NVC7B5_LAUNCH_DMA_REMAP_ENABLE.encode(1)
    )


def test_copies_of_any_offset_and_length(gpu_rig: Rig) -> None:
    """Linear copies between VRAM and system memory agree with a slice of bytes."""
    channel = gpu_rig.channel(gpu_rig.space())
    data = os.urandom(_AREA)
    gpu_rig.vram.memory[:_AREA] = data

    @settings(max_examples=60, deadline=None)
    @given(
        source=st.integers(0, _AREA - 1),
        target=st.integers(0, _AREA - 1),
        size=st.integers(0, 40_000),
        system=st.booleans(),
    )
    def check(source: int, target: int, size: int, system: bool) -> None:
        size = min(size, _AREA - source, _AREA - target)
        window = gpu_rig.system if system else gpu_rig.vram
        offset = target if system else 2 * _AREA + target
        window.memory[offset : offset + size] = bytes(size)
        channel.run(copy((SYSTEM_BASE if system else BASE) + offset, BASE + source, size))
        assert channel.fault() is Fault.NONE
        assert bytes(window.memory[offset : offset + size]) == data[source : source + size]

    check()


def test_large_copies_are_counted(gpu_rig: Rig) -> None:
    """A copy longer than one chunk arrives whole and counts all of its bytes."""
    channel = gpu_rig.channel(gpu_rig.space())
    size = 5 << 20
    data = os.urandom(size)
    gpu_rig.vram.memory[:size] = data
    channel.run(copy(BASE + size, BASE, size))
    assert bytes(gpu_rig.vram.memory[size : 2 * size]) == data
    assert gpu_rig.port.counters().bytes_copied == size


def test_pitch_copy_moves_lines(gpu_rig: Rig) -> None:
    """A multi-line copy moves a rectangle and leaves what lies between the lines alone."""
    channel = gpu_rig.channel(gpu_rig.space())
    lines, length, source_pitch, target_pitch = 37, 101, 256, 333
    data = os.urandom(lines * source_pitch)
    gpu_rig.vram.memory[: len(data)] = data
    gpu_rig.vram.memory[_AREA : _AREA + lines * target_pitch] = b"\xaa" * (lines * target_pitch)
    channel.run(copy(BASE + _AREA, BASE, length, lines=lines, pitches=(source_pitch, target_pitch)))
    assert channel.fault() is Fault.NONE
    for line in range(lines):
        at = _AREA + line * target_pitch
        row = bytes(gpu_rig.vram.memory[at : at + target_pitch])
        assert row[:length] == data[line * source_pitch :][:length]
        assert row[length:] == b"\xaa" * (target_pitch - length)


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("components", [[4], [5], [4, 5], [5, 4, 4], [4, 5, 5, 4]])
def test_fill_repeats_the_remap_constants(gpu_rig: Rig, size: int, components: list[int]) -> None:
    """A remap of constants writes their low bytes, component after component."""
    channel = gpu_rig.channel(gpu_rig.space())
    constants = (0x44332211, 0x88776655)
    count = 1000
    channel.run(_fill(BASE + 3, count, constants, components, size))
    assert channel.fault() is Fault.NONE
    pattern = b"".join(constants[c - 4].to_bytes(4, "little")[:size] for c in components)
    assert bytes(gpu_rig.vram.memory[3 : 3 + count * len(pattern)]) == pattern * count
    assert gpu_rig.vram.memory[3 + count * len(pattern)] == 0


def test_fill_longer_than_a_chunk(gpu_rig: Rig) -> None:
    """A fill whose element does not divide the chunk stays in step."""
    channel = gpu_rig.channel(gpu_rig.space())
    count = (9 << 20) // 3
    channel.run(_fill(BASE, count, (0x332211, 0), [4], 3))
    assert bytes(gpu_rig.vram.memory[: 3 * count]) == b"\x11\x22\x33" * count


@pytest.mark.parametrize(("kind", "words"), [(1, 1), (2, 4)])
def test_semaphore_after_the_copy(gpu_rig: Rig, kind: int, words: int) -> None:
    """LAUNCH_DMA's own semaphore is written after the data, with a timestamp in the long form."""
    channel = gpu_rig.channel(gpu_rig.space())
    at = 0x9000
    gpu_rig.vram.memory[at : at + 16] = b"\xee" * 16
    flags = LINEAR | clc7b5.NVC7B5_LAUNCH_DMA_SEMAPHORE_TYPE.encode(kind)
    channel.run(
        method(COPY, clc7b5.NVC7B5_SET_SEMAPHORE_A, (BASE + at) >> 32, (BASE + at) & 0xFFFFFFFF, 77),
        copy(BASE + 64, BASE, 64, flags=flags),
    )
    assert channel.fault() is Fault.NONE
    memory = bytes(gpu_rig.vram.memory[at : at + 16])
    assert memory[:4] == (77).to_bytes(4, "little")
    assert (memory[4:] == b"\xee" * 12) is (words == 1)


@pytest.mark.parametrize(
    ("target", "source", "size", "address", "access"),
    [
        (BASE, 0x5000, 10, 0x5000, 1),
        (0x5000, BASE, 10, 0x5000, 2),
        (READ_ONLY_BASE + 4096, BASE, 10, READ_ONLY_BASE + 4096, 2),
        (READ_ONLY_BASE - 10, BASE, 20, READ_ONLY_BASE - 10, 2),
        (BASE, READ_ONLY_BASE + (1 << 20) - 16, 64, READ_ONLY_BASE + (1 << 20), 1),
    ],
)
def test_copies_outside_fault(
    gpu_rig: Rig, target: int, source: int, size: int, address: int, access: int
) -> None:
    """A copy that leaves what is mapped stops its channel and says where and how."""
    space = gpu_rig.space()
    channel, neighbour = gpu_rig.channel(space), gpu_rig.channel(space)
    channel.run(copy(target, source, size))
    assert channel.fault() is Fault.MMU_FAULT
    assert channel.fault_address() == address
    assert channel.word(dev_ram.NOTIFIER_ACCESS) == access
    neighbour.run()
    assert neighbour.fault() is Fault.NONE


@pytest.mark.parametrize(
    ("flags", "fault"),
    [
        (LINEAR & ~clc7b5.NVC7B5_LAUNCH_DMA_SRC_MEMORY_LAYOUT.mask, Fault.BAD_COPY),
        (LINEAR & ~clc7b5.NVC7B5_LAUNCH_DMA_DST_MEMORY_LAYOUT.mask, Fault.BAD_COPY),
    ],
)
def test_block_linear_layouts_are_refused(gpu_rig: Rig, flags: int, fault: Fault) -> None:
    """Layouts that are not offered are refused, not misread."""
    channel = gpu_rig.channel(gpu_rig.space())
    channel.run(copy(BASE, BASE + 64, 64, flags=flags))
    assert channel.fault() is fault


def test_a_remap_of_source_components_is_refused(gpu_rig: Rig) -> None:
    """Remap can fill; shuffling source components is not offered."""
    channel = gpu_rig.channel(gpu_rig.space())
    channel.run(_fill(BASE, 4, (0, 0), [0], 4))
    assert channel.fault() is Fault.BAD_COPY


def test_huge_pitches_end_in_a_fault(gpu_rig: Rig) -> None:
    """Lines that leave the address space end the copy; the GPU goes on."""
    space = gpu_rig.space()
    channel, neighbour = gpu_rig.channel(space), gpu_rig.channel(space)
    channel.run(copy(BASE, BASE, 1, lines=0xFFFFFFFF, pitches=(0xFFFFFFFF, 0xFFFFFFFF)))
    assert channel.fault() in (Fault.MMU_FAULT, Fault.BAD_COPY)
    neighbour.run()
    assert neighbour.fault() is Fault.NONE


def test_an_unmap_is_seen_at_once(gpu_rig: Rig) -> None:
    """After the TLB invalidate, the old translation is used no more."""
    space = gpu_rig.space()
    channel = gpu_rig.channel(space)
    channel.run(copy(BASE + 0x3000, BASE + 0x2000, 16))
    space.write_pte(BASE + 0x3000, 0, valid=0)
    gpu_rig.gpu.invalidate_tlb(space.id, BASE + 0x3000, 4096)
    channel.run(copy(BASE + 0x3000, BASE + 0x2000, 16))
    assert channel.fault() is Fault.MMU_FAULT
    assert channel.fault_address() == BASE + 0x3000
