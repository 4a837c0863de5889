"""Cost by any dimension that the reader chooses: over time, by what was paid for, and as a table."""

from typing import Any, Final

import polars as pl
import streamlit as st

from spanledger.client import ClientError
from spanledger_dashboard import data, export, shape, sums, tables
from spanledger_dashboard import format as fmt
from spanledger_dashboard.alert_lines import draw_thresholds
from spanledger_dashboard.cards import card, changes, empty, figure, rows, unit_of
from spanledger_dashboard.charts import costs as charts
from spanledger_dashboard.charts import series
from spanledger_dashboard.links import go
from spanledger_dashboard.scope import Scope
from spanledger_dashboard.state import ask, can_narrow, narrowed
from spanledger_dashboard.untrusted import shorten
from spanledger_schema.dimensions import DIMENSIONS, TAG_DIMENSION_PREFIX

BY: Final = (
    "model",
    "feature",
    "user",
    "session",
    "provider",
    "app",
    "environment",
    "release",
    "prompt_version",
    "kind",
    "call_name",
    "operation",
    "failure_mode",
    "finish_reason",
    "cost_status",
    "usage_quality",
    "interaction_name",
)
TABLE: Final = (
    "cost_usd",
    "interactions",
    "cost_per_interaction_usd",
    "cost_p95_usd",
    "cost_per_positive_interaction_usd",
    "wasted_cost_usd",
    "cache_hit_rate",
)
BASIS: Final = ("estimated_cost_usd", "unpriced_generations")
TITLES: Final = {
    "cost_per_positive_interaction_usd": "Per positive",
    "cost_per_interaction_usd": "Per interaction",
    "cost_p95_usd": "p95",
}
GROUPS_MAX: Final = 100
PARTS_SHOWN: Final = 10
_STATE: Final = "c_by"


def titled(by: str) -> str:
    """What a dimension is called."""
    return f"Tag {by.removeprefix(TAG_DIMENSION_PREFIX)}" if by.startswith(TAG_DIMENSION_PREFIX) else DIMENSIONS[by].label


def _choose(here: Scope) -> str:
    keys = data.together(tags=data.tags(here.project))["tags"]
    tags = [f"{TAG_DIMENSION_PREFIX}{tag['key']}" for tag in keys] if isinstance(keys, list) else []
    return (
        st.selectbox(
            "Broken down by",
            [*BY, *tags],
            key=_STATE,
            bind="query-params",
            format_func=titled,
            width=230,
            label_visibility="collapsed",
        )
        or BY[0]
    )


def draw(here: Scope) -> None:
    """Draw the section."""
    by = _choose(here)
    within, filters, project = here.window, here.filters, here.project
    # Measures that only interactions have and parts that only calls have take the route that has both: they are asked apart.
    of_calls = has_calls(by)
    table = [name for name in TABLE if of_calls or name != "cache_hit_rate"]
    got = data.together(
        stack=data.query(project, ask(filters, within, ["cost_usd"], [by], over_time=True)),
        groups=data.query(project, ask(filters, within, table, [by], order=["-cost_usd"], limit=GROUPS_MAX)),
        before=data.query(project, ask(filters, within.previous, ["cost_usd"], [by])),
        **(
            {
                "parts": data.query(
                    project,
                    ask(filters, within, ("cost_usd", *charts.PARTS, *BASIS), [by], order=["-cost_usd"], limit=GROUPS_MAX),
                )
            }
            if of_calls
            else {}
        ),
    )
    export.offer(f"Cost by {titled(by).lower()} over time", got["stack"])
    left, right = st.columns([7, 5], gap="small")
    with left:
        _over_time(here, by, got["stack"])
    with right, card(f"{titled(by)} and what was paid for", f"The {PARTS_SHOWN} that cost most"):
        _parts(here, by, got.get("parts"))
    _groups(here, by, got)


def has_calls(by: str) -> bool:
    """Whether calls can be grouped by a dimension; the parts of cost are theirs."""
    return by.startswith(TAG_DIMENSION_PREFIX) or DIMENSIONS[by].calls is not None


