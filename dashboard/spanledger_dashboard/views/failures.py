"""Failures: which failure modes hurt most, and are they new?"""

from collections.abc import Mapping
from typing import Any, Final

import polars as pl
import streamlit as st

from spanledger.client import ClientError
from spanledger_dashboard import data, export, scope, shape, tables
from spanledger_dashboard import format as fmt
from spanledger_dashboard.alert_lines import draw_thresholds
from spanledger_dashboard.cards import card, changes, empty, figure, kpi, nothing, problem, rows
from spanledger_dashboard.charts import rates, series
from spanledger_dashboard.intervals import wilson
from spanledger_dashboard.listing import table as interaction_table
from spanledger_dashboard.scope import Scope
from spanledger_dashboard.state import ask, interaction_params
from spanledger_schema.dimensions import DIMENSIONS
from spanledger_schema.failure_modes import FAILURE_MODES
from spanledger_schema.units import Unit

TOTALS: Final = (
    "failure_rate",
    "failures",
    "interactions",
    "generations",
    "wasted_cost_usd",
    "retry_rate",
    "fallback_rate",
    "escalation_rate",
    "validation_failure_rate",
)
COURSE: Final = ("interactions", "failure_rate", "wasted_cost_usd", "retry_rate", "fallback_rate", "escalation_rate")
BY: Final = ("feature", "model", "release", "environment", "prompt_version")
EXAMPLES: Final = 8
EVERY: Final = "all modes"


def render() -> None:
    """Draw the page."""
    here = scope.current()
    got = _read(here)
    if isinstance(got["now"], ClientError):
        problem(got["now"], "the failures", "failures")
        return
    now = shape.only(got["now"])
    if not now.get("interactions"):
        nothing(here)
        return
    export.offer("Key figures", got["now"])
    export.offer("Key figures over time", got["course"])
    export.offer("Failures by mode over time", got["mode_course"])
    _figures(here, now, got)
    modes = _ranked(here, now, got)
    with card("Failure rate over time", f"{fmt.bucket(here.window.granularity)}, stacked by mode, part of all interactions"):
        _over_time(here, got)
    left, right = st.columns([4, 5], gap="small")
    with left:
        _by(here)
    with right:
        _examples(here, modes)


def _read(here: Scope) -> dict[str, Any]:
    within, filters, project = here.window, here.filters, here.project
    past = within.previous
    by_mode = ("failures", "wasted_cost_usd")
    return data.together(
        now=data.query(project, ask(filters, within, TOTALS)),
        before=data.query(project, ask(filters, past, TOTALS)),
        course=data.query(project, ask(filters, within, COURSE, over_time=True)),
        modes=data.query(project, ask(filters, within, by_mode, ["failure_mode"], order=["-failures"])),
        modes_before=data.query(project, ask(filters, past, ["failures"], ["failure_mode"])),
        mode_course=data.query(project, ask(filters, within, ["failures"], ["failure_mode"], over_time=True)),
    )


def _figures(here: Scope, now: Mapping[str, Any], got: Mapping[str, Any]) -> None:
    within, course = here.window, got["course"]
    before = {} if isinstance(got["before"], ClientError) else shape.only(got["before"])

    def spark(name: str) -> list[float]:
        return [] if isinstance(course, ClientError) else shape.sparkline(shape.over_time(course, name, within), within)

    rate = wilson(int(now["failures"]), int(now["interactions"]))
    failed = f"{fmt.count(now['failures'], compact=True)} of {fmt.count(now['interactions'], compact=True)}"
    with st.grid(6, min_column_width=155):
        kpi(
            "failure_rate",
            now,
            before,
            here,
            note=fmt.interval(rate.low, rate.high) if rate else None,
            spark=spark("failure_rate"),
        )
        kpi("wasted_cost_usd", now, before, here, note=failed, spark=spark("wasted_cost_usd"))
        kpi("retry_rate", now, before, here, spark=spark("retry_rate"))
        kpi("fallback_rate", now, before, here, spark=spark("fallback_rate"))
        kpi("escalation_rate", now, before, here, spark=spark("escalation_rate"))
        kpi("validation_failure_rate", now, before, here)


