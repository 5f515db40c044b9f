"""The runtime on the software GPU, natively and in a VM: the same tests, because it cannot tell which."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import logv
from logv.errors import (
    BusyError,
    ChannelError,
    ClosedError,
    ExhaustedError,
    GpuFaultError,
    InvalidValueError,
    OutOfMemoryError,
    PtxError,
)
from logv.runtime import Buffer, Device, EventOptions, Kernel, LaunchConfig, Program, Stream, launch

PTX = """
.version 7.0
.target sm_80
.address_size 64

.visible .entry saxpy(.param .u32 n, .param .f32 a, .param .u64 x, .param .u64 y)
{
    .reg .pred %p<2>;
    .reg .f32 %f<5>;
    .reg .b32 %r<6>;
    .reg .b64 %rd<8>;
    ld.param.u32 %r2, [n];
    ld.param.f32 %f1, [a];
    ld.param.u64 %rd1, [x];
    ld.param.u64 %rd2, [y];
    mov.u32 %r3, %ctaid.x;
    mov.u32 %r4, %ntid.x;
    mov.u32 %r5, %tid.x;
    mad.lo.s32 %r1, %r3, %r4, %r5;
    setp.ge.s32 %p1, %r1, %r2;
    @%p1 bra DONE;
    cvta.to.global.u64 %rd3, %rd2;
    cvta.to.global.u64 %rd4, %rd1;
    mul.wide.s32 %rd5, %r1, 4;
    add.s64 %rd6, %rd4, %rd5;
    ld.global.f32 %f2, [%rd6];
    add.s64 %rd7, %rd3, %rd5;
    ld.global.f32 %f3, [%rd7];
    fma.rn.f32 %f4, %f2, %f1, %f3;
    st.global.f32 [%rd7], %f4;
DONE:
    ret;
}

.visible .entry poke(.param .u64 address)
{
    .reg .b64 %rd<2>;
    ld.param.u64 %rd1, [address];
    st.global.u32 [%rd1], 7;
    ret;
}

.visible .entry peek(.param .u64 address, .param .u64 out)
{
    .reg .b32 %r<2>;
    .reg .b64 %rd<3>;
    ld.param.u64 %rd1, [address];
    ld.param.u64 %rd2, [out];
    ld.global.u32 %r1, [%rd1];
    st.global.u32 [%rd2], %r1;
    ret;
}

