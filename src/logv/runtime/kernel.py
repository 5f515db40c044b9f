"""Kernels: entries of a program, ready to be launched."""

import weakref
from collections.abc import Callable, Hashable
from functools import partial
from typing import TYPE_CHECKING

from logv.errors import InvalidValueError
from logv.hw.software_gpu import MAX_PROGRAM_BYTES
from logv.runtime.launcher import LaunchConfig, launch

if TYPE_CHECKING:
    from logv.ptx.module import Entry
    from logv.runtime._module_variables import ModuleVariables
    from logv.runtime.stream import Stream


class Kernel:
    """A kernel, made by :meth:`ObjectCode.get_kernel`. It is loaded to a device at its first launch there.

    ``kernel[grid, block](stream, *args)`` launches it, as does ``kernel[grid, block, shmem_size]``.

    Attributes
    ----------
    name : str
    entry : Entry
        Parameters, shared memory and limits, as the PTX text declares them.
    image : bytes
        What the GPU reads: a line that names the entry, the text, a NUL.
    variables : ModuleVariables or None
        Those of its program, if the kernel uses any.
    identity : hashable
        Equal for kernels whose launches differ in nothing but geometry and arguments.
    """

    def __init__(self, entry: "Entry", code: str, variables: "ModuleVariables | None" = None) -> None:
        self.name = entry.name
        self.entry = entry
        self.image = f"//.entry {entry.name}\n{code}\0".encode()
        if len(self.image) > MAX_PROGRAM_BYTES:
            raise InvalidValueError(
                f"a program of {len(self.image)} bytes exceeds the GPU's {MAX_PROGRAM_BYTES}"
            )
        self.variables = None if entry.data_offset is None else variables
        # Programs of the same text have variables of their own; who keeps this must not keep those.
        self.identity: Hashable = (
            self.image if self.variables is None else (self.image, weakref.ref(self.variables))
        )

    def __repr__(self) -> str:
        parameters = ", ".join(f"{parameter.type} {parameter.name}" for parameter in self.entry.parameters)
        return f"<Kernel {self.name}({parameters})>"

    def __getitem__(self, geometry: object) -> Callable[..., None]:
        if not isinstance(geometry, tuple) or not 2 <= len(geometry) <= 3:
            raise InvalidValueError("write kernel[grid, block] or kernel[grid, block, shmem_size]")
        return partial(_launch, LaunchConfig(*geometry), self)


def _launch(config: LaunchConfig, kernel: Kernel, stream: "Stream", *args: object) -> None:
    launch(stream, config, kernel, *args)
