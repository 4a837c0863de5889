"""A collector in trouble: `crashing.py POINT NTH serve …` ends it, as SIGKILL would, the NTH time that it comes to a point.

A point is a function of the product, whether to end before or after it, and the trouble that the store is in meanwhile: points
of an outage are not reached without one. Nothing in the product knows of it.
"""

import importlib
import itertools
import os
import random
import sys
import time
from collections.abc import Callable
from typing import Any

_ROOT = "spanledger_collector."
POINTS: dict[str, tuple[str, str, str | None]] = {
    "before decoding": ("ingest.intake:Intake.traces", "before", None),
    "after decoding": ("ingest.intake:Intake.traces", "after", None),
    "before the insert of spans": ("ingest.writer:Writer._insert", "before", None),
    "after the insert of spans": ("ingest.writer:Writer._insert", "after", None),
    "before the answer": ("ingest.writer:Writer._answer", "before", None),
    "after the answer": ("ingest.writer:Writer._answer", "after", None),
    "before settling takes in": ("settle.run:Settler._take_in", "before", None),
    "after settling took in": ("settle.run:Settler._take_in", "after", None),
    "before settled rows are written": ("settle.run:Settler._write", "before", None),
    "after settled rows are written": ("settle.run:Settler._write", "after", None),
    "before the mark": ("settle.run:Settler._write_mark", "before", None),
    "after the mark": ("settle.run:Settler._write_mark", "after", None),
    "between the inserts of a day": ("store.partitions:insert_by_days", "after", None),
    "before a request waits on disk": ("store.spool:Spool.put", "before", "outage"),
    "after a request waits on disk": ("store.spool:Spool.put", "after", "outage"),
    "before what waited is forgotten": ("store.spool:Spool.done", "before", "outage"),
    "after what waited is forgotten": ("store.spool:Spool.done", "after", "outage"),
    "before a span goes to quarantine": ("store.spool:Spool.quarantine", "before", "refusal"),
    "after a span went to quarantine": ("store.spool:Spool.quarantine", "after", "refusal"),
    "before the manifest": ("store.manifest:Manifest._write", "before", None),
    "after the manifest": ("store.manifest:Manifest._write", "after", None),
    "while the schema is migrated": ("store.embedded:EmbeddedStore.command", "after", None),
}


OUTAGE_S = (1.5, 4.5)
"""When an outage begins and ends, since the start. Before it the settler has moved its mark, which must not pass what waits."""

POISON_TOKENS = 7
"""A refusing store refuses the spans with this many input tokens."""


def _insert_unless(trouble: Callable[[str, Any], Exception | None]) -> None:
    store = importlib.import_module(_ROOT + "store.embedded").EmbeddedStore
    insert = store.insert

    def troubled(self: Any, table: str, rows: Any, lane: str) -> None:
        if table in ("spans", "span_content") and (error := trouble(table, rows)) is not None:
            raise error
        insert(self, table, rows, lane)

    store.insert = troubled


def outage() -> None:
    """The store takes no spans for a while."""
    errors = importlib.import_module(_ROOT + "errors")
    began_s = time.monotonic()

    def is_away(_: str, __: Any) -> Exception | None:
        now_s = time.monotonic() - began_s
        return errors.StoreUnavailable("a test took the store away") if OUTAGE_S[0] <= now_s < OUTAGE_S[1] else None

    _insert_unless(is_away)


def refusal() -> None:
    """The store refuses some spans for what they hold."""
    errors = importlib.import_module(_ROOT + "errors")

    def is_poison(table: str, rows: Any) -> Exception | None:
        if table == "spans" and POISON_TOKENS in rows.column("input_tokens").to_pylist():
            return errors.StoreRefused("a test refuses this")  # type: ignore[no-any-return]
        return None

    _insert_unless(is_poison)


def slow() -> None:
    """The store takes its time, now and then longer than a request is kept waiting for it."""
    chance = random.Random(1)

    def is_slow(_: str, __: Any) -> Exception | None:
        time.sleep(chance.choice((0.0, 0.05, 0.3, 1.5)))
        return None

    _insert_unless(is_slow)


def leaping() -> None:
    """The clock of the host leaps ahead and back: by an hour, then a day, every two seconds."""
    began_s, real_ns, real_s = time.monotonic(), time.time_ns, time.time

    def ahead_s() -> int:
        return (0, 3_600, -3_600, 86_400, -86_400)[int((time.monotonic() - began_s) / 1.0) % 5]

    time.time_ns = lambda: real_ns() + ahead_s() * 1_000_000_000
    time.time = lambda: real_s() + ahead_s()


TROUBLES: dict[str, Callable[[], None]] = {"outage": outage, "refusal": refusal, "slow": slow, "leaping": leaping}


def arm(point: str, nth: int) -> None:
    """End the process at a point."""
    place, when, trouble = POINTS[point]
    if trouble is not None:
        TROUBLES[trouble]()
    module_name, _, path = place.partition(":")
    owner: Any = importlib.import_module(_ROOT + module_name)
    *outer, name = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    original: Callable[..., Any] = getattr(owner, name)
    calls = itertools.count(1)

    def dying(*args: Any, **more: Any) -> Any:
        is_time = next(calls) == nth
        if is_time and when == "before":
            os._exit(137)
        result = original(*args, **more)
        if is_time:
            os._exit(137)
        return result

    setattr(owner, name, dying)
    if not outer:
        # Whoever imported the function by name has it already.
        for module in list(sys.modules.values()):
            if getattr(module, name, None) is original:
                setattr(module, name, dying)


if __name__ == "__main__":
    from spanledger_collector.cli import main

    if sys.argv[1] in TROUBLES:
        TROUBLES[sys.argv[1]]()
    else:
        arm(sys.argv[1], int(sys.argv[2]))
    sys.argv = [sys.argv[0], *sys.argv[3:]]
    main()
