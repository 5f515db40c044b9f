"""Checks that need no hypercall: does an argument fit into a slot at all."""

from logv.errors import InvalidValueError

_MAX_WORD = 2**64 - 1


def word(value: object, what: str) -> int:
    """Return `value` if it is an integer of 64 bits, unsigned; raise InvalidValueError if not."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidValueError(f"{what} must be an integer, not {type(value).__name__}")
    if not 0 <= value <= _MAX_WORD:
        # An integer of any length may come here, and decimal text of a long one is an error in itself.
        raise InvalidValueError(f"{what} must be 0 to {_MAX_WORD:#x}, not a number of that size or sign")
    return int(value)