.visible .entry trap_now()
{
    trap;
    ret;
}
"""
N = 10_000
TIMED = EventOptions(timing_enabled=True)
CODE = Program(PTX, code_type="ptx").compile()


@pytest.fixture(scope="module")
def machine() -> Iterator[logv.Machine]:
    """One machine with one VM, for all tests here."""
    with logv.Machine(vram="256MiB") as machine:
        machine.create_vm("guest", memory="64MiB")
        yield machine


@pytest.fixture(params=["native", "vm"])
def owner(request: pytest.FixtureRequest, machine: logv.Machine) -> Any:
    """Whoever opens devices: the machine, or a VM on it."""
    return machine if request.param == "native" else machine.vms["guest"]


@pytest.fixture
def device(owner: Any) -> Iterator[Device]:
    """A device, native and in the VM."""
    with owner.device() as device:
        yield device


@pytest.fixture
def stream(device: Device) -> Stream:
    """A stream of the device."""
    return device.create_stream()


def kernel(name: str) -> Kernel:
    """Return a kernel of the program above."""
    return CODE.get_kernel(name)


def saxpy_on(device: Device, stream: Stream, seed: int) -> Callable[[], None]:
    """Submit a saxpy and return what checks it."""
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((2, N), dtype=np.float32)
    x, y = device.allocate(4 * N), device.allocate(4 * N)
    x.copy_from(a, stream=stream)
    y.copy_from(b, stream=stream)
    config = LaunchConfig(grid=(N + 255) // 256, block=256)
    launch(stream, config, kernel("saxpy"), np.int32(N), np.float32(2), x, y)

    def check() -> None:
        out = np.empty_like(b)
        y.copy_to(out, stream=stream)
        stream.sync()
        np.testing.assert_allclose(out, 2 * a + b, rtol=1e-6)

    return check


def test_saxpy(device: Device, stream: Stream) -> None:
    """A program from the first copy to the last one."""
    saxpy_on(device, stream, 1)()


def test_brackets(device: Device, stream: Stream) -> None:
    """``kernel[grid, block](...)`` launches, with a buffer in GPU or in pinned system memory."""
    for y in (device.allocate(4 * N), device.allocate_pinned(4 * N)):
        x = device.allocate_pinned(4 * N)
        np.frombuffer(memoryview(x), np.float32)[:] = 3
        kernel("saxpy")[(N + 63) // 64, 64](stream, N, 0.5, x, y)
        stream.sync()
        assert (np.frombuffer(memoryview(y), np.float32) == 1.5).all()


def test_a_run_takes_no_hypercall(machine: logv.Machine) -> None:
    """Between set-up and close the hypervisor is not asked for anything."""
    vm = machine.vms["guest"]
    with vm.device() as device:
        stream, x, y = device.create_stream(), device.allocate(4 * N), device.allocate(4 * N)
        before = vm.counters
        source = np.ones(N, np.float32)
        for _ in range(5):
            x.copy_from(source, stream=stream)
            y.fill(0, stream=stream)
            kernel("saxpy")[(N + 255) // 256, 256](stream, N, 1.0, x, y)
            y.copy_to(source, stream=stream)
            stream.sync()
        after = vm.counters
    assert after.hypercalls == before.hypercalls
    assert after.launches == before.launches + 5
    assert after.bytes_copied == before.bytes_copied + 5 * 3 * 4 * N


def test_large_copies(device: Device, stream: Stream) -> None:
    """More than the staging memory holds, in, across and out; every path is counted the same."""
    size = (5 << 20) + 12345
    source = np.random.default_rng(2).integers(0, 256, size, np.uint8)
    first, second = device.allocate(size), device.allocate(size)
    first.copy_from(source, stream=stream)
    second.copy_from(first, stream=stream)
    out = np.zeros_like(source)
    second.copy_to(out, stream=stream)
    np.testing.assert_array_equal(out, source)


def test_fills_and_pitch_copies(device: Device, stream: Stream) -> None:
    """The copy engine's other two uses."""
    image = device.allocate(64 * 100)
    image.fill(0x01020304, width=4, stream=stream)
    part = device.allocate(32 * 10)
    part.copy_2d_from(image, stream=stream, width=32, height=10, pitch=32, src_pitch=64, src_offset=16)
    image.copy_2d_from(part, stream=stream, width=8, height=5, pitch=64, src_pitch=32, offset=3)
    stream.sync()
    expected = np.tile(np.frombuffer(bytes([4, 3, 2, 1]), np.uint8), 64 * 25).reshape(100, 64).copy()
    corner = expected[:10, 16:48].copy()
    expected[:5, 3:11] = corner[:5, :8]
    np.testing.assert_array_equal(np.asarray(memoryview(image)).reshape(100, 64), expected)
    np.testing.assert_array_equal(np.asarray(memoryview(part)).reshape(10, 32), corner)


def test_new_memory_is_zero(device: Device, stream: Stream) -> None:
    """What was written to freed memory is not found in the next buffer."""
    for allocate in (device.allocate, device.allocate_pinned):
        for _ in range(3):
            with allocate(100_000) as buffer:
                assert not np.asarray(memoryview(buffer)).any()
                buffer.fill(0xAB, stream=stream)


def test_events_and_waits_across_streams(device: Device) -> None:
    """Time passes on one stream, and another one starts after it."""
    one, two = device.create_stream(), device.create_stream()
    buffer, copy = device.allocate(8 << 20), device.allocate(8 << 20)
    start = one.record(options=TIMED)
    buffer.fill(5, stream=one)
    end = one.record(options=TIMED)
    two.wait(end)
    copy.copy_from(buffer, stream=two)
    done = two.record(options=TIMED)
    done.sync()
    assert end.is_done
    assert end - start > 0
    assert done - end > 0
    assert (np.asarray(memoryview(copy)) == 5).all()
    buffer.fill(6, stream=one)
    two.wait(one)
    copy.copy_from(buffer, stream=two)
    two.sync()
    assert (np.asarray(memoryview(copy)) == 6).all()


