"""PBDMA: entries, methods, semaphores, and everything a client may get wrong."""

import struct
import time

import pytest
from tests.gpu.gpu_rig import (
    BASE,
    COMPUTE,
    COPY,
    LINEAR,
    READ_ONLY_BASE,
    RING_ENTRIES,
    Rig,
    copy,
    gp_entry,
    immediate,
    method,
    semaphore,
    semaphore_release,
)

from logv.hw import clc7b5, clc7c0, clc56f, dev_ram
from logv.uapi import Fault

SEMAPHORE = 0x8000  # offset in VRAM, apart from every channel's own


def _word(rig: Rig, offset: int, size: int = 4) -> int:
    return int.from_bytes(rig.vram.memory[offset : offset + size], "little")


def _poke(rig: Rig, offset: int, value: int, size: int = 4) -> None:
    rig.vram.memory[offset : offset + size] = value.to_bytes(size, "little")


def _operation(number: int, **flags: int) -> int:
    word = clc56f.NVC56F_SEM_EXECUTE_OPERATION.encode(number)
    for name, value in flags.items():
        word |= getattr(clc56f, f"NVC56F_SEM_EXECUTE_{name}").encode(value)
    return word


def test_entries_are_consumed_and_counted(gpu_rig: Rig) -> None:
    """GP_GET follows GP_PUT around the ring, and each entry counts as a submission."""
    channel = gpu_rig.channel(gpu_rig.space())
    for _ in range(2 * RING_ENTRIES):
        channel.run()
    assert channel.fault() is Fault.NONE
    assert channel.word(dev_ram.NV_RAMUSERD_GP_GET) == channel.word(dev_ram.NV_RAMUSERD_GP_PUT)
    assert gpu_rig.port.counters().submissions == 2 * RING_ENTRIES + 1  # and the SET_OBJECT segment


def test_a_free_running_put_means_the_same_as_an_index(gpu_rig: Rig) -> None:
    """A client that does not wrap GP_PUT itself is understood."""
    channel = gpu_rig.channel(gpu_rig.space())
    channel.run()
    release, value = channel.release()
    channel.submit(release)
    channel.put(channel.word(dev_ram.NV_RAMUSERD_GP_PUT) + 5 * RING_ENTRIES)
    channel.run()
    assert channel.value() == value + 1


def test_put_out_of_range_runs_at_most_the_ring(gpu_rig: Rig) -> None:
    """Whatever GP_PUT holds, no more than the ring's entries are fetched, and other channels go on."""
    space = gpu_rig.space()
    hostile, neighbour = gpu_rig.channel(space), gpu_rig.channel(space)
    hostile.run()
    for value in (0xFFFFFFFF, 1 << 31, RING_ENTRIES + 1, 0):
        hostile.put(value)
    neighbour.run()
    assert neighbour.fault() is Fault.NONE
    # the ring holds entries of length 0 and old ones: all of them harmless
    assert gpu_rig.port.counters().submissions < 8 * RING_ENTRIES


@pytest.mark.parametrize(
    ("opcode", "fault"),
    [
        (clc56f.NVC56F_GP_ENTRY1_OPCODE_NOP, Fault.NONE),
        (clc56f.NVC56F_GP_ENTRY1_OPCODE_GP_CRC, Fault.NONE),
        (clc56f.NVC56F_GP_ENTRY1_OPCODE_PB_CRC, Fault.NONE),
        (clc56f.NVC56F_GP_ENTRY1_OPCODE_ILLEGAL, Fault.BAD_GP_ENTRY),
        (77, Fault.BAD_GP_ENTRY),
    ],
)
def test_control_entries(gpu_rig: Rig, opcode: int, fault: Fault) -> None:
    """An entry of length 0 is a control entry; unknown and illegal ones stop the channel."""
    channel = gpu_rig.channel(gpu_rig.space())
    channel.entry(0, clc56f.NVC56F_GP_ENTRY1_OPCODE.encode(opcode))
    channel.run()
    assert channel.fault() is fault


