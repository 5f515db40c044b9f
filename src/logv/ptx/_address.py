"""Confines every access of a kernel to the memory it may reach.

Global and shared memory each lie in a reserved range of host addresses with unmapped guards on both
sides. An address is split into ``U + D``: ``D`` collects the terms whose sum is provably smaller than the
guard, ``U`` the rest. ``base + (U & mask) + D`` cannot leave range and guards, and where ``U`` is a
pointer parameter, its mask is computed once and costs the inner loop nothing. Constant and local
memory and parameters are small, and are bounded exactly. A generic address that may mean several memories
becomes a choice between addresses in each.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from logv.hw.software_gpu import APERTURE_GUARD_BITS, APERTURE_VA_BITS, SHARED_ARENA_BITS
from logv.ptx._ir import Access, Value
from logv.ptx._ranges import Ranges
from logv.ptx._spaces import WINDOW_BITS, WINDOWS
from logv.ptx._writer import Writer

_MASK_BITS = {"global": APERTURE_VA_BITS, "shared": SHARED_ARENA_BITS}
# Copies of shared memory, for blocks that take turns, begin within its range, not all at its start.
_GUARD = (1 << APERTURE_GUARD_BITS) - (1 << SHARED_ARENA_BITS)
_WORD = 1 << 64
# Sums of more terms, or deeper ones, are masked as a whole.
_MAX_TERMS = 24


@dataclass(frozen=True, slots=True)
class Split:
    """An address as a sum.

    Attributes
    ----------
    unbounded, bounded : tuple of (Value, int)
        Terms and their factors.
    constant : int
        Part of the bounded sum.
    mask : int
        To apply to the unbounded sum.
    """

    unbounded: tuple[tuple[Value, int], ...]
    bounded: tuple[tuple[Value, int], ...]
    constant: int
    mask: int


def choose_address(
    writer: Writer, address: Value, access: Access, locate: Callable[[Value, Access], str]
) -> str:
    """Write the choice between the memories that a generic address may mean, and return the host address.

    Parameters
    ----------
    writer : Writer
    address : Value
    access : Access
        With its candidates.
    locate : callable
        Writes the host address of an access whose space is known.
    """
    place = writer.let(f"add i64 {writer.name(address)}, {access.offset}")
    upper = writer.let(f"lshr i64 {place}, {WINDOW_BITS}")
    # What is in no window is global; where it cannot be, any will do.
    last, *others = sorted(access.candidates, key=lambda space: space != "global")
    chosen = locate(address, replace(access, space=last))
    for space in others:
        inside = writer.let(f"icmp eq i64 {upper}, {WINDOWS[space] >> WINDOW_BITS}")
        here = locate(address, replace(access, space=space))
        chosen = writer.let(f"select i1 {inside}, ptr {here}, ptr {chosen}")
    return chosen


def _signed(number: int) -> int:
    number %= _WORD
    return number - _WORD if number >= _WORD // 2 else number


def _terms(address: Value) -> tuple[dict[Value, int], int]:
    """Flatten an i64 address into terms with factors and a constant, modulo 2**64."""
    found: dict[Value, int] = {}
    constant = 0
    pending = [(address, 1)]
    steps = 0
    while pending:
        value, factor = pending.pop()
        steps += 1
        op, args = value.op, value.args
        if op == "const" and isinstance(value.attr, int):
            constant += value.attr * factor
        elif steps > _MAX_TERMS:
            found[value] = found.get(value, 0) + factor
        elif op == "cvta":
            pending.append((args[0], factor))
        elif op == "add":
            pending += [(args[1], factor), (args[0], factor)]
        elif op == "sub":
            pending += [(args[1], -factor), (args[0], factor)]
        elif op in ("mul", "shl") and args[1].op == "const" and isinstance(args[1].attr, int):
            scale = _signed(args[1].attr) if op == "mul" else 1 << args[1].attr
            pending.append((args[0], factor * scale))
        else:
            found[value] = found.get(value, 0) + factor
    return {value: _signed(factor) for value, factor in found.items() if factor % _WORD}, _signed(constant)


def split_address(address: Value, space: str, offset: int, size: int, ranges: Ranges) -> Split:
    """Split an address for an access of `size` bytes at `address` + `offset`."""
    terms, constant = _terms(address)
    constant = _signed(constant + offset)
    if space == "shared":
        # The window of a generic address lies in the upper half.
        constant = (constant + (1 << 31)) % (1 << WINDOW_BITS) - (1 << 31)
    bounded: list[tuple[Value, int]] = []
    unbounded: list[tuple[Value, int]] = []
    low = high = 0
    if -_GUARD // 4 < constant < _GUARD // 4:
        low = high = constant
        rest = 0
    else:
        rest = constant
        constant = 0
    for value, factor in terms.items():
        ends = [end * factor for end in ranges.of(value)]
        if low + min(ends) > -_GUARD and high + max(ends) + size < _GUARD:
            low += min(ends)
            high += max(ends)
            bounded.append((value, factor))
        else:
            unbounded.append((value, factor))
    mask = (1 << _MASK_BITS[space]) - 1
    if rest:
        # A constant address: its masked value is as good as a bounded one, if nothing else is masked.
        unbounded.append((Value("const", "i64", [], rest % _WORD), 1))
    return Split(tuple(unbounded), tuple(bounded), constant, mask)
