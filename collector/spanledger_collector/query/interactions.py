"""Lists of interactions and one interaction in full.

The list reads the settled table. The detail settles the trace's spans once more with the same pure function, so that every step
says what was billed and why the others were not.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import orjson
import pyarrow as pa

from spanledger_collector.errors import NotFound
from spanledger_collector.query.compile import bind_time
from spanledger_collector.query.messages import first_text, to_messages
from spanledger_collector.store.arrow import rows_from
from spanledger_collector.store.protocol import Store
from spanledger_schema.query import QueryError
from spanledger_schema.spans import INTERACTION_FIELDS, InteractionRow

LIMIT_MAX: Final = 500
PICO: Final = Decimal(10) ** -12
_COLUMNS: Final = ", ".join(name for name, _ in INTERACTION_FIELDS)
_ORDERS: Final = {
    "-time": ("toInt64(toUnixTimestamp64Nano(start_time))", "Int64", True),
    "time": ("toInt64(toUnixTimestamp64Nano(start_time))", "Int64", False),
    "-cost_usd": ("ifNull(toFloat64(cost_usd), -1.)", "Float64", True),
    "-duration_s": ("toInt64(duration_ns)", "Int64", True),
    "confidence": ("if(empty(confidence_values), 2., arrayMin(confidence_values))", "Float64", False),
}
_POSITION_MAX: Final = 9.2e18
"""What an `Int64` holds; a position is nanoseconds, dollars or a share."""
_LISTS: Final = ("feature", "environment", "release", "app", "failure_mode")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which interactions to list; empty fields do not restrict. Lists hold alternatives, "" among them means "not set".

    `tag` holds `key=value`: values of one key are alternatives, different keys must all match.
    """

    start: datetime | None = None
    end: datetime | None = None
    lists: Mapping[str, list[str]] = field(default_factory=dict)
    model: list[str] = field(default_factory=list)
    tag: list[str] = field(default_factory=list)
    user: str | None = None
    session: str | None = None
    failed: bool | None = None
    feedback: str | None = None
    text: str | None = None
    min_cost_usd: Decimal | None = None
    max_cost_usd: Decimal | None = None
    min_duration_s: float | None = None
    max_confidence: float | None = None
    order: str = "-time"
    limit: int = 50
    cursor: str | None = None


def list_interactions(store: Store, project: str, wanted: Wanted) -> dict[str, Any]:
    """One page of interactions as the API shows them, with the cursor of the next.

    Raises:
        QueryError: an unknown order or a damaged cursor.
    """
    if wanted.order not in _ORDERS:
        raise QueryError(f"unknown order {wanted.order[:40]!r}; there are: {', '.join(_ORDERS)}")
    expression, kind, is_descending = _ORDERS[wanted.order]
    conditions, parameters = _conditions(wanted)
    parameters["project"] = project
    if wanted.cursor is not None:
        value, identity = _read_cursor(wanted.cursor)
        sign = "<" if is_descending else ">"
        conditions.append(f"({expression}, interaction_id) {sign} ({{after:{kind}}}, {{after_id:String}})")
        parameters |= {"after": value, "after_id": identity}
    parameters["limit"] = wanted.limit + 1
    order = f"{expression} {'DESC' if is_descending else 'ASC'}, interaction_id {'DESC' if is_descending else 'ASC'}"
    found = _page(store, wanted, conditions, parameters, expression, order)
    rows = rows_from(found, INTERACTION_FIELDS, InteractionRow._make)
    positions = found.column("position").to_pylist()
    following = None
    if len(rows) > wanted.limit:
        rows = rows[: wanted.limit]
        following = _write_cursor(positions[wanted.limit - 1], rows[-1].interaction_id)
    previews = _previews(store, project, rows)
    return {"items": [show(row, previews.get(row.interaction_id)) for row in rows], "next_cursor": following}


