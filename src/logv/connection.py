"""Connections: a VM as the process that is the VM sees it."""

import os
import threading
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from logv.abi import Register
from logv.errors import ClosedError, InvalidValueError
from logv.guest import GuestDriver
from logv.runtime import Device, DeviceSet
from logv.transport import Client, RemoteDevice

VM_VARIABLE = "LOGV_VM"
"""Environment variable in which ``logv run`` tells a program its VM's socket."""

_shared: dict[str, "Connection"] = {}
_shared_lock = threading.Lock()


def _leave_to_parent() -> None:
    """Start anew in a process that was forked: the parent's VMs are the parent's."""
    global _shared_lock  # noqa: PLW0603  (another thread may have had it when this one forked)
    _shared_lock = threading.Lock()
    _shared.clear()


os.register_at_fork(after_in_child=_leave_to_parent)


class Connection:
    """Makes a process a VM: attaches the VM's device and loads the guest driver.

    A VM has one process at a time. When the process ends, however it ends, the daemon takes back
    whatever it held.

    Parameters
    ----------
    path : str or os.PathLike
        The VM's socket, which ``logv serve`` made.
    timeout_s : float
        How long to try while another process has the VM.

    Raises
    ------
    ClosedError
        Nobody serves a VM there.
    BusyError
        Another process has the VM.
    NotSupportedError
        Something else is served there.

    Attributes
    ----------
    client : Client
        The vfio-user connection.
    name : str
        The VM's name.
    """

    def __init__(self, path: str | os.PathLike[str], *, timeout_s: float = 1.0) -> None:
        self.name = Path(path).stem
        self._devices = DeviceSet()
        with ExitStack() as stack:
            self.client = Client(path, timeout_s=timeout_s)
            stack.callback(self.client.close)
            self._remote = RemoteDevice(self.client)
            stack.callback(self._remote.close)
            self._guest = GuestDriver(self._remote)
            stack.callback(self._guest.close)
            stack.callback(self._devices.close)
            self._resources = stack.pop_all()
        self._closed = False

    def __repr__(self) -> str:
        return f"<Connection to VM {self.name}{' closed' if self._closed else ''}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def closed(self) -> bool:
        """Whether the connection was closed, or the daemon is gone."""
        return self._closed or not self.client.connected

    @property
    def hypercalls(self) -> int:
        """Hypercalls that the VM has made so far, modulo 2**32. Asking is none."""
        return self._remote.read_register(Register.HYPERCALLS)

    def device(self) -> Device:
        """Start a process in the VM and return the GPU as it sees it.

        Raises
        ------
        QuotaExceededError
            The VM's memory is used up.
        ClosedError
            The connection was closed, or the daemon is gone.
        """
        if self.closed:
            raise ClosedError(f"the connection to VM {self.name!r} is closed; make another one")
        return self._devices.open(self._guest.open(), self.name)

    def close(self) -> None:
        """Close the devices and detach from the VM. Closing twice is harmless."""
        if not self._closed:
            self._closed = True
            self._resources.close()


def connect(path: str | os.PathLike[str] | None = None) -> Device:
    """Return the GPU of the VM that this process is.

    The connection is made once for each socket, and stays until the process ends: the VM is this
    process's until then. Use :class:`Connection` to leave a VM earlier. A forked child does not inherit
    it, and needs a VM of its own.

    Parameters
    ----------
    path : str or os.PathLike, optional
        The VM's socket, such as ``"/run/user/1000/logv/dash.sock"``. Not needed in a program that
        ``logv run`` has started.

    Raises
    ------
    InvalidValueError
        No path, and no ``logv run``.
    ClosedError, BusyError, NotSupportedError
        As :class:`Connection`.
    """
    where = os.fspath(path) if path is not None else os.environ.get(VM_VARIABLE)
    if not where:
        raise InvalidValueError(
            'which VM? Name its socket, logv.connect("DIR/NAME.sock"), or start the program with '
            "`logv run --vm DIR/NAME.sock -- PROGRAM`"
        )
    key = os.path.realpath(where)
    with _shared_lock:
        connection = _shared.get(key)
        if connection is None or connection.closed:
            if connection is not None:
                connection.close()
            connection = _shared[key] = Connection(where)
    return connection.device()
