"""Overview: is anything wrong, and what changed?"""

from collections.abc import Mapping
from typing import Any, Final

import polars as pl
import streamlit as st

from spanledger.client import ClientError
from spanledger_dashboard import attention, data, export, scope, shape, sums, tables
from spanledger_dashboard import format as fmt
from spanledger_dashboard.alert_lines import draw_thresholds
from spanledger_dashboard.cards import card, empty, figure, kpi, nothing, problem, rows, unit_of
from spanledger_dashboard.charts import bars, series
from spanledger_dashboard.links import go
from spanledger_dashboard.scope import Scope
from spanledger_dashboard.state import ask, narrowed

TOTALS: Final = (
    "cost_usd",
    "interactions",
    "cost_per_interaction_usd",
    "cost_p95_usd",
    "failures",
    "failure_rate",
    "feedback_positive_rate",
    "feedback_judged",
    "duration_p95_s",
    "unpriced_generations",
    "estimated_cost_usd",
)
COURSE: Final = ("cost_usd", "cost_per_interaction_usd", "failure_rate", "feedback_positive_rate", "duration_p95_s")
BY_FEATURE: Final = (
    "cost_usd",
    "interactions",
    "cost_per_interaction_usd",
    "failure_rate",
    "failures",
    "feedback_positive_rate",
    "feedback_judged",
    "duration_p95_s",
)
FEATURES_MAX: Final = 50


def render() -> None:
    """Draw the page."""
    here = scope.current()
    got = _read(here)
    if isinstance(got["now"], ClientError):
        problem(got["now"], "the overview", "overview")
        return
    now, before = _totals(got["now"]), _totals(got["before"])
    if not now.get("interactions"):
        nothing(here)
        return
    export.offer("Key figures", got["now"])
    export.offer("Key figures over time", got["course"])
    export.offer("Cost by model over time", got["spend"])
    attention.banner(here, now, before, got)
    _figures(here, now, before, got)
    left, right = st.columns([5, 3], gap="small")
    with (
        left,
        card("Cost by model", f"{fmt.bucket(here.window.granularity)}, USD · in {here.zone}"),
    ):
        _spend(here, got["spend"])
    with right:
        _changes(here, got)
    with card("Features", "Select a row to look at one feature"):
        _features(here, got)


def _read(here: Scope) -> dict[str, Any]:
    within, filters, project = here.window, here.filters, here.project
    past = within.previous
    one_source = ("confidence_p50", "confidence_count")
    return data.together(
        now=data.query(project, ask(filters, within, TOTALS)),
        before=data.query(project, ask(filters, past, TOTALS)),
        course=data.query(project, ask(filters, within, COURSE, over_time=True)),
        sure=data.query(project, ask(filters, within, one_source, ["confidence_source"])),
        sure_before=data.query(project, ask(filters, past, one_source, ["confidence_source"])),
        sure_course=data.query(project, ask(filters, within, ["confidence_p50"], ["confidence_source"], over_time=True)),
        spend=data.query(project, ask(filters, within, ["cost_usd"], ["model"], over_time=True)),
        parts=data.query(project, ask(filters, within, ["cost_usd"], ["feature", "model"])),
        parts_before=data.query(project, ask(filters, past, ["cost_usd"], ["feature", "model"])),
        features=data.query(project, ask(filters, within, BY_FEATURE, ["feature"], order=["-interactions"], limit=FEATURES_MAX)),
        feature_course=data.query(project, ask(filters, within, ["cost_usd"], ["feature"], over_time=True)),
        status=lambda: data.status(project),
        lost=attention.lost_read(here),
        **attention.drift_reads(here),
    )


def _totals(answer: pl.DataFrame | ClientError) -> dict[str, Any]:
    return {} if isinstance(answer, ClientError) or not answer.height else shape.only(shape.positives(answer))


def _figures(here: Scope, now: Mapping[str, Any], before: Mapping[str, Any], got: Mapping[str, Any]) -> None:
    within, course = here.window, got["course"]

    def spark(name: str) -> list[float]:
        return [] if isinstance(course, ClientError) else shape.sparkline(shape.over_time(course, name, within), within)

    source, sure, sure_before, sure_spark = _confidence(here, got)
    with st.grid(6, min_column_width=155):
        versus = here.window.versus if here.comparable else None
        kpi("cost_usd", now, before, here, note=versus, spark=spark("cost_usd"), text=sums.of(now).text(compact=True))
        kpi(
            "cost_per_interaction_usd",
            now,
            before,
            here,
            note=f"p95 {fmt.money_each(now.get('cost_p95_usd'))}",
            spark=spark("cost_per_interaction_usd"),
        )
        kpi(
            "failure_rate",
            now,
            before,
            here,
            note=f"n = {fmt.count(now['interactions'], compact=True)}",
            spark=spark("failure_rate"),
        )
        judged = fmt.count(now.get("feedback_judged"), compact=True)
        kpi("feedback_positive_rate", now, before, here, note=f"n = {judged}", spark=spark("feedback_positive_rate"))
        kpi("confidence_p50", sure, sure_before, here, title="Median confidence", note=source, spark=sure_spark)
        kpi(
            "duration_p95_s",
            now,
            before,
            here,
            note=here.window.versus if here.comparable else None,
            spark=spark("duration_p95_s"),
        )


