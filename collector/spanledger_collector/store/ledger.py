"""What settling asks of the store: spans, feedback, the rows written before, and how far it had come."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from spanledger_collector.store.arrow import rows_from, table
from spanledger_collector.store.protocol import Store, pieces
from spanledger_schema.spans import CALL_FIELDS, INTERACTION_FIELDS, SPAN_FIELDS, CallRow, Feedback, InteractionRow, SpanRow

Key = tuple[str, str]
"""Project and trace id."""

# Settling never looks at what a span carries besides; leaving the widest column out makes reading back a third cheaper.
_SPAN_COLUMNS: Final = ", ".join("map() AS attributes" if name == "attributes" else name for name, _ in SPAN_FIELDS).replace(
    "map() AS attributes", "CAST(map(), 'Map(String, String)') AS attributes"
)
_WORD: Final = (
    "bitXor(reinterpretAsUInt64(reverse(unhex(substring(trace_id, 1, 16)))), "
    "reinterpretAsUInt64(reverse(unhex(substring(trace_id, 17, 16)))))"
)
_FEEDBACK_FIELDS: Final = (
    ("trace_id", "text"),
    ("feedback_id", "text"),
    ("span_id", "text"),
    ("source", "text"),
    ("name", "text"),
    ("positive", "i8"),
)


_VERSIONED: Final = ("interactions", "calls", "alert_rules", "alert_events", "user_prices", "reprices", "keys", "projects")

NOTE_FIELDS: Final = (
    ("project", "text"),
    ("trace_id", "text"),
    ("span_id", "text"),
    ("time", "time"),
    ("user", "text"),
    ("session", "text"),
    ("finish_reason", "text"),
    ("finish_reason_raw", "text"),
    ("received_at", "time"),
    ("version", "u64"),
)


class Note(NamedTuple):
    """What log records say of a span that the span itself may not say. `time_ns` is the first record's, since 1970."""

    trace_id: str
    span_id: str
    time_ns: int
    user: str
    session: str
    finish_reason: str
    finish_reason_raw: str

    def add_to(self, row: SpanRow) -> SpanRow:
        """The span's row with what it left out; what it says itself stays."""
        changes: dict[str, str] = {}
        if self.user and not row.user:
            changes["user"] = self.user
        if self.session and not row.session:
            changes["session"] = self.session
        if self.finish_reason and not row.finish_reason:
            changes |= {"finish_reason": self.finish_reason, "finish_reason_raw": self.finish_reason_raw}
        return row._replace(**changes) if changes else row  # type: ignore[arg-type]

    def join(self, other: "Note | None") -> "Note":
        """One note of what both say; this one's word counts where they differ."""
        if other is None:
            return self
        return self._replace(
            user=self.user or other.user,
            session=self.session or other.session,
            finish_reason=self.finish_reason or other.finish_reason,
            finish_reason_raw=self.finish_reason_raw or other.finish_reason_raw,
        )


@dataclass(slots=True)
class History:
    """What the store holds of one trace."""

    rows: dict[str, SpanRow] = field(default_factory=dict)
    feedback: dict[str, Feedback] = field(default_factory=dict)
    interactions: dict[str, InteractionRow] = field(default_factory=dict)
    calls: dict[str, CallRow] = field(default_factory=dict)
    notes: dict[str, Note] = field(default_factory=dict)


def keep_best(rows: dict[str, SpanRow], row: SpanRow) -> bool:
    """Keep the highest version of each span id; the digest in the version makes ties equal copies.

    Returns:
        Whether `row` is new or better.

    """
    known = rows.get(row.span_id)
    if known is not None and known.version >= row.version:
        return False
    rows[row.span_id] = row
    return True


def read_history(store: Store, keys: Iterable[Key]) -> dict[Key, History]:
    """Everything that the store holds of some traces.

    Raises:
        StoreUnavailable: the store does not answer.

    """
    found: dict[Key, History] = {}
    by_project: dict[str, list[str]] = {}
    for project, trace_id in keys:
        by_project.setdefault(project, []).append(trace_id)
        found[project, trace_id] = History()
    for project, trace_ids in by_project.items():
        _read_project(store, project, trace_ids, found)
    return found


