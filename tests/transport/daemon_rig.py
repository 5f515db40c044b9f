"""A daemon of the tests' own, and a guest driver that works by hand over the specification's client."""

import mmap
import os
import select
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.transport.spec_client import Refused, SpecClient

DEADLINE_S = 30.0
"""For whatever must happen soon. It bounds a test that fails; no test that passes waits for it."""


class Daemon(NamedTuple):
    """A daemon that is ready."""

    process: subprocess.Popen[str]
    folder: Path

    def path(self, vm: str) -> Path:
        """Return a VM's socket."""
        return self.folder / f"{vm}.sock"

    def open(self, vm: str, greet: Callable[[SpecClient], object] = SpecClient.negotiate) -> SpecClient:
        """Connect to a VM and negotiate, again and again while its last client is still being seen off."""
        end = time.monotonic() + DEADLINE_S
        while True:
            with ExitStack() as undo:
                try:
                    client = undo.enter_context(SpecClient(self.path(vm)))
                    greet(client)
                except (ConnectionError, Refused):
                    if time.monotonic() > end:
                        raise
                else:
                    undo.pop_all()
                    return client
            time.sleep(0.02)

    def descriptors(self) -> int:
        """Return how many descriptors the daemon has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


@contextmanager
def serving(*vms: str) -> Iterator[Daemon]:
    """Run a daemon for VMs, each a name and a size; it must end cleanly when it is told to."""
    # Not pytest's own folder, whose path can be too long for a socket.
    with tempfile.TemporaryDirectory(prefix="logv") as parent:
        folder = Path(parent) / "s"
        command = [sys.executable, "-m", "logv", "serve", "--vram", "256MiB", "--socket-dir", str(folder)]
        for vm in vms:
            command += ["--vm", vm]
        with (
            (Path(parent) / "log").open("w+") as log,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
        ):
            try:
                assert process.stdout is not None
                readable, _, _ = select.select([process.stdout], [], [], DEADLINE_S)
                ready = process.stdout.readline() if readable else ""
                assert ready.startswith("logv: ready"), Path(log.name).read_text()
                yield Daemon(process, folder)
                process.terminate()
                assert process.wait(DEADLINE_S) == 0, Path(log.name).read_text()
                # Nothing that a client says may surprise the daemon.
                assert "Traceback" not in Path(log.name).read_text(), Path(log.name).read_text()
            finally:
                process.kill()
        assert not list(folder.glob("*.sock"))


def eventually(condition: Callable[[], bool]) -> bool:
    """Say whether a condition comes true before the deadline."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


# docs/hypercalls.md
ID, REGISTER_VERSION, EXECUTE, STATUS, RESET, HYPERCALLS, CALLS, DOORBELL = (
    0x00, 0x04, 0x10, 0x14, 0x18, 0x20, 0x24, 0x28,
)  # fmt: skip
GET_PARAM, MEM_ALLOC, MEM_FREE, MEM_MAP, VSPACE_NEW, VSPACE_FREE, VSPACE_MAP = range(1, 8)
CHAN_NEW, CHAN_FREE, FIFO_INIT_IB, OBJ_ENG_NEW = range(9, 13)
VRAM, SYSTEM = 0, 1
_BAR_OF_DOMAIN = {VRAM: 2, SYSTEM: 4}
PARAM_VRAM_FREE = 2
WRITABLE_TO_END = 3
REFERENCE = 1 << 63
INVALID_HANDLE = 2
SLOT_SIZE = 256

AMPERE_COMPUTE_B = 0xC7C0
RING_ENTRIES = 64

# NVIDIA dev_ram.ref.txt, and LoGV's doorbell page in front of the channels' pages.
GP_PUT = 0x8C
PAGE = 4096
DOORBELL_SLEEPING = 0x000
DOORBELL_IRQ_SEQUENCE = 0x040
DOORBELL_IRQ_WAITERS = 0x080

# NVIDIA clc56f.h: five methods from SEM_ADDR_LO on, and NON_STALL_INTERRUPT with immediate data.
_SEMAPHORE = 1 << 29 | 5 << 16 | 0x5C >> 2
_RELEASE = 1 << 24 | 1 << 20 | 1
_INTERRUPT = 4 << 29 | 0x20 >> 2

# Where in its one buffer object a channel keeps what.
_PUSHBUFFER = 0x1000
_SEMAPHORE_AT = 0x2000
_BUFFER_SIZE = 0x3000


