"""What all figures share: size, grid, legend, axes by unit, and marks laid over them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import plotly.graph_objects as go

from spanledger_dashboard.theme import FONT, Palette, faded
from spanledger_dashboard.untrusted import chart_text
from spanledger_schema.units import Unit

HEIGHT = 300


def blank(palette: Palette, *, height: int = HEIGHT, legend: bool = True, unified: bool = False) -> go.Figure:
    """A figure with the house's look and nothing on it."""
    figure = go.Figure()
    axis = {
        "color": palette.muted,
        "linecolor": palette.grid,
        "zeroline": False,
        "ticks": "",
        "fixedrange": True,
        "automargin": True,
    }
    figure.update_layout(
        height=height,
        margin={"l": 4, "r": 8, "t": 8, "b": 4},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": FONT, "size": 12, "color": palette.text},
        colorway=list(palette.series),
        showlegend=legend,
        # At the foot of the figure and not below the plot: on a phone the plot is flat, and the legend would lie on the axis.
        legend={
            "orientation": "h",
            "yref": "container",
            "yanchor": "bottom",
            "y": 0,
            "x": 0,
            "itemsizing": "trace",
            "font": {"color": palette.muted},
        },
        hovermode="x unified" if unified else "closest",
        hoverlabel={"bgcolor": palette.page, "bordercolor": palette.grid, "font": {"family": FONT, "color": palette.text}},
        xaxis={**axis, "showgrid": False},
        yaxis={**axis, "showgrid": True, "gridcolor": palette.grid},
        bargap=0.18,
    )
    return figure


def local(times: Sequence[datetime], zone: str) -> list[datetime]:
    """The times as the clock of `zone` shows them, without a zone, which is how Plotly draws them."""
    return [at.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for at in times]


def ticks(unit: Unit, largest: float) -> dict[str, Any]:
    """How the axis of a unit writes its ticks."""
    match unit:
        case Unit.USD:
            return {"tickprefix": "$", "tickformat": ",.0f" if largest >= 10 else ".2f" if largest >= 0.1 else "~g"}
        case Unit.RATIO:
            return {"tickformat": ".0%" if largest >= 0.1 else ".1%" if largest >= 0.01 else ".2%"}
        case Unit.SECONDS:
            return {"ticksuffix": " s", "tickformat": "~g"}
        case Unit.PROBABILITY:
            return {"tickformat": ".1f"}
        case _:
            return {"tickformat": "~s" if largest >= 10_000 else ",.0f" if largest >= 5 else "~g"}


def fade_partial(figure: go.Figure, running: tuple[datetime, datetime], zone: str, palette: Palette) -> None:
    """Lay a veil over the bucket that is not over yet, from its start to the edge of the data."""
    begin, end = local(running, zone)
    figure.add_shape(
        type="rect",
        xref="x",
        yref="paper",
        x0=begin,
        x1=end,
        y0=0,
        y1=1,
        line_width=0,
        fillcolor=faded(palette.page, 0.55),
        layer="above",
    )


def threshold_line(figure: go.Figure, value: float, text: str, palette: Palette) -> None:
    """A dashed line across the chart with its label at the top right of the line, on a ground of its own."""
    figure.add_hline(y=value, line={"dash": "dash", "color": palette.bad, "width": 1.5})
    figure.add_annotation(
        xref="paper",
        x=1,
        y=value,
        xanchor="right",
        yanchor="bottom",
        showarrow=False,
        text=chart_text(text, 48),
        font={"color": palette.bad, "size": 11},
        bgcolor=faded(palette.page, 0.8),
    )


def padded(low: float, high: float, share: float = 0.25) -> list[float]:
    """A range with room for labels outside the bars."""
    room = (high - low) * share or 1.0
    return [low - room if low < 0 else low, high + room if high > 0 else high]
