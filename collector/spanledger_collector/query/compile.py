"""A Query becomes one SELECT whose values are all bound. Pure.

Identifiers come from the catalogue and from constants here; whatever a caller sent (values, tag keys, times, the zone) is a
parameter.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from spanledger_collector.query.route import Source, dimensions_of, not_of_calls, of_calls_only, route
from spanledger_schema.catalogue import USER_FEEDBACK_SCOPE, Measure
from spanledger_schema.dimensions import DIMENSIONS, TAG_DIMENSION_PREFIX
from spanledger_schema.query import Filter, Query, QueryError
from spanledger_schema.spans import INTERACTION_FIELDS

CONFIDENCE_SOURCES: Final = "__confidence_sources"
"""A hidden column: how many confidence sources a group mixes."""
_EARLIEST: Final = datetime(1971, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2261, 1, 1, tzinfo=UTC)
_WORD: Final = re.compile(r"[a-z_][a-z0-9_]*")
_ALL_FEEDBACK: Final = ["user", "reviewer", "evaluator"]
_BUCKETS: Final = {
    "minute": "toStartOfMinute(start_time)",
    "hour": "toStartOfHour(start_time, {zone:String})",
    "day": "toStartOfDay(start_time, {zone:String})",
    "week": "toDateTime(toStartOfWeek(start_time, 1, {zone:String}), {zone:String})",
    "month": "toDateTime(toStartOfMonth(start_time, {zone:String}), {zone:String})",
}
FEW_VALUED: Final = frozenset(DIMENSIONS) - {"user", "session", "trace_id", "interaction"}
"""Dimensions whose column is LowCardinality: so few values that no two share a hash of 64 bits."""
_ARRAYS: Final = {
    "confidence_source": ("confidence_sources", ("confidence_values",)),
    "feedback_source": ("feedback_sources", ("feedback_names", "feedback_positive")),
    "feedback_name": ("feedback_names", ("feedback_sources", "feedback_positive")),
}
_IS_GENERATION: Final = "kind IN ('model', 'embedding', 'rerank')"
_PARTS: Final = {
    "cost_usd": "sum(cost_usd)",
    "wasted_cost_usd": "sum(wasted_cost_usd)",
    "cache_savings_usd": "sum(cache_savings_usd)",
    "generations": f"countIf({_IS_GENERATION})",
    "unpriced_generations": f"countIf({_IS_GENERATION} AND cost_status = 'unpriced')",
    "known_cost_generations": (f"countIf({_IS_GENERATION} AND cost_status IN ('priced', 'reported', 'free', 'not_billable'))"),
    "retries": "sum(is_retry)",
}
"""What of an interaction is only a group's part, and how it is summed from the group's calls."""


LOST: Final = (
    "SELECT project, app, environment, release, signal, reason, seen_at AS start_time, toInt64(count) - "
    "toInt64(lagInFrame(count, 1, 0) OVER (PARTITION BY instance, signal, reason ORDER BY count, seen_at "
    "ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)) AS lost FROM sdk_losses WHERE project = {project:String}"
)
"""What a process lost between one of its reports and the next smaller one; over all of them that is the highest."""


@dataclass(slots=True)
class Sql:
    """A statement and its bound values."""

    text: str
    parameters: dict[str, Any] = field(default_factory=dict)


def compile_query(query: Query, project: str) -> Sql:
    """Compile a query for one project.

    Raises:
        QueryError: a measure cannot be answered by these dimensions.
    """
    return _Compiler(query, project).compile()


def interactions_about(query: Query, project: str, columns: Sequence[str]) -> Sql:
    """The interactions that a query is about, as a relation: by a dimension of calls with only the group's money.

    Args:
        query: Its first measure, filters and range; a measure that interactions answer.
        project: Whose they are.
        columns: Columns of `interactions` to keep beside those that the query itself needs.

    Raises:
        QueryError: the filters do not go together.
    """
    compiler = _Compiler(query, project, columns)
    (source,) = compiler.sources
    return Sql(compiler.relation(source), compiler.parameters)


def calls_about(query: Query, project: str) -> Sql:
    """The calls that a query's filters and range are about, as a relation with all columns.

    Raises:
        QueryError: a filter is on something that only interactions have.
    """
    if names := not_of_calls(dimensions_of(query)):
        raise QueryError(f"this is computed from calls and cannot be filtered by {names[0]}, which calls have not")
    compiler = _Compiler(query, project)
    return Sql(compiler.relation(Source.CALLS), compiler.parameters)


def bounded(value: datetime) -> datetime:
    """A time, or the nearest that the store's columns of time can hold."""
    return min(max(value if value.tzinfo else value.replace(tzinfo=UTC), _EARLIEST), _LATEST)


