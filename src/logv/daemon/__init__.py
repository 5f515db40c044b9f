"""The daemon: one GPU, its host driver and the hypervisor, and a vfio-user socket for every VM."""

from logv.daemon.config import DaemonConfig, VmConfig, load_config
from logv.daemon.daemon import Daemon

__all__ = ["Daemon", "DaemonConfig", "VmConfig", "load_config"]
