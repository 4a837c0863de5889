"""A collector that ends at a named point: `crashing.py POINT NTH serve …` ends it, as SIGKILL would, at the NTH time.

A point is a function of the product and whether to end before or after it. Nothing in the product knows of it.
"""

import importlib
import itertools
import os
import sys
from collections.abc import Callable
from typing import Any

_ROOT = "spanledger_collector."
POINTS = {
    "before decoding": ("ingest.intake:Intake.traces", "before"),
    "after decoding": ("ingest.intake:Intake.traces", "after"),
    "before the insert of spans": ("ingest.writer:Writer._insert", "before"),
    "after the insert of spans": ("ingest.writer:Writer._insert", "after"),
    "before the answer": ("ingest.writer:Writer._answer", "before"),
    "after the answer": ("ingest.writer:Writer._answer", "after"),
    "before settling takes in": ("settle.run:Settler._take_in", "before"),
    "after settling took in": ("settle.run:Settler._take_in", "after"),
    "before settled rows are written": ("settle.run:Settler._write", "before"),
    "after settled rows are written": ("settle.run:Settler._write", "after"),
    "before the mark": ("settle.run:Settler._write_mark", "before"),
    "after the mark": ("settle.run:Settler._write_mark", "after"),
    "between the inserts of a day": ("store.partitions:insert_by_days", "after"),
    "before a request waits on disk": ("store.spool:Spool.put", "before"),
    "after a request waits on disk": ("store.spool:Spool.put", "after"),
    "before what waited is forgotten": ("store.spool:Spool.done", "before"),
    "after what waited is forgotten": ("store.spool:Spool.done", "after"),
    "before a span goes to quarantine": ("store.spool:Spool.quarantine", "before"),
    "after a span went to quarantine": ("store.spool:Spool.quarantine", "after"),
    "before the manifest": ("store.manifest:Manifest._write", "before"),
    "after the manifest": ("store.manifest:Manifest._write", "after"),
    "while the schema is migrated": ("store.embedded:EmbeddedStore.command", "after"),
}


def arm(point: str, nth: int) -> None:
    """End the process at a point."""
    place, when = POINTS[point]
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

    arm(sys.argv[1], int(sys.argv[2]))
    sys.argv = [sys.argv[0], *sys.argv[3:]]
    main()