def bind_time(value: datetime) -> str:
    """A time as ClickHouse reads it for a `DateTime64(9, 'UTC')` parameter."""
    return bounded(value).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


class _Compiler:
    def __init__(self, query: Query, project: str, columns: Sequence[str] = ()) -> None:
        self._query = query
        self._plan = route(query)
        self._columns = columns
        self._parameters: dict[str, Any] = {"project": project}
        scoped = any(name == "feedback_source" for name in query.dimensions) or any(
            item.dimension == "feedback_source" for item in query.filters
        )
        self._scope = _ALL_FEEDBACK if scoped else list(USER_FEEDBACK_SCOPE)

    @property
    def sources(self) -> list[Source]:
        return list(self._plan)

    @property
    def parameters(self) -> dict[str, Any]:
        return self._parameters

    def compile(self) -> Sql:
        query = self._query
        plan = self._plan
        if query.granularity and query.granularity != "minute":
            self._parameters["zone"] = query.timezone
        keys = (["time"] if query.granularity else []) + [f"d{index}" for index in range(len(query.dimensions))]
        selects = [self._select(source, measures, plan) for source, measures in plan.items()]
        names = {f"d{index}": name for index, name in enumerate(query.dimensions)}
        aggregate = [f"{self._merged(measure, i)} AS m{i}" for i, measure in enumerate(self._ordered(plan))]
        if any(measure.name.startswith("confidence_") for measure in self._ordered(plan)):
            aggregate.append(f"any({CONFIDENCE_SOURCES}) AS {CONFIDENCE_SOURCES}")
        body = " UNION ALL ".join(selects)
        grouped = f" GROUP BY {', '.join(keys)}" if keys else ""
        text = f"SELECT {', '.join([*keys, *aggregate])} FROM ({body}){grouped}"
        labels = {**names, **{f"m{i}": measure.name for i, measure in enumerate(self._ordered(plan))}}
        position = {name: key for key, name in labels.items()} | {"time": "time"}
        order = [
            f"{position[item.removeprefix('-')]} {'DESC' if item.startswith('-') else 'ASC'} NULLS LAST"
            for item in query.order_by
        ]
        order += [f"{key} ASC NULLS LAST" for key in keys if key not in {item.split(" ")[0] for item in order}]
        self._parameters["limit"] = query.limit
        tail = f" ORDER BY {', '.join(order)}" if order else ""
        return Sql(f"{text}{tail} LIMIT {{limit:UInt32}}", self._parameters)

    def _ordered(self, plan: dict[Source, list[Measure]]) -> list[Measure]:
        by_name = {measure.name: measure for measures in plan.values() for measure in measures}
        return [by_name[name] for name in self._query.measures]

    def _merged(self, measure: Measure, index: int) -> str:
        # Each measure comes from one branch of the union and is NULL in the others; `any` skips NULL.
        value = f"any(v{index})"
        return f"ifNull({value}, 0)" if measure.empty_is_zero else value

    def _select(self, source: Source, measures: list[Measure], plan: dict[Source, list[Measure]]) -> str:
        query = self._query
        columns = [f"{self._bucket()} AS time"] if query.granularity else []
        keys = ["time"] if query.granularity else []
        for index, name in enumerate(query.dimensions):
            column = self._column(name, source)
            if len(query.dimensions) > 1 and name in FEW_VALUED:
                # The engine packs two keys of LowCardinality by copying their texts, row by row; hashes it takes from the
                # dictionary, and two numbers are a key of fixed width: half the time.
                columns.append(f"nullIf(any({column}), '') AS d{index}")
                keys.append(f"sipHash64({column})")
            else:
                columns.append(f"nullIf({column}, '') AS d{index}")
                keys.append(f"d{index}")
        own = {measure.name for measure in measures}
        wants_sources = any(name.startswith("confidence_") for name in query.measures)
        for index, measure in enumerate(self._ordered(plan)):
            # Neutral names: an alias that equals a column would be put in its place inside other aggregates.
            value = f"toNullable({self._expression(measure, source)})" if measure.name in own else "NULL"
            columns.append(f"{value} AS v{index}")
        if wants_sources:
            has_arrays = source not in (Source.CALLS, Source.LOSSES)
            hidden = "toNullable(length(groupUniqArrayArray(confidence_sources)))" if has_arrays else "NULL"
            columns.append(f"{hidden} AS {CONFIDENCE_SOURCES}")
        grouped = f" GROUP BY {', '.join(keys)}" if keys else ""
        return f"SELECT {', '.join(columns)} FROM {self.relation(source)}{grouped}"

    def _expression(self, measure: Measure, source: Source) -> str:
        of_source = {Source.CALLS: measure.calls, Source.LOSSES: measure.losses}
        sql = of_source.get(source, measure.interactions)
        assert sql is not None
        if "feedback_scope" in sql:
            self._parameters["feedback_scope"] = self._scope
            sql = sql.replace("feedback_scope", "{feedback_scope:Array(String)}")
        return sql

    def _bucket(self) -> str:
        granularity = self._query.granularity
        assert granularity is not None
        return f"toDateTime64({_BUCKETS[granularity]}, 3, 'UTC')"

    def _column(self, name: str, source: Source) -> str:
        if name.startswith(TAG_DIMENSION_PREFIX):
            return f"tags[{self._bind('tag', name[len(TAG_DIMENSION_PREFIX) :], 'String')}]"
        dimension = DIMENSIONS[name]
        if source is Source.LOSSES:
            column = dimension.losses
        elif source is Source.CALLS:
            column = dimension.calls
        elif source is Source.TOUCHED and dimension.interactions is None:
            column = f"group_{dimension.calls}"
        else:
            column = dimension.interactions
        assert column is not None
        return column

    def _bind(self, prefix: str, value: Any, kind: str) -> str:
        for name, known in self._parameters.items():
            if name.startswith(f"{prefix}_") and known == value:
                return f"{{{name}:{kind}}}"
        name = f"{prefix}_{len(self._parameters)}"
        self._parameters[name] = value
        return f"{{{name}:{kind}}}"

    def relation(self, source: Source) -> str:
        if source is Source.CALLS:
            return f"calls FINAL WHERE {self._where(source)}"
        if source is Source.LOSSES:
            return f"({LOST}) WHERE {self._where(source)}"
        if source is Source.TOUCHED:
            return f"({self._by_model() if self._is_by_model() else self._touched()})"
        return f"({self._interactions(source)})"

    def _where(self, source: Source, *, lower_only: bool = False) -> str:
        query = self._query
        parts = ["project = {project:String}"]
        if query.start is not None:
            self._parameters["start"] = bind_time(query.start)
            # A call cannot begin before its interaction, clocks apart; so much is read where interactions decide the range.
            slack = " - INTERVAL 1 DAY" if lower_only else ""
            parts.append(f"start_time >= {{start:DateTime64(9, 'UTC')}}{slack}")
        if query.end is not None and not lower_only:
            self._parameters["end"] = bind_time(query.end)
            parts.append("start_time < {end:DateTime64(9, 'UTC')}")
        if source is Source.INTERACTIONS:
            parts.append("is_interaction = 1")
        for item in query.filters:
            name = item.dimension
            if name in _ARRAYS or name == "span_kind":
                continue
            is_of_calls = bool(of_calls_only([name]))
            if source in (Source.CALLS, Source.LOSSES) or not is_of_calls:
                parts.append(self._condition(item, self._column(name, source)))
        return " AND ".join(parts)

    def _condition(self, item: Filter, column: str) -> str:
        if item.op in ("in", "not_in"):
            values = self._bind("f", ["" if value is None else value for value in item.values], "Array(String)")
            return f"{column} {'NOT ' if item.op == 'not_in' else ''}IN {values}"
        values = self._bind("f", list(item.values), "Array(String)")
        test = "positionCaseInsensitiveUTF8" if item.op == "contains" else "startsWith"
        call = f"{test}({column}, v) > 0" if item.op == "contains" else f"{test}({column}, v)"
        return f"arrayExists(v -> {call}, {values})"

    def _interactions(self, source: Source) -> str:
        """Interactions with their arrays cut down to what the query filters and groups by, one filter after the other."""
        relation = f"SELECT {self._needed()} FROM interactions FINAL WHERE {self._where(source)}"
        for item in self._query.filters:
            if item.dimension in _ARRAYS:
                own, others = _ARRAYS[item.dimension]
                condition = self._condition(item, "s")
                cut = [f"arrayFilter((x, s) -> {condition}, {other}, {own}) AS {other}" for other in others]
                cut.append(f"arrayFilter(s -> {condition}, {own}) AS {own}")
                relation = f"SELECT *{_replace(cut)} FROM ({relation}) WHERE arrayExists(s -> {condition}, {own})"
            elif item.dimension == "span_kind":
                condition = self._condition(item, "k")
                kept = f"mapFilter((k, n) -> {condition}, span_kinds)"
                cut = [f"{kept} AS span_kinds", f"toUInt32(arraySum(mapValues({kept}))) AS span_count"]
                relation = f"SELECT *{_replace(cut)} FROM ({relation}) WHERE arrayExists(k -> {condition}, mapKeys(span_kinds))"
        for name in self._query.dimensions:
            relation = self._unfold(relation, name)
        return relation

    def _needed(self) -> str:
        """The columns of interactions that this query looks at, as a column matcher: the table is wide, a question is not."""
        return f"COLUMNS({', '.join(self._wanted())})"

    def _wanted(self) -> list[str]:
        query = self._query
        own = [
            measure.interactions or ""
            for source, measures in self._plan.items()
            if source is not Source.CALLS
            for measure in measures
        ]
        texts = [*own, *self._columns]
        names = [*query.dimensions, *(item.dimension for item in query.filters)]
        texts += [DIMENSIONS[name].interactions or "" for name in names if name in DIMENSIONS]
        texts += (
            ["confidence_sources", "tags"]
            if any(name.startswith(TAG_DIMENSION_PREFIX) for name in names)
            else ["confidence_sources"]
        )
        texts += [" ".join((own, *others)) for name, (own, others) in _ARRAYS.items() if name in names]
        texts += ["models model_costs_usd"] if "model" in names else []
        texts += ["span_kinds span_count"] if "span_kind" in names else []
        words = set(_WORD.findall(" ".join(texts)))
        return [name for name, _ in INTERACTION_FIELDS if name in words or name in ("interaction_id", "start_time")]

    def _unfold(self, relation: str, name: str) -> str:
        """One row per value of an array dimension, with the arrays cut down to it."""
        if name == "span_kind":
            count = "toUInt32(span_kinds[span_kind])"
            columns = f"*{_replace([f'{count} AS span_count'])}, span_kind"
            return f"SELECT {columns} FROM ({relation}) ARRAY JOIN mapKeys(span_kinds) AS span_kind"
        if name not in _ARRAYS:
            return relation
        if name == "confidence_source":
            # A source states one value for an interaction, so the pairs come apart without looking for each other.
            own_values = _replace(["[one] AS confidence_values", f"[{name}] AS confidence_sources"])
            pairs = f"ARRAY JOIN confidence_sources AS {name}, confidence_values AS one"
            return f"SELECT *{own_values}, {name} FROM ({relation}) {pairs}"
        own, others = _ARRAYS[name]
        cut = [f"arrayFilter((x, s) -> s = {name}, {other}, {own}) AS {other}" for other in others]
        cut.append(f"arrayFilter(s -> s = {name}, {own}) AS {own}")
        return f"SELECT *{_replace(cut)}, {name} FROM ({relation}) ARRAY JOIN arrayDistinct({own}) AS {name}"

    def _is_by_model(self) -> bool:
        """Whether the model is the only dimension of calls, and what it splits is at most the cost."""
        names = {*self._query.dimensions, *(item.dimension for item in self._query.filters)}
        return of_calls_only(names) == ["model"] and not {*_PARTS} & {*self._wanted()} - {"cost_usd"}

    def _by_model(self) -> str:
        """The same as `_touched` from the interactions' own lists of models and their costs."""
        relation = self._interactions(Source.INTERACTIONS)
        for item in self._query.filters:
            if item.dimension == "model":
                condition = self._condition(item, "m")
                costs = f"arrayFilter((c, m) -> {condition}, model_costs_usd, models) AS model_costs_usd"
                cut = f"{costs}, arrayFilter(m -> {condition}, models) AS models"
                relation = f"SELECT * REPLACE({cut}) FROM ({relation}) WHERE arrayExists(m -> {condition}, models)"
        cost = "cost_usd" in self._wanted()
        if "model" not in self._query.dimensions:
            known = "arrayFilter(c -> c IS NOT NULL, model_costs_usd)"
            total = f"if(empty({known}), NULL, arraySum(c -> assumeNotNull(c), {known}))"
            return f"SELECT *{_replace([f'{total} AS cost_usd'] if cost else [])} FROM ({relation})"
        unfolded = "ARRAY JOIN models AS group_model, model_costs_usd AS group_cost"
        return f"SELECT *{_replace(['group_cost AS cost_usd'] if cost else [])}, group_model FROM ({relation}) {unfolded}"

    def _touched(self) -> str:
        """Interactions joined with the groups of calls that the query's dimensions of calls make of them."""
        groups = of_calls_only(self._query.dimensions)
        columns = [f"{DIMENSIONS[name].calls} AS group_{DIMENSIONS[name].calls}" for name in groups]
        # 16 bytes in place of a text of 49: half the memory, and no two of a trillion interactions share them.
        identity = "sipHash128(interaction_id) AS identity"
        keys = ", ".join(["identity", *(f"group_{DIMENSIONS[name].calls}" for name in groups)])
        conditions = [self._where(Source.CALLS, lower_only=True)]
        parts_wanted = [name for name in self._wanted() if name in _PARTS]
        sums = [f"{_PARTS[name]} AS part_{name}" for name in parts_wanted]
        calls = (
            f"SELECT {', '.join([identity, *columns, *sums])} FROM calls FINAL WHERE {' AND '.join(conditions)} GROUP BY {keys}"
        )
        parts = _replace([f"part_{name} AS {name}" for name in parts_wanted])
        selected = ", ".join(f"group_{DIMENSIONS[name].calls}" for name in groups)
        selected = f", {selected}" if selected else ""
        return (
            f"SELECT i.*{parts}{selected} FROM (SELECT *, {identity} FROM ({self._interactions(Source.INTERACTIONS)})) AS i "
            f"INNER JOIN ({calls}) AS c USING identity"
        )


def _replace(columns: list[str]) -> str:
    return f" REPLACE({', '.join(columns)})" if columns else ""