def test_dlpack_is_the_gpu_memory(device: Device, stream: Stream) -> None:
    """What a kernel writes shows in an array that was imported before."""
    buffer = device.allocate(4)
    array = np.from_dlpack(buffer).view(np.uint32)
    kernel("poke")[1, 1](stream, buffer)
    stream.sync()
    assert array[0] == 7
    with pytest.raises(BusyError):
        buffer.close()
    del array


@pytest.mark.parametrize(("name", "access"), [("poke", "write"), ("peek", "read")])
def test_a_fault_stops_its_stream_alone(
    machine: logv.Machine, device: Device, name: str, access: str
) -> None:
    """The error says channel, address, access and kernel; others' results stay right, on both sides."""
    vm = machine.vms["guest"]
    with machine.device() as native, vm.device() as guest:
        neighbours = [device, native, guest]
        checks = [saxpy_on(other, other.create_stream(), seed) for seed, other in enumerate(neighbours)]
        bad = device.create_stream()
        buffer = device.allocate(4096)
        address = buffer.handle + (1 << 35)
        args: list[Buffer | int] = [address] if name == "poke" else [address, buffer]
        kernel(name)[1, 1](bad, *args)
        for attempt in (bad.sync, lambda: buffer.fill(0, stream=bad), bad.sync):
            with pytest.raises(GpuFaultError) as caught:
                attempt()
            error = caught.value
            assert (error.channel, error.address, error.access, error.kernel) == (
                bad.handle,
                address,
                access,
                name,
            )
        for check in checks:
            check()
        bad.close()
        saxpy_on(device, device.create_stream(), 9)()


def test_a_copy_into_freed_memory_is_a_fault(device: Device) -> None:
    """Engines other than compute fault too, and name no kernel."""
    stream = device.create_stream()
    gone = device.allocate(4096)
    address = gone.handle
    gone.close()
    kernel("poke")[1, 1](stream, address)
    with pytest.raises(GpuFaultError) as caught:
        stream.sync()
    assert caught.value.address == address


def test_a_trap_is_an_error(device: Device, stream: Stream) -> None:
    """A kernel can end its stream on purpose."""
    kernel("trap_now")[1, 1](stream)
    with pytest.raises(ChannelError, match="trap"):
        stream.sync()


def test_waiting_for_a_failed_stream_ends(device: Device, stream: Stream) -> None:
    """No stream hangs because another one died."""
    waiting = device.create_stream()
    kernel("trap_now")[1, 1](stream)
    waiting.wait(stream)
    with pytest.raises(ChannelError, match="waits for"):
        waiting.sync()


def usage(owner: Any) -> Any:
    """Return everything that a wrong call could leak, of the machine or of a VM."""
    counters = owner.counters
    if isinstance(owner, logv.Machine):
        return counters.submissions, counters.launches, counters.bytes_copied, counters.faults
    return (
        counters.submissions,
        counters.launches,
        counters.bytes_copied,
        counters.faults,
        counters.memory_used,
        counters.system_memory_used,
        counters.buffers,
        counters.channels,
    )


