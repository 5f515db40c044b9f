"""The baselines: LoGV's workloads through trapped submissions and through API remoting, right and counted."""

import multiprocessing
import os
import socket
import tempfile
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.transport.daemon_rig import DEADLINE_S, eventually, serving

from logv import abi, uapi
from logv._fastpath import GpFifo
from logv.compare.baselines import wire
from logv.compare.baselines._served_device import MAX_KERNELS
from logv.compare.baselines._transfers import CHUNK_BYTES, CHUNKS
from logv.compare.baselines._trap_fifo import TrapFifo, Traps
from logv.compare.baselines.remote_client import RemoteConnection
from logv.compare.baselines.remote_server import RemoteServer, serve
from logv.compare.baselines.trap import TrapConnection
from logv.compare.baselines.wire import Call
from logv.errors import (
    ChannelError,
    ClosedError,
    ExhaustedError,
    GpuFaultError,
    InvalidHandleError,
    InvalidValueError,
    LogvError,
    NotSupportedError,
    OutOfMemoryError,
)
from logv.gpu import Gpu
from logv.guest import GuestDriver
from logv.host import HostDriver
from logv.hw.dev_ram import NV_RAMUSERD_GP_GET, NV_RAMUSERD_GP_PUT, USERD_PAGE_SIZE
from logv.hypervisor import Hypervisor
from logv.memfd import map_memfd
from logv.runtime import Kernel, LaunchConfig, Program, launch
from logv.runtime.channel import RING_ENTRIES
from logv.workloads import create

Connection = TrapConnection | RemoteConnection

PTX = """
.version 7.0
.target sm_80
.address_size 64

.visible .entry poke(.param .u64 address, .param .f32 low, .param .b8 high[4])
{
    .reg .f32 %f<2>;
    .reg .b32 %r<2>;
    .reg .b64 %rd<2>;
    ld.param.u64 %rd1, [address];
    ld.param.f32 %f1, [low];
    ld.param.u32 %r1, [high];
    st.global.f32 [%rd1], %f1;
    st.global.u32 [%rd1+4], %r1;
    ret;
}

.visible .entry trap_now()
{
    trap;
    ret;
}
"""
ONE = LaunchConfig(grid=1, block=1)
NOWHERE = 0x10_0000_0000
MIB = 1 << 20


def kernel(name: str) -> Kernel:
    """Return a kernel of ``PTX``."""
    return Program(PTX).compile().get_kernel(name)


@contextmanager
def remote_server(vram: str = "256MiB") -> Iterator[tuple[RemoteServer, Path]]:
    """Serve remote clients from a thread; it must end when it is told to."""
    # Not pytest's own folder, whose path can be too long for a socket.
    with tempfile.TemporaryDirectory(prefix="logv") as folder:
        path = Path(folder) / "remote.sock"
        with RemoteServer(path, vram) as server:
            thread = threading.Thread(target=server.run)
            thread.start()
            try:
                yield server, path
            finally:
                server.stop()
                thread.join(DEADLINE_S)
            assert not thread.is_alive()
        assert not path.exists()


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[RemoteServer, Path]]:
    """Return a remote server and its socket."""
    with remote_server() as pair:
        yield pair


@pytest.fixture(scope="module")
def vm_socket() -> Iterator[Path]:
    """Return the socket of a VM that a daemon serves."""
    with serving("dash:224MiB") as daemon:
        yield daemon.path("dash")


@pytest.fixture(params=["trap", "remote"])
def connection(request: pytest.FixtureRequest) -> Iterator[Connection]:
    """Return a connection to each baseline in turn."""
    made: Connection
    if request.param == "trap":
        made = TrapConnection(request.getfixturevalue("vm_socket"), timeout_s=DEADLINE_S)
    else:
        made = RemoteConnection(request.getfixturevalue("served")[1])
    with made:
        yield made