def _page(
    store: Store, wanted: Wanted, conditions: list[str], parameters: dict[str, Any], expression: str, order: str
) -> pa.Table:
    """The rows of a page. The table is wide, so the page is found by its keys first; the newest are mostly of the last day."""

    def read(where: str) -> pa.Table:
        keys = (
            f"SELECT toString(start_time) AS at, interaction_id FROM interactions FINAL WHERE {where} "
            f"ORDER BY {order} LIMIT {{limit:UInt32}}"
        )
        found = store.read(keys, parameters)
        bound = {**parameters, "ats": found.column("at").to_pylist(), "ids": found.column("interaction_id").to_pylist()}
        # Times as constants lead the table's index to the few granules that hold the page.
        return store.read(
            f"SELECT {_COLUMNS}, {expression} AS position FROM interactions FINAL WHERE {where} "
            "AND start_time IN {ats:Array(DateTime64(9, 'UTC'))} AND interaction_id IN {ids:Array(String)} "
            f"ORDER BY {order}",
            bound,
        )

    where = " AND ".join(conditions)
    if wanted.order == "-time":
        after = parameters.get("after")
        newest = datetime.fromtimestamp(after / 1e9, UTC) if after is not None else wanted.end or datetime.now(UTC)
        parameters["recent"] = bind_time(newest - timedelta(days=1))
        recent = read(f"{where} AND start_time >= {{recent:DateTime64(9, 'UTC')}}")
        if recent.num_rows == parameters["limit"]:
            return recent
    return read(where)


def show(row: InteractionRow, preview: str | None) -> dict[str, Any]:
    """An interaction as the API shows it."""
    return {
        "id": row.interaction_id,
        "trace_id": row.trace_id,
        "name": row.name,
        "time": iso(row.start_time),
        "duration_s": row.duration_ns / 1e9,
        "app": row.app or None,
        "environment": row.environment or None,
        "release": row.release or None,
        "feature": row.feature or None,
        "prompt_version": row.prompt_version or None,
        "user": row.user or None,
        "session": row.session or None,
        "tags": row.tags,
        "spans": row.span_count,
        "generations": row.generations,
        "models": _dearest_first(row),
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "cache_read_tokens": row.cache_read_tokens,
        "cost_usd": usd(row.cost_usd),
        "wasted_cost_usd": usd(row.wasted_cost_usd),
        "unpriced_generations": row.unpriced_generations,
        "failure_mode": row.failure_mode or None,
        "failure_reason": row.failure_reason or None,
        "retries": row.retries,
        "fallbacks": row.fallbacks,
        "escalations": row.escalations,
        "validations": row.validations,
        "validation_failures": row.validation_failures,
        "confidence": dict(zip(row.confidence_sources, row.confidence_values, strict=True)),
        "feedback": [
            {"name": name, "source": source, "positive": None if positive < 0 else positive == 1}
            for name, source, positive in zip(row.feedback_names, row.feedback_sources, row.feedback_positive, strict=True)
        ],
        "preview": preview,
    }


def usd(pico: int | None) -> str | None:
    """An amount in plain notation; None is unknown."""
    return None if pico is None else format((Decimal(pico) * PICO).normalize(), "f") if pico else "0"


