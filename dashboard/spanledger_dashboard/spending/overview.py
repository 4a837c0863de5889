"""Where the money goes: what one interaction costs, the month as it burns, and what cost is made of."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import polars as pl
import streamlit as st

from spanledger.client import ClientError
from spanledger_dashboard import data, export
from spanledger_dashboard import format as fmt
from spanledger_dashboard.cards import card, empty, figure, problem, rows
from spanledger_dashboard.charts import costs as charts
from spanledger_dashboard.links import go
from spanledger_dashboard.scope import Scope
from spanledger_dashboard.spending.figures import coverage
from spanledger_dashboard.state import ask, question
from spanledger_dashboard.untrusted import label, shorten
from spanledger_schema.dimensions import DIMENSIONS

COMPOSED: Final = 200
TAIL_MAX: Final = 7


def draw(here: Scope, got: Mapping[str, Any]) -> None:
    """Draw the section; `got` holds the month, which the key figures asked for."""
    within, filters, project = here.window, here.filters, here.project
    parts = ask(filters, within, ("cost_usd", *charts.PARTS), ["model"], order=["-cost_usd"], limit=COMPOSED)
    found = data.together(
        distribution=data.costs(project, "distribution", question(filters, within)),
        parts=data.query(project, parts),
    )
    left, right = st.columns(2, gap="small")
    with left:
        _distribution(here, found["distribution"])
    with right, card("Where the tail comes from", "What interactions above p95 have more often than the rest"):
        _tail(here, found["distribution"])
    left, right = st.columns([7, 5], gap="small")
    with left:
        _burn(here, got["month"])
    with right, card("What cost is made of", "Model, and in it what was paid for"):
        _composition(here, found["parts"])


def _distribution(here: Scope, answer: Any) -> None:
    if isinstance(answer, ClientError):
        with card("Cost of one interaction"):
            problem(answer, "the distribution", "distribution")
        return
    n = fmt.plural(answer["interactions"], "interaction")
    said = [f"Log scale · {n}"]
    said += [f"{fmt.count(answer['free'])} cost nothing"] if answer["free"] else []
    said += [f"{fmt.count(answer['without_cost'])} of unknown cost left out"] if answer["without_cost"] else []
    with card("Cost of one interaction", " · ".join(said)):
        if not answer["bins"]:
            empty("No interaction of a known cost in this range.")
            return
        export.offer("Cost of one interaction, distribution", pl.DataFrame(answer["bins"]))
        half = fmt.money(Decimal(answer["cost_p50_usd"]))
        figure(charts.histogram(answer, here.palette), "costs_histogram", f"Half of {n} cost at most {half}.")
        p95 = Decimal(answer["cost_p95_usd"])
        if st.button(
            label(f"Show those from {fmt.money(p95)}"), icon=":material/arrow_forward:", key="tail_open", type="tertiary"
        ):
            go("interactions", i_cost=f"{p95:f}", i_order="most expensive")


def _tail(here: Scope, answer: Any) -> None:
    if isinstance(answer, ClientError):
        problem(answer, "the tail", "tail")
        return
    found = answer["tail"]
    if not found:
        empty("Nothing is more frequent among the dearest interactions than among the rest.")
        return
    export.offer("Where the tail comes from", pl.DataFrame(found, infer_schema_length=None))
    shown = [
        (
            f"{DIMENSIONS[row['dimension']].label.lower()} = {shorten(row['value'], 40)}",
            float(row["share_of_tail"]),
            float(row["share_of_rest"]),
        )
        for row in found[:TAIL_MAX]
    ]
    above, rest = (fmt.percent(share) for share in shown[0][1:])
    alt = f"{shown[0][0]} is in {above} of the interactions above p95 and {rest} of the rest."
    figure(charts.lift(shown, here.palette), "costs_tail", alt)


def _burn(here: Scope, answer: Any) -> None:
    if isinstance(answer, ClientError):
        with card("The month"):
            problem(answer, "the month", "month")
        return
    ahead = answer["forecast"]
    said = "In UTC, whatever the time range. " + (coverage(ahead) if ahead else "A forecast needs three whole days of history.")
    with card(f"The month as it adds up · {answer['month']}", said):
        if not answer["days"]:
            empty("Nothing of a known cost this month.")
            return
        export.offer("The month by day", pl.DataFrame(answer["days"]))
        alt = f"{fmt.money(Decimal(answer['to_date_usd']))} so far"
        if ahead:
            alt += f", {fmt.money(ahead['p50_usd'])} expected by the end"
        figure(charts.burn(answer, here.palette), "costs_burn", f"{alt}.")


def _composition(here: Scope, answer: pl.DataFrame | ClientError) -> None:
    frame = rows(answer, "the composition", "composition")
    if frame is None:
        return
    found = [row for row in frame.iter_rows(named=True) if row["cost_usd"]]
    if not found:
        empty("Nothing cost anything in this range.")
        return
    export.offer("What cost is made of", frame)
    chart = charts.composition(found, here.palette, here.order("model"))
    figure(chart, "costs_composition", f"{shorten(found[0]['model'])} cost most: {fmt.money(found[0]['cost_usd'])}.")