class HandChannel(NamedTuple):
    """A channel, its page in BAR3, and its one buffer object: where the CPU and the GPU reach it."""

    handle: int
    page: int
    view: mmap.mmap
    offset: int
    address: int


class HandDriver:
    """Fills call slots, rings and pages as docs/hypercalls.md and the manuals lay them out.

    Parameters
    ----------
    client : SpecClient
        Negotiated already.
    """

    def __init__(self, client: SpecClient) -> None:
        self.client = client
        self.slots = client.map(1)
        self.userd = client.map(3)

    def register(self, offset: int) -> int:
        """Read a register."""
        return int.from_bytes(self.client.read(0, offset, 4), "little")

    def write_register(self, offset: int, value: int) -> None:
        """Write a register."""
        self.client.write(0, offset, value.to_bytes(4, "little"))

    def run(self, *calls: tuple[int, ...]) -> list[tuple[int, tuple[int, ...]]]:
        """Carry calls out as one run; return the status and the first three fields of each reply."""
        for slot, (number, *fields) in enumerate(calls):
            request = struct.pack("<I4x7QI", number, *fields, *[0] * (7 - len(fields)), 0xFFFFFFFF)
            self.slots[slot * SLOT_SIZE : slot * SLOT_SIZE + len(request)] = request
        self.write_register(EXECUTE, len(calls) << 16)
        replies = []
        for slot in range(len(calls)):
            status, *values = struct.unpack_from("<I4x3Q", self.slots, slot * SLOT_SIZE + 0x40)
            replies.append((status, tuple(values)))
        return replies

    def call(self, *call: int) -> tuple[int, ...]:
        """Carry one call out that must succeed; return its reply."""
        ((status, values),) = self.run(call)
        assert status == 0
        return values

    def vram_free(self) -> int:
        """Return how many bytes of VRAM the VM may still allocate."""
        return self.call(GET_PARAM, PARAM_VRAM_FREE)[0]

    def make_channel(self, domain: int = VRAM) -> HandChannel:
        """Make a channel with a ring, in one run: what a call made is named by its slot afterwards."""
        memory, vspace, ring, channel = (REFERENCE | slot for slot in range(4))
        replies = self.run(
            (MEM_ALLOC, _BUFFER_SIZE, domain),
            (VSPACE_NEW,),
            (VSPACE_MAP, vspace, memory, 0, 0, WRITABLE_TO_END),
            (CHAN_NEW, vspace),
            (FIFO_INIT_IB, channel, ring, RING_ENTRIES),
            (OBJ_ENG_NEW, channel, AMPERE_COMPUTE_B),
        )
        assert [status for status, _ in replies] == [0] * 6
        (_, _, offset), _, (address, *_), (handle, page, _) = [values for _, values in replies[:4]]
        return HandChannel(handle, page, self.client.map(_BAR_OF_DOMAIN[domain]), offset, address)

    def sleeps(self) -> bool:
        """Say whether the engine waits for this VM's doorbell."""
        return self.word(DOORBELL_SLEEPING) == 1

    def word(self, offset: int) -> int:
        """Read a word of BAR3."""
        return int.from_bytes(self.userd[offset : offset + 4], "little")

    def prepare(self, channel: HandChannel, number: int, value: int) -> tuple[int, bytes]:
        """Write entry `number` (from 0): release `value` into the semaphore, then interrupt.

        Returns what submits it: where in BAR3 GP_PUT is, and its new value.
        """
        semaphore = channel.address + _SEMAPHORE_AT
        words = struct.pack("<IQQII", _SEMAPHORE, semaphore, value, _RELEASE, _INTERRUPT)
        at = channel.offset + _PUSHBUFFER
        channel.view[at : at + len(words)] = words
        source = channel.address + _PUSHBUFFER
        entry = struct.pack("<II", source & 0xFFFFFFFC, source >> 32 | len(words) // 4 << 10)
        at = channel.offset + 8 * number
        channel.view[at : at + 8] = entry
        return channel.page * PAGE + GP_PUT, (number + 1).to_bytes(4, "little")

    def semaphore(self, channel: HandChannel) -> int:
        """Read a channel's semaphore."""
        at = channel.offset + _SEMAPHORE_AT
        return int.from_bytes(channel.view[at : at + 8], "little")
