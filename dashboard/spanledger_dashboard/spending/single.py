"""What single interactions cost: over time, in tokens, and the dearest of them."""

from typing import Final

import polars as pl
import streamlit as st

from spanledger.client import ClientError
from spanledger_dashboard import data, export, shape, tables
from spanledger_dashboard import format as fmt
from spanledger_dashboard.alert_lines import draw_thresholds
from spanledger_dashboard.cards import card, empty, figure, problem, rows, unit_of
from spanledger_dashboard.charts import bars, series
from spanledger_dashboard.listing import table as interaction_table
from spanledger_dashboard.scope import Scope
from spanledger_dashboard.spending.figures import QUANTILES
from spanledger_dashboard.state import ask, interaction_params

TOKENS: Final = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")
INSIDE: Final = {"cache_read_tokens": "of input", "cache_write_tokens": "of input", "reasoning_tokens": "of output"}
DEAREST: Final = 15


def draw(here: Scope, course: pl.DataFrame | ClientError) -> None:
    """Draw the section; `course` is cost over time, which the key figures asked for."""
    within, filters, project = here.window, here.filters, here.project
    got = data.together(
        tokens=data.query(project, ask(filters, within, TOKENS)),
        dearest=data.interactions(project, **interaction_params(filters, within), order="-cost_usd", limit=DEAREST),
    )
    export.offer("Cost of one interaction over time", course)
    export.offer("Tokens by kind", got["tokens"])
    left, right = st.columns([5, 3], gap="small")
    said = "Half cost less than the median, 5 and 1 of 100 more than p95 and p99; log scale"
    with left, card("Cost of one interaction over time", said):
        _quantiles(here, course)
    with right, card("Tokens by kind", "Input contains cached tokens, output contains reasoning tokens"):
        _tokens(here, got["tokens"])
    with card("Most expensive interactions", "Select a row to see where its money went"):
        if isinstance(got["dearest"], ClientError):
            problem(got["dearest"], "the interactions", "dearest")
        else:
            interaction_table(got["dearest"]["items"], here, key="costs_dearest", title="Most expensive interactions")


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
