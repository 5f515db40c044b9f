"""LoGV: one GPU, shared among virtual machines at native speed."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from logv.errors import (
        AbortedError,
        AccessDeniedError,
        BusyError,
        ChannelError,
        ClosedError,
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
        Buffer,
        Device,
        Event,
        EventOptions,
        Kernel,
        LaunchConfig,
        ObjectCode,
        Program,
        Stream,
        launch,
    )

__all__ = [
    "AbortedError",
    "AccessDeniedError",
    "Buffer",
    "BusyError",
    "ChannelError",
    "ClosedError",
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
    "PtxError",
    "QuotaExceededError",
    "Stream",
    "VirtualMachine",
    "WaitTimeoutError",
    "__version__",
    "launch",
]

_RUNTIME = frozenset(
    {
        "Buffer",
        "Device",
        "Event",
        "EventOptions",
        "Kernel",
        "LaunchConfig",
        "ObjectCode",
        "Program",
        "Stream",
        "launch",
    }
)


def __getattr__(name: str) -> Any:
    # Loaded at first use: the compiler behind the GPU takes longer to import than most scripts to start.
    if name == "__version__":
        value: Any = import_module("importlib.metadata").version("logv")
    elif name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    else:
        home = (
            "runtime"
            if name in _RUNTIME
            else "machine"
            if name in ("Machine", "VirtualMachine")
            else "errors"
        )
        value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