@pytest.fixture
def remote(served: tuple[RemoteServer, Path]) -> Iterator[RemoteConnection]:
    """Return a connection to the remote server."""
    with RemoteConnection(served[1]) as connection:
        yield connection


@pytest.mark.parametrize("name", ["matmul", "pyramid", "copy", "allocate"])
def test_workload_is_right_and_its_run_phase_is_not_free(connection: Connection, name: str) -> None:
    """Twice on new devices, so that the second run meets recycled memory."""
    workload = create(name)
    workload.prepare()
    for _ in range(2):
        workload.poison()
        with connection.device() as device:
            workload.setup(device)
            before = connection.hypercalls
            workload.run()
            assert connection.hypercalls > before
            workload.close()
        assert workload.check()


@pytest.mark.parametrize("size", [1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNKS * CHUNK_BYTES + 13])
def test_copies_of_any_size_arrive(connection: Connection, size: int) -> None:
    """In, across in all three ways that a buffer offers, and out; at offsets, beside bytes that stay."""
    data = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8)
    with connection.device() as device:
        stream = device.create_stream()
        first, second = device.allocate(size + 7), device.allocate_pinned(size)
        first.copy_from(data, stream=stream, offset=7)
        assert first.copy_to(second, stream=stream, offset=7) is second
        third = second.copy_to(None, stream=stream)
        fourth = device.allocate(size + 1)
        fourth.copy_from(third, stream=stream, offset=1)
        whole = fourth.copy_to(bytearray(size + 1), stream=stream)
        assert whole == b"\0" + data.tobytes()


def test_arguments_of_each_kind_arrive(connection: Connection) -> None:
    """A pointer, a number and a structure."""
    with connection.device() as device:
        stream = device.create_stream()
        buffer = device.allocate(8)
        launch(stream, ONE, kernel("poke"), buffer, 1.5, b"\1\2\3\4")
        assert buffer.copy_to(bytearray(8), stream=stream) == np.float32(1.5).tobytes() + b"\1\2\3\4"


def test_memory_fault_names_address_and_kernel(connection: Connection) -> None:
    """The stream fails for good, with what the GPU said; others go on."""
    with connection.device() as device:
        bad, good = device.create_stream(), device.create_stream()
        buffer = device.allocate(8)
        launch(bad, ONE, kernel("poke"), NOWHERE, 0.0, bytes(4))
        with pytest.raises(GpuFaultError) as caught:
            bad.sync()
        fault = caught.value
        assert (fault.address, fault.access, fault.kernel) == (NOWHERE, "write", "poke")
        assert "memory fault" in fault.reason
        assert f"{NOWHERE:#x}" in str(fault)
        # Bytes that the failed stream no longer takes must not be taken for the next message.
        with pytest.raises(GpuFaultError):
            buffer.copy_from(bytes(8), stream=bad)
        with pytest.raises(GpuFaultError):
            buffer.copy_to(bytearray(8), stream=bad)
        with pytest.raises(GpuFaultError):
            device.sync()
        buffer.copy_from(bytes(range(8)), stream=good)
        assert buffer.copy_to(bytearray(8), stream=good) == bytes(range(8))
        bad.close()
        device.sync()


def test_other_errors_keep_their_kind(connection: Connection) -> None:
    """A trap of the kernel, memory that is not there, closed and impossible things."""
    with connection.device() as device:
        stream = device.create_stream()
        launch(stream, ONE, kernel("trap_now"))
        with pytest.raises(ChannelError, match="trap") as caught:
            stream.sync()
        assert caught.value.channel == stream.handle
        with pytest.raises(OutOfMemoryError):
            device.allocate(1 << 40)
        with pytest.raises(InvalidValueError, match="arguments"):
            launch(stream, ONE, kernel("poke"), 1)
        buffer = device.allocate(4)
        with pytest.raises(InvalidValueError, match="fit"):
            buffer.copy_from(bytes(8), stream=stream)
        with pytest.raises(InvalidValueError, match="onto itself"):
            buffer.copy_from(buffer, stream=stream)
        stream.close()
        with pytest.raises(ClosedError):
            stream.sync()
    with pytest.raises(ClosedError):
        device.allocate(4)


