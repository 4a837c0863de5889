"""A rule against the past: what the evaluator saw, the threshold, and where it would have fired."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import plotly.graph_objects as go

from spanledger_dashboard import format as fmt
from spanledger_dashboard.charts.figure import blank, local, threshold_line, ticks
from spanledger_dashboard.theme import Palette
from spanledger_dashboard.untrusted import chart_text
from spanledger_schema.units import Unit

GROUPS_MAX: Final = 6


def group_name(group: Mapping[str, str | None]) -> str:
    """A group of a rule in words; empty for a rule without groups."""
    return ", ".join(f"{dimension} = {value if value else 'not set'}" for dimension, value in group.items())


def backtest(
    points: Sequence[Mapping[str, Any]],
    fires: Sequence[Mapping[str, Any]],
    threshold: float,
    unit: Unit,
    palette: Palette,
    *,
    zone: str,
    name: str,
) -> go.Figure:
    """The evaluated series of each group, a dashed threshold, and a triangle where the rule would have fired."""
    grouped: dict[str, list[Mapping[str, Any]]] = {}
    for point in points:
        grouped.setdefault(group_name(point["group"] or {}), []).append(point)
    firing = {group_name(fire["group"] or {}) for fire in fires}
    shown = sorted(grouped, key=lambda g: (g not in firing, -len(grouped[g]), g))[:GROUPS_MAX]
    figure = blank(palette, height=320, unified=len(shown) == 1)
    values: dict[tuple[str, str], float] = {}
    for index, group in enumerate(shown):
        mine = sorted(grouped[group], key=lambda point: str(point["time"]))
        ys = [None if point["value"] is None else float(point["value"]) for point in mine]
        values |= {(group, str(p["time"])): y for p, y in zip(mine, ys, strict=True) if y is not None}
        figure.add_trace(
            go.Scatter(
                x=local([datetime.fromisoformat(str(p["time"])) for p in mine], zone),
                y=ys,
                mode="lines",
                name=chart_text(group or name, 40),
                line={"width": 1.5, "color": palette.series[index]},
                customdata=[
                    f"{fmt.write(unit, y)} · {p.get('interactions') or 0:,} interactions" for p, y in zip(mine, ys, strict=True)
                ],
                hovertemplate="%{customdata}",
            )
        )
    marks = [fire for fire in fires if group_name(fire["group"] or {}) in shown]
    if marks:
        heights = [values.get((group_name(f["group"] or {}), str(f["from"])), threshold) for f in marks]
        figure.add_trace(
            go.Scatter(
                x=local([datetime.fromisoformat(str(f["from"])) for f in marks], zone),
                y=heights,
                mode="markers",
                name="would fire",
                marker={"symbol": "triangle-down", "size": 10, "color": palette.bad},
                hovertemplate="would fire<extra></extra>",
            )
        )
    threshold_line(figure, threshold, f"threshold {fmt.write(unit, threshold)}", palette)
    top = max([abs(threshold), *map(abs, values.values())])
    figure.update_yaxes(**ticks(unit, top))
    if min([threshold, *values.values()]) >= 0:
        figure.update_yaxes(rangemode="tozero")
    return figure
