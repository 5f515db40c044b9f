"""Short variants of some applications, about 20 ms: what opening and closing cost weighs more in them."""

from typing import ClassVar

from logv.workloads.copy import BYTES, Copy
from logv.workloads.matmul import Matmul
from logv.workloads.saxpy import Saxpy
from logv.workloads.srad import Srad


class ShortSrad(Srad):
    """Diffuses for a few steps only."""

    steps: ClassVar[int] = 6

    name: str = "srad-short"
    source: ClassVar[str] = "srad"
    summary: str = f"speckle reducing diffusion, {steps} steps of 6 launches"


class ShortMatmul(Matmul):
    """Multiplies smaller matrices."""

    side: ClassVar[int] = 640

    name: str = "matmul-short"
    source: ClassVar[str] = "matmul"
    input: str = f"2 matrices of {side} x {side} float32 (generated)"


class ShortSaxpy(Saxpy):
    """Adds less often."""

    steps: ClassVar[int] = 140

    name: str = "saxpy-short"
    source: ClassVar[str] = "saxpy"
    summary: str = f"y = a * x + y, {steps} times"


class ShortCopy(Copy):
    """Copies back and forth less often."""

    rounds: ClassVar[int] = 10

    name: str = "copy-short"
    summary: str = f"{BYTES >> 20} MiB host to GPU, GPU to GPU, GPU to host, {rounds} times"