def test_closed_connection_takes_its_devices_with_it(connection: Connection) -> None:
    """Whoever still has a device is told."""
    device = connection.device()
    connection.close()
    connection.close()
    with pytest.raises(ClosedError):
        device.allocate(4)


def test_trap_counts_each_submission() -> None:
    """As many traps as the GPU fetched entries; GP_PUT moves by nothing else."""
    gpu = Gpu()
    host = HostDriver(gpu, 64 * MIB, 64 * MIB)
    vm = Hypervisor(host).create_vm("trap", 16 * MIB, 32 * MIB, 4)
    guest = GuestDriver(vm.device)
    pages = map_memfd(*vm.device.region(abi.RegionIndex.USERD))
    held = threading.Event()

    class Client:
        """The hypervisor's side of a trap, unless it is held."""

        def write_region(self, index: int, offset: int, data: bytes) -> None:
            assert index == abi.RegionIndex.USERD
            if not held.is_set():
                pages[offset : offset + len(data)] = data
                os.eventfd_write(vm.device.doorbell_fd, 1)

    traps = Traps(Client())
    with traps.device(guest.open(), "trap") as device:
        stream = device.create_stream()
        buffer = device.allocate(8)
        for _ in range(RING_ENTRIES + 3):
            buffer.copy_from(bytes(8), stream=stream)
        stream.sync()
        assert traps.count == vm.counters.submissions > RING_ENTRIES
        held.set()
        launch(stream, ONE, kernel("poke"), buffer, 0.0, bytes(4))
        assert not stream.is_done
        assert traps.count == vm.counters.submissions + 1
        held.clear()
        launch(stream, ONE, kernel("poke"), buffer, 0.0, bytes(4))
        stream.sync()
        assert traps.count == vm.counters.submissions
    guest.close()
    vm.close()
    host.close()
    gpu.close()


def test_trap_fifo_writes_entries_and_stops_when_the_ring_is_full() -> None:
    """It fills all places but one, and goes on, around the end, when GP_GET has moved."""
    ring, userd = bytearray(8 * RING_ENTRIES), bytearray(USERD_PAGE_SIZE)
    written: list[tuple[int, int, int]] = []

    class Client:
        """Notes what is written."""

        def write_region(self, index: int, offset: int, data: bytes) -> None:
            written.append((index, offset, int.from_bytes(data, "little")))

    handles = uapi.Channel(1, 5, memoryview(userd), memoryview(bytearray(USERD_PAGE_SIZE)), -1)
    fifo = TrapFifo(memoryview(ring), handles, Traps(Client()))
    assert all(fifo.submit(4 * number, 1) for number in range(RING_ENTRIES - 1))
    assert not fifo.submit(4, 1)
    assert len(written) == RING_ENTRIES - 1
    assert written[-1] == (3, 5 * USERD_PAGE_SIZE + NV_RAMUSERD_GP_PUT, RING_ENTRIES - 1)
    entries = np.frombuffer(ring, np.uint64)
    assert entries[:-1].tolist() == [GpFifo.encode(4 * number, 1) for number in range(RING_ENTRIES - 1)]
    userd[NV_RAMUSERD_GP_GET] = 1
    assert fifo.submit(8, 2)
    assert entries[-1] == GpFifo.encode(8, 2)
    assert written[-1][2] == 0


