"""What a VM did and holds."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class VmCounters:
    """A VM's counters at one time: what it did since it was created, and what it holds now."""

    hypercalls: int
    """Crossings from the guest into the hypervisor: writes to EXECUTE, the refused ones too."""
    calls: int
    """Calls that succeeded; one crossing carries up to 32."""
    submissions: int
    """GP entries that the GPU fetched."""
    launches: int
    """Kernels completed."""
    bytes_copied: int
    """Bytes written by the copy engine and by inline uploads."""
    faults: int
    """Channels that the GPU stopped because of an error."""
    interrupts: int
    """Interrupts raised."""
    memory_used: int
    """Bytes of VRAM allocated."""
    memory_quota: int
    """Bytes of VRAM that may be allocated."""
    system_memory_used: int
    """Bytes of GPU-visible system memory allocated."""
    buffers: int
    """Buffer objects, in both domains."""
    vspaces: int
    """GPU address spaces."""
    channels: int
    """Channels."""

    def __str__(self) -> str:
        return (
            f"{self.hypercalls} hypercalls ({self.calls} calls), {self.submissions} submissions, "
            f"{self.launches} launches, {_amount(self.bytes_copied)} copied, {self.faults} faults, "
            f"{self.interrupts} interrupts, {_amount(self.memory_used)} of {_amount(self.memory_quota)} "
            f"memory used, {_amount(self.system_memory_used)} system memory, {self.buffers} buffers, "
            f"{self.vspaces} address spaces, {self.channels} channels"
        )


def _amount(size: int) -> str:
    """Return a number of bytes in the largest binary unit that leaves at least 1."""
    value, units = float(size), ["B", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        del units[0]
    return f"{value:.4g} {units[0]}"
