"""Checks of what callers pass in. Whatever arrives here may have been written by a guest."""

from logv.errors import InvalidValueError

PAGE_SIZE = 4096
"""Granularity of sizes, offsets and mappings, in bytes."""

MAX_WORD = 2**64 - 1
"""The largest size or address that the interface can name."""


def integer(value: object, what: str, low: int, high: int) -> int:
    """Return `value` if it is an integer from `low` to `high`; raise InvalidValueError if not."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidValueError(f"{what} must be an integer, not {type(value).__name__}")
    if not low <= value <= high:
        # An integer of any length may come here, and decimal text of a long one is an error in itself.
        shown = f"{value:#x}" if value.bit_length() <= 128 else "a number beyond 128 bits"
        raise InvalidValueError(f"{what} must be {low:#x} to {high:#x}, not {shown}")
    return value


def page_multiple(value: object, what: str, low: int) -> int:
    """Return `value` if it is a multiple of the page size from `low` on; raise InvalidValueError if not."""
    checked = integer(value, what, low, MAX_WORD)
    if checked % PAGE_SIZE:
        raise InvalidValueError(f"{what} must be a multiple of {PAGE_SIZE}, not {checked:#x}")
    return checked


def whole_pages(size: int) -> int:
    """Return `size` rounded up to pages."""
    return -(-size // PAGE_SIZE) * PAGE_SIZE
