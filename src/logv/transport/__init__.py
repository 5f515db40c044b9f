"""vfio-user: how a VM that is a process of its own reaches its virtual device.

The socket is for set-up. What a VM does after that (submissions, copies, waits) goes through the memory
whose descriptors it was given here.
"""

from logv.transport.channel import MessageSocket
from logv.transport.client import Client
from logv.transport.gpu_device import GpuDevice
from logv.transport.remote_device import RemoteDevice
from logv.transport.session import Session

__all__ = ["Client", "GpuDevice", "MessageSocket", "RemoteDevice", "Session"]
