"""Writes what the threads of a whole block work out together at a warp operation.

Shuffles between constant lanes and votes, with all lanes taking part, become a few vector instructions
for each warp, in functions that a kernel shares. Everything else is a call into ``_dispatch.pyx``.
"""

from collections.abc import Sequence

from logv.hw.software_gpu import WARP_SIZE
from logv.ptx._meeting import RESULT, VALUE, Meeting
from logv.ptx._regions import Region

_WARP = f"<{WARP_SIZE} x i32>"
_BYTES = 4 * WARP_SIZE
_ALL = (1 << WARP_SIZE) - 1


class Exchange:
    """The functions of one kernel.

    Parameters
    ----------
    threads : int
        Threads of a block.
    words : sequence of int
        Offsets of the published words and the results in scratch memory.
    """

    def __init__(self, threads: int, words: Sequence[int]) -> None:
        self._warps, self._rest = divmod(threads, WARP_SIZE)
        self._words = words
        self._functions: dict[Meeting, list[str]] = {}
        self._calls_out = False

    def lines(self) -> list[str]:
        """Return the functions' text."""
        declaration = ["declare void @logv_meet_block(ptr, ptr, i32)"] if self._calls_out else []
        return [line for function in self._functions.values() for line in function] + declaration

    def call(self, region: Region) -> str | None:
        """Return the call to make before a region that all threads enter together; None if there is none."""
        meeting = region.meeting
        if meeting is None or meeting.operation in ("barrier", "sync"):
            return None
        lanes = _ALL if self._warps else (1 << self._rest) - 1
        simple = meeting.operation == "activemask" or (
            meeting.mask is not None
            and meeting.mask & lanes == lanes
            and (bool(meeting.lanes) or meeting.operation.startswith("vote."))
        )
        if not simple:
            self._calls_out = True
            return f"call void @logv_meet_block(ptr @schedule, ptr %scratch, i32 {region.index})"
        key = Meeting(meeting.operation, lanes=meeting.lanes)
        if key not in self._functions:
            self._functions[key] = self._function(key, f"@exchange{len(self._functions)}")
        name = f"@exchange{list(self._functions).index(key)}"
        return f"call void {name}(ptr %scratch)"

    def _function(self, meeting: Meeting, name: str) -> list[str]:
        lines = [
            f"define internal void {name}(ptr noalias align 64 %scratch) noinline nounwind {{",
            "entry:",
            f"  %values = getelementptr i8, ptr %scratch, i64 {self._words[VALUE]}",
            f"  %results = getelementptr i8, ptr %scratch, i64 {self._words[RESULT]}",
        ]
        if self._warps:
            lines += [
                "  br label %warp",
                "warp:",
                "  %place = phi i64 [ 0, %entry ], [ %after, %warp ]",
                *self._warp(meeting, WARP_SIZE, "%place", "full"),
                f"  %after = add nuw nsw i64 %place, {_BYTES}",
                f"  %more = icmp ult i64 %after, {_BYTES * self._warps}",
                "  br i1 %more, label %warp, label %rest",
                "rest:",
            ]
        if self._rest:
            lines += self._warp(meeting, self._rest, str(_BYTES * self._warps), "part")
        return [*lines, "  ret void", "}"]

    @staticmethod
    def _warp(meeting: Meeting, lanes: int, place: str, prefix: str) -> list[str]:
        """Return the lines for a warp of which that many lanes exist."""
        p = f"%{prefix}"
        members = (1 << lanes) - 1 if lanes < WARP_SIZE else -1
        lines = [
            f"  {p}_from = getelementptr i8, ptr %values, i64 {place}",
            f"  {p}_to = getelementptr i8, ptr %results, i64 {place}",
            f"  {p}_value = load {_WARP}, ptr {p}_from, align 64",
        ]
        if meeting.operation == "shfl":
            sources = [source if source < lanes else lane for lane, source in enumerate(meeting.lanes)]
            mask = ", ".join(f"i32 {source}" for source in sources)
            lines.append(f"  {p}_result = shufflevector {_WARP} {p}_value, {_WARP} poison, {_WARP} <{mask}>")
        else:
            lines += [
                f"  {p}_true = icmp ne {_WARP} {p}_value, zeroinitializer",
                f"  {p}_bits = bitcast <{WARP_SIZE} x i1> {p}_true to i{WARP_SIZE}",
                f"  {p}_vote = and i32 {p}_bits, {members}",
                *_RESULTS[meeting.operation](p, members),
                f"  {p}_one = insertelement {_WARP} poison, i32 {p}_word, i64 0",
                f"  {p}_result = shufflevector {_WARP} {p}_one, {_WARP} poison, {_WARP} zeroinitializer",
            ]
        return [*lines, f"  store {_WARP} {p}_result, ptr {p}_to, align 64"]


def _all(p: str, members: int) -> list[str]:
    return [f"  {p}_yes = icmp eq i32 {p}_vote, {members}", f"  {p}_word = zext i1 {p}_yes to i32"]


def _any(p: str, _: int) -> list[str]:
    return [f"  {p}_yes = icmp ne i32 {p}_vote, 0", f"  {p}_word = zext i1 {p}_yes to i32"]


def _uniform(p: str, members: int) -> list[str]:
    return [
        f"  {p}_none = icmp eq i32 {p}_vote, 0",
        f"  {p}_every = icmp eq i32 {p}_vote, {members}",
        f"  {p}_yes = or i1 {p}_none, {p}_every",
        f"  {p}_word = zext i1 {p}_yes to i32",
    ]


def _ballot(p: str, _: int) -> list[str]:
    return [f"  {p}_word = add i32 {p}_vote, 0"]


def _members(p: str, members: int) -> list[str]:
    return [f"  {p}_word = add i32 {members}, 0"]


_RESULTS = {
    "vote.all": _all, "vote.any": _any, "vote.uni": _uniform, "vote.ballot": _ballot, "activemask": _members,
}  # fmt: skip
