"""The part of a long interaction that is drawn at first: a browser takes seconds for thousands of spans."""

from collections.abc import Mapping, Sequence
from heapq import nlargest
from typing import Any, Final

from spanledger_dashboard import format as fmt

FIRST: Final = 300
"""How many spans are drawn at first, and how many more with each wish for more."""
FAILED: Final = 100
DEAREST: Final = 50

Row = tuple[int, Mapping[str, Any]]
"""The depth of a span in its tree, and the span."""


def pick(rows: Sequence[Row], limit: int) -> list[Row]:
    """At most `limit` spans in their order: the failed ones (100 at most), the 50 that cost most, then the first."""
    if len(rows) <= limit:
        return list(rows)
    failed = [index for index, (_, span) in enumerate(rows) if span["status"] == "error"][:FAILED]
    costly = [(float(span["cost_usd"]), -index) for index, (_, span) in enumerate(rows) if span["cost_usd"] is not None]
    kept = dict.fromkeys([*failed, *(-index for _, index in nlargest(DEAREST, costly))][:limit])
    for index in range(len(rows)):
        if len(kept) >= limit:
            break
        kept[index] = None
    return [rows[index] for index in sorted(kept)]


def sentence(rows: Sequence[Row], shown: Sequence[Row]) -> str:
    """What is shown of a long interaction; empty when all of it is."""
    if len(shown) == len(rows):
        return ""
    failures = sum(span["status"] == "error" for _, span in rows)
    failed = f"the first {FAILED} of {failures:,} that failed" if failures > FAILED else f"all {failures:,} that failed"
    with_failed = f", {failed}" if failures else ""
    return (
        f"{len(shown):,} of {fmt.plural(len(rows), 'span')} are shown, in every card: the first{with_failed} "
        "and those that cost most. Cost, duration and counts at the top are of all."
    )
