"""Trapped submissions: a VM whose writes to GP_PUT go through the hypervisor.

So do systems that share a GPU by intercepting what is written to its registers. Runtime, guest driver
and hypervisor are LoGV's; only the way differs in which GP_PUT moves. The baseline is treated well:
writes to rings, pushbuffers and semaphores are not trapped, reads of GP_GET neither, and a trap is a
message between two processes, without the exit of a virtual CPU.
"""

import os
import weakref

from logv.compare.baselines._trap_fifo import Traps
from logv.connection import Connection
from logv.runtime import Device


class TrapConnection(Connection):
    """A :class:`~logv.connection.Connection` whose devices trap each submission.

    Parameters
    ----------
    path : path
        The VM's socket.
    timeout_s : float
        How long to try while another process has the VM.
    """

    def __init__(self, path: str | os.PathLike[str], *, timeout_s: float = 1.0) -> None:
        super().__init__(path, timeout_s=timeout_s)
        self._traps = Traps(self.client)
        self._trapping: weakref.WeakSet[Device] = weakref.WeakSet()

    @property
    def traps(self) -> int:
        """Submissions so far, each of which was trapped."""
        return self._traps.count

    @property
    def hypercalls(self) -> int:
        """What went through the hypervisor so far: writes to EXECUTE, and to GP_PUT."""
        return super().hypercalls + self.traps

    def device(self) -> Device:
        """Start a process in the VM; see :meth:`Connection.device`."""
        device = self._traps.device(self._guest.open(), self.name)
        self._trapping.add(device)
        return device

    def close(self) -> None:
        """Close the devices and detach from the VM. Closing twice is harmless."""
        for device in list(self._trapping):
            device.context.close(force=True)
        super().close()
