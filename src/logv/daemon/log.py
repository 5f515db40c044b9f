"""The daemon's log: one line for each event, ``key=value``, through the standard ``logging``."""

import json
import logging
import time

FIELDS = ("vm", "pid", "uid", "reason", "held", "path")
"""What a log call may name in its ``extra``, in the order of the line."""


class LogfmtFormatter(logging.Formatter):
    """Formats a record as ``time=... level=... event="..." vm=...``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a line; a traceback follows on lines of its own."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        parts = [f"time={stamp}.{int(record.msecs):03}Z", f"level={record.levelname.lower()}"]
        parts.append(f"event={_value(record.getMessage())}")
        parts += [f"{name}={_value(getattr(record, name))}" for name in FIELDS if hasattr(record, name)]
        if record.exc_info:
            parts.append("\n" + self.formatException(record.exc_info))
        return " ".join(parts)


def _value(value: object) -> str:
    """Return a value so that it ends where it ends: quoted, unless it is a plain word."""
    text = str(value)
    return text if text and text.isprintable() and not set(text) & set(' "=\\') else json.dumps(text)


def log_to_stderr(level: str) -> None:
    """Send what the ``logv`` loggers say, from `level` on, to the standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(LogfmtFormatter())
    logger = logging.getLogger("logv")
    logger.addHandler(handler)
    logger.setLevel(level.upper())