def test_remote_sends_one_message_for_each_call(remote: RemoteConnection) -> None:
    """Whatever a call has to carry; the text of a kernel crosses once."""
    poke = kernel("poke")
    marks = [remote.hypercalls]

    def count(expected: int) -> None:
        marks.append(remote.hypercalls)
        assert marks[-1] - marks[-2] == expected

    with remote.device() as device:
        count(1)
        stream = device.create_stream()
        count(1)
        buffer = device.allocate(4 * MIB)
        count(1)
        buffer.copy_from(bytes(4 * MIB), stream=stream)
        count(1)
        buffer.copy_to(bytearray(4 * MIB), stream=stream)
        count(1)
        launch(stream, ONE, poke, buffer, 0.0, bytes(4))
        count(2)
        launch(stream, ONE, poke, buffer, 0.0, bytes(4))
        count(1)
        launch(stream, LaunchConfig(2, 2), poke, buffer, 0.0, bytes(4))
        count(1)
        stream.sync()
        count(1)
        assert stream.is_done
        count(1)
        buffer.close()
        count(1)
        stream.close()
        count(1)
    count(1)


def test_remote_says_how_much_memory_there_is(remote: RemoteConnection) -> None:
    """Allocating shows, closing and dropping a buffer gives back."""
    with remote.device() as device:
        free, size = device.memory_info
        assert 0 < free <= size
        buffer = device.allocate(MIB)
        assert device.memory_info == (free - MIB, size)
        buffer.close()
        assert device.memory_info == (free, size)
        dropped = device.allocate(MIB)
        del dropped
        other = device.allocate(MIB)
        assert device.memory_info == (free - MIB, size)
        other.close()


def test_remote_refuses_what_it_does_not_carry(remote: RemoteConnection) -> None:
    """Views of buffers, fills, events."""
    with remote.device() as device:
        stream, buffer = device.create_stream(), device.allocate(8)
        with pytest.raises(NotSupportedError):
            memoryview(buffer)
        with pytest.raises(NotSupportedError):
            buffer.fill(0, stream=stream)
        with pytest.raises(NotSupportedError):
            stream.record()
        with pytest.raises(NotSupportedError):
            stream.wait(device.create_stream())


def test_remote_refuses_kernels_that_use_variables(remote: RemoteConnection) -> None:
    """A program's variables stay with the client: a launch says so before anything crosses."""
    text = (
        ".version 7.0\n.target sm_80\n.address_size 64\n.global .u32 n;\n"
        ".entry k() { .reg .u32 r; ld.global.u32 r, [n]; ret; }"
    )
    with remote.device() as device:
        stream = device.create_stream()
        with pytest.raises(NotSupportedError, match="variables"):
            launch(stream, ONE, Program(text).compile().get_kernel("k"))


def test_client_that_disappears_leaves_nothing(served: tuple[RemoteServer, Path]) -> None:
    """Two devices with buffers, streams and work under way; the next client finds all memory free."""
    _, path = served
    with RemoteConnection(path) as before, before.device() as device:
        free = device.memory_info
    gone = RemoteConnection(path)
    for _ in range(2):
        device = gone.device()
        stream, buffer = device.create_stream(), device.allocate(32 * MIB)
        buffer.copy_from(bytes(8 * MIB), stream=stream)
        launch(stream, ONE, kernel("poke"), NOWHERE, 0.0, bytes(4))
    gone.close()
    with RemoteConnection(path) as after, after.device() as device:
        assert device.memory_info == free


def test_client_that_disappears_within_a_message_leaves_nothing(
    served: tuple[RemoteServer, Path],
) -> None:
    """In the middle of a copy in, and while a copy out waits to be read."""
    _, path = served
    for call, size in ((Call.COPY_IN, 8 * MIB), (Call.COPY_OUT, 0)):
        with RemoteConnection(path) as connection:
            device = connection.device()
            stream, buffer = device.create_stream(), device.allocate(8 * MIB)
            free_now = device.memory_info[0]
            arguments = (stream.handle, buffer.handle, 8 * MIB, 0, 0, 0)
            connection._socket.sendall(wire.REQUEST.pack(call, 1, size, *arguments) + bytes(1000))
    with RemoteConnection(path) as after, after.device() as device:
        assert device.memory_info[0] == free_now + 8 * MIB