def test_method_kinds(gpu_rig: Rig) -> None:
    """Incrementing, non-incrementing, increment-once, immediate and all-zero headers do as they say."""
    channel = gpu_rig.channel(gpu_rig.space())
    increase = clc56f.NVC56F_DMA_SEC_OP_ONE_INC
    same = clc56f.NVC56F_DMA_SEC_OP_NON_INC_METHOD
    address = BASE + SEMAPHORE
    channel.run(
        struct.pack("<I", 0),
        # increment once: the second and third word both go to SEM_ADDR_HI; the last one stays
        method(0, clc56f.NVC56F_SEM_ADDR_LO, address & 0xFFFFFFFF, 99, address >> 32, kind=increase),
        method(0, clc56f.NVC56F_SEM_PAYLOAD_LO, 1, 2, 7, kind=same),
        immediate(0, clc56f.NVC56F_SEM_PAYLOAD_HI, 5),
        method(
            0,
            clc56f.NVC56F_SEM_EXECUTE,
            _operation(clc56f.NVC56F_SEM_EXECUTE_OPERATION_RELEASE, PAYLOAD_SIZE=1),
        ),
    )
    assert channel.fault() is Fault.NONE
    assert _word(gpu_rig, SEMAPHORE, 8) == 5 << 32 | 7


def test_end_of_segment_skips_the_rest(gpu_rig: Rig) -> None:
    """Words after an end-of-segment header are not looked at."""
    channel = gpu_rig.channel(gpu_rig.space())
    end = clc56f.NVC56F_DMA_SEC_OP.encode(clc56f.NVC56F_DMA_SEC_OP_END_PB_SEGMENT)
    channel.submit(struct.pack("<II", end, 0xFFFFFFFF))
    channel.run()
    assert channel.fault() is Fault.NONE


@pytest.mark.parametrize("kind", [0, 2, 6])
def test_unknown_header_kinds_stop_the_channel(gpu_rig: Rig, kind: int) -> None:
    """A header that is no header is an error, not a guess."""
    channel = gpu_rig.channel(gpu_rig.space())
    channel.run(struct.pack("<I", clc56f.NVC56F_DMA_SEC_OP.encode(kind) | 1))
    assert channel.fault() is Fault.BAD_METHOD


@pytest.mark.parametrize(
    ("subchannel", "address", "data", "fault"),
    [
        (0, 0xF8, 0, Fault.BAD_METHOD),
        (COPY, 0x200, 0, Fault.BAD_METHOD),
        (COMPUTE, 0x3FFC, 0, Fault.BAD_METHOD),
        (2, clc7b5.NVC7B5_LAUNCH_DMA, 0, Fault.BAD_CLASS),
        (2, clc56f.NVC56F_SET_OBJECT, 0xC56F, Fault.BAD_CLASS),
        (2, clc56f.NVC56F_SET_OBJECT, clc7c0.AMPERE_COMPUTE_A, Fault.BAD_CLASS),
        (0, clc56f.NVC56F_CLEAR_FAULTED, 0, Fault.PRIVILEGED),
        (0, clc56f.NVC56F_MEM_OP_D, clc56f.NVC56F_MEM_OP_D_OPERATION.encode(9), Fault.PRIVILEGED),
        (
            COPY,
            clc7b5.NVC7B5_LAUNCH_DMA,
            LINEAR | clc7b5.NVC7B5_LAUNCH_DMA_SRC_TYPE.encode(1),
            Fault.PRIVILEGED,
        ),
        (
            COPY,
            clc7b5.NVC7B5_LAUNCH_DMA,
            LINEAR | clc7b5.NVC7B5_LAUNCH_DMA_DST_TYPE.encode(1),
            Fault.PRIVILEGED,
        ),
    ],
)
def test_unknown_and_privileged_methods(
    gpu_rig: Rig, subchannel: int, address: int, data: int, fault: Fault
) -> None:
    """Unknown and privileged methods stop the channel that used them, and no other."""
    space = gpu_rig.space()
    hostile, neighbour = gpu_rig.channel(space), gpu_rig.channel(space)
    hostile.run(method(subchannel, address, data))
    assert hostile.fault() is fault
    assert gpu_rig.port.counters().faults == 1
    neighbour.run()
    assert neighbour.fault() is Fault.NONE
    assert gpu_rig.port.counters().faults == 1


