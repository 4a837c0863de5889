"""Driver errors become ours here, by code and never by message text."""

from clickhouse_connect.driver.exceptions import ClickHouseError, OperationalError

from spanledger_collector.errors import QueryTooExpensive, SpanledgerError, StoreRefused, StoreUnavailable

_EXPENSIVE = {158, 159, 160, 241, 396, 307}
"""TOO_MANY_ROWS, TIMEOUT_EXCEEDED, TOO_SLOW, MEMORY_LIMIT_EXCEEDED, TOO_MANY_ROWS_OR_BYTES, TOO_MANY_BYTES."""
_POISON = {6, 27, 33, 36, 38, 41, 53, 69, 70, 72, 117, 131, 321, 349, 407, 469}
"""What is wrong with the rows themselves: cannot parse or convert, bad argument, too large, null, overflow, constraint.
Whatever else goes wrong with an insert may pass, and the same rows are sent again."""
_SHARD_AWAY = (
    "A shard of the store does not answer, and a part of the data is no answer; try again when it is back. Spans are taken "
    "meanwhile."
)
_AWAY = {60, 81, 202, 209, 210, 218, 225, 242, 243, 252, 279, 425, 999}
"""Tables that are not there (yet, or again), too many queries, network trouble, Keeper away, read-only table, no space, too many
parts, shards away."""


def code_of(error: Exception) -> int | None:
    """ClickHouse's number of an error; None where the way to it failed, or whoever answered is not ClickHouse."""
    if isinstance(error, RuntimeError) and not isinstance(error, ClickHouseError):
        return _code_in(str(error))
    code = getattr(error, "code", None)
    return code if isinstance(code, int) else None


def is_away(error: Exception) -> bool:
    """Whether the same may succeed later: the store is away, busy or full."""
    code = code_of(error)
    return code is None or code in _AWAY or code in _EXPENSIVE or isinstance(error, OperationalError)


def translate(error: Exception, *, reading: bool) -> SpanledgerError:
    """The error of ours that a driver error means."""
    code = code_of(error)
    if code in _EXPENSIVE and reading:
        return QueryTooExpensive("It took too long or needed too much memory; ask for a shorter range or fewer groups.")
    if is_away(error):
        return StoreUnavailable(_SHARD_AWAY if code == 279 else "The store does not take this now; try again in a few seconds.")
    if not reading and code not in _POISON:
        return StoreUnavailable(f"The store does not take this now (ClickHouse code {code}); try again in a few seconds.")
    return StoreRefused(f"The store refused a statement (ClickHouse code {code}).")


def refused_command(error: Exception) -> SpanledgerError:
    """The error of ours that a failed statement of ours means; it names the reason, for whoever runs the command."""
    if is_away(error):
        return translate(error, reading=False)
    return StoreRefused(f"The store refused a statement (ClickHouse code {code_of(error)}). {str(error)[:300]}")


def _code_in(message: str) -> int | None:
    # chDB raises RuntimeError with ClickHouse's "Code: N." in the text, the only place where it is given.
    _, found, rest = message.partition("Code: ")
    digits = rest[:6].split(".")[0].strip() if found else ""
    return int(digits) if digits.isdecimal() else None