def _read_project(store: Store, project: str, trace_ids: Sequence[str], found: dict[Key, History]) -> None:
    parameters = {"project": project, "traces": list(trace_ids)}
    which = "FINAL WHERE project = {project:String} AND trace_id IN {traces:Array(String)}"
    for row in rows_from(store.read(f"SELECT {_SPAN_COLUMNS} FROM spans {which}", parameters), SPAN_FIELDS, SpanRow._make):
        # FINAL works within a day; a span sent with two starts has a row in each.
        keep_best(found[project, row.trace_id].rows, row)
    interactions, calls = read_settled(store, project, trace_ids)
    for interaction in interactions:
        found[project, interaction.trace_id].interactions[interaction.interaction_id] = interaction
    for call in calls:
        found[project, call.trace_id].calls[call.span_id] = call
    for note in read_notes(store, project, trace_ids):
        found[project, note.trace_id].notes[note.span_id] = note.join(found[project, note.trace_id].notes.get(note.span_id))
    columns = ", ".join(name for name, _ in _FEEDBACK_FIELDS)
    for trace_id, *rest in rows_from(store.read(f"SELECT {columns} FROM feedback {which}", parameters), _FEEDBACK_FIELDS, tuple):
        judgement = Feedback._make(rest)
        found[project, trace_id].feedback[judgement.feedback_id] = judgement


Call = tuple[str, str, int, int]
"""Of a span that may be a call: trace id, scope, start and end in nanoseconds since 1970."""
CountsOf = tuple[str, int | None, int | None, str]
"""Application, input, output, class of failure."""
_CALL: Final = "trace_id, scope, toUnixTimestamp64Nano(start_time) AS start, start + duration_ns AS end"
_NEAR: Final = (
    "project = {project:String} AND kind IN ('model', 'embedding', 'rerank') "
    "AND start_time BETWEEN toDateTime64({first:Float64}, 9, 'UTC') AND toDateTime64({last:Float64}, 9, 'UTC')"
)
_LONGEST_CALL_S: Final = 3_600.0
_CALLS_MAX: Final = 10_000
_COUNTED_MAX: Final = 100_000
_SECOND_NS: Final = 1_000_000_000
_MINUTE_NS: Final = 60 * _SECOND_NS
_MINUTES_MAX: Final = 2_000
_EARLIER_NS: Final = 10 * _MINUTE_NS
"""How much earlier than a call one of the same counts may have begun: a framework's waits and retries lie between."""


def calls_by_response(store: Store, project: str, response_ids: Sequence[str], span: tuple[int, int]) -> dict[str, list[Call]]:
    """Calls with some response ids at about some time.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    sql = f"SELECT response_id, {_CALL} FROM spans WHERE response_id IN {{ids:Array(String)}} AND {_NEAR} LIMIT {_CALLS_MAX}"
    found: dict[str, list[Call]] = {}
    for piece in pieces(response_ids):
        parameters = {"project": project, "ids": piece, **_times(span)}
        for response_id, *call in _columns(store.read(sql, parameters)):
            found.setdefault(response_id, []).append((call[0], call[1], call[2], call[3]))
    return found


def calls_by_counts(store: Store, project: str, rows: Sequence[SpanRow]) -> dict[CountsOf, list[Call]]:
    """Calls of the same application, input, output and class of failure as some rows, at about their times.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    # As seen by who leaves cached tokens out (`twins.bare_counts_of`); what is no twin by its scope is left out by whoever asks.
    uncached = "toInt64(input_tokens) - ifNull(cache_read_tokens, 0) - ifNull(cache_write_tokens, 0)"
    which = (
        f"(input_tokens IN {{inputs:Array(UInt32)}} OR {uncached} IN {{inputs:Array(UInt32)}} OR "
        "(input_tokens IS NULL AND output_tokens IN {outputs:Array(UInt32)}) "
        "OR (input_tokens IS NULL AND error_class IN {errors:Array(String)}))"
    )
    parameters = {
        "inputs": sorted({row.input_tokens for row in rows if row.input_tokens is not None}),
        "outputs": sorted({row.output_tokens for row in rows if row.input_tokens is None and row.output_tokens is not None}),
        "errors": sorted({row.error_class for row in rows if row.input_tokens is None and row.error_class}),
    }
    found: dict[CountsOf, list[Call]] = {}
    columns = f"app, input_tokens, {uncached} AS uncached, output_tokens, error_class"
    rows_found = _at_about(store, project, columns, which, parameters, rows, _EARLIER_NS)
    for app, given, bare, produced, error_class, *call in rows_found:
        for number in dict.fromkeys((given, bare)):
            found.setdefault((app, number, produced, error_class), []).append((call[0], call[1], call[2], call[3]))
    return found


