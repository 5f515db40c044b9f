"""Kernel arguments: from Python and NumPy values to the bytes that a kernel's parameters take."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from logv.errors import InvalidValueError
from logv.runtime.buffer import Buffer

if TYPE_CHECKING:
    from logv.ptx.module import Entry, Parameter
    from logv.runtime.device import Device

Converter = Callable[[Any, "Device"], Any]

_INTEGER_CODES = {8: "B", 16: "H", 32: "I", 64: "Q"}
_FLOAT_CODES = {"f32": "f", "f64": "d"}
_POINTER_BYTES = 8


def layout(entry: "Entry") -> tuple[str, list[Converter]]:
    """Return the `struct` format of a parameter block, and a converter for each value in it.

    The address of the program's variables has no converter; it is the last value, if the entry takes it.
    """
    code, position = "", 0
    converters = []
    for parameter in entry.parameters:
        element, converter = _element(parameter)
        code += "x" * (parameter.offset - position) + element
        position = parameter.offset + parameter.size
        converters.append(converter)
    if entry.data_offset is not None:
        code += "x" * (entry.data_offset - position) + "Q"
        position = entry.data_offset + _POINTER_BYTES
    return code + "x" * (entry.parameter_bytes - position), converters


def _element(parameter: "Parameter") -> tuple[str, Converter]:
    if parameter.type in _FLOAT_CODES:
        return _FLOAT_CODES[parameter.type], _float(parameter)
    bits = 8 * parameter.size
    if parameter.type == "ptr" or parameter.type[1:] == str(bits):
        return _INTEGER_CODES[bits], _integer(parameter)
    return f"{parameter.size}s", _block(parameter)


def _float(parameter: "Parameter") -> Converter:
    largest = float(np.finfo(np.float32 if parameter.type == "f32" else np.float64).max)

    def convert(value: Any, device: "Device") -> float:
        if not isinstance(value, float | int | np.floating | np.integer | np.bool_):
            raise _unfit(parameter, value, "a number")
        number = float(value)
        if abs(number) > largest and abs(number) != np.inf:
            raise InvalidValueError(
                f"parameter {parameter.name}: {number} does not fit into {parameter.type}"
            )
        return number

    return convert


def _integer(parameter: "Parameter") -> Converter:
    bits = 8 * parameter.size
    # PTX does not tell signed from unsigned where it moves bits only: take both.
    low, high = -(1 << (bits - 1)), (1 << bits) - 1
    takes_pointer = parameter.size == _POINTER_BYTES

    def convert(value: Any, device: "Device") -> int:
        if isinstance(value, Buffer):
            if not takes_pointer:
                raise _unfit(parameter, value, "an integer")
            value.require(device)
            return value.handle
        if not isinstance(value, int | np.integer | np.bool_):
            raise _unfit(parameter, value, "a Buffer or an integer" if takes_pointer else "an integer")
        number = int(value)
        if not low <= number <= high:
            raise InvalidValueError(f"parameter {parameter.name}: {number} does not fit into {bits} bits")
        return number & high

    return convert


def _block(parameter: "Parameter") -> Converter:
    def convert(value: Any, device: "Device") -> bytes:
        try:
            data = bytes(memoryview(value))
        except TypeError:
            raise _unfit(parameter, value, f"{parameter.size} bytes") from None
        if len(data) != parameter.size:
            raise InvalidValueError(
                f"parameter {parameter.name} takes {parameter.size} bytes, not {len(data)}"
            )
        return data

    return convert


def _unfit(parameter: "Parameter", value: object, expected: str) -> InvalidValueError:
    given = type(value).__name__
    if isinstance(value, np.ndarray):
        given += "; copy the array into a Buffer first"
    return InvalidValueError(
        f"parameter {parameter.name} of type {parameter.type} takes {expected}, not {given}"
    )
