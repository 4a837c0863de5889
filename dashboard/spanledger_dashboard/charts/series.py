"""Measures over time: stacks by group, and lines."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import plotly.graph_objects as go

from spanledger_dashboard import format as fmt
from spanledger_dashboard.charts.figure import HEIGHT, blank, fade_partial, local, ticks
from spanledger_dashboard.shape import OTHER
from spanledger_dashboard.theme import Palette, colours, faded
from spanledger_dashboard.untrusted import chart_text, shorten
from spanledger_schema.units import Unit

Points = Sequence[tuple[datetime, Any]]


def _colours(names: Sequence[str], palette: Palette, order: Sequence[str]) -> dict[str, str]:
    found = colours([name for name in names if name != OTHER], palette, [shorten(name) for name in order])
    return found | {OTHER: palette.other}


def stack(
    series: Mapping[str, Points],
    unit: Unit,
    palette: Palette,
    *,
    zone: str,
    bars: bool = False,
    order: Sequence[str] = (),
    partial: tuple[datetime, datetime] | None = None,
    height: int = HEIGHT,
) -> go.Figure:
    """Series on top of each other, the largest at the bottom; `partial` is the running bucket.

    `order` lists all names that there are, so that a name keeps its colour when filters change.
    """
    figure = blank(palette, height=height, unified=True)
    fill = _colours(list(series), palette, order)
    for name, points in series.items():
        values = [None if value is None else float(value) for _, value in points]
        shared = {
            "name": chart_text(name, 40),
            "x": local([at for at, _ in points], zone),
            "y": values,
            "customdata": [fmt.write(unit, value) for _, value in points],
            "hovertemplate": "%{customdata}",
        }
        if bars:
            figure.add_trace(go.Bar(**shared, marker={"color": fill[name], "opacity": 0.88, "line_width": 0}))
        else:
            line = {"width": 0.8, "color": palette.page}
            figure.add_trace(go.Scatter(**shared, stackgroup="all", mode="lines", line=line, fillcolor=fill[name]))
    top = max((sum(float(p[i][1] or 0) for p in series.values()) for i in range(_length(series))), default=0.0)
    figure.update_layout(barmode="stack", legend_traceorder="normal")
    figure.update_yaxes(rangemode="tozero", **ticks(unit, top))
    if partial is not None and _length(series) > 1:
        fade_partial(figure, partial, zone, palette)
    return figure


def _length(series: Mapping[str, Points]) -> int:
    return min((len(points) for points in series.values()), default=0)


def lines(
    series: Mapping[str, Points],
    unit: Unit,
    palette: Palette,
    *,
    zone: str,
    partial: tuple[datetime, datetime] | None = None,
    log: bool = False,
    height: int = HEIGHT,
) -> go.Figure:
    """Lines of one unit; an unknown value is a gap. A point between two gaps is drawn as a dot."""
    figure = blank(palette, height=height, unified=True, legend=len(series) > 1)
    known: list[float] = []
    for index, (name, points) in enumerate(series.items()):
        values = [None if value is None else float(value) for _, value in points]
        known += [value for value in values if value is not None]
        sparse = sum(value is not None for value in values) <= max(3, len(values) // 12)
        figure.add_trace(
            go.Scatter(
                name=chart_text(name, 40),
                x=local([at for at, _ in points], zone),
                y=values,
                mode="lines+markers" if sparse else "lines",
                line={"width": 2, "color": palette.series[index % len(palette.series)]},
                customdata=[fmt.write(unit, value) for _, value in points],
                hovertemplate="%{customdata}",
            )
        )
    figure.update_yaxes(**ticks(unit, max(known, default=0.0)))
    if log and known and min(known) > 0:
        # Between powers of ten Plotly leaves prefixes out; in the format the sign is at every tick.
        sign = {"tickprefix": "", "tickformat": "$~g"} if unit is Unit.USD else {"tickformat": "~g"}
        figure.update_yaxes(type="log", dtick="D2", **sign)
    elif known and min(known) >= 0:
        figure.update_yaxes(rangemode="tozero")
    if partial is not None:
        fade_partial(figure, partial, zone, palette)
    return figure


def rate_band(
    points: Sequence[tuple[datetime, float | None, float | None, float | None, int]],
    palette: Palette,
    *,
    zone: str,
    name: str,
    height: int = HEIGHT,
) -> go.Figure:
    """A rate over time with its interval as a band: (time, rate, low, high, n)."""
    figure = blank(palette, height=height, unified=True, legend=False)
    seen = [p for p in points if p[1] is not None]
    times = local([p[0] for p in seen], zone)
    edge = {"mode": "lines", "line_width": 0, "hoverinfo": "skip", "showlegend": False}
    figure.add_trace(go.Scatter(x=times, y=[p[3] for p in seen], **edge))
    figure.add_trace(go.Scatter(x=times, y=[p[2] for p in seen], fill="tonexty", fillcolor=faded(palette.main, 0.16), **edge))
    texts = [f"{fmt.percent(p[1])} · 95% {fmt.interval(p[2] or 0, p[3] or 0)} · n = {p[4]:,}" for p in seen]
    figure.add_trace(
        go.Scatter(
            x=times,
            y=[p[1] for p in seen],
            name=chart_text(name, 40),
            mode="lines+markers",
            customdata=texts,
            line={"width": 2, "color": palette.main},
            marker={"size": 5},
            hovertemplate="%{customdata}",
        )
    )
    figure.update_yaxes(range=[0, 1.02], tickformat=".0%")
    return figure
