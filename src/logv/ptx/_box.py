"""Which threads of a block are within the bounds of a specialised copy."""

from collections.abc import Iterable
from dataclasses import dataclass

from logv.ptx._regions import Bound
from logv.ptx._threads import Box
from logv.ptx._writer import Writer


@dataclass(frozen=True, slots=True)
class Within:
    """The threads within bounds, and the names of conditions.

    Attributes
    ----------
    box : Box
        By axis, where there is a bound.
    some, every : str
        There are any; all threads are among them.
    """

    box: Box
    some: str
    every: str


def find_within(writer: Writer, bounds: Iterable[Bound], extents: tuple[str, str, str]) -> Within:
    """Write what finds the threads within bounds.

    Parameters
    ----------
    writer : Writer
    bounds : iterable of Bound
    extents : tuple of str
        How many threads there are in x, y and z (i64).
    """
    _declare(writer)
    box: dict[str, tuple[str, str]] = {}
    some = every = "true"
    for axis, extent in zip("xyz", extents, strict=True):
        low, high = "0", extent
        for bound in bounds:
            if bound.axis == axis and bound.lower is not None:
                low = writer.let(f"call i64 @llvm.smax.i64(i64 {low}, i64 {writer.name(bound.lower)})")
            elif bound.axis == axis and bound.upper is not None:
                high = writer.let(f"call i64 @llvm.smin.i64(i64 {high}, i64 {writer.name(bound.upper)})")
        if (low, high) != ("0", extent):
            # Neither wraps when it is cut to 32 bits.
            low = writer.let(f"call i64 @llvm.smin.i64(i64 {low}, i64 {extent})")
            high = writer.let(f"call i64 @llvm.smax.i64(i64 {high}, i64 0)")
            more = writer.let(f"icmp slt i64 {low}, {high}")
            some = writer.let(f"and i1 {some}, {more}")
            for comparison in (f"icmp eq i64 {low}, 0", f"icmp eq i64 {high}, {extent}"):
                met = writer.let(comparison)
                every = writer.let(f"and i1 {every}, {met}")
            box[axis] = (writer.let(f"trunc i64 {low} to i32"), writer.let(f"trunc i64 {high} to i32"))
    return Within(box, some, every)


def find_width(writer: Writer, bounds: Iterable[Bound], width: str) -> str:
    """Write what finds how many threads of a row are within upper bounds; 0 or less if none are.

    Parameters
    ----------
    writer : Writer
    bounds : iterable of Bound
        Upper ones in x.
    width : str
        How many threads there are in a row (i64).
    """
    _declare(writer)
    for bound in bounds:
        assert bound.upper is not None
        width = writer.let(f"call i64 @llvm.smin.i64(i64 {width}, i64 {writer.name(bound.upper)})")
    return width


def _declare(writer: Writer) -> None:
    writer.declarations.use("llvm.smax.i64", "i64", "i64, i64")
    writer.declarations.use("llvm.smin.i64", "i64", "i64, i64")