@pytest.mark.parametrize(
    ("request_fields", "data", "error"),
    [
        ((999,), b"", NotSupportedError),
        ((999,), bytes(MIB), NotSupportedError),
        ((Call.ALLOCATE, MIB, 7), b"", InvalidValueError),
        ((Call.ALLOCATE, 0, 0), b"", InvalidValueError),
        ((Call.ALLOCATE, 2**64 - 1, 0), b"", LogvError),
        ((Call.GET_PARAM, 1000), b"", InvalidValueError),
        ((Call.FREE, 4096), b"", InvalidHandleError),
        ((Call.STREAM_SYNC, 1), b"", InvalidHandleError),
        ((Call.STREAM_CLOSE, 1), b"", InvalidHandleError),
        ((Call.COPY_IN, 1, 0), bytes(3 * MIB), InvalidHandleError),
        ((Call.COPY, 1, 0, 0, 2**63), b"", InvalidValueError),
        ((Call.LOAD,), b"no image", InvalidValueError),
        ((Call.LOAD,), b"//.entry f\nno PTX\0", LogvError),
        ((Call.LOAD,), bytes(wire.MAX_TEXT_BYTES + 1), NotSupportedError),
        ((Call.LAUNCH, 1, 0), bytes(28), InvalidHandleError),
        ((Call.LAUNCH, 1, 0), bytes(wire.MAX_LAUNCH_BYTES + 1), NotSupportedError),
    ],
)
def test_remote_server_refuses_what_makes_no_sense(
    remote: RemoteConnection, request_fields: tuple[int, ...], data: bytes, error: type[LogvError]
) -> None:
    """By an error, after which it understands the next request."""
    call, *arguments = request_fields
    with remote.device() as device:
        with pytest.raises(error):
            remote.call(Call(call) if call in list(Call) else call, 1, *arguments, data=data)  # type: ignore[arg-type]
        with pytest.raises(InvalidHandleError):
            remote.call(Call.SYNC, 7)
        assert device.memory_info[1] > 0


def test_remote_server_bounds_kernels_and_checks_launches(remote: RemoteConnection) -> None:
    """Arguments of the wrong size and impossible geometries are refused; so are too many kernels."""
    poke = kernel("poke")
    with remote.device() as device:
        stream = device.create_stream()
        number = remote.call(Call.LOAD, 1, data=poke.image)
        for geometry in ((1, 1, 1, 2048, 1, 1, 0), (0, 1, 1, 1, 1, 1, 0), (1, 1, 1, 1, 1, 1, 1 << 30)):
            with pytest.raises(InvalidValueError):
                remote.call(
                    Call.LAUNCH, 1, stream.handle, number, data=wire.GEOMETRY.pack(*geometry) + bytes(16)
                )
        with pytest.raises(InvalidValueError, match="16 bytes"):
            remote.call(Call.LAUNCH, 1, stream.handle, number, data=bytes(30))
        for _ in range(MAX_KERNELS - 1):
            remote.call(Call.LOAD, 1, data=poke.image)
        with pytest.raises(ExhaustedError):
            remote.call(Call.LOAD, 1, data=poke.image)


def test_remote_copy_out_of_nothing_fails_half_way(remote: RemoteConnection) -> None:
    """The part behind the end of what is mapped is an error, and the connection goes on."""
    with remote.device() as device:
        stream, buffer = device.create_stream(), device.allocate(2 * CHUNK_BYTES)
        target = memoryview(bytearray(512 * MIB))
        with pytest.raises(GpuFaultError):
            remote.call_into(target, Call.COPY_OUT, 1, stream.handle, buffer.handle, len(target))
        for start, size in ((buffer.handle, 0), (2**64 - CHUNK_BYTES, 2 * CHUNK_BYTES)):
            with pytest.raises(InvalidValueError):
                remote.call(Call.COPY_OUT, 1, stream.handle, start, size)
        with pytest.raises(InvalidValueError):
            remote.call(Call.COPY_IN, 1, stream.handle, 2**64 - CHUNK_BYTES, data=bytes(2 * CHUNK_BYTES))
        assert device.memory_info[1] > 0