def test_a_class_needs_an_engine_object(gpu_rig: Rig) -> None:
    """Without an engine object of the class, SET_OBJECT is refused."""
    channel = gpu_rig.channel(gpu_rig.space(), classes=False)
    channel.run(method(COPY, clc56f.NVC56F_SET_OBJECT, clc7b5.AMPERE_DMA_COPY_B))
    assert channel.fault() is Fault.BAD_CLASS


def test_membar_is_allowed(gpu_rig: Rig) -> None:
    """MEM_OP's membar is not privileged."""
    channel = gpu_rig.channel(gpu_rig.space())
    operation = clc56f.NVC56F_MEM_OP_D_OPERATION.encode(clc56f.NVC56F_MEM_OP_D_OPERATION_MEMBAR)
    channel.run(method(0, clc56f.NVC56F_MEM_OP_A, 0, 0, 0, operation))
    assert channel.fault() is Fault.NONE


@pytest.mark.parametrize("words", [1, (1 << 21) - 1])
def test_a_pushbuffer_in_unmapped_memory_faults(gpu_rig: Rig, words: int) -> None:
    """The fault names the pushbuffer's address."""
    channel = gpu_rig.channel(gpu_rig.space())
    channel.entry(*gp_entry(0x1000, words))
    channel.run()
    assert channel.fault() is Fault.MMU_FAULT
    assert channel.fault_address() == 0x1000


def test_a_longest_segment_ends_in_a_fault_not_in_a_hang(gpu_rig: Rig) -> None:
    """A segment of all-ones length runs through mapped memory and stops where it ends."""
    channel = gpu_rig.channel(gpu_rig.space())
    gpu_rig.vram.memory[0 : 1 << 20] = bytes(1 << 20)  # NOPs
    channel.entry(*gp_entry(READ_ONLY_BASE, (1 << 21) - 1))
    channel.run()
    assert channel.fault() is Fault.MMU_FAULT
    assert channel.fault_address() == READ_ONLY_BASE + (1 << 20)