def iso(nanoseconds: int) -> str:
    """A time as ISO 8601 with Z, to the microsecond."""
    whole, rest = divmod(nanoseconds, 1_000_000_000)
    return datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{rest // 1_000:06d}Z"


def _conditions(wanted: Wanted) -> tuple[list[str], dict[str, Any]]:
    conditions = ["project = {project:String}", "is_interaction = 1"]
    parameters: dict[str, Any] = {}

    def restrict(condition: str, **values: Any) -> None:
        conditions.append(condition)
        parameters.update(values)

    if wanted.start is not None:
        restrict("start_time >= {start:DateTime64(9, 'UTC')}", start=bind_time(wanted.start))
    if wanted.end is not None:
        restrict("start_time < {end:DateTime64(9, 'UTC')}", end=bind_time(wanted.end))
    for name in _LISTS:
        if values := wanted.lists.get(name):
            restrict(f"{name} IN {{{name}:Array(String)}}", **{name: values})
    if wanted.model:
        unset = " OR empty(models)" if "" in wanted.model else ""
        restrict(f"(hasAny(models, {{model:Array(String)}}){unset})", model=wanted.model)
    for index, (key, values) in enumerate(_tags(wanted.tag).items()):
        restrict(f"tags[{{tag_{index}:String}}] IN {{in_{index}:Array(String)}}", **{f"tag_{index}": key, f"in_{index}": values})
    if wanted.user is not None:
        restrict("user = {user:String}", user=wanted.user)
    if wanted.session is not None:
        restrict("session = {session:String}", session=wanted.session)
    if wanted.failed is not None:
        restrict("failure_mode != ''" if wanted.failed else "failure_mode = ''")
    if wanted.feedback is not None:
        tests = {
            "positive": "has(feedback_positive, 1)",
            "negative": "has(feedback_positive, 0)",
            "any": "notEmpty(feedback_names)",
        }
        if wanted.feedback not in tests:
            raise QueryError("feedback is positive, negative or any")
        restrict(tests[wanted.feedback])
    if wanted.text:
        restrict("positionCaseInsensitiveUTF8(name, {text:String}) > 0", text=wanted.text)
    if wanted.min_cost_usd is not None:
        restrict("cost_usd >= {min_cost:Decimal(38, 12)}", min_cost=format(wanted.min_cost_usd, "f"))
    if wanted.max_cost_usd is not None:
        restrict("cost_usd <= {max_cost:Decimal(38, 12)}", max_cost=format(wanted.max_cost_usd, "f"))
    if wanted.min_duration_s is not None:
        restrict("duration_ns >= {min_ns:UInt64}", min_ns=int(wanted.min_duration_s * 1e9))
    if wanted.max_confidence is not None:
        restrict("notEmpty(confidence_values) AND arrayMin(confidence_values) <= {conf:Float64}", conf=wanted.max_confidence)
    return conditions, parameters


def _tags(wanted: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text in wanted:
        key, sign, value = text.partition("=")
        if not key or not sign:
            raise QueryError(f"a tag is key=value, an empty value means not set; got {text[:60]!r}")
        found.setdefault(key, []).append(value)
    return found


def _write_cursor(position: Any, identity: str) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([position, identity])).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[int | float, str]:
    try:
        value, identity = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, TypeError):
        raise QueryError("the cursor is damaged; start again without it") from None
    if not isinstance(value, int | float) or abs(value) >= _POSITION_MAX or not isinstance(identity, str):
        raise QueryError("the cursor is damaged; start again without it")
    return value, identity


def _previews(store: Store, project: str, rows: list[InteractionRow]) -> dict[str, str]:
    """What the user asked, by interaction id: from the root's own content, else from the first input below it."""
    if not rows:
        return {}
    sql = (
        "SELECT trace_id, span_id, toInt64(toUnixTimestamp64Nano(start_time)) AS at, substring(input, 1, 65536) AS input "
        "FROM span_content FINAL WHERE project = {project:String} AND trace_id IN {traces:Array(String)} AND input != '' "
        "AND start_time >= fromUnixTimestamp64Nano({first:Int64}, 'UTC') "
        "AND start_time <= fromUnixTimestamp64Nano({last:Int64}, 'UTC') "
        "ORDER BY at LIMIT 20 BY trace_id"
    )
    day = 86_400_000_000_000
    starts = [row.start_time for row in rows]
    bounds = {"first": min(starts) - day, "last": max(starts) + day}
    traces = list({row.trace_id for row in rows})
    inputs: dict[str, list[tuple[str, int, str]]] = {}
    for trace_id, span_id, at, text in zip(
        *(column.to_pylist() for column in store.read(sql, {"project": project, "traces": traces, **bounds}).columns), strict=True
    ):
        inputs.setdefault(trace_id, []).append((span_id, at, text))
    previews: dict[str, str] = {}
    for row in rows:
        candidates = inputs.get(row.trace_id, [])
        own = [text for span_id, _, text in candidates if span_id == row.root_span_id]
        within = [text for _, at, text in candidates if row.start_time <= at <= row.start_time + row.duration_ns]
        # A conversation says better what was asked than the plain text of a search on its way.
        for text in own + sorted(within, key=lambda text: text[0] not in "[{"):
            if words := first_text(to_messages(text, "user"), "user"):
                previews[row.interaction_id] = words
                break
    return previews


def trace_of(identity: str) -> str:
    """The trace id in an interaction id or a trace id.

    Raises:
        NotFound: it is neither.
    """
    trace_id = identity.split("-", 1)[0].lower()
    if len(trace_id) != 32 or not all(character in "0123456789abcdef" for character in trace_id):
        raise NotFound("There is no such interaction. An id is 32 hex digits, or those, a hyphen and 16 more.")
    return trace_id


def _dearest_first(row: InteractionRow) -> list[str]:
    """The models that cost most lead: an answer's model, not the embedding before it."""
    known = [(model, cost or 0) for model, cost in zip(row.models, row.model_costs_usd, strict=True) if model]
    return [model for model, _ in sorted(known, key=lambda pair: -pair[1])]