@pytest.mark.parametrize("taken", [1, 60, wire.REQUEST.size, wire.REQUEST.size + 100])
def test_message_that_a_socket_takes_in_parts_arrives_whole(taken: int) -> None:
    """Cut within the header, at its end, and within the data."""

    class Reluctant(socket.socket):
        """Takes little at a time."""

        def sendmsg(self, buffers: Iterable[Any], *_: object) -> int:
            return self.send(b"".join(buffers)[:taken])

    ours, theirs = socket.socketpair()
    with theirs, Reluctant(fileno=ours.detach()) as sender:
        header, data = bytes(range(wire.REQUEST.size)), bytes(range(200))
        wire.send(sender, header, data)
        received = bytearray(len(header) + len(data))
        wire.receive(theirs, received)
    assert received == header + data


def test_server_that_is_another_is_said_so() -> None:
    """Replies of impossible sizes end the connection instead of filling memory."""
    copy_out = wire.REPLY.pack(0, MIB, 0)
    error = wire.REPLY.pack(wire.ErrorKind.CHANNEL, 1 << 40, 0)
    with tempfile.TemporaryDirectory(prefix="logv") as folder:
        path = f"{folder}/other.sock"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            for reply in (error, copy_out):
                with RemoteConnection(path) as connection:
                    with listener.accept()[0] as other:
                        other.sendall(reply)
                        with pytest.raises(LogvError, match="another version"):
                            connection.call_into(memoryview(bytearray(8)), Call.COPY_OUT, 1)
                    with pytest.raises(ClosedError):
                        connection.call(Call.OPEN)


def test_close_ends_a_call_that_waits() -> None:
    """A thread whose reply never comes gets ClosedError when another one closes the connection."""
    with tempfile.TemporaryDirectory(prefix="logv") as folder:
        path = f"{folder}/silent.sock"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            connection = RemoteConnection(path)
            with listener.accept()[0] as silent, ThreadPoolExecutor(1) as pool:
                waiting = pool.submit(connection.call, Call.OPEN)
                wire.receive(silent, bytearray(wire.REQUEST.size))
                connection.close()
                with pytest.raises(ClosedError):
                    waiting.result(DEADLINE_S)


def test_server_that_is_gone_is_said_so() -> None:
    """A connection to nobody, and one whose server ends."""
    with remote_server() as (server, path):
        connection = RemoteConnection(path)
        device = connection.device()
        server.stop()
        with pytest.raises(ClosedError):
            device.create_stream()
        device.close()
        assert device.closed
    with pytest.raises(ClosedError, match="start one"):
        RemoteConnection(path)
    with pytest.raises(LogvError, match="listen"):
        RemoteServer(path.parent / "no folder" / "remote.sock")


def test_server_process_ends_cleanly_when_told_to() -> None:
    """With a client connected; no socket is left."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    with tempfile.TemporaryDirectory(prefix="logv") as folder:
        path = Path(folder) / "remote.sock"
        process = context.Process(target=serve, args=(path, "64MiB", ready.set))
        process.start()
        try:
            assert ready.wait(DEADLINE_S)
            with RemoteConnection(path) as connection, connection.device() as device:
                assert device.memory_info == (64 * MIB, 64 * MIB)
                process.terminate()
                assert eventually(lambda: not path.exists())
                connection.close()
                with pytest.raises(ClosedError):
                    connection.call(Call.OPEN)
            process.join(DEADLINE_S)
            assert process.exitcode == 0
        finally:
            process.kill()
            process.join()
            process.close()
