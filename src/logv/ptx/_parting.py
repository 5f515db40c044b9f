"""Writes what threads need that part: notes of where each goes next, and the call of the dispatcher."""

from collections.abc import Iterable

from logv.ptx._plan import RegionPlan
from logv.ptx._regions import Region
from logv.ptx._schedule import DONE, WAITS, Schedule
from logv.ptx._scratch import ScratchLayout
from logv.ptx._writer import Writer


class Parting:
    """Writes one kernel's dealings with the dispatcher (:mod:`logv.ptx._schedule`).

    Parameters
    ----------
    writer : Writer
    layout : ScratchLayout
    schedule : Schedule

    Attributes
    ----------
    mask_type : str
        LLVM's type of a set of regions.
    """

    def __init__(self, writer: Writer, layout: ScratchLayout, schedule: Schedule) -> None:
        self._writer = writer
        self._layout = layout
        self._schedule = schedule
        self.mask_type = f"i{schedule.set_bits}"

    def head(self) -> None:
        """Write what stands at the kernel's entry."""
        put = self._writer.put
        sets = self._layout.state + self._schedule.sets
        put(f"%ready = getelementptr i8, ptr %scratch, i64 {sets}")
        put(f"%waiting = getelementptr i8, ptr %scratch, i64 {sets + self._schedule.set_bits // 8}")
        put(f"%ready_new = alloca {self.mask_type}")
        put(f"%waiting_new = alloca {self.mask_type}")

    def reset(self) -> list[str]:
        """Return what begins a block anew."""
        self._writer.declarations.use("llvm.memset.p0.i64", "void", "ptr, i8, i64, i1")
        size = self._schedule.state_bytes
        return [
            f"  %state = getelementptr i8, ptr %scratch, i64 {self._layout.state}",
            f"  call void @llvm.memset.p0.i64(ptr align 64 %state, i8 0, i64 {size}, i1 false)",
        ]

    def table(self) -> list[str]:
        """Return what the dispatcher has to know, if it is called."""
        words = self._schedule.table(self._layout.state, self._layout.next_region, self._layout.words)
        items = ", ".join(f"i32 {word}" for word in words)
        return [f"@schedule = internal constant [{len(words)} x i32] [{items}], align 8"]

    def count(self, number: int) -> str:
        """Write the load of one of the dispatcher's counts; return its text."""
        place = self._layout.state + self._schedule.counts + 4 * number
        pointer = self._writer.let(f"getelementptr i8, ptr %scratch, i64 {place}")
        return f"load i32, ptr {pointer}, align 4"

    def note_all(self, code: int) -> None:
        """Note for every thread which region is its next."""
        writer, threads = self._writer, self._schedule.threads
        base = writer.let(f"getelementptr inbounds i8, ptr %scratch, i64 {self._layout.next_region}")
        first = writer.let(f"insertelement <{threads} x i16> poison, i16 {code}, i64 0")
        every = writer.let(
            f"shufflevector <{threads} x i16> {first}, <{threads} x i16> poison, "
            f"<{threads} x i32> zeroinitializer"
        )
        writer.put(f"store <{threads} x i16> {every}, ptr {base}, align 64")

    def note_each(self, index: int) -> None:
        """Note for every thread which region is its next, where they are too many for one vector."""
        writer = self._writer
        writer.put(f"br label %n{index}")
        writer.label(f"n{index}")
        writer.put(f"%n{index}_thread = phi i64 [ 0, %s{index} ], [ %n{index}_after, %n{index} ]")
        base = writer.let(f"getelementptr inbounds i8, ptr %scratch, i64 {self._layout.next_region}")
        place = writer.let(f"getelementptr inbounds i16, ptr {base}, i64 %n{index}_thread")
        writer.put(f"store i16 {index}, ptr {place}, align 2")
        writer.put(f"%n{index}_after = add nuw nsw i64 %n{index}_thread, 1")
        more = writer.let(f"icmp ult i64 %n{index}_after, {self._schedule.threads}")
        writer.put(f"br i1 {more}, label %n{index}, label %n{index}_end")
        writer.label(f"n{index}_end")

    def wait(self, region: Region) -> None:
        """Let the whole block wait for the meeting that a region begins with."""
        self.note_all(region.index | WAITS - 0x10000)
        self._writer.put(f"store {self.mask_type} {1 << region.index}, ptr %waiting")
        self._writer.put("br label %dispatch")

    def dispatch(self, plans: Iterable[RegionPlan]) -> None:
        """Let the dispatcher choose the region that runs next; the whole block may enter it as one."""
        writer = self._writer
        writer.declarations.use("logv_next_region", "i32", "ptr, ptr")
        writer.label("dispatch")
        chosen = writer.let("call i32 @logv_next_region(ptr @schedule, ptr %scratch)")
        cases = " ".join(
            f"i32 {2 * plan.region.index + whole}, label %{prefix}{plan.region.index}"
            for plan in plans
            for whole, prefix in enumerate("gr")
            if whole or plan.scheduled
        )
        # Where all threads gather, some alone have lost the others.
        writer.put(f"switch i32 {chosen}, label %trapped [ i32 {DONE}, label %block_next {cases} ]")
