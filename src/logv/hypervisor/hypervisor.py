"""The hypervisor: makes VMs, and closes them."""

import re
import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from logv.errors import ClosedError, InvalidValueError
from logv.hw.software_gpu import CHANNELS_PER_CLIENT
from logv.hypervisor._host import Host
from logv.hypervisor.ledger import PAGE_SIZE
from logv.hypervisor.vm import Vm

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)


def _whole_pages(size: int, what: str) -> int:
    if not isinstance(size, int) or isinstance(size, bool) or size <= 0:
        raise InvalidValueError(f"{what} must be a number of bytes greater than 0, not {size!r}")
    return -(-size // PAGE_SIZE) * PAGE_SIZE


class Hypervisor:
    """Shares the GPU of one host driver among VMs.

    Parameters
    ----------
    host : Host
        The host driver; used, not owned.
    """

    def __init__(self, host: Host[Any]) -> None:
        self._host = host
        self._lock = threading.Lock()
        self._vms: dict[str, Vm] = {}
        self._closed = False

    @property
    def vms(self) -> Mapping[str, Vm]:
        """The open VMs by name, as they are now."""
        with self._lock:
            return MappingProxyType(dict(self._vms))

    def create_vm(
        self,
        name: str,
        memory: int,
        system_memory: int | None = None,
        channels: int = CHANNELS_PER_CLIENT,
    ) -> Vm:
        """Create a VM with a share of the GPU of its own.

        Parameters
        ----------
        name : str
            1 to 64 letters, digits, or ``_.-``; no other open VM's.
        memory : int
            Bytes of VRAM it may allocate, set aside for it; rounded up to pages.
        system_memory : int, optional
            Bytes of its own memory that the GPU may reach; as many as `memory` if left out.
        channels : int
            Channels it may have at one time, 1 to ``CHANNELS_PER_CLIENT``.

        Raises
        ------
        InvalidValueError
            The name is malformed or taken, or a number impossible.
        OutOfMemoryError
            The GPU, or the host, has less memory left.
        ClosedError
            The hypervisor was closed.
        """
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InvalidValueError(f"VM name {name!r} must be 1 to 64 letters, digits, or any of _.-")
        vram = _whole_pages(memory, "memory")
        system = vram if system_memory is None else _whole_pages(system_memory, "system_memory")
        # More than one VM's share would let it keep the others from having any.
        if not isinstance(channels, int) or not 1 <= channels <= CHANNELS_PER_CLIENT:
            raise InvalidValueError(f"channels must be 1 to {CHANNELS_PER_CLIENT}, not {channels!r}")
        with self._lock:
            if self._closed:
                raise ClosedError("the hypervisor was closed; make another one")
            if name in self._vms:
                raise InvalidValueError(f"there is a VM {name!r}; close it first, or choose another name")
            partition = self._host.create_partition(name, vram=vram, system=system, channels=channels)
            try:
                vm = Vm(name, self._host, partition, channels, self._forget)
            except BaseException:
                partition.close()
                raise
            self._vms[name] = vm
            return vm

    def close(self) -> None:
        """Close all VMs. Closing twice is harmless."""
        with self._lock:
            self._closed = True
            vms = list(self._vms.values())
        for vm in vms:
            vm.close()

    def _forget(self, vm: Vm) -> None:
        with self._lock:
            del self._vms[vm.name]