def calls_by_knowledge(
    store: Store, project: str, rows: Sequence[SpanRow], knowing: Sequence[str]
) -> dict[tuple[str, bool], list[Call]]:
    """Calls that went well of the same applications, at about the times of some rows, by whether their counts are a guess.

    Args:
        store: Where they are.
        project: Whose.
        rows: Calls; theirs are the times.
        knowing: Beginnings of the scopes whose counts are of interest. Guesses may be of any scope, and know no response id:
            those that do are found by it.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    is_guess = "usage_quality IN ('estimated', 'missing')"
    is_knowing = "arrayExists(beginning -> startsWith(scope, beginning), {knowing:Array(String)})"
    which = f"error_class = '' AND if({is_guess}, response_id = '', {is_knowing})"
    found: dict[tuple[str, bool], list[Call]] = {}
    parameters = {"knowing": list(knowing)}
    for app, guess, *call in _at_about(store, project, f"app, {is_guess}", which, parameters, rows, 0):
        found.setdefault((app, bool(guess)), []).append((call[0], call[1], call[2], call[3]))
    return found


def _at_about(
    store: Store, project: str, columns: str, which: str, parameters: dict[str, Any], rows: Sequence[SpanRow], earlier_ns: int
) -> Iterator[tuple[Any, ...]]:
    """Calls that began in the minutes of some rows, or as long before them as each lasted, or some fixed time."""
    minutes: set[int] = set()
    for row in rows:
        lasted = min(row.duration_ns, int(_LONGEST_CALL_S * 1e9))
        first = row.start_time - max(lasted, earlier_ns)
        minutes.update(range(first // _MINUTE_NS, (row.start_time + lasted + _SECOND_NS) // _MINUTE_NS + 1))
    at = sorted(minutes)
    apps = sorted({row.app for row in rows})
    sql = (
        f"SELECT {columns}, {_CALL} FROM spans WHERE {which} AND app IN {{apps:Array(String)}} "
        "AND intDiv(toUnixTimestamp(start_time), 60) IN {minutes:Array(UInt32)} "
        f"AND {_NEAR} LIMIT {_COUNTED_MAX}"
    )
    for start in range(0, len(at), _MINUTES_MAX):
        piece = at[start : start + _MINUTES_MAX]
        times = {"first": piece[0] * 60.0, "last": piece[-1] * 60.0 + 60.0}
        yield from _columns(store.read(sql, {"project": project, "apps": apps, "minutes": piece, **parameters, **times}))


def _times(span: tuple[int, int]) -> dict[str, float]:
    return {"first": span[0] / 1e9 - _LONGEST_CALL_S, "last": span[1] / 1e9 + 1.0}


def _columns(answer: Any) -> Iterator[tuple[Any, ...]]:
    return zip(*(column.to_pylist() for column in answer.columns), strict=True)


def scopes_of_calls(store: Store) -> list[tuple[str, str, bool]]:
    """Projects, the scopes that their calls come from, and whether calls of the scope know their response id, or failed.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    sql = (
        "SELECT DISTINCT project, scope, response_id != '' OR error_class != '' AS has_id FROM spans "
        "WHERE kind IN ('model', 'embedding', 'rerank') ORDER BY project, scope, has_id"
    )
    return [(project, scope, bool(has_id)) for project, scope, has_id in _columns(store.read(sql))]


def response_words(store: Store) -> Iterator[Any]:
    """The word (see `seen.text_words`) of every project and response id of the store, as numpy arrays, newest days first."""
    days = store.read("SELECT toDate(start_time) AS day FROM interactions GROUP BY day ORDER BY day DESC")
    for day in days.column("day").to_pylist():
        sql = (
            "SELECT reinterpretAsUInt64(substring(MD5(concat(project, response_id)), 1, 8)) AS w FROM spans "
            "WHERE toDate(start_time) = {day:Date} AND response_id != ''"
        )
        answer = store.read(sql, {"day": day})
        if answer.num_rows:
            yield answer.column("w").to_numpy()