def _confidence(here: Scope, got: Mapping[str, Any]) -> tuple[str | None, dict[str, Any], dict[str, Any], list[float]]:
    """The source with most values, and its figures: medians of different sources must not be mixed."""
    if isinstance(got["sure"], ClientError) or not got["sure"].height:
        return "none stated", {}, {}, []
    found = {
        name: row for name, row in shape.by_key(got["sure"], "confidence_source").items() if name and row["confidence_count"]
    }
    if not found:
        return "none stated", {}, {}, []
    source = max(found, key=lambda name: found[name]["confidence_count"])
    past = (
        {}
        if isinstance(got["sure_before"], ClientError)
        else shape.by_key(got["sure_before"], "confidence_source").get(source, {})
    )
    spark: list[float] = []
    if not isinstance(got["sure_course"], ClientError):
        mine = got["sure_course"].filter(pl.col("confidence_source") == source)
        spark = shape.sparkline(shape.over_time(mine, "confidence_p50", here.window), here.window)
    return source, found[source], past, spark


def _spend(here: Scope, answer: pl.DataFrame | ClientError) -> None:
    frame = rows(answer, "the cost by model", "spend")
    if frame is None:
        return
    found = shape.stacked(frame, "model", "cost_usd", here.window)
    if not found:
        empty("No cost is known in this range.")
        return
    # An hour in minutes has gaps; areas would draw slopes where nothing happened.
    as_bars = here.window.granularity == "minute"
    partial = shape.running(here.window, bars=as_bars)
    unit, order = unit_of("cost_usd"), here.order("model")
    chart = series.stack(found, unit, here.palette, zone=here.zone, bars=as_bars, partial=partial, order=order)
    draw_thresholds(chart, here, "cost_usd")
    first = next(iter(found))
    figure(chart, "overview_spend", f"Cost by model over time; {first} cost most.")


def _changes(here: Scope, got: Mapping[str, Any]) -> None:
    sides = [got["parts"], got["parts_before"]]
    failed = next((side for side in sides if isinstance(side, ClientError)), None)
    if not here.comparable:
        with card("What changed"):
            empty(here.compared)
        return
    found = [] if failed else shape.changes(sides[0], sides[1], ["feature", "model"], "cost_usd")
    total = sum((change.difference for change in found), shape.exact(0))
    with card("What changed", f"Cost {fmt.signed_money(total)} {here.window.baseline}, by feature and model" if found else None):
        if failed:
            problem(failed, "what changed", "changes")
        elif found:
            chart = bars.changes(found, unit_of("cost_usd"), here.palette)
            figure(chart, "overview_changes", f"{found[0].label} changed most: {fmt.signed_money(found[0].difference)}.")
        else:
            empty("Cost did not change.")


def _features(here: Scope, got: Mapping[str, Any]) -> None:
    frame = rows(got["features"], "the features", "features")
    if frame is None:
        return
    names = frame["feature"].to_list()
    course = got["feature_course"]
    trends = {} if isinstance(course, ClientError) else shape.trends(course, "feature", "cost_usd", here.window)
    failing = tables.cells("failure_rate", frame["failure_rate"].to_list())
    shown = {
        "feature": [name or "not set" for name in names],
        "interactions": frame["interactions"].to_list(),
        "cost_usd": tables.cells("cost_usd", frame["cost_usd"].to_list()),
        "trend": [trends.get(name, []) if cost is not None else [] for name, cost in zip(names, frame["cost_usd"], strict=True)],
        "each": tables.cells("cost_per_interaction_usd", frame["cost_per_interaction_usd"].to_list()),
        "failing": failing,
        "liked": tables.cells("feedback_positive_rate", frame["feedback_positive_rate"].to_list()),
        "judged": frame["feedback_judged"].to_list(),
        "slow": tables.cells("duration_p95_s", frame["duration_p95_s"].to_list()),
    }
    row = tables.show(
        pl.DataFrame(shown, strict=False),
        title="Features",
        key="overview_features",
        selectable=True,
        alt="Features with cost, failure rate, feedback and latency",
        columns={
            "feature": tables.words("Feature", pinned=True),
            "interactions": tables.column("interactions"),
            "cost_usd": tables.column("cost_usd"),
            "trend": tables.trend("Cost over time", here.palette),
            "each": tables.column("cost_per_interaction_usd"),
            "failing": tables.share_bar("failure_rate", failing, here.palette, bad=True),
            "liked": tables.column("feedback_positive_rate"),
            "judged": tables.column("feedback_judged", title="n judged"),
            "slow": tables.column("duration_p95_s"),
        },
    )
    if row is not None:
        go("failures", narrowed(here.filters, "feature", names[row]))


if __name__ == "__main__":
    render()
