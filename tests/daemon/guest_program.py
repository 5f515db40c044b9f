"""The process of a VM, told by its first argument what to do; ``GuestProcess`` starts and leads it.

It prints a line when it holds something of its VM, and waits for a line before it goes on.
"""

import os
import sys
from collections.abc import Callable

from tests.daemon import application

import logv
from logv.connection import Connection

HELD_BYTES = 1 << 20


def _holding(message: str = "holding") -> None:
    print(message, flush=True)
    sys.stdin.readline()


def hold(path: str) -> None:
    """Hold memory, and close everything when told to."""
    with Connection(path) as connection, connection.device() as device, device.allocate(HELD_BYTES):
        assert application.is_right(device, seed=1)
        _holding()
        assert application.is_right(device, seed=2)


def leave(path: str) -> None:
    """Reach the end of the program without closing anything."""
    device = logv.connect(path)
    # Kept by the module, so that nothing closes it before the interpreter goes down.
    globals()["kept"] = device, device.allocate(HELD_BYTES)
    _holding()


def vanish(path: str) -> None:
    """End without any of the interpreter's cleaning up."""
    leave(path)
    os._exit(0)


def fail(path: str) -> None:
    """Let an exception end the program."""
    leave(path)
    raise RuntimeError("the application failed")


def spin(path: str) -> None:
    """Wait for a kernel that does not end by itself; print what ends the wait."""
    stream = application.launch_endless(logv.connect(path))
    print("holding", flush=True)
    try:
        stream.sync()
    except logv.LogvError as error:
        print(f"{type(error).__name__}: {error}", flush=True)


def outlive(path: str) -> None:
    """Try everything once more after the daemon has gone; print what comes of each."""
    with Connection(path) as connection:
        device = connection.device()
        stream, buffer = device.create_stream(), device.allocate(HELD_BYTES)

        def copy_and_sync() -> None:
            buffer.fill(1, stream=stream)
            stream.sync()

        attempts: dict[str, Callable[[], object]] = {
            "allocate": lambda: device.allocate(HELD_BYTES),
            "memory_info": lambda: device.memory_info,
            "copy and sync": copy_and_sync,
            "device": connection.device,
            "connect": lambda: logv.connect(path),
        }
        _holding()
        for name, attempt in attempts.items():
            try:
                attempt()
            except logv.LogvError as error:
                print(f"{name}: {type(error).__name__}: {error}", flush=True)
            else:
                print(f"{name}: done", flush=True)


_ACTIONS: dict[str, Callable[[str], None]] = {
    action.__name__: action for action in (hold, leave, vanish, fail, spin, outlive)
}

if __name__ == "__main__":
    _ACTIONS[sys.argv[1]](sys.argv[2])
