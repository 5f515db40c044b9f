"""Quotas: how much of something one owner may hold at a time."""

from logv.errors import ExhaustedError, OutOfMemoryError


class Quota:
    """Counts what is taken against a limit.

    Invariant: ``0 <= used <= limit``.

    Parameters
    ----------
    what : str
        What is counted, for messages.
    limit : int
        The most that may be taken at one time.
    error : type
        Raised when more is asked for than is left.
    """

    def __init__(
        self, what: str, limit: int, error: type[ExhaustedError] | type[OutOfMemoryError] = ExhaustedError
    ) -> None:
        self._what = what
        self._error = error
        self.limit = limit
        self.used = 0

    @property
    def free(self) -> int:
        """What may still be taken."""
        return self.limit - self.used

    def take(self, count: int = 1) -> None:
        """Take `count`, or raise the quota's error and take nothing."""
        if count > self.free:
            raise self._error(
                f"{count} {self._what} asked for, {self.free} of {self.limit} left; free some first"
            )
        self.used += count

    def give(self, count: int = 1) -> None:
        """Give back `count` of what was taken."""
        self.used -= count
