"""The error notifier in a channel's USERD page, turned into an exception."""

import struct

from logv.errors import ChannelError, GpuFaultError
from logv.hw import dev_ram
from logv.uapi import Fault

_FIELDS = struct.Struct("<IIQQ")  # NOTIFIER_STATUS to NOTIFIER_PROGRAM
_ACCESS = {1: "read", 2: "write"}
_REASONS = {
    Fault.MMU_FAULT: "memory fault",
    Fault.BAD_GP_ENTRY: "illegal GPFIFO entry",
    Fault.BAD_METHOD: "unknown or malformed method",
    Fault.PRIVILEGED: "privileged method or physical address",
    Fault.BAD_CLASS: "method for an engine class that the channel may not use",
    Fault.BAD_LAUNCH: "impossible launch",
    Fault.BAD_PROGRAM: "the program does not compile",
    Fault.BAD_SEMAPHORE: "misaligned or malformed semaphore",
    Fault.TRAP: "the kernel executed trap",
    Fault.TIMEOUT: "the kernel ran too long and was stopped by the watchdog",
    Fault.MISALIGNED: "misaligned access",
    Fault.BAD_COPY: "impossible copy",
}


def read_error(page: memoryview | bytes, channel: int) -> ChannelError | None:
    """Return what the notifier in the USERD page of `channel` reports; None while the channel is well."""
    status, access_code, address, _ = _FIELDS.unpack_from(page, dev_ram.NOTIFIER_STATUS)
    if status == Fault.NONE:
        return None
    kernel = _text(page, dev_ram.NOTIFIER_KERNEL, dev_ram.NOTIFIER_KERNEL__SIZE)
    message = _text(page, dev_ram.NOTIFIER_MESSAGE, dev_ram.NOTIFIER_MESSAGE__SIZE)
    try:
        reason = _REASONS[Fault(status)]
    except ValueError:
        reason = f"error {status}"
    if message:
        reason = f"{reason}: {message}"
    where = f" in kernel {kernel!r}" if kernel else ""
    if status in (Fault.MMU_FAULT, Fault.MISALIGNED):
        access = _ACCESS.get(access_code, "")
        return GpuFaultError(
            f"channel {channel:#x} stopped: {reason}{where}, {access} at GPU address {address:#x}",
            channel=channel,
            reason=reason,
            address=address,
            access=access,
            kernel=kernel,
        )
    detail = f" (method or address {address:#x})" if address else ""
    return ChannelError(
        f"channel {channel:#x} stopped: {reason}{where}{detail}", channel=channel, reason=reason
    )


def _text(page: memoryview | bytes, offset: int, size: int) -> str:
    return bytes(page[offset : offset + size]).split(b"\0", 1)[0].decode("utf-8", "replace")
