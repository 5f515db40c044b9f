"""What set-up costs when the VM is a process of its own: one hypercall, and a whole set-up."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from logv.compare.cpus import keep_apart, own_cpus, stay_with_engine
from logv.compare.paired import PairedResult
from logv.connection import Connection
from logv.machine import Machine
from logv.runtime import Device
from logv.uapi import Param

HYPERCALL_BAR = 1.5
"""A hypercall over a bare round trip of a SOCK_SEQPACKET socket, each process with a CPU of its own."""

SETUP_MS = 0.4
"""What a VM's set-up may take longer than a native one."""

MESSAGE = bytes(36)
"""As long as the message that writes EXECUTE."""

BUFFERS, BUFFER_BYTES = 4, 1 << 20

Compare = Callable[..., PairedResult]


@pytest.fixture(scope="module")
def vm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """Return a VM of a daemon that has the engine's CPU to itself."""
    directory = tmp_path_factory.mktemp("logv") / "s"
    command = [sys.executable, "-m", "logv", "serve", "--socket-dir", str(directory), "--vm", "a:64MiB"]
    with subprocess.Popen(
        [*command, "--log-level", "error"], stdout=subprocess.PIPE, start_new_session=True
    ) as daemon:
        assert daemon.stdout is not None
        assert daemon.stdout.readline()
        with Connection(Path(directory) / "a.sock") as connection:
            stay_with_engine(daemon.pid)
            yield connection
        daemon.terminate()


@contextmanager
def echo() -> Iterator[socket.socket]:
    """Yield a socket whose peer, a process on the engine's CPU, sends back what it gets."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        ours.close()
        stay_with_engine(os.getpid())
        while message := theirs.recv(64):
            theirs.send(message)
        os._exit(0)
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        os.waitpid(pid, 0)


def test_hypercall(paired: Compare, vm: Connection) -> None:
    """One call that asks for a figure, from Python to Python, over a bare round trip."""
    with echo() as peer, own_cpus(), vm.device() as device:
        driver = device.context.driver

        def bare() -> None:
            peer.send(MESSAGE)
            peer.recv(64)

        paired(
            lambda: driver.get_param(Param.VRAM_SIZE),
            bare,
            label="hypercall over a SEQPACKET round trip",
            bar=HYPERCALL_BAR,
            inner=100,
        )


def test_set_up(paired: Compare, vm: Connection) -> None:
    """Open, one stream, four buffers: in a VM over natively, with the time that it may take longer."""
    with Machine(vram="64MiB", tiered_compilation=False) as machine, own_cpus():
        keep_apart(os.getpid())

        def set_up(open_device: Callable[[], Device]) -> Device:
            device = open_device()
            device.create_stream()
            for _ in range(BUFFERS):
                # Kept by the device until it closes.
                device.allocate(BUFFER_BYTES)
            return device

        def native() -> None:
            device = set_up(machine.device)
            end = time.perf_counter_ns() + int(SETUP_MS * 1e6)
            while time.perf_counter_ns() < end:
                pass
            device.close()

        paired(
            lambda: set_up(vm.device).close(),
            native,
            label=f"set-up and close of a VM application over native + {SETUP_MS} ms",
            bar=1.0,
        )
