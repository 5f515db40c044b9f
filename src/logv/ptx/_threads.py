"""Writes the loop over the threads of a block that runs one region.

Accesses carry an access group that the loop over x declares free of dependences between iterations,
because threads between two barriers are; atomics and volatile accesses stay outside of that.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from logv.hw.software_gpu import APERTURE_VA_BITS
from logv.ptx._address import Split, choose_address, split_address
from logv.ptx._ir import Access, Block, Value
from logv.ptx._liveness import SlotClass
from logv.ptx._meeting import RESULT
from logv.ptx._plan import RegionPlan
from logv.ptx._prefetch import RowPrefetch
from logv.ptx._preload import common_reads
from logv.ptx._regions import Region
from logv.ptx._schedule import EXITED, WAITS
from logv.ptx._scratch import ScratchLayout
from logv.ptx._spaces import WINDOW_BITS
from logv.ptx._types import VALUE_BITS
from logv.ptx._writer import Writer

ALL: Mapping[str, tuple[str, str]] = MappingProxyType({})
_ATOMIC = {
    "add": "add", "smin": "min", "smax": "max", "umin": "umin", "umax": "umax", "and": "and", "or": "or",
    "xor": "xor", "exch": "xchg", "inc": "uinc_wrap", "dec": "udec_wrap", "fadd": "fadd",
}  # fmt: skip


# By axis, the i32 names of the first thread and of the one after the last.
Box = Mapping[str, tuple[str, str]]


class ThreadLoop:
    """The loop of one region.

    Parameters
    ----------
    writer : Writer
    layout : ScratchLayout
    block : tuple of int
        Block dimensions.
    plan : RegionPlan
    prefix : str
        Begins the names of all labels.
    mask_type : str
        Integer type with a bit for each region, and one for threads that have left.
    regions : int
        How many there are.
    width : str, optional
        The i32 name of how many threads there are in x, where these are not all of the block.
    box : Box
        The threads to run, where these are not all.
    done : Box
        Threads to leave out, where another loop has run them.

    Attributes
    ----------
    prefetches : sequence of RowPrefetch
        To be done before each row.
    """

    def __init__(
        self,
        writer: Writer,
        layout: ScratchLayout,
        block: tuple[int, int, int],
        plan: RegionPlan,
        prefix: str,
        mask_type: str,
        regions: int,
        *,
        width: str | None = None,
        box: Box = ALL,
        done: Box = ALL,
    ) -> None:
        self._w = writer
        self._layout = layout
        self._block = block
        self._region = plan.region
        self._plan = plan
        self._mask_type = mask_type
        self._regions = regions
        self._prefix = prefix
        self._extents = (width or str(block[0]), str(block[1]), str(block[2]))
        self._box = box
        self._done = done
        self.prefetches: Sequence[RowPrefetch] = ()
        self._end_labels: dict[Block, str] = {}
        # What stands before the loop.
        self._written: set[Value] = set()

    def emit(self, number: int) -> list[str]:
        """Write the loop, leave the position after it, and return the metadata it refers to.

        Parameters
        ----------
        number : int
            Number of the first metadata node.
        """
        if not self._plan.scheduled and all(_is_scalar(block) for block in self._region.blocks):
            # Nothing is left for the threads to do.
            return []
        self._group, self._loop, *properties = (f"!{number + i}" for i in range(5))
        self._access = f", !llvm.access.group {self._group}"
        w, p = self._w, self._prefix
        bx, by, bz = self._block
        plan = self._plan
        targets = {target for target in self._region.leaves.values() if target is not None}
        ends = None in self._region.leaves.values()
        self._reaches = [
            name for name, waits in (("ready", False), ("waiting", True))
            if plan.scheduled
            and (any((target.meeting is not None) is waits for target in targets) or (ends and waits))
        ]  # fmt: skip
        for name in self._reaches:
            w.put(f"store {self._mask_type} 0, ptr %{name}_new")
        w.put(f"br label %{p}_pre")
        w.label(f"{p}_pre")
        if plan.fast is None and not plan.scheduled:
            # There is a thread that runs the loop.
            for value in common_reads(self._region):
                self._write(value)
                self._written.add(value)
        inner = f"{p}_pre"
        for axis, extent in (("z", bz), ("y", by)):
            if extent > 1:
                w.put(f"br label %{p}_{axis}")
                w.label(f"{p}_{axis}")
                begin, _ = self._extent(axis)
                again = f"[ %{p}_{axis}_after, %{p}_{axis}_latch ]"
                w.put(f"%{p}_tid_{axis} = phi i32 [ {begin}, %{inner} ], {again}")
                inner = f"{p}_{axis}"
        names = {
            axis: f"%{p}_tid_{axis}" if extent > 1 else "0"
            for axis, extent in zip("xyz", self._block, strict=True)
        }
        w.thread_names = names
        row = w.let(f"mul nuw nsw i32 {names['z']}, {by}")
        row = w.let(f"add nuw nsw i32 {row}, {names['y']}")
        row = w.let(f"mul nuw nsw i32 {row}, {bx}")
        for prefetch in self.prefetches:
            self._prefetch(prefetch)
        if bx > 1:
            w.put(f"br label %{p}_x")
            w.label(f"{p}_x")
            begin, _ = self._extent("x")
            w.put(f"%{p}_x_count = phi i32 [ {begin}, %{inner} ], [ %{p}_x_after, %{p}_x_latch ]")
            if self._plan.fast is not None:
                # Hides from LLVM that addresses are linear in the thread's number: this loop is not to be
                # vectorised, and the search for the best way to step all the addresses costs a tenth of
                # the time to compile.
                w.put(f'%{p}_tid_x = call i32 asm "", "=r,0"(i32 %{p}_x_count)')
            else:
                w.thread_names["x"] = f"%{p}_x_count"
        thread = w.let(f"add nuw nsw i32 {row}, {names['x']}")
        self._thread = w.let(f"zext i32 {thread} to i64")
        self._body()
        self._latch(names)
        w.label(f"{p}_end")
        for name in self._reaches:
            total = w.let(f"load {self._mask_type}, ptr %{name}_new")
            before = w.let(f"load {self._mask_type}, ptr %{name}")
            after = w.let(f"or {self._mask_type} {before}, {total}")
            w.put(f"store {self._mask_type} {after}, ptr %{name}")
        # Blocks that a specialised copy leaves are few: the general one is kept small.
        general = [f", {name}" for name in properties[1:]] if plan.fast is not None else []
        return [
            f"{self._group} = distinct !{{}}",
            f"{self._loop} = distinct !{{{self._loop}, {properties[0]}{''.join(general)}}}",
            f'{properties[0]} = !{{!"llvm.loop.parallel_accesses", {self._group}}}',
            f'{properties[1]} = !{{!"llvm.loop.vectorize.enable", i1 false}}',
            f'{properties[2]} = !{{!"llvm.loop.unroll.disable"}}',
        ]

    def _prefetch(self, prefetch: RowPrefetch) -> None:
        """Write the prefetches for one access, the position being before the loop over x."""
        w = self._w
        w.declarations.use("llvm.prefetch.p0", "void", "ptr, i32, i32, i32")
        inside, w.thread_names["x"] = w.thread_names["x"], "0"
        w.forget(prefetch.operations)
        for value in prefetch.operations:
            w.pure(value)
        first = self._address(prefetch.address, prefetch.access)
        w.forget(prefetch.operations)
        w.thread_names["x"] = inside
        for offset in prefetch.offsets:
            place = w.let(f"getelementptr i8, ptr {first}, i64 {offset}")
            # Into the second level: rows that lie a power of two apart share a few lines of the first.
            w.put(f"call void @llvm.prefetch.p0(ptr {place}, i32 {int(prefetch.write)}, i32 2, i32 1)")

    # -- the loop's frame ---------------------------------------------------------------------------

    def _extent(self, axis: str) -> tuple[str, str]:
        return self._box.get(axis, ("0", self._extents["xyz".index(axis)]))

    def _body(self) -> None:
        w, p = self._w, self._prefix
        first = self._region.blocks[0]
        if self._done:
            inside = "true"
            for axis, (low, high) in self._done.items():
                name = w.thread_names[axis]
                for comparison, end in (("uge", low), ("ult", high)):
                    met = w.let(f"icmp {comparison} i32 {name}, {end}")
                    inside = w.let(f"and i1 {inside}, {met}")
            w.put(f"br i1 {inside}, label %{p}_skip, label %{p}_b{first.index}")
            w.label(f"{p}_skip")
            # Those that follow in x are done as well, if that loop went so far.
            _, high = self._done.get("x", self._extent("x"))
            w.put(f"br label %{p}_x_latch")
            self._after_done = f"[ {high}, %{p}_skip ]"
        elif self._plan.scheduled:
            address = self._element(self._layout.next_region, 2)
            self._old_code = w.let(f"load i16, ptr {address}, align 2{self._access}")
            mine = w.let(f"icmp eq i16 {self._old_code}, {self._region.index}")
            w.put(f"br i1 {mine}, label %{p}_b{first.index}, label %{p}_x_latch0")
            self._skipping = self._current_label()
        else:
            w.put(f"br label %{p}_b{first.index}")
        for block in self._region.blocks:
            self._write_block(block)

    def _current_label(self) -> str:
        for line in reversed(self._w.lines):
            if line.endswith(":") and not line.startswith(" "):
                return line[:-1]
        raise AssertionError("no label was written")

    def _latch(self, names: dict[str, str]) -> None:
        """Merge the ways threads leave, note their next region, and go on to the next thread."""
        w, p = self._w, self._prefix
        w.label(f"{p}_x_latch0")
        if self._plan.scheduled:
            leaves = [
                (block, target) for block, target in self._region.leaves.items() if block in self._end_labels
            ]
            skip = [(self._old_code, self._skipping)] if self._plan.scheduled else []
            ways = [(_code(target), self._end_labels[block]) for block, target in leaves] + skip
            if ways:
                code = w.let("phi i16 " + ", ".join(f"[ {value}, %{label} ]" for value, label in ways))
                bits = {}
                for name in self._reaches:
                    incoming = [
                        (self._bit(target, waits=name == "waiting"), self._end_labels[block])
                        for block, target in leaves
                    ] + [(0, label) for _, label in skip]
                    bits[name] = w.let(
                        f"phi {self._mask_type} "
                        + ", ".join(f"[ {value}, %{label} ]" for value, label in incoming)
                    )
                address = self._element(self._layout.next_region, 2)
                w.put(f"store i16 {code}, ptr {address}, align 2{self._access}")
                for name, bit in bits.items():
                    total = w.let(f"load {self._mask_type}, ptr %{name}_new")
                    joined = w.let(f"or {self._mask_type} {total}, {bit}")
                    w.put(f"store {self._mask_type} {joined}, ptr %{name}_new")
        if self._done and self._block[0] > 1:
            w.put(f"%{p}_x_next = add nuw nsw i32 %{p}_x_count, 1")
        for axis, extent in zip("xyz", self._block, strict=True):
            if axis == "x" or extent > 1:
                w.put(f"br label %{p}_{axis}_latch")
                w.label(f"{p}_{axis}_latch")
            if extent > 1:
                after = f"%{p}_{axis}_after"
                count = f"%{p}_x_count" if axis == "x" else names[axis]
                if axis == "x" and self._done:
                    w.put(f"{after} = phi i32 [ %{p}_x_next, %{p}_x_latch0 ], {self._after_done}")
                else:
                    w.put(f"{after} = add nuw nsw i32 {count}, 1")
                more = w.let(f"icmp ult i32 {after}, {self._extent(axis)[1]}")
                metadata = f", !llvm.loop {self._loop}" if axis == "x" else ""
                w.put(f"br i1 {more}, label %{p}_{axis}, label %{p}_{axis}_out{metadata}")
                w.label(f"{p}_{axis}_out")
        w.put(f"br label %{p}_end")

    def _bit(self, target: Region | None, *, waits: bool) -> int:
        if target is None:
            return 1 << self._regions if waits else 0
        return 1 << target.index if (target.meeting is not None) is waits else 0

    def _element(self, offset: int, size: int) -> str:
        """Address of this thread's element of a scratch array."""
        base = self._w.let(f"getelementptr inbounds i8, ptr %scratch, i64 {offset}")
        kind = f"i{8 * size}"
        return self._w.let(f"getelementptr inbounds {kind}, ptr {base}, i64 {self._thread}")

    # -- blocks -------------------------------------------------------------------------------------

    def _write_block(self, block: Block) -> None:
        w, p = self._w, self._prefix
        w.label(f"{p}_b{block.index}")
        for phi in block.phis:
            ways = ", ".join(
                f"[ {w.name(arg)}, %{p}_b{before.index} ]"
                for arg, before in zip(phi.args, block.predecessors, strict=True)
            )
            w.put(f"{w.name(phi)} = phi {phi.type} {ways}")
        for value in block.ops:
            if value not in self._written:
                self._write(value)
        if block.terminator == "leave":
            self._end_labels[block] = f"{p}_b{block.index}"
            w.put(f"br label %{p}_x_latch0")
        elif block.terminator == "trap":
            w.put("br label %trapped")
        elif block.terminator == "jump":
            w.put(f"br label %{p}_b{block.successors[0].index}")
        else:
            assert block.condition is not None
            yes, no = block.successors
            w.put(f"br i1 {w.name(block.condition)}, label %{p}_b{yes.index}, label %{p}_b{no.index}")

    def _write(self, value: Value) -> None:
        w = self._w
        op = value.op
        if op == "load":
            self._load(value)
        elif op == "store":
            self._store(value)
        elif op == "atom":
            self._atomic(value)
        elif op == "fence":
            w.put("fence seq_cst")
        elif op == "reload":
            assert isinstance(value.attr, SlotClass)
            kind, name = value.type, w.name(value)
            address = self._element(self._layout.arrays[value.attr], self._layout.element_bytes(kind))
            if kind == "i1":
                byte = w.let(f"load i8, ptr {address}, align 1{self._access}")
                w.put(f"{name} = trunc i8 {byte} to i1")
            else:
                w.put(f"{name} = load {kind}, ptr {address}, align {VALUE_BITS[kind] // 8}{self._access}")
        elif op == "spill":
            self._spill(value)
        elif op == "publish":
            assert isinstance(value.attr, int)
            address = self._element(self._layout.words[value.attr], 4)
            w.put(f"store i32 {w.name(value.args[0])}, ptr {address}, align 4{self._access}")
        elif op == "collect":
            address = self._element(self._layout.words[RESULT], 4)
            w.put(f"{w.name(value)} = load i32, ptr {address}, align 4{self._access}")
        elif op not in ("update", "pend"):
            w.pure(value)

    def _spill(self, value: Value) -> None:
        w = self._w
        assert isinstance(value.attr, SlotClass)
        kind = value.args[0].type
        name = w.name(value.args[0])
        address = self._element(self._layout.arrays[value.attr], self._layout.element_bytes(kind))
        if kind == "i1":
            name, kind = w.let(f"zext i1 {name} to i8"), "i8"
        w.put(f"store {kind} {name}, ptr {address}, align {VALUE_BITS[kind] // 8}{self._access}")

    # -- memory -------------------------------------------------------------------------------------

    def _address(self, address: Value, access: Access) -> str:
        w = self._w
        if access.space == "generic":
            return choose_address(w, address, access, self._address)
        if access.space in ("global", "shared"):
            split = split_address(address, access.space, access.offset, access.size, w.ranges)
            return self._sum(split, f"%{access.space}")
        return self._confined(address, access)

    def _sum(self, split: Split, base: str) -> str:
        w = self._w
        if split.unbounded:
            total = ""
            for value, factor in split.unbounded:
                name = w.name(value)
                if factor != 1:
                    name = w.let(f"mul i64 {name}, {factor}")
                total = w.let(f"add i64 {total}, {name}") if total else name
            masked = w.let(f"and i64 {total}, {split.mask}")
            base = w.let(f"getelementptr i8, ptr {base}, i64 {masked}")
        for value, factor in split.bounded:
            name = w.name(value)
            if factor != 1:
                name = w.let(f"mul nsw i64 {name}, {factor}")
            base = w.let(f"getelementptr i8, ptr {base}, i64 {name}")
        if split.constant:
            base = w.let(f"getelementptr i8, ptr {base}, i64 {split.constant}")
        return base

    def _confined(self, address: Value, access: Access) -> str:
        """Address in a small memory: beyond its end means its last element."""
        w = self._w
        base, size = {
            "const": ("@constants", self._layout.constant_bytes),
            "param": ("%params", self._layout.parameter_bytes),
            "local": ("%scratch", self._layout.local_stride),
        }[access.space]
        place = w.let(f"add i64 {w.name(address)}, {access.offset}")
        # Without the window, if the address is generic.
        place = w.let(f"and i64 {place}, {(1 << WINDOW_BITS) - 1}")
        w.declarations.use("llvm.umin.i64", "i64", "i64, i64")
        place = w.let(f"call i64 @llvm.umin.i64(i64 {place}, i64 {max(0, size - access.size)})")
        if access.space == "local":
            own = w.let(f"mul nuw nsw i64 {self._thread}, {size}")
            own = w.let(f"add nuw nsw i64 {own}, {self._layout.local}")
            base = w.let(f"getelementptr i8, ptr %scratch, i64 {own}")
        return w.let(f"getelementptr i8, ptr {base}, i64 {place}")

    def _load(self, value: Value) -> None:
        assert isinstance(value.attr, Access)
        access = value.attr
        name = self._w.name(value)
        if access.space == "timer":
            self._w.put(f"{name} = {self._w.declarations.timer(access.operation)}")
            return
        pointer = self._address(value.args[0], access)
        volatile = "volatile " if access.volatile else ""
        group = "" if access.volatile else self._access
        self._w.put(f"{name} = load {volatile}{value.type}, ptr {pointer}, align 1{group}")

    def _store(self, value: Value) -> None:
        assert isinstance(value.attr, Access)
        access = value.attr
        pointer = self._address(value.args[0], access)
        volatile = "volatile " if access.volatile else ""
        group = "" if access.volatile else self._access
        stored = value.args[1]
        self._w.put(f"store {volatile}{stored.type} {self._w.name(stored)}, ptr {pointer}, align 1{group}")

    def _atomic(self, value: Value) -> None:
        w = self._w
        access = value.attr
        assert isinstance(access, Access)
        kind = value.type
        name = w.name(value)
        arguments = [w.name(arg) for arg in value.args[1:]]
        if access.space in ("shared", "local"):
            # A block runs on one host thread.
            pointer = self._address(value.args[0], access)
            w.put(f"{name} = load {kind}, ptr {pointer}, align 1")
            result = self._combine(access.operation, kind, name, arguments)
            w.put(f"store {kind} {result}, ptr {pointer}, align 1")
            return
        if access.space == "generic":
            pointer = self._address(value.args[0], access)
        else:
            # Host atomics must be aligned.
            mask = ((1 << APERTURE_VA_BITS) - 1) & ~(access.size - 1)
            place = w.let(f"add i64 {w.name(value.args[0])}, {access.offset}")
            place = w.let(f"and i64 {place}, {mask}")
            pointer = w.let(f"getelementptr i8, ptr %global, i64 {place}")
        if access.operation == "cas":
            pair = w.let(
                f"cmpxchg ptr {pointer}, {kind} {arguments[0]}, {kind} {arguments[1]} monotonic monotonic"
            )
            w.put(f"{name} = extractvalue {{ {kind}, i1 }} {pair}, 0")
        else:
            operation = _ATOMIC[access.operation]
            w.put(f"{name} = atomicrmw {operation} ptr {pointer}, {kind} {arguments[0]} monotonic")

    def _combine(self, operation: str, kind: str, old: str, arguments: list[str]) -> str:
        """Work out what an atomic on shared memory stores."""
        w = self._w
        new = arguments[0]
        if operation in ("add", "and", "or", "xor", "fadd"):
            return w.let(f"{operation} {kind} {old}, {new}")
        if operation in ("smin", "smax", "umin", "umax"):
            w.declarations.use(f"llvm.{operation}.{kind}", kind, f"{kind}, {kind}")
            return w.let(f"call {kind} @llvm.{operation}.{kind}({kind} {old}, {kind} {new})")
        if operation == "exch":
            return new
        if operation == "cas":
            same = w.let(f"icmp eq {kind} {old}, {new}")
            return w.let(f"select i1 {same}, {kind} {arguments[1]}, {kind} {old}")
        if operation == "inc":
            wraps = w.let(f"icmp uge {kind} {old}, {new}")
            more = w.let(f"add {kind} {old}, 1")
            return w.let(f"select i1 {wraps}, {kind} 0, {kind} {more}")
        zero = w.let(f"icmp eq {kind} {old}, 0")
        beyond = w.let(f"icmp ugt {kind} {old}, {new}")
        wraps = w.let(f"or i1 {zero}, {beyond}")
        less = w.let(f"sub {kind} {old}, 1")
        return w.let(f"select i1 {wraps}, {kind} {new}, {kind} {less}")


def _code(target: Region | None) -> int:
    """Return what a thread notes that goes on to a region, as a signed number."""
    if target is None:
        return EXITED - 0x10000
    return target.index | (WAITS - 0x10000 if target.meeting is not None else 0)


def _is_scalar(block: Block) -> bool:
    effects = ("store", "atom", "fence", "spill", "publish")
    return block.terminator != "trap" and not any(
        value.op in effects or (isinstance(value.attr, Access) and value.attr.volatile) for value in block.ops
    )
