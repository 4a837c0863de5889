"""The wall between Spanledger's own mistakes and the host application.

Everything the SDK does on behalf of a caller runs inside `guard`: an internal error costs one piece of telemetry and
one log line a minute, never the host's request. Under pytest with SPANLEDGER_STRICT=1 errors pass through, so that our
own tests (and those of a careful host) see them. Log lines name the kind and place of an error, never its message:
messages quote user data.
"""

import logging
import os
import time
from types import TracebackType
from typing import Final

from spanledger._counters import COUNTERS

LOGGER: Final = logging.getLogger("spanledger")
_LOG_EVERY_S: Final = 60.0
_next_log_at: dict[str, float] = {}


def log_rarely(key: str, message: str, *args: object) -> None:
    """Log a warning at most once a minute per `key`, so that a failing collector cannot flood the host's logs."""
    now = time.monotonic()
    if now >= _next_log_at.get(key, 0.0):
        _next_log_at[key] = now + _LOG_EVERY_S
        LOGGER.warning(message, *args)


def is_strict() -> bool:
    """Whether internal errors should be seen: only inside a pytest test that asked for it."""
    return os.environ.get("SPANLEDGER_STRICT") == "1" and "PYTEST_CURRENT_TEST" in os.environ


def survive(where: str, error: Exception) -> None:
    """Count an internal error and tell of it rarely, instead of raising it into the host.

    For the few places that are too hot for a `Guard`.

    Raises:
        Exception: the error itself, when `is_strict`.
    """
    if is_strict():
        raise error
    COUNTERS.internal_errors += 1
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    log_rarely(
        where,
        "spanledger lost some telemetry in %s (%s at %s:%d); the application goes on",
        where,
        type(error).__name__,
        trace.tb_frame.f_code.co_filename if trace is not None else "?",
        trace.tb_lineno if trace is not None else 0,
    )


class Guard:
    """A reusable context manager that swallows, counts and rarely logs internal errors (`Exception` only).

    It holds no state, so one instance serves all threads and may nest.
    """

    __slots__ = ("_where",)

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        if not isinstance(error, Exception):
            return False
        survive(self._where, error)
        return True
