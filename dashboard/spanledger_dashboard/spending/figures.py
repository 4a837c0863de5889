"""The top of the costs page: key figures, and what the sum rests on."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import polars as pl
import streamlit as st

from spanledger.client import ClientError
from spanledger_dashboard import data, links, shape, sums
from spanledger_dashboard import format as fmt
from spanledger_dashboard.cards import kpi
from spanledger_dashboard.scope import Scope
from spanledger_dashboard.state import ask, month_to_date, question
from spanledger_dashboard.untrusted import badge_label, label, shorten
from spanledger_schema.query import Query

TOTALS: Final = (
    *sums.MEASURES,
    "cost_p50_usd",
    "cost_p95_usd",
    "wasted_cost_usd",
    "priced_share",
    "estimated_share",
    "unpriced_share",
    "generations",
    "interactions",
    "cost_per_positive_interaction_usd",
)
QUANTILES: Final = ("cost_p50_usd", "cost_p95_usd", "cost_p99_usd")


def reads(here: Scope) -> dict[str, Any]:
    """The questions behind the top of the page."""
    within, filters, project = here.window, here.filters, here.project
    begin, end = month_to_date(datetime.now(UTC))
    where = ask(filters, within, ["cost_usd"]).filters
    return {
        "now": data.query(project, ask(filters, within, TOTALS)),
        "before": data.query(project, ask(filters, within.previous, TOTALS)),
        "course": data.query(project, ask(filters, within, ("cost_usd", *QUANTILES, "wasted_cost_usd"), over_time=True)),
        "month_sum": data.query(project, Query(sums.MEASURES, filters=where, start=begin, end=end)),
        # Bills count months in UTC, whatever the reader's clock says.
        "month": data.costs(project, "month", {"filters": question(filters, within)["filters"], "timezone": "UTC"}),
        "unpriced": data.query(
            project, ask(filters, within, ["unpriced_generations"], ["model"], order=["-unpriced_generations"])
        ),
    }


def draw(here: Scope, now: Mapping[str, Any], got: Mapping[str, Any]) -> None:
    """Draw six key figures, and below them what the cost rests on."""
    before = {} if isinstance(got["before"], ClientError) else shape.only(got["before"])

    def spark(name: str) -> list[float]:
        frame = got["course"]
        if isinstance(frame, ClientError):
            return []
        return shape.sparkline(shape.over_time(frame, name, here.window), here.window)

    share = None
    if now.get("cost_usd") and now.get("wasted_cost_usd") is not None:
        share = f"{fmt.percent(shape.exact(now['wasted_cost_usd']) / shape.exact(now['cost_usd']))} of cost"
    whole = sums.of(now)
    with st.grid(6, min_column_width=155):
        note = here.window.versus if here.comparable else None
        kpi("cost_usd", now, before, here, note=note, spark=spark("cost_usd"), text=whole.text(compact=True))
        _month(got)
        _forecast(got["month"])
        kpi("cost_p50_usd", now, before, here, title="Interaction, p50", spark=spark("cost_p50_usd"))
        kpi("cost_p95_usd", now, before, here, title="Interaction, p95", spark=spark("cost_p95_usd"))
        kpi("wasted_cost_usd", now, before, here, note=share, spark=spark("wasted_cost_usd"))
    _basis(now, whole, got)


def _month(got: Mapping[str, Any]) -> None:
    answer = got["month_sum"]
    text = fmt.UNKNOWN if isinstance(answer, ClientError) else sums.of(shape.only(answer)).text(compact=True)
    st.metric(
        "Month to date",
        label(text),
        help="Cost of the calendar month so far, in UTC as bills count, under the same filters and whatever the time range.",
        border=True,
        height="stretch",
    )


def _forecast(answer: Any) -> None:
    ahead = None if isinstance(answer, ClientError) else answer["forecast"]
    value, spread, held = fmt.UNKNOWN, "too little history", "It needs three whole days of history."
    if ahead is not None:
        value = fmt.money(ahead["p50_usd"], compact=True)
        low, high = (fmt.money(ahead[name], compact=True) for name in ("p10_usd", "p90_usd"))
        spread, held = f"{low} – {high}", coverage(ahead)
    st.metric(
        "Forecast, month",
        label(value),
        label(spread),
        delta_color="off",
        delta_arrow="off",
        help=label(f"What the month will have cost: P50, and below it P10 to P90. {held}", 300),
        border=True,
        height="stretch",
    )


def coverage(ahead: Mapping[str, Any]) -> str:
    """How well the forecast did on the weeks that are over."""
    weeks = int(ahead["backtests"])
    if not weeks:
        return f"From {fmt.plural(int(ahead['days_used']), 'day')}; too few to try it on past weeks."
    of_them = f"{ahead['backtests_covered']} of {fmt.plural(weeks, 'past week')}"
    return f"From {fmt.plural(int(ahead['days_used']), 'day')}; P10 to P90 held {of_them}, where 8 of 10 are meant to."


def _basis(now: Mapping[str, Any], whole: sums.Sum, got: Mapping[str, Any]) -> None:
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="cost_basis"):
        exact = f"Exact {fmt.money(whole.exact)} · {fmt.percent(now.get('priced_share'))} of generations"
        st.badge(badge_label(exact), icon=":material/sell:", color="green")
        if whole.estimated or now.get("estimated_share"):
            guessed = f"{sums.ABOUT} Estimated {fmt.money(whole.estimated)} · {fmt.percent(now.get('estimated_share'))}"
            st.badge(badge_label(guessed), icon=":material/straighten:", color="violet")
        positive = now.get("cost_per_positive_interaction_usd")
        text = f"Per positively rated interaction: {fmt.money_each(positive)}"
        st.badge(badge_label(text), icon=":material/thumb_up:", color="gray")
        if whole.unpriced:
            st.badge(badge_label(_unpriced(now, whole, got["unpriced"]), 170), icon=":material/warning:", color="orange")
            links.link("prices", "Prices")


def _unpriced(now: Mapping[str, Any], whole: sums.Sum, answer: Any) -> str:
    said = f"Unpriced: {fmt.plural(whole.unpriced, 'generation')}"
    if not isinstance(answer, ClientError):
        rows: pl.DataFrame = answer.select("model", "unpriced_generations")
        names = [shorten(name, 30) for name, n in rows.iter_rows() if n]
        said += f" of {fmt.plural(len(names), 'model')} ({fmt.listing(names)})"
    return f"{said} · {fmt.percent(now.get('unpriced_share'))}; the total is understated"
