"""Rates of groups as dots with their intervals, so that small samples look small."""

from collections.abc import Sequence

import plotly.graph_objects as go

from spanledger_dashboard import format as fmt
from spanledger_dashboard.charts.figure import blank
from spanledger_dashboard.intervals import Rate
from spanledger_dashboard.theme import Palette
from spanledger_dashboard.untrusted import chart_text

_ROW = 34


def dots(rows: Sequence[tuple[str | None, Rate]], palette: Palette, *, overall: float | None = None) -> go.Figure:
    """One row per group with its rate, 95 % Wilson interval and n; grey where there are too few samples to judge."""
    figure = blank(palette, height=max(150, 56 + _ROW * len(rows)), legend=False)
    for index, (name, rate) in enumerate(rows):
        colour = palette.other if rate.too_few else palette.main
        text = f"{fmt.percent(rate.value)} · 95% {fmt.interval(rate.low, rate.high)} · n = {rate.n:,}"
        few = " · too few to judge" if rate.too_few else ""
        shared = {"hovertemplate": f"{chart_text(name)}<br>{text}{few}<extra></extra>", "showlegend": False}
        figure.add_trace(
            go.Scatter(x=[rate.low, rate.high], y=[index, index], mode="lines", line={"color": colour, "width": 2.5}, **shared)
        )
        symbol = "circle-open" if rate.too_few else "circle"
        figure.add_trace(
            go.Scatter(
                x=[rate.value],
                y=[index],
                mode="markers+text",
                marker={"color": colour, "size": 10, "symbol": symbol},
                text=[fmt.percent(rate.value)],
                textposition="top center",
                textfont={"size": 11, "color": palette.text},
                **shared,
            )
        )
    low = min((rate.low for _, rate in rows), default=0.0)
    high = max((rate.high for _, rate in rows), default=1.0)
    room = max((high - low) * 0.08, 0.004)
    labels = [f"{chart_text(name, 28)}  (n = {rate.n:,})" for name, rate in rows]
    figure.update_yaxes(tickvals=list(range(len(rows))), ticktext=labels, range=[len(rows) - 0.5, -0.8], tickfont={"size": 11})
    figure.update_xaxes(range=[max(-0.01, low - room), min(1.02, high + room)], tickformat=".0%" if high - low > 0.04 else ".1%")
    if overall is not None:
        figure.add_vline(x=overall, line={"dash": "dot", "color": palette.muted, "width": 1})
    return figure
