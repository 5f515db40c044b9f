"""Logic, shifts and bit fields."""

import operator

from logv.ptx._syntax import Immediate
from logv.ptx.interpreter._form import PREDICATE, Decoder, Form, Step
from logv.ptx.interpreter._kinds import Kind
from logv.ptx.interpreter._thread import Thread

_U32 = Kind("u32", 32)
_S32 = Kind("s32", 32)
_ONES = 0xFFFFFFFF
_LOGIC = {"and": operator.and_, "or": operator.or_, "xor": operator.xor}


def _logic(form: Form) -> Step:
    (kind,) = form.types(1, among="pred b16 b32 b64")
    return form.compute(kind, [kind] * 2, _LOGIC[form.opcode])


def _complement(form: Form) -> Step:
    (kind,) = form.types(1, among="pred b16 b32 b64")
    return form.compute(kind, [kind], lambda a: ~a & kind.mask)


def _is_zero(form: Form) -> Step:
    (kind,) = form.types(1, among="b16 b32 b64")
    return form.compute(kind, [kind], lambda a: int(a == 0))


def _shift(form: Form) -> Step:
    left = form.opcode == "shl"
    (kind,) = form.types(1, among="b16 b32 b64" if left else "b16 b32 b64 u16 u32 u64 s16 s32 s64")
    if left:
        return form.compute(kind, [kind, _U32], lambda a, n: a << min(n, kind.bits))
    return form.compute(kind, [kind, _U32], lambda a, n: a >> min(n, kind.bits))


def _funnel_shift(form: Form) -> Step:
    (kind,) = form.types(1, "l r wrap clamp", among="b32")
    left, wrap = form.choose("l r") == "l", form.choose("wrap clamp") == "wrap"

    def shift(a: int, b: int, c: int) -> int:
        n = c & 31 if wrap else min(c, 32)
        whole = b << 32 | a
        return whole << n >> 32 if left else whole >> n

    return form.compute(kind, [kind, kind, _U32], shift)


def _count_ones(form: Form) -> Step:
    (kind,) = form.types(1, among="b32 b64")
    return form.compute(_U32, [kind], int.bit_count)


def _count_leading(form: Form) -> Step:
    (kind,) = form.types(1, among="b32 b64")
    return form.compute(_U32, [kind], lambda a: kind.bits - a.bit_length())


def _reverse(form: Form) -> Step:
    (kind,) = form.types(1, among="b32 b64")
    return form.compute(kind, [kind], lambda a: int(f"{a:0{kind.bits}b}"[::-1], 2))


def _find_leading(form: Form) -> Step:
    (kind,) = form.types(1, "shiftamt", among="u32 s32 u64 s64")
    distance = "shiftamt" in form.flags

    def find(a: int) -> int:
        place = (~a if a < 0 else a).bit_length() - 1
        if place < 0:
            return _ONES
        return kind.bits - 1 - place if distance else place

    return form.compute(_U32, [kind], find)


def _extract_field(form: Form) -> Step:
    (kind,) = form.types(1, among="u32 s32 u64 s64")
    bits = kind.bits

    def extract(a: int, position: int, length: int) -> int:
        position, length = position & 255, length & 255
        sign = a >> min(position + length - 1, bits - 1) & 1 if kind.signed and length else 0
        result = 0
        for index in range(bits):
            inside = index < length and position + index < bits
            result |= (a >> position + index & 1 if inside else sign) << index
        return result

    return form.compute(kind, [kind, _U32, _U32], extract)


def _insert_field(form: Form) -> Step:
    (kind,) = form.types(1, among="b32 b64")

    def insert(a: int, b: int, position: int, length: int) -> int:
        position, length = position & 255, length & 255
        for index in range(length):
            if position + index < kind.bits:
                b = b & ~(1 << position + index) | (a >> index & 1) << position + index
        return b

    return form.compute(kind, [kind, kind, _U32, _U32], insert)


