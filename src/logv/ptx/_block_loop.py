"""The loop over the blocks of a call: one at a time, or neighbours together (:mod:`logv.ptx._widen`)."""

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


def block_loop(together: int, width: int) -> list[str]:
    """Return the loop's head.

    Parameters
    ----------
    together : int
        How many blocks run as one at most: they lie in one row of the grid, and in the call.
    width : int
        Threads of one of them in x.
    """
    if together == 1:
        return _LOOP
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


def block_next(together: int) -> list[str]:
    """Return the loop's end, where it goes on to the next blocks."""
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
