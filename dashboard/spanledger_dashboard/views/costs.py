"""Costs: where does the money go, and what does one interaction cost?"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import polars as pl
import streamlit as st

from spanledger.client import ClientError
from spanledger_dashboard import data, export, scope, shape, tables
from spanledger_dashboard import format as fmt
from spanledger_dashboard.alert_lines import draw_thresholds
from spanledger_dashboard.cards import card, changes, empty, figure, kpi, nothing, problem, rows, unit_of
from spanledger_dashboard.charts import bars, series
from spanledger_dashboard.listing import table as interaction_table
from spanledger_dashboard.scope import Scope
from spanledger_dashboard.state import ask, interaction_params, month_to_date
from spanledger_dashboard.untrusted import badge_label, shorten
from spanledger_schema.catalogue import DIMENSIONS
from spanledger_schema.query import Query

TOTALS: Final = (
    "cost_usd",
    "cost_p50_usd",
    "cost_p95_usd",
    "cost_p99_usd",
    "wasted_cost_usd",
    "cache_savings_usd",
    "priced_share",
    "unpriced_generations",
    "generations",
    "interactions",
    "cost_per_positive_interaction_usd",
)
QUANTILES: Final = ("cost_p50_usd", "cost_p95_usd", "cost_p99_usd")
TOKENS: Final = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")
INSIDE: Final = {"cache_read_tokens": "of input", "cache_write_tokens": "of input", "reasoning_tokens": "of output"}
BY: Final = ("model", "feature", "provider", "app", "environment", "release", "prompt_version", "user", "failure_mode")
TABLE: Final = (
    "cost_usd",
    "interactions",
    "cost_per_interaction_usd",
    "cost_p95_usd",
    "wasted_cost_usd",
    "cache_hit_rate",
    "priced_share",
)
GROUPS_MAX: Final = 100
DEAREST: Final = 10


def render() -> None:
    """Draw the page."""
    here = scope.current()
    by = st.segmented_control(
        "Broken down by",
        BY,
        default=BY[0],
        required=True,
        key="c_by",
        bind="query-params",
        format_func=lambda name: DIMENSIONS[name].label,
        label_visibility="collapsed",
    )
    got = _read(here, by or BY[0])
    if isinstance(got["now"], ClientError):
        problem(got["now"], "the costs", "costs")
        return
    now = shape.only(got["now"])
    if not now.get("interactions"):
        nothing(here)
        return
    export.offer("Key figures", got["now"])
    export.offer("Cost of one interaction over time", got["course"])
    export.offer(f"Cost by {DIMENSIONS[by or BY[0]].label.lower()} over time", got["stack"])
    export.offer("Tokens by kind", got["tokens"])
    _figures(here, now, got)
    _chips(now, got)
    _over_time(here, by or BY[0], got)
    _groups(here, by or BY[0], got)
    left, right = st.columns([5, 3], gap="small")
    with (
        left,
        card(
            "Cost of one interaction over time", "Half cost less than the median, 5 and 1 of 100 more than p95 and p99; log scale"
        ),
    ):
        _quantiles(here, got["course"])
    with right, card("Tokens by kind", "Input contains cached tokens, output contains reasoning tokens"):
        _tokens(here, got["tokens"])
    with card("Most expensive interactions", "Select a row to see where its money went"):
        if isinstance(got["dearest"], ClientError):
            problem(got["dearest"], "the interactions", "dearest")
        else:
            interaction_table(got["dearest"]["items"], here, key="costs_dearest", title="Most expensive interactions")


def _read(here: Scope, by: str) -> dict[str, Any]:
    within, filters, project = here.window, here.filters, here.project
    past = within.previous
    begin, end = month_to_date(datetime.now(UTC))
    month = Query(("cost_usd",), filters=ask(filters, within, ["cost_usd"]).filters, start=begin, end=end)
    return data.together(
        now=data.query(project, ask(filters, within, TOTALS)),
        before=data.query(project, ask(filters, past, TOTALS)),
        month=data.query(project, month),
        course=data.query(project, ask(filters, within, ("cost_usd", *QUANTILES), over_time=True)),
        wasted=data.query(project, ask(filters, within, ["wasted_cost_usd", "cache_savings_usd"], over_time=True)),
        stack=data.query(project, ask(filters, within, ["cost_usd"], [by], over_time=True)),
        groups=data.query(project, ask(filters, within, TABLE, [by], order=["-cost_usd"], limit=GROUPS_MAX)),
        groups_before=data.query(project, ask(filters, past, ["cost_usd"], [by])),
        tokens=data.query(project, ask(filters, within, TOKENS)),
        unpriced=data.query(project, ask(filters, within, ["unpriced_generations"], ["model"], order=["-unpriced_generations"])),
        dearest=data.interactions(project, **interaction_params(filters, within), order="-cost_usd", limit=DEAREST),
    )


def _figures(here: Scope, now: Mapping[str, Any], got: Mapping[str, Any]) -> None:
    within = here.window
    before = {} if isinstance(got["before"], ClientError) else shape.only(got["before"])

    def spark(name: str, answer: str = "course") -> list[float]:
        frame = got[answer]
        return [] if isinstance(frame, ClientError) else shape.sparkline(shape.over_time(frame, name, within), within)

    share = None
    if now.get("cost_usd") and now.get("wasted_cost_usd") is not None:
        share = f"{fmt.percent(shape.exact(now['wasted_cost_usd']) / shape.exact(now['cost_usd']))} of cost"
    with st.grid(6, min_column_width=155):
        kpi("cost_usd", now, before, here, note=here.window.versus if here.comparable else None, spark=spark("cost_usd"))
        kpi("cost_p50_usd", now, before, here, title="Interaction, p50", spark=spark("cost_p50_usd"))
        kpi("cost_p95_usd", now, before, here, title="Interaction, p95", spark=spark("cost_p95_usd"))
        kpi("cost_p99_usd", now, before, here, title="Interaction, p99", spark=spark("cost_p99_usd"))
        kpi("wasted_cost_usd", now, before, here, note=share, spark=spark("wasted_cost_usd", "wasted"))
        kpi("cache_savings_usd", now, before, here, spark=spark("cache_savings_usd", "wasted"))


def _chips(now: Mapping[str, Any], got: Mapping[str, Any]) -> None:
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        if not isinstance(got["month"], ClientError):
            month = shape.only(got["month"]).get("cost_usd")
            st.badge(badge_label(f"Month to date (UTC): {fmt.money(month)}"), icon=":material/calendar_month:", color="blue")
        st.badge(badge_label(f"Priced share: {fmt.percent(now.get('priced_share'))}"), icon=":material/sell:", color="gray")
        positive = now.get("cost_per_positive_interaction_usd")
        st.badge(
            badge_label(f"Per positively rated interaction: {fmt.money_each(positive)}"), icon=":material/thumb_up:", color="gray"
        )
        if not now.get("unpriced_generations") or isinstance(got["unpriced"], ClientError):
            return
        names = [shorten(name, 30) for name, n in got["unpriced"].select("model", "unpriced_generations").iter_rows() if n]
        n = fmt.plural(int(now["unpriced_generations"]), "generation")
        text = f"Unpriced: {n} of {fmt.plural(len(names), 'model')} ({fmt.listing(names)}); the total is understated"
        st.badge(badge_label(text, 160), icon=":material/warning:", color="orange")


def _over_time(here: Scope, by: str, got: Mapping[str, Any]) -> None:
    title = f"Cost by {DIMENSIONS[by].label.lower()}"
    with card(title, f"{fmt.bucket(here.window.granularity)}, USD · in {here.zone}"):
        frame = rows(got["stack"], "the cost over time", "stack")
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


def _groups(here: Scope, by: str, got: Mapping[str, Any]) -> None:
    with card(f"By {DIMENSIONS[by].label.lower()}", f"Largest first · {changes(here)}"):
        frame = rows(got["groups"], "the breakdown", "groups")
        if frame is None:
            return
        # Calls without a model (tools, retrievals) have no cost either and say nothing about where the money goes.
        frame = frame.filter(pl.col(by).is_not_null() | pl.col("cost_usd").is_not_null())
        names = frame[by].to_list()
        trends = {} if isinstance(got["stack"], ClientError) else shape.trends(got["stack"], by, "cost_usd", here.window)
        before = (
            {} if isinstance(got["groups_before"], ClientError) or not here.comparable else shape.by_key(got["groups_before"], by)
        )
        costs = frame["cost_usd"].to_list()
        unseen = "new" if here.comparable else fmt.UNKNOWN
        shares = shape.shares(costs)
        shown: dict[str, list[Any]] = {
            by: [name or "not set" for name in names],
            "share": [None if share is None else share * 100 for share in shares],
            "trend": [trends.get(name, []) if cost is not None else [] for name, cost in zip(names, costs, strict=True)],
            "change": [
                (fmt.change(unit_of("cost_usd"), cost, before[name]["cost_usd"]) or "–") if name in before else unseen
                for name, cost in zip(names, costs, strict=True)
            ],
        }
        shown |= {name: tables.cells(name, frame[name].to_list()) for name in TABLE}
        tables.show(
            pl.DataFrame(shown, strict=False),
            title=f"By {DIMENSIONS[by].label.lower()}",
            key="costs_groups",
            order=[by, "cost_usd", "share", "trend", "change", *TABLE[1:]],
            alt=f"Cost by {by}",
            columns={
                by: tables.words(DIMENSIONS[by].label, pinned=True),
                "share": tables.bar("Share", "Part of the cost of all rows shown.", shown["share"], here.palette),
                "trend": tables.trend("Over time", here.palette),
                "change": tables.words("Change", help=here.compared),
                **{name: tables.column(name) for name in TABLE},
            },
        )


def _quantiles(here: Scope, answer: pl.DataFrame | ClientError) -> None:
    frame = rows(answer, "the cost of interactions", "quantiles")
    if frame is None:
        return
    lines = {name[5:8]: shape.whole(shape.over_time(frame, name, here.window), here.window) for name in QUANTILES}
    chart = series.lines(lines, unit_of("cost_p50_usd"), here.palette, zone=here.zone, log=True)
    draw_thresholds(chart, here, *QUANTILES)
    figure(chart, "costs_quantiles", "Median, p95 and p99 of the cost of one interaction over time.")


def _tokens(here: Scope, answer: pl.DataFrame | ClientError) -> None:
    frame = rows(answer, "the tokens", "tokens")
    if frame is None:
        return
    values = shape.only(frame)
    known = [name for name in TOKENS if values.get(name) is not None]
    if not known:
        empty("No call states its tokens.")
        return
    parts = [
        (
            f"{tables.title(name)}{' (' + INSIDE[name] + ')' if name in INSIDE else ''}",
            float(values[name]),
            fmt.count(values[name], compact=True),
        )
        for name in known
    ]
    figure(bars.parts(parts, here.palette), "costs_tokens", f"{parts[0][2]} input tokens.")


if __name__ == "__main__":
    render()