def traces_of_day(store: Store, day: str) -> list[Key]:
    """All traces with a span that began on a day (`YYYYMMDD`).

    Raises:
        StoreUnavailable: the store does not answer.
    """
    sql = (
        "SELECT DISTINCT project, trace_id FROM spans "
        "WHERE toDate(start_time) = toDate(parseDateTimeBestEffort({day:String})) ORDER BY project, trace_id"
    )
    return [(project, trace_id) for project, trace_id in _columns(store.read(sql, {"day": day}))]


def read_notes(store: Store, project: str, trace_ids: Sequence[str]) -> list[Note]:
    """What log records say of the spans of some traces, the latest first.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    fields = NOTE_FIELDS[1:8]
    sql = (
        f"SELECT {', '.join(name for name, _ in fields)} FROM span_notes FINAL "
        "WHERE project = {project:String} AND trace_id IN {traces:Array(String)} ORDER BY version DESC"
    )
    return list(rows_from(store.read(sql, {"project": project, "traces": list(trace_ids)}), fields, Note._make))


def read_settled(store: Store, project: str, trace_ids: Sequence[str]) -> tuple[list[InteractionRow], list[CallRow]]:
    """What is counted of some traces.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    parameters = {"project": project, "traces": list(trace_ids)}
    which = "FINAL WHERE project = {project:String} AND trace_id IN {traces:Array(String)}"
    columns = ", ".join(name for name, _ in INTERACTION_FIELDS)
    answer = store.read(f"SELECT {columns} FROM interactions {which}", parameters)
    interactions = rows_from(answer, INTERACTION_FIELDS, InteractionRow._make)
    columns = ", ".join(name for name, _ in CALL_FIELDS)
    calls = rows_from(store.read(f"SELECT {columns} FROM calls {which}", parameters), CALL_FIELDS, CallRow._make)
    return list(interactions), list(calls)


def newest_version(store: Store) -> int:
    """The newest time that was given to a row as its version, in nanoseconds since 1970; 0 when there is none."""
    parts = " UNION ALL ".join(f"SELECT max(version) AS v FROM {table}" for table in _VERSIONED)
    return int(store.read(f"SELECT max(v) AS v FROM ({parts})").column("v")[0].as_py() or 0)


def settled_mark(store: Store, collector: str) -> int:
    """Receive time up to which everything is settled, in nanoseconds since 1970; 0 when nothing is known."""
    sql = "SELECT settled_through FROM settle_marks FINAL WHERE collector = {collector:String}"
    marks = rows_from(store.read(sql, {"collector": collector}), (("settled_through", "time"),), tuple)
    return int(marks[0][0]) if marks else 0


def write_mark(store: Store, collector: str, mark: int, lane: str) -> None:
    """Remember how far a collector has settled."""
    fields = (("collector", "text"), ("settled_through", "time"), ("version", "u64"))
    store.insert("settle_marks", table([(collector, mark, mark)], fields), lane)


def changed_since(store: Store, since_ns: int) -> list[Key]:
    """Traces that got spans or feedback at or after a receive time."""
    parameters = {"since": since_ns / 1e9}
    found: dict[Key, None] = {}
    for sql in (
        "SELECT DISTINCT project, trace_id FROM spans WHERE received_at >= toDateTime64({since:Float64}, 9, 'UTC')",
        "SELECT DISTINCT project, trace_id FROM span_notes WHERE received_at >= toDateTime64({since:Float64}, 9, 'UTC')",
        "SELECT DISTINCT project, trace_id FROM feedback WHERE received_at >= toDateTime64({since:Float64}, 9, 'UTC')",
    ):
        answer = store.read(sql, parameters)
        keys = zip(answer.column("project").to_pylist(), answer.column("trace_id").to_pylist(), strict=True)
        found.update(dict.fromkeys(keys))
    return list(found)


def trace_words(store: Store) -> Iterator[Any]:
    """The word (see `seen.trace_words`) of every trace that the store knows, as numpy arrays, newest days first."""
    days = store.read("SELECT toDate(start_time) AS day FROM interactions GROUP BY day ORDER BY day DESC")
    for day in days.column("day").to_pylist():
        sql = f"SELECT {_WORD} AS w FROM interactions WHERE toDate(start_time) = {{day:Date}} AND length(trace_id) = 32"
        answer = store.read(sql, {"day": day})
        if answer.num_rows:
            yield answer.column("w").to_numpy()
    judged = store.read(f"SELECT {_WORD} AS w FROM feedback WHERE length(trace_id) = 32")
    if judged.num_rows:
        yield judged.column("w").to_numpy()
