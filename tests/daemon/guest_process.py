"""A VM's process, as a test leads it."""

import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parents[2]

PATIENCE_S = 60.0
"""Until a process that does not answer counts as hanging."""


class GuestProcess:
    """Runs one function of ``guest_program``, from its first line to the end of the ``with`` block.

    Parameters
    ----------
    action : str
        The function.
    socket : Path
        The VM's.
    """

    def __init__(self, action: str, socket: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.daemon.guest_program", action, str(socket)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        # Ends with the process at the latest: a test that waits here does not wait for ever.
        if self._process.stdout.readline() != "holding\n":
            _, errors = self._process.communicate(timeout=PATIENCE_S)
            raise RuntimeError(f"the VM's process failed:\n{errors}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def proceed(self) -> tuple[int, list[str], str]:
        """Let it go on to its end; return its exit status, what it printed, and its errors."""
        output, errors = self._process.communicate("\n", timeout=PATIENCE_S)
        return self._process.returncode, output.splitlines(), errors
