"""LoGV's half on the host: one virtual device per VM; it checks what is set up, and steps aside.

Pure Python: it is on the slow path by design.
"""

from logv.hypervisor.counters import VmCounters
from logv.hypervisor.hypervisor import Hypervisor
from logv.hypervisor.vm import Vm

__all__ = ["Hypervisor", "Vm", "VmCounters"]
