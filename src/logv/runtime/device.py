"""Devices: a GPU as one application sees it."""

from collections.abc import Callable, Hashable
from types import TracebackType
from typing import ClassVar, Self
from weakref import WeakKeyDictionary

from logv import uapi
from logv.errors import BusyError, InvalidValueError
from logv.runtime._context import Context
from logv.runtime._launch_template import LaunchTemplate
from logv.runtime._module_variables import ModuleVariables
from logv.runtime.buffer import Buffer
from logv.runtime.event import Event, EventOptions
from logv.runtime.kernel import Kernel
from logv.runtime.launcher import LaunchConfig
from logv.runtime.stream import Stream
from logv.uapi import Domain, Param

_PROGRAM_ALIGNMENT = 16
# Geometries kept for a kernel: bounds what an application that never launches the same twice takes.
_MAX_TEMPLATES = 256


class Device:
    """A GPU, with an address space of its own; everything made from it lives in that.

    Parameters
    ----------
    driver : Driver
        A connection to a GPU driver, closed with the device.
    name : str
        For messages.
    make_context : callable, optional
        Makes the device's context on the driver.

    Attributes
    ----------
    module_data : mapping of ModuleVariables to Buffer
        Memory of the variables of programs, for as long as the program is there.
    """

    _buffer_type: ClassVar[type[Buffer]] = Buffer

    def __init__(
        self,
        driver: uapi.Driver,
        name: str = "gpu",
        *,
        make_context: Callable[[uapi.Driver], Context] = Context,
    ) -> None:
        self.name = name
        self.context = make_context(driver)
        self.module_data: WeakKeyDictionary[ModuleVariables, Buffer] = WeakKeyDictionary()
        self._templates: dict[Hashable, dict[LaunchConfig, LaunchTemplate]] = {}
        self._programs: dict[bytes, int] = {}

    def __repr__(self) -> str:
        return f"<Device {self.name}{' closed' if self.closed else ''}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except BusyError as busy:
            if error is None:
                raise
            # The frames of the error may be what keeps the views alive; it matters more than they do.
            error.add_note(f"{self!r} is still open: {busy}")

    @property
    def closed(self) -> bool:
        """Whether the device was closed."""
        return self.context.closed

    @property
    def compute_capability(self) -> tuple[int, int]:
        """Major and minor number: which PTX the GPU takes."""
        major, minor = divmod(self._param(Param.COMPUTE_CAPABILITY), 10)
        return major, minor

    @property
    def memory_info(self) -> tuple[int, int]:
        """Bytes of GPU memory that are free, and in all (in a VM: of its quota)."""
        return self._param(Param.VRAM_FREE), self._param(Param.VRAM_SIZE)

    def allocate(self, size: int) -> Buffer:
        """Allocate `size` bytes of GPU memory, all zero.

        Raises
        ------
        InvalidValueError
            `size` is not a positive integer.
        OutOfMemoryError
            Less is free; in a VM QuotaExceededError.
        """
        return self._allocate(size, Domain.VRAM)

    def allocate_pinned(self, size: int) -> Buffer:
        """Allocate `size` bytes of system memory, all zero, that kernels and copies can reach.

        Raises
        ------
        InvalidValueError
            `size` is not a positive integer.
        OutOfMemoryError
            Less is free; in a VM QuotaExceededError.
        """
        return self._allocate(size, Domain.SYSTEM)

    def create_stream(self) -> Stream:
        """Make a stream; ExhaustedError if the GPU has no channel left."""
        return Stream(self, self.context.create_channel())

    def create_event(self, options: EventOptions | None = None) -> Event:
        """Make an event that is not recorded yet."""
        self.context.check_open()
        options = EventOptions() if options is None else options
        if not isinstance(options, EventOptions):
            raise InvalidValueError(f"options must be EventOptions, not {type(options).__name__}")
        return Event(self, self.context.heap, options)

    def sync(self) -> None:
        """Wait for everything submitted to all streams.

        Raises
        ------
        GpuFaultError, ChannelError
            A stream failed.
        """
        self.context.check_open()
        self.context.sync()

    def close(self) -> None:
        """Wait for what runs, and return everything to the driver. Closing twice is harmless.

        Raises
        ------
        BusyError
            Memoryviews or arrays of buffers are alive; nothing has changed.
        """
        self.context.close()

    def launch_template(self, kernel: Kernel, config: LaunchConfig) -> LaunchTemplate:
        """Return what launches of `kernel` with `config` have in common; loads the kernel if need be."""
        try:
            return self._templates[kernel.identity][config]
        except (KeyError, AttributeError, TypeError):
            # Rare, so the arguments are looked at here and not at each launch.
            return self._new_template(kernel, config)

    def _new_template(self, kernel: Kernel, config: LaunchConfig) -> LaunchTemplate:
        if not isinstance(config, LaunchConfig):
            raise InvalidValueError(f"config must be a LaunchConfig, not {type(config).__name__}")
        if not isinstance(kernel, Kernel):
            raise InvalidValueError(f"kernel must be a Kernel, not {type(kernel).__name__}")
        self.context.check_open()
        if kernel.identity not in self._templates:
            self._forget_programs()
        templates = self._templates.setdefault(kernel.identity, {})
        if len(templates) >= _MAX_TEMPLATES:
            templates.clear()
        template = self._make_template(kernel, config)
        templates[config] = template
        return template

    def _make_template(self, kernel: Kernel, config: LaunchConfig) -> LaunchTemplate:
        data = None if kernel.variables is None else kernel.variables.memory(self).handle
        return LaunchTemplate(kernel.entry, self._load(kernel.image), config, data)

    def _forget_programs(self) -> None:
        """Drop the templates of kernels whose program is gone, and with it the variables they name."""
        gone = [key for key in self._templates if isinstance(key, tuple) and key[1]() is None]
        for key in gone:
            del self._templates[key]

    def _load(self, image: bytes) -> int:
        """Return where a program lies; it stays for as long as the device is open."""
        address = self._programs.get(image)
        if address is None:
            span = self.context.heap.allocate(len(image), _PROGRAM_ALIGNMENT)
            span.view[:] = image
            address = self._programs[image] = span.address
        return address

    def _allocate(self, size: int, domain: Domain) -> Buffer:
        if isinstance(size, bool) or not hasattr(size, "__index__"):
            raise InvalidValueError(f"size must be an integer, not {type(size).__name__}")
        memory, address = self.context.map_new(int(size), domain)
        buffer = self._buffer_type(self, memory, address, int(size))
        self.context.buffers.add(buffer)
        return buffer

    def _param(self, param: Param) -> int:
        self.context.check_open()
        return self.context.driver.get_param(param)
