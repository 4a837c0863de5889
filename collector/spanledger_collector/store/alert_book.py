"""Rules and events of alerts in the store: versions of a rule are appended, the newest counts; an event is one row."""

from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

from spanledger_collector.store.arrow import table
from spanledger_collector.store.protocol import Store, rows_of
from spanledger_schema.spans import Fields

_RULE_FIELDS: Fields = (
    ("project", "text"),
    ("rule_id", "text"),
    ("body", "text"),
    ("is_deleted", "u8"),
    ("changed_at", "time"),
    ("version", "u64"),
)
_EVENT_FIELDS: Fields = (
    ("project", "text"),
    ("event_id", "text"),
    ("rule_id", "text"),
    ("rule_name", "text"),
    ("group_key", "text"),
    ("kind", "text"),
    ("value", "f64?"),
    ("threshold", "f64"),
    ("window_start", "time"),
    ("window_end", "time"),
    ("at", "time"),
    ("summary", "text"),
    ("delivery", "text"),
    ("version", "u64"),
)


class StoredRule(NamedTuple):
    """A rule as it is kept: the API's form, and the secret that signs its webhooks."""

    project: str
    rule_id: str
    body: dict[str, Any]


class AlertEvent(NamedTuple):
    """One change of state. `group_key` is JSON, a list of the group's values; `delivery` is JSON by target, empty until told."""

    project: str
    event_id: str
    rule_id: str
    rule_name: str
    group_key: str
    kind: str
    value: float | None
    threshold: float
    window_start: int
    window_end: int
    at: int
    summary: str
    delivery: str
    version: int


def read_rules(store: Store, project: str | None = None) -> list[StoredRule]:
    """The newest version of each rule that is not deleted, in order of its creation."""
    condition = "" if project is None else "WHERE project = {project:String} "
    sql = (
        "SELECT project, rule_id, argMax(body, version) AS body, argMax(is_deleted, version) AS gone, min(changed_at) AS made "
        f"FROM alert_rules {condition}GROUP BY project, rule_id HAVING gone = 0 ORDER BY made, rule_id"
    )
    found = rows_of(store.read(sql, {} if project is None else {"project": project}))
    return [StoredRule(row["project"], row["rule_id"], orjson.loads(row["body"])) for row in found]


def write_rule(store: Store, rule: StoredRule, now_ns: int, *, is_deleted: bool = False) -> None:
    """Append a version of a rule."""
    body = orjson.dumps(rule.body).decode()
    row = (rule.project, rule.rule_id, body, int(is_deleted), now_ns, now_ns)
    store.insert("alert_rules", table([row], _RULE_FIELDS), "alerts")


def write_event(store: Store, event: AlertEvent) -> None:
    """Write an event, or again with its delivery."""
    store.insert("alert_events", table([event], _EVENT_FIELDS), "alerts")


def read_events(
    store: Store,
    project: str | None = None,
    *,
    rule_id: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    limit: int = 1_000,
) -> list[AlertEvent]:
    """Events, the newest first."""
    conditions, parameters = ["1"], dict[str, Any](limit=limit)
    for name, column, value in (("project", "project", project), ("rule", "rule_id", rule_id)):
        if value is not None:
            conditions.append(f"{column} = {{{name}:String}}")
            parameters[name] = value
    for name, sign, time in (("start", ">=", start), ("end", "<", end)):
        if time is not None:
            conditions.append(f"at {sign} {{{name}:DateTime64(6, 'UTC')}}")
            parameters[name] = time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    columns = ", ".join(name for name, _ in _EVENT_FIELDS)
    where = " AND ".join(conditions)
    sql = f"SELECT {columns} FROM alert_events FINAL WHERE {where} ORDER BY at DESC, event_id LIMIT {{limit:UInt32}}"
    return [_event(row) for row in rows_of(store.read(sql, parameters))]


def open_groups(store: Store) -> list[AlertEvent]:
    """The last event of each rule and group, where it is `fired`: what was firing when the collector stopped."""
    columns = ", ".join(name for name, _ in _EVENT_FIELDS)
    sql = (
        f"SELECT {columns} FROM (SELECT * FROM alert_events FINAL ORDER BY at DESC, event_id "
        "LIMIT 1 BY project, rule_id, group_key) WHERE kind = 'fired'"
    )
    return [_event(row) for row in rows_of(store.read(sql))]


def untold_events(store: Store) -> list[AlertEvent]:
    """Events that were written and not delivered yet, the oldest first."""
    columns = ", ".join(name for name, _ in _EVENT_FIELDS)
    sql = f"SELECT {columns} FROM alert_events FINAL WHERE delivery = '' AND at > now() - INTERVAL 1 DAY ORDER BY at, event_id"
    return [_event(row) for row in rows_of(store.read(sql))]


def _event(row: dict[str, Any]) -> AlertEvent:
    for name in ("window_start", "window_end", "at"):
        row[name] = int(row[name].timestamp()) * 1_000_000_000 + row[name].microsecond * 1_000
    return AlertEvent(**row)
