"""LoGV's half in the VM: a guest kernel driver that forwards what needs the hypervisor.

It knows the virtual device (``logv.abi``) and nothing behind it. Pure Python: it is on the slow path.
"""

from logv.guest.driver import GuestDriver
from logv.guest.process import Process

__all__ = ["GuestDriver", "Process"]
