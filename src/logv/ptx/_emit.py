"""Writes a planned kernel as LLVM assembly.

One function loops over blocks, regions and threads (z, y, x; x innermost). Block dimensions are
constants. Where blocks run together (see :mod:`logv.ptx._widen`), the loop over blocks takes several steps at
once, and the loops over x end where the last of these blocks does.
"""

from dataclasses import dataclass

from logv.hw.software_gpu import APERTURE_VA_BITS
from logv.ptx._block_loop import WIDTH, BlockLoop
from logv.ptx._box import find_width, find_within
from logv.ptx._exchange import Exchange
from logv.ptx._fission import Part
from logv.ptx._ir import Value
from logv.ptx._parting import Parting
from logv.ptx._plan import Plan, RegionPlan
from logv.ptx._prefetch import CACHE_LINE_BYTES, plan_prefetches, plan_row_prefetches
from logv.ptx._regions import Bound, Region, RegionBuilder
from logv.ptx._schedule import Schedule
from logv.ptx._scratch import ScratchLayout
from logv.ptx._stages import stride_of
from logv.ptx._threads import ALL, Box, ThreadLoop
from logv.ptx._types import VALUE_BITS
from logv.ptx._writer import Writer
from logv.ptx.module import Entry


@dataclass(frozen=True, slots=True)
class Assembly:
    """LLVM assembly of one kernel, and the host memory that a block of it needs."""

    text: str
    scratch_bytes: int