def _over_time(here: Scope, by: str, answer: Any) -> None:
    title = f"Cost by {titled(by).lower()}"
    with card(title, f"{fmt.bucket(here.window.granularity)}, USD · in {here.zone}"):
        frame = rows(answer, "the cost over time", "stack")
        if frame is None:
            return
        found = shape.stacked(frame, by, "cost_usd", here.window)
        if not found:
            empty("No cost is known in this range.")
            return
        running = shape.running(here.window, bars=True)
        unit = unit_of("cost_usd")
        chart = series.stack(found, unit, here.palette, zone=here.zone, bars=True, partial=running, order=here.order(by))
        draw_thresholds(chart, here, "cost_usd")
        figure(chart, "costs_stack", f"{title} over time; {next(iter(found))} cost most.")


def _parts(here: Scope, by: str, answer: Any) -> None:
    if answer is None:
        empty("Only calls have parts of cost, and this is a property of interactions.")
        return
    frame = rows(answer, "what was paid for", "parts")
    if frame is None:
        return
    found = [(row[by], row) for row in frame.iter_rows(named=True) if row["cost_usd"]]
    if not found:
        empty("Nothing cost anything in this range.")
        return
    alt = f"{shorten(found[0][0])} cost most: {fmt.money(found[0][1]['cost_usd'])}."
    figure(charts.stacked_parts(found[:PARTS_SHOWN], here.palette), "costs_parts", alt)


def _groups(here: Scope, by: str, got: dict[str, Any]) -> None:
    said = "Select a row to see its dearest interactions · " if can_narrow(by) else ""
    with card(f"By {titled(by).lower()}", f"{said}largest first, at most {GROUPS_MAX} · {changes(here)}"):
        frame = rows(got["groups"], "the breakdown", "groups")
        if frame is None:
            return
        # Calls without a model (tools, retrievals) have no cost either and say nothing about where the money goes.
        frame = frame.filter(pl.col(by).is_not_null() | pl.col("cost_usd").is_not_null())
        row = _table(here, by, frame, got)
        if row is not None:
            go("interactions", narrowed(here.filters, by, frame[by][row]), i_order="most expensive")


def _table(here: Scope, by: str, frame: pl.DataFrame, got: dict[str, Any]) -> int | None:
    names, costs = frame[by].to_list(), frame["cost_usd"].to_list()
    table = [name for name in TABLE if name in frame.columns]
    trends = {} if isinstance(got["stack"], ClientError) else shape.trends(got["stack"], by, "cost_usd", here.window)
    known = not isinstance(got["before"], ClientError) and here.comparable
    before = shape.by_key(got["before"], by) if known else {}
    parts = got.get("parts")
    basis = shape.by_key(parts, by) if isinstance(parts, pl.DataFrame) else None
    unseen = "new" if here.comparable else fmt.UNKNOWN
    shown: dict[str, list[Any]] = {
        by: [name or "not set" for name in names],
        "share": [None if share is None else share * 100 for share in shape.shares(costs)],
        "trend": [trends.get(name, []) if cost is not None else [] for name, cost in zip(names, costs, strict=True)],
        "change": [
            (fmt.change(unit_of("cost_usd"), cost, before[name]["cost_usd"]) or "–") if name in before else unseen
            for name, cost in zip(names, costs, strict=True)
        ],
        "basis": [
            fmt.UNKNOWN if basis is None else sums.of({**basis.get(name, {}), "cost_usd": cost}).words
            for name, cost in zip(names, costs, strict=True)
        ],
    }
    shown |= {name: tables.cells(name, frame[name].to_list()) for name in table}
    help_basis = "≥: generations without a price are not in it. ~: a part rests on estimated token counts or rates."
    return tables.show(
        pl.DataFrame(shown, strict=False),
        title=f"By {titled(by).lower()}",
        key=f"costs_groups_{by}",
        selectable=can_narrow(by),
        order=[by, "cost_usd", "basis", "share", "trend", "change", *table[1:]],
        alt=f"Cost by {titled(by)}",
        columns={
            by: tables.words(shorten(titled(by)), pinned=True),
            "basis": tables.words("The sum is", help=help_basis, width=125),
            "share": tables.bar("Share", "Part of the cost of all rows shown.", shown["share"], here.palette),
            "trend": tables.trend("Over time", here.palette),
            "change": tables.words("Change", help=here.compared, width="small"),
            **{name: tables.column(name, title=TITLES.get(name)) for name in table},
        },
    )
