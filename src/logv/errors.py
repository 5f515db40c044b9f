"""Every error LoGV raises, one tree, and the one place that turns a status code into an exception."""

from enum import IntEnum, unique


@unique
class Status(IntEnum):
    """What a driver call or a hypercall came to. The numbers are part of the ABI."""

    OK = 0
    INVALID_VALUE = 1
    INVALID_HANDLE = 2
    OUT_OF_MEMORY = 3
    QUOTA_EXCEEDED = 4
    ACCESS_DENIED = 5
    BUSY = 6
    NOT_SUPPORTED = 7
    EXHAUSTED = 8
    CLOSED = 9
    TIMEOUT = 10
    ABORTED = 11
    INTERNAL = 12


class LogvError(Exception):
    """Base of every error that LoGV raises on purpose."""

    status = Status.INTERNAL


class InvalidValueError(LogvError, ValueError):
    """An argument is impossible: a size, an address, an alignment, a dimension."""

    status = Status.INVALID_VALUE


class InvalidHandleError(LogvError, LookupError):
    """A handle was never given out, was freed, or names another kind of object."""

    status = Status.INVALID_HANDLE


class OutOfMemoryError(LogvError, MemoryError):
    """No memory of the kind asked for is left."""

    status = Status.OUT_OF_MEMORY


class QuotaExceededError(OutOfMemoryError):
    """The VM has used up what it may have."""

    status = Status.QUOTA_EXCEEDED


class AccessDeniedError(LogvError, PermissionError):
    """The object exists and belongs to somebody else, or the mapping forbids the access."""

    status = Status.ACCESS_DENIED


class BusyError(LogvError):
    """The object is still in use: mapped, bound to a channel, or exported as a memoryview."""

    status = Status.BUSY


class NotSupportedError(LogvError, NotImplementedError):
    """The request is valid, and this implementation does not offer it."""

    status = Status.NOT_SUPPORTED


class ExhaustedError(LogvError):
    """A fixed number of things (channels, address spaces, slots) is used up."""

    status = Status.EXHAUSTED


class ClosedError(LogvError, ValueError):
    """The object was closed."""

    status = Status.CLOSED


class WaitTimeoutError(LogvError, TimeoutError):
    """The wait ended before what was waited for came."""

    status = Status.TIMEOUT


class AbortedError(LogvError):
    """A call in a batch was not tried, because one before it failed."""

    status = Status.ABORTED


class ChannelError(LogvError):
    """The GPU stopped a channel: a bad method, a bad entry, a bad launch.

    Attributes
    ----------
    channel : int
        Handle of the channel that failed.
    reason : str
        What the GPU's error notifier says, in words.
    """

    def __init__(self, message: str, *, channel: int, reason: str) -> None:
        super().__init__(message)
        self.channel = channel
        self.reason = reason


class GpuFaultError(ChannelError):
    """A kernel or an engine touched memory that it may not.

    Attributes
    ----------
    address : int
        GPU virtual address of the access.
    access : str
        ``"read"`` or ``"write"``.
    kernel : str
        The kernel's name; empty if an engine other than compute faulted.
    """

    def __init__(
        self, message: str, *, channel: int, reason: str, address: int, access: str, kernel: str
    ) -> None:
        super().__init__(message, channel=channel, reason=reason)
        self.address = address
        self.access = access
        self.kernel = kernel


class PtxError(LogvError):
    """PTX that does not parse, or that uses what LoGV does not support.

    Attributes
    ----------
    line : int
        1-based line in the PTX text; 0 where no line can be named.
    instruction : str
        The statement as written; empty where there is none.
    reason : str
        What is wrong with it.
    """

    status = Status.INVALID_VALUE

    def __init__(self, message: str, *, line: int = 0, instruction: str = "") -> None:
        where = f"line {line}: " if line else ""
        what = f": `{instruction}`" if instruction else ""
        super().__init__(f"{where}{message}{what}")
        self.line = line
        self.instruction = instruction
        self.reason = message


class CompileError(LogvError):
    """CUDA C++ or a Python function that does not compile to PTX.

    Attributes
    ----------
    log : str
        What the compiler said.
    """

    status = Status.INVALID_VALUE

    def __init__(self, message: str, *, log: str) -> None:
        super().__init__(message)
        self.log = log


_BY_STATUS: dict[Status, type[LogvError]] = {
    kind.status: kind
    for kind in (
        InvalidValueError,
        InvalidHandleError,
        OutOfMemoryError,
        QuotaExceededError,
        AccessDeniedError,
        BusyError,
        NotSupportedError,
        ExhaustedError,
        ClosedError,
        WaitTimeoutError,
        AbortedError,
    )
}


def raise_for_status(status: int, message: str) -> None:
    """Raise the exception that `status` stands for; return for ``Status.OK``."""
    if status == Status.OK:
        return
    try:
        kind = _BY_STATUS.get(Status(status), LogvError)
    except ValueError:
        raise LogvError(f"{message} (unknown status {status})") from None
    raise kind(message)
