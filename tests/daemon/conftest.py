"""Directories for sockets, and a daemon that several tests share."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.daemon.daemon_process import DaemonProcess


@pytest.fixture
def sockets() -> Iterator[Path]:
    """Return an empty directory, whose path is shorter than pytest's own."""
    with TemporaryDirectory(prefix="logv-") as path:
        yield Path(path)


@pytest.fixture(scope="module")
def daemon() -> Iterator[DaemonProcess]:
    """Return a daemon with the VMs ``dash`` and ``ivi``, which a test leaves without a client."""
    with (
        TemporaryDirectory(prefix="logv-") as path,
        DaemonProcess(Path(path), {"dash": "16MiB", "ivi": "32MiB"}) as daemon,
    ):
        yield daemon
