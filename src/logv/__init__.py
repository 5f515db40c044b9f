"""LoGV: one GPU, shared among virtual machines at native speed."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from logv.connection import Connection, connect
    from logv.errors import (
        AbortedError,
        AccessDeniedError,
        BusyError,
        ChannelError,
        ClosedError,
        CompileError,
        ExhaustedError,
        GpuFaultError,
        InvalidHandleError,
        InvalidValueError,
        LogvError,
        NotSupportedError,
        OutOfMemoryError,
        PtxError,
        QuotaExceededError,
        WaitTimeoutError,
    )
    from logv.machine import Machine, VirtualMachine
    from logv.runtime import (
        ArrayView,
        Buffer,
        Device,
        Event,
        EventOptions,
        Kernel,
        LaunchConfig,
        ObjectCode,
        Program,
        ProgramOptions,
        Stream,
        launch,
    )
    from logv.runtime.python_kernel import PythonKernel, kernel

__all__ = [
    "AbortedError",
    "AccessDeniedError",
    "ArrayView",
    "Buffer",
    "BusyError",
    "ChannelError",
    "ClosedError",
    "CompileError",
    "Connection",
    "Device",
    "Event",
    "EventOptions",
    "ExhaustedError",
    "GpuFaultError",
    "InvalidHandleError",
    "InvalidValueError",
    "Kernel",
    "LaunchConfig",
    "LogvError",
    "Machine",
    "NotSupportedError",
    "ObjectCode",
    "OutOfMemoryError",
    "Program",
    "ProgramOptions",
    "PtxError",
    "PythonKernel",
    "QuotaExceededError",
    "Stream",
    "VirtualMachine",
    "WaitTimeoutError",
    "__version__",
    "connect",
    "kernel",
    "launch",
]

_HOMES = {
    "connection": ("Connection", "connect"),
    "machine": ("Machine", "VirtualMachine"),
    "runtime": (
        "ArrayView",
        "Buffer",
        "Device",
        "Event",
        "EventOptions",
        "Kernel",
        "LaunchConfig",
        "ObjectCode",
        "Program",
        "ProgramOptions",
        "Stream",
        "launch",
    ),
    "runtime.python_kernel": ("PythonKernel", "kernel"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    # Loaded at first use: the compiler behind the GPU takes longer to import than most scripts to start.
    if name == "__version__":
        value: Any = import_module("importlib.metadata").version("logv")
    elif name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    else:
        home = _HOME.get(name, "errors")
        value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
