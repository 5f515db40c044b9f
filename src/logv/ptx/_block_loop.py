"""The loop over the blocks of a call.

One at a time, neighbours together (:mod:`logv.ptx._widen`), or a few in turns (:mod:`logv.ptx._stages`).
"""

from dataclasses import dataclass

# Where the number of threads in x stands (i64), if blocks run together: they are fewer at the end of a row of
# the grid, or of a call, and where the last of a row have ended.
WIDTH = "%width"
# Divided once for each call and counted from there: four divisions cost as much as a block of a short kernel.
_LOOP = [
    "  %plane = udiv i64 %begin, %grid_x_w",
    "  %first_x_w = urem i64 %begin, %grid_x_w",
    "  %first_y_w = urem i64 %plane, %grid_y_w",
    "  %first_z_w = udiv i64 %plane, %grid_y_w",
    *(f"  %first_{axis} = trunc i64 %first_{axis}_w to i32" for axis in "xyz"),
    "  br label %block_head",
    "block_head:",
    "  %block = phi i64 [ %begin, %entry ], [ %block_after, %block_next ]",
    *(
        f"  %ctaid_{axis} = phi i32 [ %first_{axis}, %entry ], [ %after_{axis}, %block_next ]"
        for axis in "xyz"
    ),
    "  %block_more = icmp ult i64 %block, %end",
    "  br i1 %block_more, label %block_body, label %done",
    "block_body:",
]


@dataclass(frozen=True, slots=True)
class BlockLoop:
    """The loop over the blocks of a call.

    Attributes
    ----------
    width : int
        Threads of a block in x.
    together : int
        How many blocks run as one at most: they lie in one row of the grid, and in the call.
    turns : int
        How many blocks take turns at most. With dynamic shared memory, whose size is not known before the
        launch, it is one.
    shared_stride : int
        How far the copies of shared memory of blocks that take turns lie apart.
    regions : list of int
        The regions' numbers; of blocks that take turns, each is a stage.
    """

    width: int
    together: int
    turns: int
    shared_stride: int
    regions: list[int]

    def head(self) -> list[str]:
        """Return what comes to each block."""
        if self.turns > 1:
            return [
                *_turns_head(),
                f"  %shared_place = mul i64 %turn, {self.shared_stride}",
                "  %shared = getelementptr i8, ptr %shared_all, i64 %shared_place",
            ]
        return _LOOP if self.together == 1 else _wide_head(self.together, self.width)

    def entrance(self) -> list[str]:
        """Return the way to a block's first region, or to that of the stage."""
        if self.turns == 1:
            return ["  br label %r0"]
        cases = " ".join(f"i32 {stage}, label %x{index}" for stage, index in enumerate(self.regions) if stage)
        return [f"  switch i32 %stage, label %r0 [ {cases} ]"]

    def end(self) -> list[str]:
        """Return what goes on from ``block_next``."""
        return _next(self.together) if self.turns == 1 else _turns_next(self.turns, len(self.regions))


def _wide_head(together: int, width: int) -> list[str]:
    return [
        *_LOOP,
        "  %left_all = sub i64 %end, %block",
        "  %left_x = sub i32 %grid_x_n, %ctaid_x",
        "  %left_x_w = zext i32 %left_x to i64",
        "  %left = call i64 @llvm.umin.i64(i64 %left_all, i64 %left_x_w)",
        f"  %count_w = call i64 @llvm.umin.i64(i64 %left, i64 {together})",
        "  %count = trunc i64 %count_w to i32",
        f"  %threads_x = mul nuw nsw i64 %count_w, {width}",
        f"  store i64 %threads_x, ptr {WIDTH}",
    ]


def _next(together: int) -> list[str]:
    count_w, count = ("%count_w", "%count") if together > 1 else ("1", "1")
    return [
        "block_next:",
        f"  %block_after = add i64 %block, {count_w}",
        f"  %next_x = add i32 %ctaid_x, {count}",
        "  %over_x = icmp eq i32 %next_x, %grid_x_n",
        "  %after_x = select i1 %over_x, i32 0, i32 %next_x",
        "  %carry_y = zext i1 %over_x to i32",
        "  %next_y = add i32 %ctaid_y, %carry_y",
        "  %over_y = icmp eq i32 %next_y, %grid_y_n",
        "  %after_y = select i1 %over_y, i32 0, i32 %next_y",
        "  %carry_z = zext i1 %over_y to i32",
        "  %after_z = add i32 %ctaid_z, %carry_z",
        "  br label %block_head",
    ]


def _turns_head() -> list[str]:
    """Return a head that comes to each block once for each stage."""
    start = _LOOP.index("block_head:") + 1
    ways = {f"%ctaid_{axis}": (f"%first_{axis}", f"%after_{axis}", f"%again_{axis}") for axis in "xyz"}
    # Where the group begins.
    ways |= {f"%group_{axis}": (f"%first_{axis}", f"%group_{axis}", f"%again_{axis}") for axis in "xyz"}
    ways["%stage"] = ("0", "%stage", "%stage_after")
    return [
        *_LOOP[:start],
        "  %block = phi i64 [ %begin, %entry ], [ %block_beside, %block_next ], "
        "[ %block_after, %group_next ]",
        "  %turn = phi i64 [ 0, %entry ], [ %turn_after, %block_next ], [ 0, %group_next ]",
        *(
            f"  {name} = phi i32 [ {first}, %entry ], [ {beside}, %block_next ], [ {after}, %group_next ]"
            for name, (first, beside, after) in ways.items()
        ),
        *_LOOP[_LOOP.index("  %block_more = icmp ult i64 %block, %end") :],
    ]


def _turns_next(copies: int, stages: int) -> list[str]:
    return [
        *(line.replace("%block_after", "%block_beside") for line in _next(1)[:-1]),
        "  %turn_after = add i64 %turn, 1",
        f"  %turn_full = icmp eq i64 %turn_after, {copies}",
        "  %turn_dynamic = icmp ne i32 %launch_shared, 0",
        "  %turn_end = icmp eq i64 %block_beside, %end",
        "  %turn_last = or i1 %turn_full, %turn_dynamic",
        "  %turn_over = or i1 %turn_last, %turn_end",
        "  br i1 %turn_over, label %group_next, label %block_head",
        "group_next:",
        f"  %stage_last = icmp eq i32 %stage, {stages - 1}",
        "  %stage_next = add i32 %stage, 1",
        "  %stage_after = select i1 %stage_last, i32 0, i32 %stage_next",
        "  %group_first = sub i64 %block, %turn",
        "  %block_after = select i1 %stage_last, i64 %block_beside, i64 %group_first",
        *(f"  %again_{axis} = select i1 %stage_last, i32 %after_{axis}, i32 %group_{axis}" for axis in "xyz"),
        "  br label %block_head",
    ]
