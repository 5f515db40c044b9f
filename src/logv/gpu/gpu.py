"""The software GPU as its driver sees it: windows, ports, address spaces, channels, and threads."""

import logging
import operator
import threading
from collections.abc import Sequence

from logv.errors import InvalidValueError, PtxError
from logv.gpu._engine import Engine, ProgramRequest
from logv.gpu.disk_cache import DiskCache
from logv.gpu.kernel_cache import KernelCache
from logv.gpu.port import Port
from logv.gpu.window import WINDOW_ALIGNMENT, Window
from logv.hw.software_gpu import CHANNELS_PER_CLIENT, MAX_COMPUTE_THREADS
from logv.uapi import Domain

_log = logging.getLogger(__name__)

_KERNELS = KernelCache()


def _thread_count(compute_threads: int) -> int:
    if isinstance(compute_threads, bool) or not hasattr(compute_threads, "__index__"):
        raise InvalidValueError(f"compute_threads must be a number, not {type(compute_threads).__name__}")
    count = operator.index(compute_threads)
    if not 1 <= count <= MAX_COMPUTE_THREADS:
        raise InvalidValueError(f"compute_threads must be 1 to {MAX_COMPUTE_THREADS}, not {count}")
    return count


class Gpu:
    """A software GPU that speaks NVIDIA's published Ampere interface.

    One thread runs the channels, outside the GIL; another compiles the programs that they launch. Further
    compute threads help with launches that last.

    Parameters
    ----------
    watchdog_s : float
        Seconds after which a thread block that does not end stops its channel.
    timeslice_s : float
        Seconds a channel may run while others wait.
    compute_threads : int
        Host threads that run the blocks of one launch, 1 to ``MAX_COMPUTE_THREADS``.
    tiered_compilation : bool
        Whether a program begins with baseline code, and gets optimised code once it has run for a while.
    disk_cache : DiskCache, optional
        Where compiled kernels are kept for the next process.
    """

    def __init__(
        self,
        *,
        watchdog_s: float = 5.0,
        timeslice_s: float = 0.001,
        compute_threads: int = 1,
        tiered_compilation: bool = True,
        disk_cache: DiskCache | None = None,
    ) -> None:
        if watchdog_s <= 0 or timeslice_s <= 0:
            raise InvalidValueError("watchdog_s and timeslice_s must be greater than 0")
        threads = _thread_count(compute_threads)
        self._disk_cache = disk_cache
        self._tiered = tiered_compilation
        self._engine = Engine(int(watchdog_s * 1e9), int(timeslice_s * 1e9), threads)
        self._windows: dict[Domain, list[Window]] = {domain: [] for domain in Domain}
        self._ports: list[Port] = []
        self._threads = [
            threading.Thread(target=self._engine.run, name="logv-engine", daemon=True),
            threading.Thread(target=self._serve_programs, name="logv-compiler", daemon=True),
        ]
        self._threads += [
            threading.Thread(target=self._engine.compute, args=(index,), name="logv-compute", daemon=True)
            for index in range(1, threads)
        ]
        self._closed = False
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop all threads, whatever runs, and give everything back. Closing twice is harmless."""
        if self._closed:
            return
        self._closed = True
        self._engine.stop()
        for thread in self._threads:
            thread.join()
        for port in list(self._ports):
            port.close()
        for windows in self._windows.values():
            for window in windows:
                window.close()
        self._engine.close()

    @property
    def sleeps(self) -> int:
        """How often the engine went to sleep."""
        return self._engine.sleeps

    def add_window(self, domain: Domain, size: int) -> Window:
        """Add `size` bytes of physical memory (a multiple of 4 KiB), at the lowest free address."""
        windows = self._windows[domain]
        address = position = 0
        for other in windows:
            if address + size <= other.address:
                break
            address = -(-(other.address + other.size) // WINDOW_ALIGNMENT) * WINDOW_ALIGNMENT
            position += 1
        window = Window(domain, address, size)
        try:
            self._engine.map_window(domain is Domain.SYSTEM, address, size, window.fd)
        except BaseException:
            window.close()
            raise
        windows.insert(position, window)
        return window

    def remove_window(self, window: Window) -> None:
        """Remove a window that no page table names any more; its memory is given back."""
        self._windows[window.domain].remove(window)
        self._engine.unmap_window(window.domain is Domain.SYSTEM, window.address)
        window.close()

    def add_port(self, channels: int = CHANNELS_PER_CLIENT) -> Port:
        """Add a client with room for `channels` channels."""
        port = Port(channels)
        try:
            port.attach(self._engine)
        except BaseException:
            port.close()
            raise
        self._ports.append(port)
        return port

    def remove_port(self, port: Port) -> None:
        """Remove a client none of whose channels is bound any more."""
        self._ports.remove(port)
        self._engine.remove_port(port.index)
        port.close()

    def attach_vspace(self, pdb: int) -> int:
        """Take in an address space by the VRAM address of its PDE3 table; return its id.

        Raises ExhaustedError when ``MAX_VSPACES`` are attached.
        """
        return self._engine.attach_vspace(pdb)

    def detach_vspace(self, vspace: int) -> None:
        """Give up an address space that no channel uses."""
        self._engine.detach_vspace(vspace)

    def invalidate_tlb(self, vspace: int, address: int, size: int) -> None:
        """Forget cached translations; mirror the range's pages for kernels.

        Returns when nothing uses the old translations any more. Raises OutOfMemoryError when the host
        has no mappings left; nothing in the range is reachable by kernels then.
        """
        self._engine.invalidate_tlb(vspace, address, size)

    def aperture(self, vspace: int) -> int:
        """Return the host address at which kernels see GPU virtual address 0."""
        return self._engine.aperture(vspace)

    def bind_channel(self, port: Port, page: int, vspace: int) -> int:
        """Make a channel with USERD page `page` of `port` in an address space; return its id."""
        return self._engine.bind_channel(port.index, page, vspace)

    def allow_class(self, channel: int, engine_class: int) -> None:
        """Make an engine object; NotSupportedError for classes this GPU does not have."""
        self._engine.allow_class(channel, engine_class)

    def start_channel(self, channel: int, ring: int, entries: int) -> None:
        """Give a channel its GPFIFO ring and let it run once it is on the runlist."""
        self._engine.start_channel(channel, ring, entries)

    def stop_channel(self, channel: int) -> None:
        """Stop and unbind a channel that is off the runlist; returns when the engine has let go."""
        self._engine.stop_channel(channel)

    def set_runlist(self, order: Sequence[int]) -> None:
        """Set which channels get turns, and in which order."""
        self._engine.set_runlist(order)

    def _serve_programs(self) -> None:
        while (asked := self._engine.next_request()) is not None:
            try:
                if asked.baseline is None:
                    kernel = _KERNELS.get(asked.text, asked.block, self._disk_cache, tiered=self._tiered)
                else:
                    kernel = _KERNELS.optimize(asked.baseline, asked.text, asked.block, self._disk_cache)
            except PtxError as error:
                self._refuse(asked, str(error))
            except Exception as error:
                # A program must never take the GPU down with it: its channel stops, the rest goes on.
                _log.exception("the compiler failed")
                self._refuse(asked, f"the compiler failed: {error}")
            else:
                self._engine.install_program(asked, kernel)

    def _refuse(self, asked: ProgramRequest, why: str) -> None:
        """Let the code that there is stay; where there is none, stop the channel."""
        if asked.baseline is not None:
            self._engine.install_program(asked, asked.baseline)
        else:
            self._engine.refuse_program(asked, why.encode())
