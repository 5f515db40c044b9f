"""What a place runs its applications on: the GPU in the same process, or a daemon's, or a server's."""

import ctypes
import multiprocessing
import os
import select
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack, suppress
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from logv.compare.baselines.remote_client import RemoteConnection
from logv.compare.baselines.remote_server import serve
from logv.compare.baselines.trap import TrapConnection
from logv.connection import Connection
from logv.errors import LogvError
from logv.machine import Machine
from logv.runtime import Device

VRAM = "1GiB"
VM_MEMORY = "512MiB"
"""Room for the largest workload, natively and in the VM."""

VM = "app"
"""The one VM of a daemon, and what its socket is called after."""

START_S = 60.0
"""How long a daemon or a server may take to be ready, on a machine that is busy with others."""

STOP_S = 5.0
"""How long it may take to end when asked to; then it is killed."""

_PR_SET_PDEATHSIG = 1


def follow_parent() -> None:
    """Have the kernel end this process (SIGTERM) when the thread that started it ends, however it does."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Host(ABC):
    """Opens devices for applications; a context manager.

    Attributes
    ----------
    pids : list of int
        The processes beside this one that take part.
    """

    def __init__(self) -> None:
        self.pids: list[int] = []
        self._resources = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._resources.close()

    @abstractmethod
    def device(self) -> Device:
        """Return a new device, as an application that starts does."""

    @abstractmethod
    def hypercalls(self) -> int:
        """Return how often an application has crossed to whoever holds the GPU, so far."""


class NativeHost(Host):
    """GPU and host driver in the application's own process."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._machine = self._resources.enter_context(Machine(vram=VRAM, tiered_compilation=False))

    def device(self) -> Device:
        """Return a new device on the machine itself."""
        return self._machine.device()

    def hypercalls(self) -> int:
        """Return 0: there is nobody to call."""
        return 0


class VmHost(Host):
    """A VM: this process, attached to a daemon of its own. The guest driver is loaded once, as at boot."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        with self._resources as stack:
            daemon = stack.enter_context(_Daemon(directory))
            self._connection = stack.enter_context(self._attach(directory / f"{VM}.sock"))
            self._resources = stack.pop_all()
        self.pids.append(daemon.pid)

    @staticmethod
    def _attach(socket: Path) -> Connection:
        return Connection(socket)

    def device(self) -> Device:
        """Start a process in the VM."""
        return self._connection.device()

    def hypercalls(self) -> int:
        """Return the hypercalls that the VM has made."""
        return self._connection.hypercalls


class TrapHost(VmHost):
    """A VM each of whose submissions is a hypercall."""

    @staticmethod
    def _attach(socket: Path) -> Connection:
        return TrapConnection(socket)


class RemoteHost(Host):
    """A client whose every call, with its data, goes to a server that holds the GPU."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        path = directory / "remote.sock"
        spawn = multiprocessing.get_context("spawn")
        told, tell = spawn.Pipe(duplex=False)
        server = spawn.Process(target=_serve_remote, args=(path, tell))
        with self._resources as stack:
            server.start()
            stack.callback(_end, server)
            tell.close()
            _await_server(told, server)
            self._connection = stack.enter_context(RemoteConnection(path))
            self._resources = stack.pop_all()
        if server.pid is not None:
            self.pids.append(server.pid)

    def device(self) -> Device:
        """Open a device on the server."""
        return self._connection.device()

    def hypercalls(self) -> int:
        """Return the messages that were sent."""
        return self._connection.hypercalls


HOSTS: dict[str, Callable[[Path], Host]] = {
    "native": NativeHost,
    "logv": VmHost,
    "trap": TrapHost,
    "remote": RemoteHost,
}
"""Every mode by its name."""


class _Daemon:
    """``logv serve`` with one VM; a context manager."""

    def __init__(self, directory: Path) -> None:
        self._log = directory / "serve.log"
        command = [sys.executable, "-m", "logv", "serve", "--vram", VRAM, "--socket-dir", str(directory)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603  (this interpreter, with arguments of our own)
                [*command, "--no-tiered-compilation", "--vm", f"{VM}:{VM_MEMORY}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                # The terminal's Ctrl-C is for the coordinator, who ends everything in order. A group is
                # enough for that, and better than a session: the kernel gives each session its own share of
                # a busy CPU, and a daemon with a share that native applications lack would flatter LoGV.
                process_group=0,
                # This process has one thread of Python, so nothing can be locked in the child.
                preexec_fn=follow_parent,  # noqa: PLW1509
            )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        try:
            self._await_ready()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _await_ready(self) -> None:
        stdout: IO[bytes] | None = self._process.stdout
        if stdout is None or not select.select([stdout], [], [], START_S)[0]:
            raise LogvError(f"logv serve was not ready within {START_S:.0f} s")
        if not stdout.readline():
            said = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise LogvError(
                f"logv serve ended before it was ready; it said: {said[-1] if said else 'nothing'}"
            )


def _serve_remote(path: Path, tell: Pipe) -> None:
    """Be the server's process."""
    follow_parent()
    # As for the daemon: Ctrl-C is for the coordinator.
    os.setpgid(0, 0)
    serve(path, VRAM, lambda: tell.send_bytes(b"ready"))


def _await_server(told: Pipe, server: multiprocessing.context.SpawnProcess) -> None:
    try:
        if not told.poll(START_S):
            raise LogvError(f"the remote server was not ready within {START_S:.0f} s")
        told.recv_bytes()
    except EOFError:
        server.join(STOP_S)
        raise LogvError(
            f"the remote server ended before it was ready, with status {server.exitcode}"
        ) from None
    finally:
        told.close()


def _end(server: multiprocessing.context.SpawnProcess) -> None:
    server.terminate()
    server.join(STOP_S)
    if server.is_alive():
        server.kill()
        server.join()
    with suppress(ValueError):
        server.close()
