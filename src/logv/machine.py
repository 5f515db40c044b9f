"""The composition root: a machine is a software GPU, its host driver, and the hypervisor beside them."""

import re
from contextlib import ExitStack
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Self

from logv.errors import ClosedError, InvalidValueError
from logv.gpu import DiskCache, Gpu
from logv.gpu.port import PortCounters
from logv.guest import GuestDriver
from logv.host import HostDriver
from logv.hypervisor import Hypervisor, Vm, VmCounters
from logv.runtime import Device, DeviceSet

_UNITS = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}
_SIZE = re.compile(r"\s*(\d{1,18})\s*([A-Za-z]*)\s*", re.ASCII)

Size = int | str


def parse_size(size: Size, what: str = "size") -> int:
    """Return bytes from a number of bytes, or from text such as ``"512MiB"``.

    Raises
    ------
    InvalidValueError
        It is neither, or not positive.
    """
    if isinstance(size, str):
        match = _SIZE.fullmatch(size)
        if match is None or match[2].lower() not in _UNITS:
            raise InvalidValueError(
                f'{what} {size!r} is not a size; write bytes, or text such as "512MiB" or "1GiB"'
            )
        number = int(match[1]) * _UNITS[match[2].lower()]
    elif isinstance(size, bool) or not hasattr(size, "__index__"):
        raise InvalidValueError(f'{what} must be bytes, or text such as "512MiB", not {type(size).__name__}')
    else:
        number = int(size)
    if number <= 0:
        raise InvalidValueError(f"{what} must be greater than 0, not {number}")
    return number


def _disk_cache(choice: bool | str | PathLike[str]) -> DiskCache | None:
    if isinstance(choice, bool):
        return DiskCache.of_user() if choice else None
    if not isinstance(choice, str | PathLike):
        raise InvalidValueError(f"disk_cache must be a directory, True or False, not {type(choice).__name__}")
    return DiskCache(Path(choice).absolute())


class VirtualMachine:
    """A VM on a machine: a share of the GPU, with a guest driver in it. Made by :meth:`Machine.create_vm`."""

    def __init__(self, vm: Vm) -> None:
        self._vm = vm
        self._guest = GuestDriver(vm.device)
        self._devices = DeviceSet()
        self._closed = False

    def __repr__(self) -> str:
        return f"<VirtualMachine {self.name}{' closed' if self._closed else ''}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def name(self) -> str:
        """The name it was created with."""
        return self._vm.name

    @property
    def closed(self) -> bool:
        """Whether the VM, or its machine, was closed."""
        return self._closed

    @property
    def counters(self) -> VmCounters:
        """Hypercalls, submissions, launches, bytes copied, faults, memory used."""
        return self._vm.counters

    def device(self) -> Device:
        """Start a process in the VM and return the GPU as it sees it.

        Raises
        ------
        QuotaExceededError
            The VM's memory is used up.
        ClosedError
            The VM was closed.
        """
        if self._closed:
            raise ClosedError(f"VM {self.name!r} was closed; create another one")
        return self._devices.open(self._guest.open(), self.name)

    def close(self) -> None:
        """Close its devices, whoever still uses them, and return everything. Twice is harmless."""
        if self._closed:
            return
        self._closed = True
        with ExitStack() as stack:
            stack.callback(self._vm.close)
            stack.callback(self._guest.close)
            self._devices.close()


class Machine:
    """A computer with one software GPU, on which applications run natively and in VMs.

    Parameters
    ----------
    vram : int or str
        GPU memory: bytes, or text such as ``"512MiB"``.
    system_memory : int or str, optional
        System memory that the GPU may reach; as much as `vram` if left out.
    compute_threads : int
        Host threads that run the blocks of one launch, 1 to 64: a launch that lasts takes less time where
        CPUs are idle. A kernel that faults may then have run blocks behind the one that did.
    tiered_compilation : bool
        True to start a kernel that was never compiled before with code that is there soon, and to replace
        it, while it runs, by optimised code once it has run for 20 ms. False to wait for optimised code, as
        measurements may want.
    disk_cache : bool or path
        Where compiled kernels are kept, so that the next process need not compile them: a directory that is
        this user's alone (made if it is missing), True for the user's cache directory, or False for nowhere.

    Raises
    ------
    InvalidValueError
        A size, or the number of threads, is impossible.
    OutOfMemoryError
        The host has no such memory.
    """

    def __init__(
        self,
        vram: Size = "512MiB",
        system_memory: Size | None = None,
        *,
        compute_threads: int = 1,
        tiered_compilation: bool = True,
        disk_cache: bool | str | PathLike[str] = True,
    ) -> None:
        vram_size = parse_size(vram, "vram")
        system_size = vram_size if system_memory is None else parse_size(system_memory, "system_memory")
        with ExitStack() as stack:
            gpu = Gpu(
                compute_threads=compute_threads,
                tiered_compilation=tiered_compilation,
                disk_cache=_disk_cache(disk_cache),
            )
            stack.callback(gpu.close)
            self._host = HostDriver(gpu, vram_size, system_size)
            stack.callback(self._host.close)
            self._native = self._host.create_partition("native")
            self._hypervisor = Hypervisor(self._host)
            stack.callback(self._hypervisor.close)
            self._devices = DeviceSet()
            self._vms: dict[str, VirtualMachine] = {}
            self._resources = stack.pop_all()
        self._closed = False

    def __repr__(self) -> str:
        return f"<Machine with VMs {', '.join(self.vms) or '(none)'}{', closed' if self._closed else ''}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def vms(self) -> dict[str, VirtualMachine]:
        """The open VMs by name."""
        return {name: vm for name, vm in self._vms.items() if not vm.closed}

    @property
    def counters(self) -> PortCounters:
        """Submissions, launches, bytes copied and faults of the native applications."""
        return self._native.port.counters()

    @property
    def closed(self) -> bool:
        """Whether the machine was closed."""
        return self._closed

    def device(self) -> Device:
        """Return the GPU as an application sees it that runs on the machine itself."""
        self._check_open()
        return self._devices.open(self._host.open(self._native), "native")

    def create_vm(self, name: str, memory: Size, system_memory: Size | None = None) -> VirtualMachine:
        """Create a VM.

        Parameters
        ----------
        name : str
            1 to 64 letters, digits, or ``_.-``; no other open VM's.
        memory : int or str
            GPU memory it may use, reserved for it.
        system_memory : int or str, optional
            System memory of it that the GPU may reach; as much as `memory` if left out.

        Raises
        ------
        InvalidValueError
            The name is taken or malformed, or a size impossible.
        OutOfMemoryError
            The GPU has less memory left.
        """
        self._check_open()
        size = parse_size(memory, "memory")
        system_size = None if system_memory is None else parse_size(system_memory, "system_memory")
        vm = self._hypervisor.create_vm(name, size, system_size)
        try:
            machine = VirtualMachine(vm)
        except BaseException:
            vm.close()
            raise
        self._vms = {**self.vms, name: machine}
        return machine

    def close(self) -> None:
        """Close all VMs and devices, and stop the GPU. Closing twice is harmless."""
        if self._closed:
            return
        self._closed = True
        with self._resources as stack:
            for vm in self._vms.values():
                stack.callback(vm.close)
            stack.callback(self._devices.close)

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("the machine was closed; make another one")
