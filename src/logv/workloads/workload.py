"""What every workload is: a GPU application in phases, whose result is checked on every run."""

from abc import ABC, abstractmethod
from importlib import resources
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from logv.errors import LogvError
from logv.runtime import Buffer, Device, Kernel, Program, Stream

Array = NDArray[Any]

_POISON = 0xFF
"""Every byte of an output before a run: NaN as a float, and no result of any workload as a whole."""


class Workload(ABC):
    """A GPU application: ``setup``, ``run``, ``check``, ``close``.

    An application opens a device before ``setup`` and closes it after ``close``. As most programs do,
    it leaves it to the device's closing to return its buffers and its stream.

    The phases that are timed hold only what an application does; the rest lies in :meth:`prepare`
    (reads the input and computes the reference with NumPy, once) and :meth:`poison` (before each
    run, so that a run that brings nothing back cannot pass on the last one's result). One object
    serves any number of runs, one after the other, on any device.

    Attributes
    ----------
    name : str
        What the command line calls it.
    source : str
        The name of its ``.cu`` and ``.ptx``; its own name if left empty.
    summary : str
        What it computes, in one line.
    kernels : tuple of str
        Its kernels; empty for a workload without any.
    input : str
        What it reads, with its size.
    """

    name: str
    source: ClassVar[str] = ""
    summary: str
    kernels: ClassVar[tuple[str, ...]]
    input: str

    def __init__(self) -> None:
        self._prepared = False
        self._expected: list[tuple[Array, Array, Array | float]] = []
        self._device: Device | None = None
        self._kernels: dict[str, Kernel] = {}
        self._stream_in_use: Stream | None = None

    def prepare(self) -> None:
        """Read the input and compute the reference; does nothing the second time.

        Raises
        ------
        NotSupportedError
            The input is a picture of scikit-image, which is not installed.
        """
        if not self._prepared:
            self._prepare()
            self._prepared = True

    def poison(self) -> None:
        """Fill the outputs with bytes that no run leaves."""
        for output, _, _ in self._expected:
            output.view(np.uint8).fill(_POISON)

    def setup(self, device: Device) -> None:
        """Make the stream, the buffers and the kernels on `device`.

        Raises
        ------
        LogvError
            :meth:`prepare` was not called, a run is still open, or the device refused something;
            what was made by then goes with the device.
        """
        if not self._prepared or self._device is not None:
            raise LogvError(f"{self.name}: call prepare() first, and close() before the next setup()")
        self._device = device
        try:
            self._stream_in_use = device.create_stream()
            if self.kernels:
                source = resources.files(__package__).joinpath(f"{self.source or self.name}.ptx")
                ptx = source.read_text(encoding="ascii")
                program = Program(ptx, code_type="ptx").compile()
                self._kernels = {kernel: program.get_kernel(kernel) for kernel in self.kernels}
            self._setup()
        except BaseException:
            self.close()
            raise

    @abstractmethod
    def run(self) -> None:
        """Copy the input in, launch, copy the result out, and wait for it."""

    def check(self) -> bool:
        """Say whether the outputs of the last run are what NumPy computed."""
        return all(_agrees(*expected) for expected in self._expected)

    def close(self) -> None:
        """End the application, short of closing its device; harmless when nothing is open."""
        self._device = None
        self._stream_in_use = None
        self._kernels = {}

    @abstractmethod
    def _prepare(self) -> None:
        """Make the input, and name every output with :meth:`_expect`."""

    @abstractmethod
    def _setup(self) -> None:
        """Make the buffers, with :meth:`_allocate`."""

    def _expect(self, reference: Array, tolerance: Array | float = 0.0) -> Array:
        """Return an output array to copy a result into, which has to equal `reference`.

        `tolerance` is the largest absolute difference allowed, for all elements or for each.
        """
        output = np.empty_like(reference)
        self._expected.append((output, reference, tolerance))
        return output

    def _allocate(self, nbytes: int) -> Buffer:
        """Return a new buffer on the device of :meth:`setup`."""
        if self._device is None:
            raise LogvError(f"{self.name}: buffers are made between setup() and close()")
        return self._device.allocate(nbytes)

    @property
    def _stream(self) -> Stream:
        if self._stream_in_use is None:
            raise LogvError(f"{self.name}: call setup() before run()")
        return self._stream_in_use


def _agrees(output: Array, reference: Array, tolerance: Array | float) -> bool:
    if isinstance(tolerance, float) and tolerance == 0.0:
        return np.array_equal(output, reference)
    return bool(np.all(np.abs(output - reference) <= tolerance))


def blocks(elements: int, per_block: int) -> int:
    """Return how many blocks of `per_block` cover `elements`."""
    return -(-elements // per_block)
