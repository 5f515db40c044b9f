"""The runtime: a user-mode driver that builds pushbuffers and submits them itself, shaped after cuda.core."""

from logv.runtime.array_view import ArrayView
from logv.runtime.buffer import Buffer
from logv.runtime.device import Device
from logv.runtime.device_set import DeviceSet
from logv.runtime.event import Event, EventOptions
from logv.runtime.kernel import Kernel
from logv.runtime.launcher import LaunchConfig, launch
from logv.runtime.program import ObjectCode, Program
from logv.runtime.program_options import ProgramOptions
from logv.runtime.stream import Stream

__all__ = [
    "ArrayView",
    "Buffer",
    "Device",
    "DeviceSet",
    "Event",
    "EventOptions",
    "Kernel",
    "LaunchConfig",
    "ObjectCode",
    "Program",
    "ProgramOptions",
    "Stream",
    "launch",
]
