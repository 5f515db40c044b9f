"""Variables of programs: memory of their own on each device, and access to them by name."""

import threading
from typing import TYPE_CHECKING

from logv._fastpath import MappedMemory
from logv.errors import InvalidValueError
from logv.runtime.buffer import Buffer

if TYPE_CHECKING:
    from logv.ptx.module import Data
    from logv.runtime.device import Device


class VariableBuffer(Buffer):
    """One variable in the memory of a program's variables; closing it leaves that memory alone.

    Parameters
    ----------
    whole : Buffer
        The memory of all of the program's variables.
    offset, size : int
        The variable's place in it, in bytes.
    """

    def __init__(self, whole: Buffer, offset: int, size: int) -> None:
        device, memory = whole.device, whole.memory
        MappedMemory.__init__(self, lambda: device.context.view(memory), offset, size)
        self.device = device
        self.handle = whole.handle + offset
        self.size = size
        self.domain = whole.domain
        self._memory = memory
        # The program may go first.
        self._whole = whole

    def __del__(self) -> None:
        """Free nothing: the memory is the program's."""

    def close(self) -> None:
        """Let go of the variable; BusyError while views of it are alive."""
        self.release()
        self._memory = None


class ModuleVariables:
    """What the variables of one loaded program contain, wherever it is launched.

    Each device gives them memory when the program is first launched there or asked for a variable, and
    takes it back when it is closed, or when the program and its kernels are gone.

    Parameters
    ----------
    data : Data
        Their layout and initial contents.
    """

    def __init__(self, data: "Data") -> None:
        self._data = data
        self._lock = threading.Lock()

    def memory(self, device: "Device") -> Buffer:
        """Return the variables' memory on a device.

        Raises
        ------
        ClosedError
            The device was closed.
        OutOfMemoryError
            It has too little memory left; in a VM QuotaExceededError.
        """
        device.context.check_open()
        with self._lock:
            found = device.module_data.get(self)
            if found is None:
                found = device.allocate(self._data.size)
                with memoryview(found) as view:
                    self._data.write(view, found.handle)
                device.module_data[self] = found
            return found

    def find(self, name: str, device: "Device") -> Buffer:
        """Return one variable on a device; InvalidValueError lists the names there are."""
        symbol = self._data.symbols.get(name)
        if symbol is None:
            known = ", ".join(self._data.symbols) or "none"
            raise InvalidValueError(f"the program has no variable {name!r}; it has: {known}")
        variable = VariableBuffer(self.memory(device), symbol.offset, symbol.size)
        device.context.buffers.add(variable)
        return variable
