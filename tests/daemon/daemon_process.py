"""A `logv serve` of its own process, for tests and benches."""

import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

START_S = 60.0
"""Until the ready line; a loaded machine takes long to import the compiler."""
STOP_S = 30.0


def command(*arguments: str | Path) -> list[str]:
    """Return the command line of ``logv ...`` with this interpreter."""
    return [sys.executable, "-m", "logv", *map(str, arguments)]


def run_cli(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run ``logv ...`` to its end and return what it said."""
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
        stdin=subprocess.DEVNULL,
    )


class DaemonProcess:
    """A daemon, from its ready line to the end of the ``with`` block.

    Parameters
    ----------
    directory : Path
        Of the sockets; short, because the path of a socket has at most 107 bytes.
    vms : mapping of str to str
        Name and memory of each VM.
    vram : str, optional
        None leaves it to the daemon.
    arguments : sequence of str
        More arguments of ``logv serve``.

    Attributes
    ----------
    ready : str
        What the daemon printed when it was ready.
    """

    def __init__(
        self,
        directory: Path,
        vms: Mapping[str, str],
        *,
        vram: str | None = "256MiB",
        arguments: Sequence[str | Path] = (),
    ) -> None:
        self.directory = directory
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (kill() closes it)
        self._last_log = ""
        size = [] if vram is None else ["--vram", vram]
        named = [part for name, memory in vms.items() for part in ("--vm", f"{name}:{memory}")]
        self.process = subprocess.Popen(
            command("serve", "--socket-dir", directory, *size, *named, *arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        try:
            self.ready = self._read_line()
        except BaseException:
            self.kill()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self.process.poll() is None:
                self.stop()
        finally:
            self.kill()

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    @property
    def log(self) -> str:
        """What the daemon wrote to stderr so far."""
        if self._log.closed:
            return self._last_log
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode("utf-8", "replace")

    def socket(self, vm: str) -> Path:
        """Return the path of a VM's socket."""
        return self.directory / f"{vm}.sock"

    def stop(self) -> int:
        """Ask the daemon to end; return its exit status."""
        self.process.terminate()
        return self.process.wait(STOP_S)

    def kill(self) -> None:
        """End the daemon whatever it does, and let go of its pipe and file. Twice is harmless."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(STOP_S)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._last_log = self.log
        self._log.close()

    def rest_of_stdout(self) -> str:
        """Return what the daemon printed after its ready line, once it has ended."""
        self.process.wait(STOP_S)
        assert self.process.stdout is not None
        return self.process.stdout.read().decode()

    def _read_line(self) -> str:
        assert self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        deadline = time.monotonic() + START_S
        line = b""
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                raise TimeoutError(f"the daemon is not ready after {START_S} s; its log:\n{self.log}")
            byte = os.read(descriptor, 1)
            if not byte:
                status = self.process.wait(STOP_S)
                raise RuntimeError(f"the daemon ended with status {status}; its log:\n{self.log}")
            line += byte
        return line.decode()
