"""``logv ptx run``: one kernel of a PTX file, on the software GPU or in the interpreter."""

import zipfile
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from logv.cli.compare import MACHINE_VRAM
from logv.errors import InvalidValueError
from logv.machine import Machine
from logv.ptx import Entry, Module, parse
from logv.ptx.interpreter import RangeMemory, interpret
from logv.runtime import LaunchConfig, Program, launch

_TYPES = {
    f"{letter}{bits}": np.dtype(f"{kind}{bits // 8}")
    for letter, kind, widths in (
        ("i", "i", (8, 16, 32, 64)),
        ("u", "u", (8, 16, 32, 64)),
        ("f", "f", (32, 64)),
    )
    for bits in widths
}
_CONTENTS = ("zeros", "arange", "random")
# Where the interpreter places buffers: as far from each other as a stray index goes, and not at 0.
_FIRST_ADDRESS = 1 << 33
_DISTANCE = 1 << 32


Argument = np.generic | NDArray[Any]
"""A kernel's argument: a number, or an array that lies in GPU memory."""


def _parse_arguments(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> tuple[Argument, ...]:
    return tuple(_parse_argument(value) for value in values)


def _parse_argument(text: str) -> Argument:
    kind, *rest = text.split(":")
    value: Argument
    try:
        if kind == "buf":
            value = _array(*rest)
        else:
            (number,) = rest
            dtype = _TYPES[kind]
            # An array refuses what does not fit, where a NumPy scalar may wrap.
            value = np.array([float(number) if dtype.kind == "f" else int(number, 0)], dtype)[0]
    except (ValueError, TypeError, KeyError, OverflowError):
        raise click.BadParameter(
            f"{text!r} is neither TYPE:NUMBER nor buf:TYPE:COUNT[:{'|'.join(_CONTENTS)}]; "
            f"the types are {' '.join(_TYPES)}"
        ) from None
    return value


def _parse_extent(ctx: click.Context, param: click.Parameter, text: str) -> tuple[int, int, int]:
    parts = text.split(",")
    try:
        x, y, z = [*(int(part) for part in parts), *[1] * (3 - len(parts))]
    except ValueError:
        raise click.BadParameter(f"{text!r} is no extent; write X, X,Y or X,Y,Z") from None
    return x, y, z


def _array(kind: str, count: str, contents: str = "zeros") -> NDArray[Any]:
    dtype, length = _TYPES[kind], int(count, 0)
    if contents not in _CONTENTS or length < 1:
        raise ValueError(contents)
    if contents == "zeros":
        return np.zeros(length, dtype)
    if contents == "arange":
        return np.arange(length).astype(dtype)
    # The same in each run, so that runs can be compared.
    generator = np.random.default_rng(0)
    if dtype.kind == "f":
        return generator.random(length, dtype)
    limits = np.iinfo(dtype)
    return generator.integers(limits.min, limits.max, length, dtype, endpoint=True)


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option("--entry", help="The kernel; may be left out if the file has one.")
@click.option(
    "--grid", callback=_parse_extent, default="1", show_default=True, help="Blocks: X, X,Y or X,Y,Z."
)
@click.option(
    "--block", callback=_parse_extent, default="1", show_default=True, help="Threads of a block, likewise."
)
@click.option("--shared", type=click.IntRange(min=0), default=0, help="Dynamic shared memory, in bytes.")
@click.option(
    "--arg",
    "arguments",
    callback=_parse_arguments,
    multiple=True,
    help="An argument; one for each parameter.",
)
@click.option(
    "--interpret", "in_interpreter", is_flag=True, help="Run thread by thread, slowly, without a GPU."
)
@click.option(
    "--save", type=click.Path(dir_okay=False, path_type=Path), help="Write the arrays to this .npz file."
)
def run(
    file: Any,
    entry: str | None,
    grid: tuple[int, int, int],
    block: tuple[int, int, int],
    shared: int,
    arguments: tuple[Argument, ...],
    in_interpreter: bool,
    save: Path | None,
) -> None:
    """Run a kernel of a PTX file once, and show its arrays afterwards.

    An argument is TYPE:NUMBER, as i32:5 or f32:1.5, or an array in GPU memory, buf:TYPE:COUNT with :zeros,
    :arange or :random behind it. Types are i8 to i64, u8 to u64, f32 and f64.

    \b
    Examples
      logv ptx run saxpy.ptx --grid 4 --block 256 --arg i32:1024 --arg f32:2 \\
          --arg buf:f32:1024:arange --arg buf:f32:1024:random
      logv ptx run saxpy.ptx --interpret --save out.npz ...
    """  # noqa: D301  (click wants the backspace itself)
    text = file.read()
    module = parse(text)
    kernel = _entry(module, entry)
    if len(arguments) != len(kernel.parameters):
        raise InvalidValueError(
            f"{kernel.name} takes {len(kernel.parameters)} arguments "
            f"({', '.join(f'{each.type} {each.name}' for each in kernel.parameters)}), not {len(arguments)}"
        )
    if in_interpreter:
        _interpret(module, kernel, arguments, grid, block, shared)
    else:
        _launch(text, kernel, arguments, LaunchConfig(grid, block, shared))
    arrays = {
        parameter.name: argument
        for parameter, argument in zip(kernel.parameters, arguments, strict=True)
        if isinstance(argument, np.ndarray)
    }
    for name, array in arrays.items():
        click.echo(f"{name}: {array.dtype.name}[{array.size}] {_summary(array)}")
    if save is not None:
        _save(save, arrays)


def _entry(module: Module, name: str | None) -> Entry:
    if name is None and len(module.entries) == 1:
        return next(iter(module.entries.values()))
    if name is not None and name in module.entries:
        return module.entries[name]
    asked = f"there is no entry {name!r}" if name else "say which entry, with --entry"
    raise InvalidValueError(f"{asked}; the file has {', '.join(module.entries) or 'none'}")


def _interpret(
    module: Module,
    kernel: Entry,
    arguments: tuple[Argument, ...],
    grid: tuple[int, int, int],
    block: tuple[int, int, int],
    shared: int,
) -> None:
    memory, params = RangeMemory(), bytearray(kernel.parameter_bytes)
    contents: list[tuple[NDArray[Any], bytearray]] = []
    for parameter, argument in zip(kernel.parameters, arguments, strict=True):
        if isinstance(argument, np.ndarray):
            address = _FIRST_ADDRESS + len(contents) * _DISTANCE
            contents.append((argument, bytearray(argument.tobytes())))
            memory.map(address, contents[-1][1])
            value: np.generic = np.uint64(address)
        else:
            value = argument
        if value.dtype.itemsize != parameter.size:
            raise InvalidValueError(
                f"parameter {parameter.name} has {parameter.size} bytes, its argument {value.dtype.itemsize}"
            )
        params[parameter.offset : parameter.offset + parameter.size] = value.tobytes()
    if kernel.data_offset is not None:
        address = _FIRST_ADDRESS + len(contents) * _DISTANCE
        variables = bytearray(module.data.size)
        module.data.write(memoryview(variables), address)
        memory.map(address, variables)
        params[kernel.data_offset : kernel.data_offset + 8] = address.to_bytes(8, "little")
    interpret(
        module, kernel.name, grid=grid, block=block, params=bytes(params), memory=memory, shared_bytes=shared
    )
    for array, data in contents:
        array[:] = np.frombuffer(data, array.dtype)


def _launch(text: bytes, kernel: Entry, arguments: tuple[Argument, ...], config: LaunchConfig) -> None:
    with Machine(vram=MACHINE_VRAM) as machine, machine.device() as device:
        stream = device.create_stream()
        values: list[object] = []
        buffers = []
        for argument in arguments:
            if not isinstance(argument, np.ndarray):
                values.append(argument)
                continue
            buffer = device.allocate(argument.nbytes)
            buffer.copy_from(argument, stream=stream)
            buffers.append((argument, buffer))
            values.append(buffer)
        launch(stream, config, Program(text).compile().get_kernel(kernel.name), *values)
        for array, buffer in buffers:
            buffer.copy_to(array, stream=stream)
        stream.sync()


def _summary(array: NDArray[Any]) -> str:
    return np.array2string(array, threshold=12, edgeitems=4, max_line_width=1000)


def _save(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    try:
        # Not np.savez: its keyword arguments leave no room for a parameter that is called "file".
        with zipfile.ZipFile(path, "w") as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w") as target:
                    np.save(target, array)
    except OSError as error:
        raise InvalidValueError(f"cannot write {path}: {error.strerror}") from None
