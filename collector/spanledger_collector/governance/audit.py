"""The audit log as a chain: each entry's hash covers the one before, so that no entry can be changed, taken out or put in unseen.

The hash is an HMAC with a key that lies beside the data, not in it: whoever can write the store alone cannot forge a chain. A
chain does not show that its end was cut off; the head is therefore also kept outside of the store.
"""

import hashlib
import hmac
import json
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

START: Final = "0" * 64


class Entry(NamedTuple):
    """One entry. `at` is nanoseconds since 1970; `detail` is JSON with sorted keys."""

    number: int
    at: int
    actor: str
    action: str
    project: str
    subject: str
    detail: str
    previous: str
    hash: str


def canonical(detail: dict[str, Any]) -> str:
    """A detail as the text that is hashed."""
    return json.dumps(detail, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def chain(key: bytes, previous: Entry | None, at: int, actor: str, action: str, project: str, subject: str, detail: str) -> Entry:
    """The entry that follows another."""
    number = 1 if previous is None else previous.number + 1
    before = START if previous is None else previous.hash
    return Entry(
        number,
        at,
        actor,
        action,
        project,
        subject,
        detail,
        before,
        _hash(key, number, at, actor, action, project, subject, detail, before),
    )


def first_bad(key: bytes, entries: Iterable[Entry], head: tuple[int, str] | None) -> tuple[int, str] | None:
    """The number of the first entry that does not fit, and why; None when all do.

    Args:
        key: The chain's key.
        entries: All entries in order of their number.
        head: Number and hash of the last entry as they are known from outside of the store, or None.

    """
    previous: Entry | None = None
    for entry in entries:
        expected = 1 if previous is None else previous.number + 1
        if entry.number != expected:
            return expected, f"entry {expected} is missing"
        if entry.previous != (START if previous is None else previous.hash):
            return entry.number, "it does not follow the entry before it"
        if not hmac.compare_digest(entry.hash, _hash(key, *entry[:8])):
            return entry.number, "it was changed"
        previous = entry
    if head is not None:
        number = 0 if previous is None else previous.number
        if number < head[0]:
            return number + 1, f"the log ends at {number}, but {head[0]} entries were written"
        if previous is not None and number == head[0] and previous.hash != head[1]:
            return number, "it is not the entry that was written"
    return None


def _hash(key: bytes, *parts: object) -> str:
    text = json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
    return hmac.new(key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
