"""Places: processes that run applications one at a time, when told to, and time them themselves.

The coordinator and its places speak over a pipe. A place is asleep while another one has its turn.

    coordinator to place        place to coordinator
                                ``list[int]``: ready; the processes that belong to it
    ``Workload``                ``Timing``: taken over, and run once
    ``str``, a workload's name  ``Timing``: run once more
    ``None``                    nothing: it ends

A place that cannot go on sends what happened as a ``str`` and ends.
"""

import logging
import multiprocessing
import os
import pickle
import shutil
import signal
import sys
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

from logv.compare.application import Timing, run_application
from logv.compare.hosts import HOSTS, Host, follow_parent
from logv.errors import LogvError
from logv.workloads import Workload

ANSWER_S = 120.0
"""How long a place may take for one answer. The slowest is the first: it compiles kernels."""

STOP_S = 10.0
"""How long a place may take to end when told to; then it is made to."""

_log = logging.getLogger(__name__)


class Place:
    """A process that runs applications in one mode, as its coordinator sees it.

    Parameters
    ----------
    mode : str
        A key of :data:`logv.compare.hosts.HOSTS`.
    name : str
        What errors call it; no other place's.
    directory : Path
        Where it may put its sockets; it makes a directory of its own there.
    """

    def __init__(self, mode: str, name: str, directory: Path) -> None:
        self.name = name
        self._pids: list[int] = []
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(
            target=_be_place, args=(mode, directory, name, theirs, os.getpid()), name=f"logv {name}"
        )
        self._process.start()
        theirs.close()

    @property
    def pids(self) -> list[int]:
        """Its process, and those behind it."""
        return [*([] if self._process.pid is None else [self._process.pid]), *self._pids]

    def await_ready(self) -> None:
        """Wait until it can run applications."""
        answer = self._receive()
        self._pids = answer if isinstance(answer, list) else []

    def hand_over(self, pickled: bytes) -> None:
        """Give it a prepared workload, pickled, which it runs once; ask for that with :meth:`timing`."""
        self._send(pickled)

    def run(self, workload: Workload) -> Timing:
        """Run a workload that it was handed.

        Raises
        ------
        LogvError
            The application failed, or the place's process ended.
        """
        self._send(pickle.dumps(workload.name))
        return self.timing()

    def timing(self) -> Timing:
        """Wait for the answer to what it was told last."""
        answer = self._receive()
        if not isinstance(answer, Timing):
            raise LogvError(f"place {self.name!r} answered out of turn; this is a fault of LoGV")
        return answer

    def stop(self) -> None:
        """Tell it to end. Does not wait; :meth:`join` does."""
        try:
            self._pipe.send(None)
        except OSError:
            _log.debug("place %s had ended already", self.name)
        self._pipe.close()

    def join(self) -> None:
        """Wait until it has ended; make it, if it takes too long."""
        self._process.join(STOP_S)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(STOP_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()

    def _send(self, pickled: bytes) -> None:
        try:
            self._pipe.send_bytes(pickled)
        except OSError:
            raise self._death() from None

    def _receive(self) -> object:
        try:
            if not self._pipe.poll(ANSWER_S):
                raise LogvError(f"place {self.name!r} gave no answer within {ANSWER_S:.0f} s")
            answer = self._pipe.recv()
        except (EOFError, OSError):
            raise self._death() from None
        if isinstance(answer, str):
            raise LogvError(f"{self.name}: {answer}")
        return answer

    def _death(self) -> LogvError:
        self._process.join(STOP_S)
        return LogvError(
            f"the process of place {self.name!r} ended before its time, with status {self._process.exitcode}"
        )


def _be_place(mode: str, directory: Path, name: str, pipe: Pipe, coordinator: int) -> None:
    """Be the place's process."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    # The terminal's Ctrl-C is for the coordinator, who ends everything in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    follow_parent()
    own_directory = directory / name.replace(" ", "")
    try:
        own_directory.mkdir(mode=0o700)
        with HOSTS[mode](own_directory) as host:
            pipe.send(host.pids)
            _obey(pipe, host)
    except (EOFError, BrokenPipeError):
        _log.debug("the coordinator of place %s is gone", name)
    except Exception as error:
        pipe.send(str(error) if isinstance(error, LogvError) else f"{type(error).__name__}: {error}")
    finally:
        if os.getppid() != coordinator:
            # Nobody else is left to do it.
            shutil.rmtree(directory, ignore_errors=True)


def _obey(pipe: Pipe, host: Host) -> None:
    """Run what the coordinator names, until it says stop."""
    workloads: dict[str, Workload] = {}
    while (command := pipe.recv()) is not None:
        if isinstance(command, Workload):
            workloads[command.name] = command
            command = command.name
        pipe.send(run_application(workloads[command], host.device, host.hypercalls))
