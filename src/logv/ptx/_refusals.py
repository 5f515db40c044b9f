"""What the compiler leaves out, and why."""

from collections.abc import Sequence

_MATRIX = "it is for tensor cores, which the software GPU does not have; compile for an older architecture"
_TEXTURE = "textures and surfaces are not supported; load from global memory"
_CLUSTER = "thread block clusters are not supported"
_BARRIER_OBJECT = "barrier objects in shared memory are not supported; use bar.sync"
_BULK = "bulk and tensor copies are not supported; use cp.async or loads and stores"
_VIDEO = "scalar video instructions are not supported"

# By the beginning of the instruction; the longest that fits counts.
_REASONS = {
    **dict.fromkeys(("mma", "wmma", "ldmatrix", "stmatrix", "movmatrix", "wgmma", "tcgen05"), _MATRIX),
    **dict.fromkeys(("tex", "tld4", "txq", "suld", "sust", "sured", "suq", "istypep"), _TEXTURE),
    **dict.fromkeys(("mapa", "getctarank", "barrier.cluster", "multimem", "clusterlaunchcontrol"), _CLUSTER),
    **dict.fromkeys(("mbarrier", "cp.async.mbarrier", "st.async", "red.async"), _BARRIER_OBJECT),
    **dict.fromkeys(("cp.async.bulk", "cp.reduce", "tensormap", "cp.mask", "prefetch.tensormap"), _BULK),
    **dict.fromkeys(
        ("vadd", "vsub", "vabsdiff", "vmin", "vmax", "vshl", "vshr", "vmad", "vset", "vavrg"), _VIDEO
    ),
    "fence.proxy": "there is only one way to memory, so there are no proxies to order",
    "fence.mbarrier_init": _BARRIER_OBJECT,
    "membar.proxy": "there is only one way to memory, so there are no proxies to order",
    "setmaxnreg": "registers cannot be handed from warp to warp",
    "alloca": "stack allocation of a size known at run time is not supported",
    "stacksave": "stack allocation of a size known at run time is not supported",
    "stackrestore": "stack allocation of a size known at run time is not supported",
    "brkpt": "there is no debugger to stop for",
}


def reason_to_refuse(opcode: str, modifiers: Sequence[str]) -> str | None:
    """Say why an instruction is left out as a whole; None if it is not."""
    words = (opcode, *modifiers[:2])
    for count in range(len(words), 0, -1):
        name = ".".join(words[:count])
        reason = _REASONS.get(name)
        if reason is not None:
            return f"{name} is not supported: {reason}"
    return None
