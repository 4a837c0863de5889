"""The record of re-pricings in the store, and which traces one has to look at."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final

import orjson
import pyarrow as pa

from spanledger_collector.clock import CLOCK
from spanledger_collector.store.arrow import table
from spanledger_collector.store.protocol import Store, rows_of
from spanledger_schema.spans import Fields

_FIELDS: Final[Fields] = (
    ("project", "text"),
    ("reprice_id", "text"),
    ("state", "text"),
    ("is_dry_run", "u8"),
    ("filters", "text"),
    ("started_at", "time"),
    ("traces_total", "u64"),
    ("traces_done", "u64"),
    ("calls_changed", "u64"),
    ("changes", "text"),
    ("version", "u64"),
)
_SUM: Final = pa.decimal128(38, 12)
_PICO: Final = Decimal(10) ** 12


@dataclass(frozen=True, slots=True)
class Change:
    """Calls that changed alike. `before` and `after` say which price or which reason; sums in 1e-12 USD, unknown as 0."""

    provider: str
    model: str
    processing: str
    before_status: str
    before: str
    after_status: str
    after: str
    why: str
    calls: int
    before_pico: int
    after_pico: int


@dataclass(frozen=True, slots=True)
class Reprice:
    """One re-pricing. Sums are over the calls that changed, in 1e-12 USD; times in nanoseconds since 1970."""

    project: str
    reprice_id: str
    state: str
    is_dry_run: bool
    filters: dict[str, Any]
    started_at: int
    traces_total: int = 0
    traces_done: int = 0
    calls_changed: int = 0
    before_pico: int = 0
    after_pico: int = 0
    changes: list[Change] = field(default_factory=list)


def write(store: Store, reprice: Reprice) -> None:
    """Append the state of a re-pricing."""
    row = (
        reprice.project,
        reprice.reprice_id,
        reprice.state,
        int(reprice.is_dry_run),
        orjson.dumps(reprice.filters).decode(),
        reprice.started_at,
        reprice.traces_total,
        reprice.traces_done,
        reprice.calls_changed,
        orjson.dumps([_show(change) for change in reprice.changes]).decode(),
        CLOCK.now_ns(),
    )
    rows = table([row], _FIELDS)
    for name, pico in (("before_usd", reprice.before_pico), ("after_usd", reprice.after_pico)):
        rows = rows.append_column(name, pa.array([Decimal(pico).scaleb(-12)], _SUM))
    store.insert("reprices", rows, "prices")


def read(store: Store, project: str, limit: int, reprice_id: str | None = None) -> list[Reprice]:
    """The newest state of each re-pricing of a project, the newest first."""
    condition = "" if reprice_id is None else "AND reprice_id = {id:String} "
    sql = (
        "SELECT * FROM reprices WHERE project = {project:String} " + condition + "ORDER BY version DESC LIMIT 1 BY reprice_id "
        "LIMIT {limit:UInt32}"
    )
    parameters: dict[str, Any] = {"project": project, "limit": limit}
    if reprice_id is not None:
        parameters["id"] = reprice_id
    return [_reprice(row) for row in rows_of(store.read(sql, parameters))]


def models(store: Store, project: str) -> list[str]:
    """The models of the project's calls."""
    sql = "SELECT DISTINCT model FROM calls WHERE project = {project:String}"
    return [str(row["model"]) for row in rows_of(store.read(sql, {"project": project}))]


def days(
    store: Store, project: str, since: datetime | None, until: datetime | None, models: Sequence[str] | None
) -> list[tuple[date, int]]:
    """The days on which there are calls to look at, in order, and how many traces each has."""
    where, parameters = _where(project, (since, until), models)
    sql = f"SELECT toDate(start_time) AS day, uniqExact(trace_id) AS n FROM calls FINAL WHERE {where} GROUP BY day ORDER BY day"
    return [(row["day"], int(row["n"])) for row in rows_of(store.read(sql, parameters))]


def traces(
    store: Store, project: str, day: date, scope: tuple[datetime | None, datetime | None], models: Sequence[str] | None
) -> list[str]:
    """The traces of a day with a call to look at."""
    where, parameters = _where(project, scope, models)
    sql = f"SELECT DISTINCT trace_id FROM calls FINAL WHERE {where} AND toDate(start_time) = {{day:Date}} ORDER BY trace_id"
    return [str(row["trace_id"]) for row in rows_of(store.read(sql, {**parameters, "day": day}))]


def _where(
    project: str, scope: tuple[datetime | None, datetime | None], models: Sequence[str] | None
) -> tuple[str, dict[str, Any]]:
    conditions, parameters = ["project = {project:String}"], dict[str, Any](project=project)
    for name, sign, at in (("since", ">=", scope[0]), ("until", "<", scope[1])):
        if at is not None:
            conditions.append(f"start_time {sign} {{{name}:DateTime64(6, 'UTC')}}")
            parameters[name] = at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    if models is not None:
        conditions.append("model IN {models:Array(String)}")
        parameters["models"] = list(models)
    return " AND ".join(conditions), parameters


def _show(change: Change) -> dict[str, Any]:
    return asdict(change)


def _reprice(row: dict[str, Any]) -> Reprice:
    at = row["started_at"]
    return Reprice(
        row["project"],
        row["reprice_id"],
        row["state"],
        bool(row["is_dry_run"]),
        orjson.loads(row["filters"]),
        int(at.timestamp()) * 1_000_000_000 + at.microsecond * 1_000,
        int(row["traces_total"]),
        int(row["traces_done"]),
        int(row["calls_changed"]),
        int(row["before_usd"] * _PICO),
        int(row["after_usd"] * _PICO),
        [Change(**change) for change in orjson.loads(row["changes"])],
    )