def _permute(form: Form) -> Step:
    (kind,) = form.types(1, "f4e b4e rc8 ecl ecr rc16", among="b32")
    mode = form.choose("f4e b4e rc8 ecl ecr rc16", "index")

    def permute(a: int, b: int, c: int) -> int:
        octets = (b << 32 | a).to_bytes(8, "little")
        result = 0
        for place, selector in enumerate(_selectors(mode, c)):
            octet = octets[selector & 7]
            if selector & 8:
                octet = 255 if octet & 128 else 0
            result |= octet << 8 * place
        return result

    return form.compute(kind, [kind, kind, kind], permute)


def _selectors(mode: str, c: int) -> list[int]:
    """Return which byte goes to each place, the lowest first; 8 is added to repeat its sign."""
    n = c & 3
    return {
        "index": [c >> 4 * place & 15 for place in range(4)],
        "f4e": [n, n + 1, n + 2, n + 3],
        "b4e": [n, n - 1 & 7, n - 2 & 7, n - 3 & 7],
        "rc8": [n] * 4,
        "ecl": [max(n, place) for place in range(4)],
        "ecr": [min(n, place) for place in range(4)],
        "rc16": [0, 1, 0, 1] if n % 2 == 0 else [2, 3, 2, 3],
    }[mode]


def _three_input_logic(form: Form) -> Step:
    """``lop3``: each result bit is looked up in the table; ``p`` says whether any is set."""
    join = form.choose("and or", "none")
    (kind,) = form.types(1, "and or", among="b32")
    count = 5 if join == "none" else 6
    target, *rest = form.operands(count)
    table = rest[3]
    if not isinstance(table, Immediate) or not 0 <= table.value <= 255:
        raise form.error("the truth table must be a constant below 256")
    value, truth = form.pair(target)
    write = form.target(value, kind)
    readers = [form.source(operand, kind) for operand in rest[:3]]
    write_truth = form.target(truth, PREDICATE)
    read_other = form.source(rest[4], PREDICATE) if count == 6 else None

    def step(thread: Thread) -> None:
        a, b, c = (read(thread) for read in readers)
        result = 0
        for index in range(32):
            row = (a >> index & 1) << 2 | (b >> index & 1) << 1 | c >> index & 1
            result |= (table.value >> row & 1) << index
        if read_other is not None:
            write_truth(thread, _LOGIC[join](int(result != 0), read_other(thread)))
        write(thread, result)

    return step


def _find_nth_set(form: Form) -> Step:
    (kind,) = form.types(1, among="b32")

    def find(mask: int, base: int, offset: int) -> int:
        if offset == 0:
            return base if base < 32 and mask >> base & 1 else _ONES
        way = 1 if offset > 0 else -1
        left = abs(offset)
        while 0 <= base < 32:
            left -= mask >> base & 1
            if left == 0:
                return base
            base += way
        return _ONES

    return form.compute(kind, [kind, _U32, _S32], find)


def _bit_mask(form: Form) -> Step:
    """``bmsk``: b ones from bit a upward."""
    (kind,) = form.types(1, "clamp wrap", among="b32")
    wrap = form.choose("clamp wrap") == "wrap"

    def mask(a: int, b: int) -> int:
        if wrap:
            a, b = a & 31, b & 31
        return ((1 << min(b, 32)) - 1) << min(a, 32)

    return form.compute(kind, [kind, kind], mask)


def _extend(form: Form) -> Step:
    """``szext``: a number of b bits to 32."""
    (kind,) = form.types(1, "clamp wrap", among="u32 s32")
    wrap = form.choose("clamp wrap") == "wrap"

    def extend(a: int, b: int) -> int:
        b = b & 31 if wrap else min(b, 32)
        low = a & ((1 << b) - 1)
        return low - (1 << b) if kind.signed and b and low >> (b - 1) else low

    return form.compute(kind, [kind, _U32], extend)


BITS: dict[str, Decoder] = {
    "and": _logic, "or": _logic, "xor": _logic, "not": _complement, "cnot": _is_zero, "shl": _shift,
    "shr": _shift, "shf": _funnel_shift, "popc": _count_ones, "clz": _count_leading, "brev": _reverse,
    "bfind": _find_leading, "bfe": _extract_field, "bfi": _insert_field, "prmt": _permute,
    "lop3": _three_input_logic, "fns": _find_nth_set, "bmsk": _bit_mask, "szext": _extend,
}  # fmt: skip
