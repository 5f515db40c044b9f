"""What the daemon's soak, kill and idle scripts share: its state as the kernel sees it, and VM processes."""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path
from tempfile import TemporaryDirectory

SETTLE_S = 5.0
"""How long the daemon may take to let go of what its VMs held."""

GROWTH_KIB = 2048
"""What the daemon's private memory may grow by after the warm-up.

Python and the C allocator keep fragments, some 100 KiB more or less each time one looks; a leak of 1 KiB
for each VM opened comes to this within 64 cycles of 32 VMs.
"""

_POLL_S = 0.005
_LIBRARIES = ["numpy", "logv.connection", "rich.progress", "rich.table", "click"]


def processes() -> ForkServerContext:
    """Return a context whose processes start with the libraries loaded, and share nothing with this one."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_LIBRARIES)
    return context


@contextmanager
def socket_directory() -> Iterator[Path]:
    """Yield a directory for sockets, with a path short enough for them."""
    with TemporaryDirectory(prefix="logv-") as path:
        yield Path(path)


@dataclass(frozen=True)
class Holdings:
    """What a process holds that must come back exactly when its VMs close.

    Attributes
    ----------
    descriptors, sockets, threads : int
    shared_mappings : int
        Mappings of files and of shared memory, the windows and the GPU's mirrors of them among them.
    memfds, memfd_bytes : int
        Shared memory that a descriptor or a mapping keeps alive, and its size.
    """

    descriptors: int
    sockets: int
    threads: int
    shared_mappings: int
    memfds: int
    memfd_bytes: int

    def beyond(self, other: "Holdings") -> dict[str, int]:
        """Return by how much this differs from `other`, for each kind that does."""
        mine, theirs = asdict(self), asdict(other)
        return {kind: mine[kind] - theirs[kind] for kind in mine if mine[kind] != theirs[kind]}


@dataclass(frozen=True)
class Footprint:
    """What allocators round and cache, so that only its trend says anything.

    Attributes
    ----------
    private_mappings : int
        Anonymous mappings: heaps, stacks, reservations.
    anonymous_kib : int
        Resident private memory.
    """

    private_mappings: int
    anonymous_kib: int


def holdings(pid: int) -> Holdings:
    """Return what process `pid` holds now."""
    folder = Path("/proc") / str(pid)
    links: list[str] = []
    files: dict[tuple[int, int], int] = {}
    for descriptor in (folder / "fd").iterdir():
        try:
            link, status = os.readlink(descriptor), os.stat(descriptor)
        except FileNotFoundError:
            continue  # closed since it was listed
        links.append(link)
        if link.startswith("/memfd:"):
            files[status.st_dev, status.st_ino] = status.st_size
    shared = 0
    for line in (folder / "maps").read_text().splitlines():
        extent, _, _, device, inode, *name = line.split(maxsplit=5)
        shared += inode != "0"
        if name and name[0].startswith("/memfd:"):
            first, end = (int(text, 16) for text in extent.split("-"))
            major, minor = (int(text, 16) for text in device.split(":"))
            files.setdefault((os.makedev(major, minor), int(inode)), end - first)
    return Holdings(
        descriptors=len(links),
        sockets=sum(link.startswith("socket:") for link in links),
        threads=len(list((folder / "task").iterdir())),
        shared_mappings=shared,
        memfds=len(files),
        memfd_bytes=sum(files.values()),
    )


def footprint(pid: int) -> Footprint:
    """Return what process `pid` takes now."""
    folder = Path("/proc") / str(pid)
    status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
    private = sum(line.split(maxsplit=5)[4] == "0" for line in (folder / "maps").read_text().splitlines())
    return Footprint(private, int(status["RssAnon"].split()[0]))


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of all threads of process `pid`, to the nanosecond."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def settled(read: Callable[[], Holdings], expected: Holdings) -> Holdings:
    """Return the first reading that equals `expected`, or the last one after ``SETTLE_S``."""
    deadline = time.monotonic() + SETTLE_S
    while (now := read()) != expected and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return now
