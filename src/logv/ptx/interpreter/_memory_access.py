"""Loads, stores, atomics, and what only hints at them."""

from collections.abc import Callable

from logv.ptx._syntax import Address, Group, Immediate, Operand, Register, Symbol
from logv.ptx.interpreter._form import B64, Decoder, Form, Reader, Step
from logv.ptx.interpreter._kinds import Kind
from logv.ptx.interpreter._thread import Thread

_SPACES = "global shared local const param shared::cta"
_SCOPES = "cta cluster gpu sys"
_ORDERS = "weak relaxed acquire release acq_rel volatile"
_HINTS = (
    "nc ca cg cs lu cv wb wt L1::no_allocate L1::evict_last L1::evict_first L1::evict_normal "
    "L1::evict_unchanged L2::64B L2::128B L2::256B L2::cache_hint"
)
_ADDRESS_BITS = 64


def _space(form: Form) -> str:
    return form.choose(_SPACES, "generic").removesuffix("::cta")


def _address(form: Form, operand: Operand) -> Reader:
    """Return what computes an address, which wraps at 64 bits."""
    if not isinstance(operand, Address):
        raise form.error("an address in brackets is expected")
    base, offset, mask = operand.base, operand.offset, (1 << _ADDRESS_BITS) - 1
    if isinstance(base, Symbol):
        place = form.place_of(base.name) + offset
        return lambda thread: place & mask
    if isinstance(base, Immediate):
        return lambda thread: base.value + offset & mask
    _check_base(form, base)
    kind = B64 if base.type.bits == _ADDRESS_BITS else Kind("b32", 32)
    read = form.source(base, kind)
    return lambda thread: read(thread) + offset & mask


def _check_base(form: Form, base: Register) -> None:
    """Refuse a register that cannot hold an address."""
    if base.type.bits not in (32, 64) or base.negated:
        raise form.error("an address must be a 32-bit or 64-bit register")


def _symbol_space(form: Form, operand: Operand) -> str | None:
    """Return the space of the variable that an address names."""
    if not isinstance(operand, Address) or not isinstance(operand.base, Symbol):
        return None
    variable = form.entry.body.variables.get(operand.base.name)
    return variable.space if variable is not None else "param"


def _resolve_space(form: Form, operand: Operand) -> str:
    """Return the space of an access; one that names a variable without a space means the variable's."""
    space, own = _space(form), _symbol_space(form, operand)
    return own if own is not None and space == "generic" else space


def _members(form: Form, operand: Operand) -> tuple[Operand, ...]:
    count = {"v2": 2, "v4": 4, "v8": 8, "none": 1}[form.choose("v2 v4 v8", "none")]
    members = operand.members if isinstance(operand, Group) else (operand,)
    if len(members) != count or (isinstance(operand, Group) and operand.separator != ","):
        raise form.error(f"{count} value(s) expected")
    return members


def _with_hint(form: Form, count: int) -> list[Operand]:
    """Return the operands without the cache policy that may follow them."""
    return form.operands(count + ("L2::cache_hint" in form.flags))[:count]


def _load(form: Form) -> Step:
    (kind,) = form.types(1, f"{_SPACES} {_SCOPES} {_ORDERS} {_HINTS} v2 v4 v8")
    target, source = _with_hint(form, 2)
    space, address = _resolve_space(form, source), _address(form, source)
    writers = [form.target(member, kind, wider=True) for member in _members(form, target)]
    size = kind.size * len(writers)

    def step(thread: Thread) -> None:
        whole = thread.read(space, address(thread), size)
        for index, write in enumerate(writers):
            write(thread, kind.number(whole >> kind.bits * index))

    return step


def _store(form: Form) -> Step:
    (kind,) = form.types(1, f"{_SPACES} {_SCOPES} {_ORDERS} {_HINTS} v2 v4 v8")
    target, source = _with_hint(form, 2)
    space, address = _resolve_space(form, target), _address(form, target)
    readers = [form.source(member, kind, wider=True) for member in _members(form, source)]
    size = kind.size * len(readers)

    def step(thread: Thread) -> None:
        whole = sum((read(thread) & kind.mask) << kind.bits * index for index, read in enumerate(readers))
        thread.write(space, address(thread), size, whole)

    return step


_INTEGERS = "u32 s32 u64 s64"
_BITS = "b32 b64"
_OPERATIONS: dict[str, tuple[str, Callable[..., int]]] = {
    "add": ("u32 s32 u64 s64 f32 f64 f16 f16x2 bf16 bf16x2", lambda old, b: old + b),
    "min": (_INTEGERS, min),
    "max": (_INTEGERS, max),
    "and": (_BITS, lambda old, b: old & b),
    "or": (_BITS, lambda old, b: old | b),
    "xor": (_BITS, lambda old, b: old ^ b),
    "exch": (_BITS, lambda old, b: b),
    "cas": ("b16 b32 b64", lambda old, b, c: c if old == b else old),
    "inc": ("u32", lambda old, b: 0 if old >= b else old + 1),
    "dec": ("u32", lambda old, b: b if old == 0 or old > b else old - 1),
}


def _atomic(form: Form) -> Step:
    """``atom``, and ``red``, which returns nothing. Threads run one at a time: nothing comes between."""
    (kind,) = form.types(
        1, f"global shared shared::cta {_SCOPES} {_ORDERS} noftz L2::cache_hint " + " ".join(_OPERATIONS)
    )
    name = form.choose(" ".join(_OPERATIONS))
    types, function = _OPERATIONS[name]
    returns = form.opcode == "atom"
    if kind.name not in types.split() or (not returns and name in ("exch", "cas")):
        raise form.error(f"{form.opcode}.{name} of .{kind.name} is not known")
    operands = _with_hint(form, 2 + returns + (name == "cas"))
    place = operands[int(returns)]
    space, address = _resolve_space(form, place), _address(form, place)
    readers = [form.source(operand, kind) for operand in operands[1 + returns :]]
    write = form.target(operands[0], kind) if returns else None
    if kind.floating:
        function = _float_sum(kind)

    def step(thread: Thread) -> None:
        at = address(thread)
        values = [read(thread) for read in readers]
        old = kind.number(thread.read(space, at, kind.size))
        thread.write(space, at, kind.size, function(old, *values) & kind.mask)
        if write is not None:
            write(thread, old)

    return step


def _float_sum(kind: Kind) -> Callable[[int, int], int]:
    # Subnormal numbers are kept everywhere; PTX lets atom.add.f32 flush them, and says so of global memory.
    number = kind.format
    if not kind.packed:
        return number.add
    return lambda a, b: number.add(a & 0xFFFF, b & 0xFFFF) | number.add(a >> 16, b >> 16) << 16


def _nothing(form: Form) -> Step:
    """Decode what changes no value: fences, hints, pauses."""
    return lambda thread: None


def _policy(form: Form) -> Step:
    """``createpolicy``: a policy is opaque."""
    write = form.target(form.instruction.operands[0], B64)
    return lambda thread: write(thread, 0)


MEMORY: dict[str, Decoder] = {
    "ld": _load, "ldu": _load, "st": _store, "atom": _atomic, "red": _atomic, "createpolicy": _policy,
    **dict.fromkeys(
        ("membar", "fence", "prefetch", "prefetchu", "discard", "applypriority", "nanosleep", "pmevent"),
        _nothing,
    ),
}  # fmt: skip
