"""The host driver: places memory, writes page tables, makes channels; serves native and virtual clients."""

from logv.host.driver import HostDriver
from logv.host.partition import Partition, Usage
from logv.host.session import Session

__all__ = ["HostDriver", "Partition", "Session", "Usage"]