def test_bad_input_leaves_no_trace(owner: Any, device: Device, stream: Stream) -> None:
    """Each wrong argument is an error of the tree at once, and every counter stays where it was."""
    buffer, freed = device.allocate(4096), device.allocate(4096)
    freed.close()
    saxpy = kernel("saxpy")
    config = LaunchConfig(1, 1)
    broken = PTX.replace("    trap;", "    tarp;")
    stream.sync()
    before, free = usage(owner), device.memory_info
    attempts: list[tuple[type[Exception], Callable[[], object]]] = [
        (InvalidValueError, lambda: device.allocate(0)),
        (InvalidValueError, lambda: device.allocate(-1)),
        (OutOfMemoryError, lambda: device.allocate(1 << 40)),
        (OutOfMemoryError, lambda: device.allocate_pinned(1 << 40)),
        (logv.LogvError, lambda: device.allocate(1 << 63)),
        (logv.LogvError, lambda: device.allocate((1 << 64) - 1)),
        (logv.LogvError, lambda: device.allocate(1 << 64)),
        (InvalidValueError, lambda: buffer.copy_from(bytes(4097), stream=stream)),
        (InvalidValueError, lambda: buffer.copy_from(bytes(8), stream=stream, offset=4089)),
        (InvalidValueError, lambda: buffer.copy_to(bytearray(8), stream=stream, offset=-1)),
        (InvalidValueError, lambda: buffer.fill(0, stream=stream, width=4, offset=2, size=4)),
        (InvalidValueError, lambda: launch(stream, LaunchConfig(0, 1), saxpy)),
        (InvalidValueError, lambda: launch(stream, LaunchConfig(1, 2048), saxpy)),
        (InvalidValueError, lambda: launch(stream, LaunchConfig(2**31, 1), saxpy)),
        (InvalidValueError, lambda: launch(stream, config, saxpy, 1, 2.0, buffer)),
        (InvalidValueError, lambda: launch(stream, config, saxpy, buffer, 2.0, buffer, buffer)),
        (ClosedError, lambda: launch(stream, config, saxpy, 1, 2.0, freed, buffer)),
        (ClosedError, lambda: freed.copy_from(b"a", stream=stream)),
        (ClosedError, lambda: memoryview(freed)),
        (PtxError, lambda: Program(broken).compile()),
        (InvalidValueError, lambda: CODE.get_kernel("missing")),
    ]
    for kind, attempt in attempts:
        with pytest.raises(kind) as caught:
            attempt()
        assert isinstance(caught.value, logv.LogvError)
    with pytest.raises(PtxError) as error:
        Program(broken).compile()
    assert error.value.line == broken[: broken.index("tarp")].count("\n") + 1
    assert "tarp" in error.value.instruction
    assert (usage(owner), device.memory_info) == (before, free)


def test_a_device_returns_everything(owner: Any) -> None:
    """Opening, using and closing a device leaves its owner as it was, however it ends."""
    with owner.device() as probe:
        before = probe.memory_info
        for ending in ("close", "fault", "leak"):
            device = owner.device()
            stream = device.create_stream()
            saxpy_on(device, stream, 3)()
            if ending == "fault":
                kernel("poke")[1, 1](stream, 0)
                with pytest.raises(GpuFaultError):
                    stream.sync()
            elif ending == "close":
                stream.close()
            device.close()
        assert probe.memory_info == before


def test_devices_do_not_mix(machine: logv.Machine, device: Device, stream: Stream) -> None:
    """A buffer of one device is no argument on another."""
    with machine.device() as other:
        foreign = other.allocate(4096)
        with pytest.raises(InvalidValueError, match="another device"):
            device.allocate(4096).copy_from(foreign, stream=stream)
        with pytest.raises(InvalidValueError, match="another device"):
            kernel("poke")[1, 1](stream, foreign)


def test_many_streams(device: Device) -> None:
    """A hundred streams work side by side."""
    try:
        streams = [device.create_stream() for _ in range(100)]
    except ExhaustedError:
        pytest.fail("a device must have room for 100 streams")
    buffer = device.allocate(4 * len(streams))
    for number, stream in enumerate(streams):
        kernel("poke")[1, 1](stream, buffer.handle + 4 * number)
    device.sync()
    assert (np.frombuffer(memoryview(buffer), np.uint32) == 7).all()
    assert all(stream.is_done for stream in streams)


def test_threads_share_a_device(device: Device) -> None:
    """Threads allocate, copy, launch and free side by side, on streams of their own and on one."""
    shared = device.create_stream()

    def work(seed: int) -> None:
        with device.create_stream() as own:
            for round_number in range(5):
                saxpy_on(device, own, seed + round_number)()
                saxpy_on(device, shared, seed + round_number)()

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work, 100 * seed) for seed in range(4)]:
            done.result()
