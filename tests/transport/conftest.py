"""A running daemon, and clients that share no code with it."""

import os
from collections.abc import Iterator

import pytest
from tests.transport.conformance import assert_let_in, make_memory
from tests.transport.daemon_rig import (
    Daemon,
    serving,
)
from tests.transport.spec_client import SpecClient


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """One daemon for all tests. BAR2 of `ivi` is larger than what is behind it."""
    with serving("dash:32MiB", "ivi:24MiB") as running:
        yield running


@pytest.fixture
def client(daemon: Daemon) -> Iterator[SpecClient]:
    """A client of `dash` that has negotiated."""
    with daemon.open("dash") as connected:
        yield connected


@pytest.fixture
def stranger(daemon: Daemon) -> Iterator[SpecClient]:
    """A client of `dash` that has said nothing yet; the VM is in nobody else's hands."""
    with daemon.open("dash", assert_let_in) as connected:
        yield connected


@pytest.fixture
def event() -> Iterator[int]:
    """An eventfd."""
    fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    yield fd
    os.close(fd)


@pytest.fixture
def memory() -> Iterator[int]:
    """A memfd that cannot change its size."""
    fd = make_memory()
    yield fd
    os.close(fd)
