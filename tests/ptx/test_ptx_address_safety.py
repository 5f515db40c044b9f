"""No address that a kernel makes up leads out of its memory."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logv.hw.software_gpu import APERTURE_GUARD_BITS, APERTURE_VA_BITS, SHARED_ARENA_BITS
from logv.ptx._address import split_address
from logv.ptx._ir import Value
from logv.ptx._ranges import Ranges
from logv.ptx._spaces import WINDOW_BITS

BLOCK = (64, 4, 2)
WORD = 1 << 64


def _constant(bits: int, kind: str = "i64") -> Value:
    return Value("const", kind, [], bits & ((1 << int(kind[1:])) - 1))


@st.composite
def expressions(draw: st.DrawFn) -> tuple[Value, list[Value]]:
    """A random address computation, and its operations in order."""
    made: list[Value] = []

    def add(op: str, kind: str, *args: Value, attr: object = None) -> Value:
        value = Value(op, kind, list(args), attr)
        made.append(value)
        return value

    words = [
        add("param", "i64", attr=0),
        add("load", "i64", _constant(0)),
        _constant(draw(st.integers(0, WORD - 1))),
    ]
    small = [add("special", "i32", attr=f"tid.{axis}") for axis in "xyz"]
    small += [add("load", "i32", _constant(4)), add("special", "i32", attr="ctaid.x")]
    for _ in range(draw(st.integers(1, 12))):
        choice = draw(st.integers(0, 5))
        if choice == 0:
            op = draw(st.sampled_from(["add", "sub", "mul", "and", "or", "smin", "smax", "umin", "lshr"]))
            right = draw(st.sampled_from([*small, _constant(draw(st.integers(0, 2**32 - 1)), "i32")]))
            if op == "lshr":
                right = _constant(draw(st.integers(0, 31)), "i32")
            small.append(add(op, "i32", draw(st.sampled_from(small)), right))
        elif choice == 1:
            words.append(add(draw(st.sampled_from(["sext", "zext"])), "i64", draw(st.sampled_from(small))))
        elif choice == 2:
            words.append(add("shl", "i64", draw(st.sampled_from(words)), _constant(draw(st.integers(0, 63)))))
        elif choice == 3:
            factor = _constant(draw(st.one_of(st.integers(-16, 16), st.integers(-(1 << 40), 1 << 40))))
            words.append(add("mul", "i64", draw(st.sampled_from(words)), factor))
        else:
            op = draw(st.sampled_from(["add", "sub"]))
            words.append(add(op, "i64", draw(st.sampled_from(words)), draw(st.sampled_from(words))))
    return words[-1], made


def _evaluate(made: list[Value], inputs: dict[Value, int]) -> dict[Value, int]:
    known = dict(inputs)

    def get(value: Value) -> int:
        if value.op == "const":
            assert isinstance(value.attr, int)
            return value.attr
        return known[value]

    for value in made:
        if value in known:
            continue
        bits = int(value.type[1:])
        source = int(value.args[0].type[1:])
        numbers = [get(arg) for arg in value.args]
        negative = [number - (1 << source) if number >> (source - 1) else number for number in numbers]
        a, b = [*numbers, 0][:2]
        result = {
            "add": a + b, "sub": a - b, "mul": a * b, "and": a & b, "or": a | b, "umin": min(a, b),
            "smin": min(negative), "smax": max(negative), "lshr": a >> min(b, 63), "shl": a << min(b, 63),
            "zext": a, "sext": negative[0],
        }[value.op]  # fmt: skip
        known[value] = result & ((1 << bits) - 1)
    return known


@settings(max_examples=300, deadline=None)
@given(expressions(), st.data())
def test_split_addresses_stay_within_the_guards(
    expression: tuple[Value, list[Value]], data: st.DataObject
) -> None:
    """The bounded part is below the guard for every input, and the sum is the address where that is legal."""
    address, made = expression
    ranges = Ranges(BLOCK)
    for value in made:
        ranges.note(value)
    offset = data.draw(st.integers(-(1 << 31), (1 << 31) - 1))
    space = data.draw(st.sampled_from(["global", "shared"]))
    split = split_address(address, space, offset, 16, ranges)
    inputs = {}
    for value in made:
        if value.op in ("param", "load", "special"):
            limit = 1 << int(value.type[1:])
            name = str(value.attr)
            if name.startswith("tid"):
                limit = BLOCK["xyz".index(name[-1])]
            edge = st.sampled_from([0, limit - 1, limit // 2, limit // 2 - 1])
            inputs[value] = data.draw(st.one_of(edge, st.integers(0, limit - 1)))
    known = _evaluate(made, inputs)

    def number(value: Value) -> int:
        if value.op == "const":
            assert isinstance(value.attr, int)
            return value.attr
        return known[value]

    def wide(value: Value) -> int:
        found = number(value)
        return found - WORD if found >= WORD // 2 else found

    for value in made:
        low, high = ranges.of(value)
        bits = int(value.type[1:])
        found = known[value] - (1 << bits) if known[value] >> (bits - 1) else known[value]
        assert low <= found <= high
    bounded = sum(wide(value) * factor for value, factor in split.bounded) + split.constant
    guard = 1 << APERTURE_GUARD_BITS
    assert -guard < bounded
    assert bounded + 16 < guard
    unbounded = sum(number(value) * factor for value, factor in split.unbounded) % WORD
    exact = (number(address) + offset) % WORD
    # Beyond the lower half, an address in shared memory has its window only.
    assert (unbounded + bounded - exact) % (WORD if space == "global" else 1 << WINDOW_BITS) == 0
    assert split.mask == (1 << (APERTURE_VA_BITS if space == "global" else SHARED_ARENA_BITS)) - 1


@pytest.mark.parametrize("entry", ["scatter", "walk", "shared_walk", "locals", "generic", "copies", "sums"])
def test_hostile_kernels_cannot_leave_their_memory(entry: str) -> None:
    """Kernels that write to addresses of the guest's choice run in a process of their own.

    Aperture, arena and guards are the only mappings near; a write elsewhere would be a segmentation
    fault, or would change the canaries that surround the scratch memory.
    """
    script = Path(__file__).parent / "hostile_kernels.py"
    done = subprocess.run(
        [sys.executable, str(script), entry], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "confined"