def _ranked(here: Scope, now: Mapping[str, Any], got: Mapping[str, Any]) -> list[str]:
    """The table of failure modes; the answer is the modes in its order."""
    with card("Failure modes", f"{fmt.count(now['failures'])} failed interactions · {changes(here)}"):
        frame = rows(got["modes"], "the failure modes", "modes")
        if frame is None:
            return []
        found = frame.filter(pl.col("failure_mode").is_not_null() & (pl.col("failures") > 0)).sort("failures", descending=True)
        modes = [str(mode) for mode in found["failure_mode"]]
        if not modes:
            empty("Nothing failed in this range.")
            return []
        before = {} if isinstance(got["modes_before"], ClientError) else shape.by_key(got["modes_before"], "failure_mode")
        totals_before = {} if isinstance(got["before"], ClientError) else shape.only(got["before"])
        course = got["mode_course"]
        trends = {} if isinstance(course, ClientError) else shape.trends(course, "failure_mode", "failures", here.window)
        counts = [int(n) for n in found["failures"]]
        counts_before = [int(before.get(mode, {}).get("failures") or 0) for mode in modes]
        n = int(now["interactions"])
        n_before = int(totals_before.get("interactions") or 0) if here.comparable else 0
        states = [shape.trend_state(k, n, b, n_before) for k, b in zip(counts, counts_before, strict=True)]
        shares = [None if share is None else share * 100 for share in shape.shares(counts)]
        wasted = tables.cells("wasted_cost_usd", found["wasted_cost_usd"].to_list())
        shown = pl.DataFrame(
            {
                "mode": [mode.replace("_", " ") for mode in modes],
                "failures": counts,
                "share": shares,
                "trend": [trends.get(mode, []) for mode in modes],
                "change": [
                    fmt.change(Unit.COUNT, k, b) if n_before and b else fmt.UNKNOWN
                    for k, b in zip(counts, counts_before, strict=True)
                ],
                "wasted": wasted,
                "state": [[state] if n_before else [] for state in states],
                "meaning": [FAILURE_MODES.get(mode, "") for mode in modes],
            },
            strict=False,
        )
        tables.show(
            shown,
            title="Failure modes",
            key="failures_modes",
            alt=f"Failure modes by count; {modes[0]} leads",
            columns={
                "mode": tables.words("Mode", pinned=True),
                "failures": tables.column("failures"),
                "share": tables.bar("Share", "Part of all failures.", shares, here.palette),
                "trend": tables.trend("Over time", here.palette, bars=True),
                "change": tables.words("Change", help=here.compared, width="small"),
                "wasted": tables.column("wasted_cost_usd"),
                "state": tables.chips("State", shape.TREND_STATES, ("violet", "orange", "gray", "green")),
                "meaning": tables.words("What it means", width="large"),
            },
        )
        return modes


def _over_time(here: Scope, got: Mapping[str, Any]) -> None:
    frame = rows(got["mode_course"], "the failures over time", "failing")
    whole = rows(got["course"], "the interactions over time", "whole")
    if frame is None or whole is None:
        return
    found = shape.stacked(frame.filter(pl.col("failure_mode").is_not_null()), "failure_mode", "failures", here.window)
    if not found:
        empty("Nothing failed in this range.")
        return
    shares = shape.share_of(found, shape.over_time(whole, "interactions", here.window))
    named = {name.replace("_", " "): shape.whole(points, here.window) for name, points in shares.items()}
    order = [mode.replace("_", " ") for mode in here.order("failure_mode")]
    chart = series.stack(named, Unit.RATIO, here.palette, zone=here.zone, bars=True, order=order, height=280)
    draw_thresholds(chart, here, "failure_rate")
    figure(chart, "failures_course", f"Failure rate over time by mode; {next(iter(named))} is most frequent.")


def _by(here: Scope) -> None:
    with card("Where it fails", "Failure rate with its 95 % Wilson interval; grey: too few to judge"):
        by = st.segmented_control(
            "By",
            BY,
            default=BY[0],
            required=True,
            key="f_by",
            bind="query-params",
            format_func=lambda name: DIMENSIONS[name].label,
            label_visibility="collapsed",
        )
        by = by or BY[0]
        question = ask(
            here.filters, here.window, ("failures", "interactions", "failure_rate"), [by], order=["-interactions"], limit=100
        )
        frame = rows(data.together(by=data.query(here.project, question))["by"], "the breakdown", "by")
        if frame is None:
            return
        export.offer(f"Failures by {DIMENSIONS[by].label.lower()}", frame)
        found = shape.rates(frame, by, "failures", "interactions")
        if not found:
            empty("No interactions in this range.")
            return
        figure(rates.dots(found, here.palette), "failures_by", f"Failure rate by {by} with intervals.")


def _examples(here: Scope, modes: list[str]) -> None:
    with card("Examples", "The latest; select a row to see what happened"):
        options = [EVERY, *modes]
        stored = st.session_state.get("f_mode")
        if stored and stored not in options:
            options.append(stored)
        mode = st.selectbox("Failure mode", options, key="f_mode", bind="query-params", label_visibility="collapsed", width=220)
        params = interaction_params(here.filters, here.window) | {"failed": True, "order": "-time", "limit": EXAMPLES}
        if mode and mode != EVERY:
            params["failure_mode"] = [mode]
        got = data.together(page=data.interactions(here.project, **params))["page"]
        if isinstance(got, ClientError):
            problem(got, "the examples", "examples")
            return
        interaction_table(
            got["items"], here, key="failures_examples", title="Examples", columns=("time", "outcome", "asked", "cost")
        )


if __name__ == "__main__":
    render()
