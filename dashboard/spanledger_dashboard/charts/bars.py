"""Bars: what changed, and parts on a linear scale that starts at zero."""

from collections.abc import Sequence

import plotly.graph_objects as go

from spanledger_dashboard import format as fmt
from spanledger_dashboard.charts.figure import HEIGHT, blank, padded, ticks
from spanledger_dashboard.shape import Change
from spanledger_dashboard.theme import Palette
from spanledger_dashboard.untrusted import chart_text
from spanledger_schema.units import Unit


def changes(found: Sequence[Change], unit: Unit, palette: Palette, *, limit: int = 8, height: int = HEIGHT) -> go.Figure:
    """Diverging bars of exact differences, largest movement on top: amber rose, blue fell."""
    shown = list(found[:limit])
    figure = blank(palette, height=height, legend=False)
    values = [float(change.difference) for change in shown]
    sign = fmt.signed_money if unit is Unit.USD else lambda value: f"{value:+,}"
    figure.add_trace(
        go.Bar(
            orientation="h",
            y=list(range(len(shown))),
            x=values,
            width=0.62,
            marker={"color": [palette.accent if value > 0 else palette.main for value in values]},
            text=[sign(change.difference) for change in shown],
            textposition="outside",
            cliponaxis=False,
            customdata=[[chart_text(c.label), fmt.write(unit, c.now), fmt.write(unit, c.before)] for c in shown],
            hovertemplate="%{customdata[0]}<br>%{customdata[1]}, before %{customdata[2]}<extra></extra>",
            textfont={"color": palette.text},
        )
    )
    figure.update_yaxes(
        tickvals=list(range(len(shown))),
        ticktext=[chart_text(change.label, 34) for change in shown],
        range=[max(len(shown), 5) - 0.4, -0.6],
        showgrid=False,
        tickfont={"size": 11},
    )
    low, high = min([0.0, *values]), max([0.0, *values])
    room = (high - low) * 0.5 or 1.0
    figure.update_xaxes(showticklabels=False, range=[low - (room if low < 0 else 0), high + (room if high > 0 else 0)])
    return figure


def parts(
    rows: Sequence[tuple[str, float, str]], palette: Palette, *, unit: Unit = Unit.COUNT, height: int = HEIGHT
) -> go.Figure:
    """Horizontal bars (label, value, text) from top to bottom on a linear scale from zero."""
    figure = blank(palette, height=height, legend=False)
    top = max((row[1] for row in rows), default=0.0)
    figure.add_trace(
        go.Bar(
            orientation="h",
            y=list(range(len(rows))),
            x=[row[1] for row in rows],
            width=0.6,
            marker={"color": palette.main},
            text=[chart_text(row[2]) for row in rows],
            textposition="outside",
            cliponaxis=False,
            customdata=[[chart_text(row[0]), chart_text(row[2])] for row in rows],
            textfont={"color": palette.text},
            hovertemplate="%{customdata[0]}: %{customdata[1]}<extra></extra>",
        )
    )
    figure.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=[chart_text(row[0], 34) for row in rows],
        range=[len(rows) - 0.4, -0.6],
        showgrid=False,
    )
    figure.update_xaxes(range=padded(0.0, top or 1.0, 0.42), showticklabels=False, **ticks(unit, top))
    return figure
