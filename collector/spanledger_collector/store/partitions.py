"""Inserts cut by day.

The partition of every ledger table is the day of the row's start. ClickHouse refuses a block over more than 100 partitions,
and each one costs a whole insert, so a batch over many days goes in as several.
"""

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from spanledger_collector.store.protocol import Store

_NS_PER_DAY: Final = 86_400_000_000_000
DAYS_MAX: Final = 30


def insert_by_days(store: Store, table: str, rows: pa.Table, lane: str) -> None:
    """Insert rows of a ledger table, at most `DAYS_MAX` days at a time.

    Raises:
        StoreUnavailable, StoreRefused: see `Store.insert`; some days may then be stored and others not, which is harmless
            because the rows are versioned and the caller sends all of them again.
    """
    days = pc.divide(rows.column("start_time").cast(pa.int64()), _NS_PER_DAY)
    distinct = pc.unique(days)
    if len(distinct) <= DAYS_MAX:
        store.insert(table, rows, lane)
        return
    ordered = pa.array(sorted(distinct.to_pylist()), pa.int64())
    for start in range(0, len(ordered), DAYS_MAX):
        store.insert(table, rows.filter(pc.is_in(days, ordered.slice(start, DAYS_MAX))), lane)