class Emitter:
    """Writes one kernel.

    Parameters
    ----------
    symbol : str
        Name of the function.
    entry : Entry
    constants : bytes
        Contents of constant memory.
    block : tuple of int
        Of threads that run together.
    together : int
        How many blocks of the grid they are, beside each other in x (see :mod:`logv.ptx._widen`).
    builder : RegionBuilder
    plan : Plan
    schedule : Schedule
    turns : int
        How many blocks take turns at barriers (see :mod:`logv.ptx._stages`).
    """

    def __init__(
        self,
        symbol: str,
        entry: Entry,
        constants: bytes,
        block: tuple[int, int, int],
        together: int,
        builder: RegionBuilder,
        plan: Plan,
        schedule: Schedule,
        turns: int,
    ) -> None:
        self._symbol = symbol
        self._entry = entry
        self._constants = constants
        self._block = block
        self._together = together
        self._builder = builder
        self._plan = plan
        self._scheduled = plan.scheduled
        self._schedule = schedule
        self._turns = turns
        self._writer = Writer(block)
        self._layout = ScratchLayout(entry, block, builder.classes, self._scheduled, schedule, len(constants))
        self._parting = Parting(self._writer, self._layout, schedule)
        self._blocks = BlockLoop(
            width=block[0] // together,
            together=together,
            turns=turns,
            shared_stride=stride_of(entry),
            regions=[region.index for region in schedule.regions],
        )
        self._exchange = Exchange(schedule.threads, self._layout.words)
        self._metadata: list[str] = []
        self._slots = {phi: f"%slot{index}" for index, phi in enumerate(sorted_counters(builder))}

    def emit(self) -> Assembly:
        """Return the assembly."""
        writer = self._writer
        for value in self._block_values():
            writer.ranges.note(value)
        for plan in self._plan.regions.values():
            self._region(plan)
        if self._scheduled:
            self._parting.dispatch(self._plan.regions.values())
        body, writer.lines = writer.lines, []
        self._block_level_values()
        prologue, writer.lines = writer.lines, []
        self._head()
        head = writer.lines
        constants = self._constants or b"\0"
        shared = "%shared" if self._turns == 1 else "%shared_all"
        text = [
            f'@constants = internal constant [{len(constants)} x i8] c"{_escape(constants)}", align 64',
            f"define i32 @{self._symbol}(ptr noalias %params, ptr noalias %global, ptr noalias {shared}, "
            "ptr noalias align 64 %scratch, ptr noalias %grid, i64 %begin, i64 %end) #0 {",
            "entry:",
            *head,
            *self._blocks.head(),
            *prologue,
            *(self._parting.reset() if self._scheduled else []),
            *self._blocks.entrance(),
            *body,
            *self._blocks.end(),
            "done:",
            "  ret i32 0",
            "trapped:",
            "  ret i32 1",
            "}",
            *self._exchange.lines(),
            *self._parting.table(),
            writer.declarations.text(),
            "attributes #0 = { nounwind }",
            *self._metadata,
        ]
        return Assembly("\n".join(text) + "\n", self._layout.size)

    def _head(self) -> None:
        put = self._writer.put
        self._writer.declarations.use("llvm.umax.i32", "i32", "i32, i32")
        for axis, offset in zip("xyz", (0, 4, 8), strict=True):
            put(f"%grid_{axis}_p = getelementptr i8, ptr %grid, i64 {offset}")
            put(f"%grid_{axis} = load i32, ptr %grid_{axis}_p, align 4")
            # A grid without blocks never gets here; this keeps the division below from trapping.
            put(f"%grid_{axis}_n = call i32 @llvm.umax.i32(i32 %grid_{axis}, i32 1)")
            put(f"%grid_{axis}_w = zext i32 %grid_{axis}_n to i64")
        put("%launch_shared_p = getelementptr i8, ptr %grid, i64 12")
        put("%launch_shared = load i32, ptr %launch_shared_p, align 4")
        for (offset, kind), name in self._writer.parameters.items():
            put(f"{name}_p = getelementptr i8, ptr %params, i64 {offset}")
            put(f"{name} = load {kind}, ptr {name}_p, align 1")
        for (kind, bits), name in self._writer.nans.items():
            # Hidden from LLVM, for which all NaNs are alike: it would take any other for this one.
            whole = f"i{VALUE_BITS[kind]}"
            put(f'{name}_bits = call {whole} asm "", "=r,0"({whole} {bits})')
            put(f"{name} = bitcast {whole} {name}_bits to {kind}")
        for phi, slot in self._slots.items():
            put(f"{slot} = alloca {phi.type}")
            put(f"{slot}_next = alloca {phi.type}")
        if self._together > 1:
            self._writer.declarations.use("llvm.umin.i64", "i64", "i64, i64")
            put(f"{WIDTH} = alloca i64")
        if self._scheduled:
            self._parting.head()

    def _block_values(self) -> list[Value]:
        block_level = self._builder.classes.block_level
        return [value for block in self._builder.graph.blocks for value in block.ops if value in block_level]

    def _block_level_values(self) -> None:
        """Compute what depends on parameters and block number only, where some region uses it."""
        values = self._block_values()
        needed = {value for value in values if self._writer.named(value)}
        for value in reversed(values):
            if value in needed:
                needed.update(value.args)
        for value in values:
            if value in needed:
                self._writer.pure(value)

    # -- regions ------------------------------------------------------------------------------------

    def _region(self, plan: RegionPlan) -> None:
        """Write a region: entered at ``r`` by a whole block, at ``g`` by the threads that noted it."""
        writer = self._writer
        index = plan.region.index
        self._meet(plan)
        writer.label(f"r{index}")
        self._commit(plan)
        done: Box = {}
        if plan.fast is not None:
            self._scalars(plan.fast.region.scalar_ops)
            if plan.fast.region.exits:
                over = "false"
                for condition in plan.fast.region.exits:
                    over = writer.let(f"or i1 {over}, {writer.name(condition)}")
                writer.put(f"br i1 {over}, label %block_next, label %c{index}")
                writer.label(f"c{index}")
            allowed = self._all(plan.fast.region.checks)
            if self._together > 1:
                # Rows have any length: one copy does for all threads and for some. They are too long to be
                # prefetched, and long enough for the processor to do it.
                writer.put(f"br label %q{index}")
                if plan.scheduled and all(bound.ends for bound in plan.fast.region.bounds):
                    self._shorten(plan.fast, allowed)
                else:
                    done = self._part(plan, plan.fast, allowed)
            else:
                every = self._all([bound.check for bound in plan.fast.region.bounds], allowed)
                partial = self._runs_in_part(plan)
                writer.put(f"br i1 {every}, label %f{index}, label %{'q' if partial else 's'}{index}")
                writer.label(f"f{index}")
                self._prefetch(plan.fast.region)
                self._variant(plan.fast, f"f{index}")
                if partial:
                    done = self._part(plan, plan.fast, allowed)
                else:
                    writer.label(f"s{index}")
        else:
            writer.put(f"br label %s{index}")
            writer.label(f"s{index}")
        if plan.scheduled:
            if self._together > 1:
                self._parting.note_each(index)
            else:
                self._parting.note_all(index)
            writer.put(f"br label %g{index}_in")
            writer.label(f"g{index}")
            self._commit(plan)
            writer.put(f"br label %g{index}_in")
            writer.label(f"g{index}_in")
        self._scalars(plan.region.scalar_ops)
        self._variant(plan, f"g{index}", done)

    def _all(self, conditions: list[Value], name: str = "true") -> str:
        for condition in dict.fromkeys(conditions):
            name = self._writer.let(f"and i1 {name}, {self._writer.name(condition)}")
        return name

    @staticmethod
    def _runs_in_part(plan: RegionPlan) -> bool:
        """Whether the specialised copy can run for some threads of a block, and the general one for the rest.

        Where those go elsewhere in the end, each thread has to note its way.
        """
        assert plan.fast is not None
        region = plan.fast.region
        if not plan.scheduled:
            return bool(region.bounds)
        return all(bound.idle for bound in region.bounds) and not any(region.leaves.values())

    def _part(self, plan: RegionPlan, fast: RegionPlan, allowed: str) -> Box:
        """Run the specialised copy for the threads within its bounds; return those that are done then."""
        writer, index = self._writer, plan.region.index
        writer.label(f"q{index}")
        writer.put(f"br i1 {allowed}, label %b{index}, label %s{index}")
        writer.label(f"b{index}")
        within = find_within(writer, fast.region.bounds, self._extents())
        after = f"q{index}_end"
        parts = self._runs_in_part(plan)
        if parts or self._together == 1:
            writer.put(f"br i1 {within.some}, label %b{index}_in, label %{after}")
        else:
            writer.put(f"br i1 {within.every}, label %b{index}_in, label %s{index}")
        writer.label(f"b{index}_in")
        self._loops(fast, f"b{index}", box=within.box)
        writer.put(f"br label %{after}")
        writer.label(after)
        idle = not parts or all(bound.idle for bound in fast.region.bounds)
        on = f"f{index}_s{fast.region.blocks[0].index}"
        if idle:
            writer.put(f"br label %{on}")
        elif self._together > 1:
            writer.put(f"br i1 {within.every}, label %{on}, label %s{index}")
        else:
            writer.put(f"br label %s{index}")
        if self._together > 1:
            self._scalar_way(fast, f"f{index}")
        writer.label(f"s{index}")
        if idle:
            return {}
        return {
            axis: (
                writer.let(f"phi i32 [ 0, %q{index} ], [ {low}, %{after} ]"),
                writer.let(f"phi i32 [ 0, %q{index} ], [ {high}, %{after} ]"),
            )
            for axis, (low, high) in within.box.items()
        }

    def _shorten(self, fast: RegionPlan, allowed: str) -> None:
        """Run the specialised copy, and go on with rows that lack the threads that end."""
        writer, region = self._writer, fast.region
        index = region.index
        before, after = (
            [bound for bound in region.bounds if bound.ends == when] for when in ("before", "after")
        )
        writer.label(f"q{index}")
        writer.put(f"br i1 {allowed}, label %b{index}, label %s{index}")
        writer.label(f"b{index}")
        self._end(before, f"b{index}_in")
        writer.label(f"b{index}_in")
        self._loops(fast, f"b{index}")
        self._end(after, f"f{index}_s{region.blocks[0].index}")
        self._scalar_way(fast, f"f{index}")
        writer.label(f"s{index}")

    def _end(self, bounds: list[Bound], on: str) -> None:
        """Let threads at the end of each row end; go on if any are left."""
        writer = self._writer
        if not bounds:
            writer.put(f"br label %{on}")
            return
        width = find_width(writer, bounds, self._extents()[0])
        writer.put(f"store i64 {width}, ptr {WIDTH}")
        more = writer.let(f"icmp sgt i64 {width}, 0")
        writer.put(f"br i1 {more}, label %{on}, label %block_next")

    def _extents(self) -> tuple[str, str, str]:
        """Return how many threads there are in x, y and z (i64)."""
        width = self._writer.let(f"load i64, ptr {WIDTH}") if self._together > 1 else str(self._block[0])
        return width, str(self._block[1]), str(self._block[2])

    def _commit(self, plan: RegionPlan) -> None:
        """Let counters take the values that the regions before have prepared."""
        writer = self._writer
        for phi in plan.region.start.phis:
            if phi in self._slots:
                moved = writer.let(f"load {phi.type}, ptr {self._slots[phi]}_next")
                writer.put(f"store {phi.type} {moved}, ptr {self._slots[phi]}")

    def _meet(self, plan: RegionPlan) -> None:
        """Write what a whole block does that comes to a region's meeting."""
        writer = self._writer
        region = plan.region
        if region.meeting is None:
            return
        writer.label(f"x{region.index}")
        if not region.meeting.of_warp and not region.meeting.is_plain:
            self._parting.wait(region)
            return
        call = self._exchange.call(region)
        if call is not None:
            writer.put(call)
        writer.put(f"br label %r{region.index}")

    def _prefetch(self, region: Region) -> None:
        writer = self._writer
        written = len(region.scalar_ops)
        found = plan_prefetches(region, self._block, self._builder.classes.block_level, writer.ranges)
        self._scalars(region.scalar_ops[written:])
        for prefetch in found:
            place = f"{prefetch.constant}"
            for term, factor in prefetch.base:
                scaled = writer.let(f"mul i64 {writer.name(term)}, {factor}")
                place = writer.let(f"add i64 {place}, {scaled}")
            # A hint: the mask only keeps the address in the aperture, as the access itself will be.
            place = writer.let(f"and i64 {place}, {(1 << APERTURE_VA_BITS) - 1}")
            first = writer.let(f"getelementptr i8, ptr %global, i64 {place}")
            writer.declarations.use("llvm.prefetch.p0", "void", "ptr, i32, i32, i32")
            for line in range(prefetch.lines):
                address = writer.let(f"getelementptr i8, ptr {first}, i64 {line * CACHE_LINE_BYTES}")
                writer.put(
                    f"call void @llvm.prefetch.p0(ptr {address}, i32 {int(prefetch.write)}, i32 3, i32 1)"
                )

    def _scalars(self, values: list[Value]) -> None:
        writer = self._writer
        for value in values:
            if value.op == "slot":
                assert isinstance(value.attr, Value)
                writer.put(f"{writer.name(value)} = load {value.type}, ptr {self._slots[value.attr]}")
            elif value.op == "counted":
                assert isinstance(value.attr, int)
                counted = self._parting.count(value.attr)
                writer.put(f"{writer.name(value)} = {counted}")
            else:
                writer.pure(value)

    def _variant(self, plan: RegionPlan, prefix: str, done: Box | None = None) -> None:
        writer = self._writer
        self._loops(plan, prefix, done=done or {})
        if plan.steps:
            writer.put(f"br label %{prefix}_s{plan.region.blocks[0].index}")
            self._scalar_way(plan, prefix)
        else:
            for value in plan.pending:
                self._update(value)
            writer.put("br label %dispatch")

    def _loops(self, plan: RegionPlan, prefix: str, *, box: Box = ALL, done: Box = ALL) -> None:
        """Write the loop over threads, or those that it was split into."""
        if not plan.parts:
            self._loop(plan, prefix, box, done)
        for number, part in enumerate(plan.parts):
            name = f"{prefix}_{number}"
            within, filled = self._within(part, box)
            if filled != "true":
                self._writer.put(f"br i1 {filled}, label %{name}_in, label %{name}_over")
                self._writer.label(f"{name}_in")
            self._loop(RegionPlan(part.region), name, within, done)
            if filled != "true":
                self._writer.put(f"br label %{name}_over")
                self._writer.label(f"{name}_over")

    def _within(self, part: Part, box: Box) -> tuple[Box, str]:
        """Return which threads of a box run a part, and the i1 that says whether there are any."""
        writer = self._writer
        found = dict(box)
        filled = "true"
        for axis, (first, last) in part.threads.items():
            if axis not in box:
                found[axis] = (str(first), str(last))
                continue
            writer.declarations.use("llvm.umax.i32", "i32", "i32, i32")
            writer.declarations.use("llvm.umin.i32", "i32", "i32, i32")
            low = writer.let(f"call i32 @llvm.umax.i32(i32 {box[axis][0]}, i32 {first})")
            high = writer.let(f"call i32 @llvm.umin.i32(i32 {box[axis][1]}, i32 {last})")
            more = writer.let(f"icmp ult i32 {low}, {high}")
            filled = writer.let(f"and i1 {filled}, {more}")
            found[axis] = (low, high)
        return found, filled

    def _loop(self, plan: RegionPlan, prefix: str, box: Box, done: Box) -> None:
        region, writer = plan.region, self._writer
        # What is written once more needs names of its own.
        writer.forget(value for block in region.blocks for value in (*block.phis, *block.ops))
        regions = len(self._schedule.regions)
        width = None
        if self._together > 1:
            width = writer.let(f"trunc i64 {self._extents()[0]} to i32")
        loop = ThreadLoop(
            writer,
            self._layout,
            self._block,
            plan,
            prefix,
            self._parting.mask_type,
            regions,
            width=width,
            box=box,
            done=done,
        )
        # Of the copy that most blocks run; rows of several blocks are long enough for the processor.
        usual = self._plan.specialized and self._together == 1 and plan.fast is None and "x" not in box
        if usual and not plan.scheduled and not self._repeats(region):
            loop.prefetches = plan_row_prefetches(region, self._block)
        self._metadata += loop.emit(len(self._metadata))

    def _repeats(self, region: Region) -> bool:
        """Whether a block comes to a region more than once, before the next block does."""
        return any(region.start in loop.blocks for loop in self._builder.graph.loops)

    def _update(self, value: Value) -> None:
        suffix = "_next" if value.op == "pend" else ""
        arg = value.args[0]
        assert isinstance(value.attr, Value)
        self._writer.put(f"store {arg.type} {self._writer.name(arg)}, ptr {self._slots[value.attr]}{suffix}")

    def _scalar_way(self, plan: RegionPlan, prefix: str) -> None:
        writer = self._writer
        for block, step in plan.steps.items():
            writer.label(f"{prefix}_s{block.index}")
            for value in step.updates:
                self._update(value)
            if step.branch is not None:
                condition, yes, no = step.branch
                name = writer.name(condition)
                writer.put(f"br i1 {name}, label %{prefix}_s{yes.index}, label %{prefix}_s{no.index}")
            elif step.jump is not None:
                writer.put(f"br label %{prefix}_s{step.jump.index}")
            elif plan.scheduled:
                writer.put("br label %dispatch")
            elif step.target is not None and self._turns == 1:
                entrance = "r" if step.target.meeting is None else "x"
                writer.put(f"br label %{entrance}{step.target.index}")
            else:
                writer.put("br label %block_next")


def sorted_counters(builder: RegionBuilder) -> list[Value]:
    """Return the counters in the order of the text, so that the assembly is the same every time."""
    counters = builder.classes.counters
    return [phi for block in builder.graph.blocks for phi in block.phis if phi in counters]


def _escape(data: bytes) -> str:
    return "".join(f"\\{byte:02X}" for byte in data)