@pytest.mark.parametrize(("wide", "timestamp"), [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_release(gpu_rig: Rig, wide: int, timestamp: int) -> None:
    """A release writes 4, 8 or 16 bytes, the timestamp in nanoseconds, and nothing beside them."""
    channel = gpu_rig.channel(gpu_rig.space())
    gpu_rig.vram.memory[SEMAPHORE : SEMAPHORE + 32] = b"\xee" * 32
    before = time.monotonic_ns()
    payload = 0x1122334455667788
    channel.run(semaphore_release(BASE + SEMAPHORE, payload, wide=wide, timestamp=timestamp))
    after = time.monotonic_ns()
    written = 16 if timestamp else 8 if wide else 4
    assert _word(gpu_rig, SEMAPHORE, 8 if wide else 4) == (payload if wide else payload & 0xFFFFFFFF)
    if timestamp:
        assert before <= _word(gpu_rig, SEMAPHORE + 8, 8) <= after
    assert bytes(gpu_rig.vram.memory[SEMAPHORE + written : SEMAPHORE + 32]) == b"\xee" * (32 - written)


@pytest.mark.parametrize(
    ("address", "wide", "fault"),
    [
        (BASE + SEMAPHORE + 4, 1, Fault.BAD_SEMAPHORE),
        (READ_ONLY_BASE, 0, Fault.MMU_FAULT),
        (0x10, 0, Fault.MMU_FAULT),
        ((1 << 49) - 8, 1, Fault.MMU_FAULT),
    ],
)
def test_releases_to_bad_addresses(gpu_rig: Rig, address: int, wide: int, fault: Fault) -> None:
    """Misaligned, read-only and unmapped semaphores stop the channel."""
    channel = gpu_rig.channel(gpu_rig.space())
    channel.run(semaphore_release(address, 1, wide=wide))
    assert channel.fault() is fault
    assert channel.fault_address() == address


@pytest.mark.parametrize(
    ("operation", "before", "payload", "after"),
    [
        (clc56f.NVC56F_SEM_EXECUTE_OPERATION_ACQUIRE, 4, 5, 5),
        (clc56f.NVC56F_SEM_EXECUTE_OPERATION_ACQ_STRICT_GEQ, 4, 5, 9),
        (clc56f.NVC56F_SEM_EXECUTE_OPERATION_ACQ_CIRC_GEQ, 0xFFFFFFF0, 2, 3),
        (clc56f.NVC56F_SEM_EXECUTE_OPERATION_ACQ_AND, 0b100, 0b011, 0b010),
        (clc56f.NVC56F_SEM_EXECUTE_OPERATION_ACQ_NOR, 0xFFFFFFFF, 1, 0xFFFFFFF0),
    ],
)
def test_acquire_waits_and_lets_others_run(
    gpu_rig: Rig, operation: int, before: int, payload: int, after: int
) -> None:
    """A failed acquire holds its channel only, and goes on once the word is right."""
    space = gpu_rig.space()
    waiting, other = gpu_rig.channel(space), gpu_rig.channel(space)
    _poke(gpu_rig, SEMAPHORE, before)
    release, value = waiting.release()
    waiting.submit(semaphore(BASE + SEMAPHORE, payload, _operation(operation, ACQUIRE_SWITCH_TSG=1)), release)
    other.run()
    other.run()
    assert waiting.value() == value - 1
    assert waiting.fault() is Fault.NONE
    other.run(semaphore_release(BASE + SEMAPHORE, after))
    waiting.run()
    assert waiting.value() == value + 1


def test_the_cpu_can_release_what_a_channel_waits_for(gpu_rig: Rig) -> None:
    """An acquire sees a word that a CPU writes without ringing, also when the engine sleeps between looks."""
    channel = gpu_rig.channel(gpu_rig.space())
    acquire = _operation(clc56f.NVC56F_SEM_EXECUTE_OPERATION_ACQUIRE)
    release, value = channel.release()
    channel.submit(semaphore(BASE + SEMAPHORE, 1, acquire), release)
    sleeps = gpu_rig.gpu.sleeps
    while gpu_rig.gpu.sleeps < sleeps + 3:
        time.sleep(0.001)
    _poke(gpu_rig, SEMAPHORE, 1)
    while channel.value() < value:
        time.sleep(0.0005)
    assert channel.fault() is Fault.NONE


@pytest.mark.parametrize("wide", [0, 1])
@pytest.mark.parametrize(
    ("reduction", "value", "payload", "result"),
    [
        ("IMIN", 7, 5, 5),
        ("IMAX", 7, 9, 9),
        ("IXOR", 0b1100, 0b1010, 0b0110),
        ("IAND", 0b1100, 0b1010, 0b1000),
        ("IOR", 0b1100, 0b1010, 0b1110),
        ("IADD", 7, 5, 12),
        ("INC", 7, 9, 8),
        ("INC", 9, 9, 0),
        ("DEC", 7, 9, 6),
        ("DEC", 0, 9, 9),
        ("DEC", 12, 9, 9),
    ],
)
def test_reductions(gpu_rig: Rig, reduction: str, value: int, payload: int, result: int, wide: int) -> None:
    """Each reduction leaves what CUDA's atomic of the same name leaves."""
    channel = gpu_rig.channel(gpu_rig.space())
    _poke(gpu_rig, SEMAPHORE, value, 8)
    execute = _operation(
        clc56f.NVC56F_SEM_EXECUTE_OPERATION_REDUCTION,
        REDUCTION=getattr(clc56f, f"NVC56F_SEM_EXECUTE_REDUCTION_{reduction}"),
        REDUCTION_FORMAT=1,
        PAYLOAD_SIZE=wide,
    )
    channel.run(semaphore(BASE + SEMAPHORE, payload, execute))
    assert channel.fault() is Fault.NONE
    assert _word(gpu_rig, SEMAPHORE, 8 if wide else 4) == result


@pytest.mark.parametrize(("name", "result"), [("IMIN", -5), ("IMAX", 3)])
@pytest.mark.parametrize("wide", [0, 1])
def test_signed_reductions(gpu_rig: Rig, name: str, result: int, wide: int) -> None:
    """The signed format compares as two's complement."""
    size = 8 if wide else 4
    mask = (1 << 8 * size) - 1
    channel = gpu_rig.channel(gpu_rig.space())
    _poke(gpu_rig, SEMAPHORE, 3, size)
    execute = _operation(
        clc56f.NVC56F_SEM_EXECUTE_OPERATION_REDUCTION,
        REDUCTION=getattr(clc56f, f"NVC56F_SEM_EXECUTE_REDUCTION_{name}"),
        PAYLOAD_SIZE=wide,
    )
    channel.run(semaphore(BASE + SEMAPHORE, -5 & mask, execute))
    assert _word(gpu_rig, SEMAPHORE, size) == result & mask


@pytest.mark.parametrize(
    "execute",
    [
        _operation(7),
        _operation(clc56f.NVC56F_SEM_EXECUTE_OPERATION_REDUCTION, REDUCTION=9),
    ],
)
def test_unknown_semaphore_operations(gpu_rig: Rig, execute: int) -> None:
    """What the manual does not define stops the channel."""
    channel = gpu_rig.channel(gpu_rig.space())
    channel.run(semaphore(BASE + SEMAPHORE, 0, execute))
    assert channel.fault() is Fault.BAD_SEMAPHORE


def test_interrupts_are_raised_on_request(gpu_rig: Rig) -> None:
    """NON_STALL_INTERRUPT bumps the sequence in the doorbell page."""
    channel = gpu_rig.channel(gpu_rig.space())

    def sequence() -> int:
        at = dev_ram.DOORBELL_IRQ_SEQUENCE
        return int.from_bytes(gpu_rig.port.memory[at : at + 4], "little")

    before = sequence()
    channel.run(method(0, clc56f.NVC56F_NON_STALL_INTERRUPT, 0))
    assert sequence() == before + 1
    assert gpu_rig.port.counters().interrupts == 1


def test_two_address_spaces_do_not_meet(gpu_rig: Rig) -> None:
    """The same GPU virtual address means another VM's bytes in another address space."""
    mine = gpu_rig.channel(gpu_rig.space())
    theirs = gpu_rig.channel(gpu_rig.space(gpu_rig.other_vram), gpu_rig.other_vram)
    gpu_rig.vram.memory[0:4] = b"mine"
    gpu_rig.other_vram.memory[0:4] = b"them"
    theirs.run(copy(BASE + 64, BASE, 4))
    mine.run(copy(BASE + 64, BASE, 4))
    assert bytes(gpu_rig.vram.memory[64:68]) == b"mine"
    assert bytes(gpu_rig.other_vram.memory[64:68]) == b"them"


def test_a_stopped_channel_is_gone_and_its_number_reused(gpu_rig: Rig) -> None:
    """After stop_channel nothing of the channel runs, and its id serves the next one."""
    space = gpu_rig.space()
    first = gpu_rig.channel(space)
    first.run()
    value = first.value()
    first.stop()
    release, _ = first.release()
    first.submit(release)
    second = gpu_rig.channel(space)
    second.run()
    assert second.id == first.id
    assert first.value() == value


def test_many_channels_run_side_by_side(gpu_rig: Rig) -> None:
    """Each of many channels makes progress, whatever its neighbours submit."""
    space = gpu_rig.space()
    channels = [gpu_rig.channel(space) for _ in range(128)]
    for channel in channels:
        release, _ = channel.release()
        channel.submit(release)
    for channel in channels:
        channel.run()
        assert channel.fault() is Fault.NONE
