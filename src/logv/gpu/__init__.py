"""The software GPU: windows of memory, ports of clients, channels, and the engine thread that runs them."""

from logv.gpu.disk_cache import DiskCache
from logv.gpu.gpu import Gpu
from logv.gpu.port import Port, PortCounters
from logv.gpu.window import Window

__all__ = ["DiskCache", "Gpu", "Port", "PortCounters", "Window"]
