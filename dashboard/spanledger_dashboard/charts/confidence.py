"""Confidence: its quantiles over time, and stated confidence against what turned out right."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from math import sqrt
from typing import Any

import plotly.graph_objects as go

from spanledger_dashboard import format as fmt
from spanledger_dashboard.charts.figure import blank, local
from spanledger_dashboard.theme import Palette, faded


def quantiles(
    bands: Sequence[Mapping[str, Any]],
    palette: Palette,
    *,
    zone: str,
    moved_since: datetime | None = None,
    reference: tuple[datetime, datetime] | None = None,
) -> go.Figure:
    """The median with p25–p75 and p5–p95; a line where it moved and a band under the reference period."""
    figure = blank(palette, height=320, unified=True)
    times = local([datetime.fromisoformat(band["time"]) for band in bands], zone)
    edge = {"mode": "lines", "line_width": 0, "hoverinfo": "skip", "x": times}
    for low, high, opacity, name in (("p5", "p95", 0.14, "p5–p95"), ("p25", "p75", 0.30, "p25–p75")):
        figure.add_trace(go.Scatter(y=[band[high] for band in bands], showlegend=False, **edge))
        fill = faded(palette.main, opacity)
        figure.add_trace(go.Scatter(y=[band[low] for band in bands], name=name, fill="tonexty", fillcolor=fill, **edge))
    figure.add_trace(
        go.Scatter(
            x=times,
            y=[band["p50"] for band in bands],
            name="median",
            mode="lines+markers" if len(bands) < 4 else "lines",
            line={"width": 2.5, "color": palette.main},
            customdata=[_band_text(b) for b in bands],
            hovertemplate="%{customdata}<extra></extra>",
        )
    )
    if reference is not None and times:
        begin, end = local(list(reference), zone)
        if end > times[0] and begin < times[-1]:
            figure.add_vrect(
                x0=max(begin, times[0]),
                x1=min(end, times[-1]),
                fillcolor=faded(palette.muted, 0.10),
                line_width=0,
                annotation_text="reference",
                annotation_position="bottom left",
                annotation_font_color=palette.muted,
            )
    if moved_since is not None and times:
        at = local([moved_since], zone)[0]
        figure.add_vline(x=at, line={"dash": "dot", "color": palette.warn, "width": 1.5})
        figure.add_trace(
            go.Scatter(
                x=[at],
                y=[1.0],
                mode="markers",
                name="moved",
                marker={"symbol": "triangle-down", "size": 11, "color": palette.warn},
                hoverinfo="skip",
            )
        )
    figure.update_yaxes(
        range=[min([0.5, *(band["p5"] for band in bands if band["p5"] is not None)]) - 0.04, 1.03], tickformat=".1f"
    )
    return figure


def _band_text(band: Mapping[str, Any]) -> str:
    low, middle, high = (fmt.probability(band[name]) for name in ("p25", "p50", "p75"))
    return f"median {middle} · p25–p75 {low}–{high} · n = {band['n']:,}"


def reliability(calibration: Mapping[str, Any], palette: Palette) -> go.Figure:
    """Observed success against stated confidence with 95 % bars, dots sized by how many answers they stand for."""
    bins = [b for b in calibration["bins"] if b["n"]]
    figure = blank(palette, height=320)
    figure.add_trace(
        go.Scatter(
            x=[0, 1],
            y=[0, 1],
            mode="lines",
            name="perfect",
            line={"dash": "dash", "color": palette.muted, "width": 1},
            hoverinfo="skip",
        )
    )
    most = max((b["n"] for b in bins), default=1)
    figure.add_trace(
        go.Scatter(
            x=[b["confidence"] for b in bins],
            y=[b["accuracy"] for b in bins],
            mode="lines+markers",
            name="observed (95% interval)",
            line={"color": palette.accent, "width": 2},
            marker={"color": palette.accent, "size": [6 + 12 * sqrt(b["n"] / most) for b in bins]},
            error_y={
                "type": "data",
                "symmetric": False,
                "color": palette.muted,
                "thickness": 1,
                "width": 0,
                "array": [max(0.0, b["high"] - b["accuracy"]) for b in bins],
                "arrayminus": [max(0.0, b["accuracy"] - b["low"]) for b in bins],
            },
            customdata=[
                f"stated {fmt.percent(b['confidence'])}, right {fmt.percent(b['accuracy'])} · n = {b['n']:,}" for b in bins
            ],
            hovertemplate="%{customdata}<extra></extra>",
        )
    )
    figure.update_xaxes(
        range=[-0.02, 1.04],
        dtick=0.25,
        tickformat=".0%",
        title={"text": "stated confidence", "font": {"color": palette.muted, "size": 11}, "standoff": 6},
    )
    figure.update_yaxes(
        range=[-0.02, 1.04],
        dtick=0.25,
        tickformat=".0%",
        title={"text": "observed success", "font": {"color": palette.muted, "size": 11}, "standoff": 6},
    )
    return figure
