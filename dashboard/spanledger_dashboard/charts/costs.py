"""Figures about spending: a distribution and its tail, what changed, the month, and what cost is made of."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from itertools import accumulate
from math import ceil, floor, log10
from typing import Any, Final

import plotly.graph_objects as go

from spanledger_dashboard import format as fmt
from spanledger_dashboard.charts.figure import HEIGHT, blank, ticks
from spanledger_dashboard.theme import Palette, colours, faded, on_fill
from spanledger_dashboard.untrusted import chart_text, shorten
from spanledger_schema.units import Unit

PARTS: Final = {
    "cost_input_usd": "input",
    "cost_cache_read_usd": "cache reads",
    "cost_cache_write_usd": "cache writes",
    "cost_output_usd": "output",
    "cost_other_usd": "fees",
    "cost_unsplit_usd": "unsplit",
}
EFFECTS: Final = {"volume": "Volume", "mix": "Model mix", "tokens_per_call": "Tokens per call", "price": "Price"}
_ROW: Final = 34
_MODELS_MAX: Final = 12
_TICKS_MAX: Final = 6


def _tick(power: int) -> str:
    return f"${Decimal(1).scaleb(power):,f}"


def histogram(found: Mapping[str, Any], palette: Palette, *, height: int = HEIGHT) -> go.Figure:
    """How many interactions cost how much, on a logarithmic axis; bars above p95 are amber.

    Args:
        found: An answer of `POST /api/v1/costs/distribution`.
        palette: How to draw.
        height: Pixels.
    """
    figure = blank(palette, height=height, legend=False)
    bins = found["bins"]
    p95 = float(found["cost_p95_usd"] or 0)
    edges = [(log10(row["from_usd"]), log10(row["to_usd"])) for row in bins]
    figure.add_trace(
        go.Bar(
            x=[(low + high) / 2 for low, high in edges],
            y=[row["interactions"] for row in bins],
            width=[(high - low) * 0.92 for low, high in edges],
            marker={"color": [palette.accent if row["from_usd"] >= p95 else palette.main for row in bins]},
            customdata=[
                f"{fmt.money(row['from_usd'])} to {fmt.money(row['to_usd'])}<br>"
                f"{fmt.plural(row['interactions'], 'interaction')}, {fmt.money(Decimal(row['cost_usd']))} together"
                for row in bins
            ],
            hovertemplate="%{customdata}<extra></extra>",
        )
    )
    low, high = (min(e[0] for e in edges), max(e[1] for e in edges)) if edges else (-4.0, 0.0)
    powers = list(range(floor(low), ceil(high) + 1))
    powers = powers[:: 2 if len(powers) > _TICKS_MAX else 1]
    figure.update_xaxes(tickvals=powers, ticktext=[_tick(p) for p in powers], range=[low - 0.1, high + 0.5])
    figure.update_yaxes(rangemode="tozero", **ticks(Unit.COUNT, max((row["interactions"] for row in bins), default=0)))
    figure.update_layout(bargap=0, margin_t=44)
    _quantile_lines(figure, found, palette, turn_at=low + (high - low) * 0.6)
    return figure


def _quantile_lines(figure: go.Figure, found: Mapping[str, Any], palette: Palette, *, turn_at: float) -> None:
    """Lines with labels; beyond `turn_at` the label stands left of its line, where the plot has room."""
    for row, name in enumerate(("p50", "p95", "p99")):
        value = found[f"cost_{name}_usd"]
        if value is None or float(value) <= 0:
            continue
        figure.add_vline(x=log10(float(value)), line={"dash": "dash", "width": 1.2, "color": palette.text})
        is_left = log10(float(value)) > turn_at
        # Each label has a line of its own above the plot: p95 and p99 are close to each other.
        figure.add_annotation(
            x=log10(float(value)),
            yref="paper",
            y=1,
            yanchor="bottom",
            yshift=13 * (2 - row),
            xanchor="right" if is_left else "left",
            xshift=-3 if is_left else 3,
            showarrow=False,
            text=f"{name} {fmt.money(Decimal(str(value)))}",
            font={"size": 11, "color": palette.text},
        )


def lift(rows: Sequence[tuple[str, float, float]], palette: Palette, *, height: int = HEIGHT) -> go.Figure:
    """What is more frequent above p95 than in the rest: (label, share above, share of the rest) from top to bottom."""
    figure = blank(palette, height=height)
    places = list(range(len(rows)))
    sides = (
        ("above p95", [row[1] for row in rows], -0.36, palette.accent),
        ("the rest", [row[2] for row in rows], 0.0, palette.other),
    )
    for name, shares, offset, colour in sides:
        figure.add_trace(
            go.Bar(
                orientation="h",
                name=name,
                y=places,
                x=shares,
                offset=offset,
                width=0.36,
                marker={"color": colour},
                text=[fmt.percent(share) for share in shares],
                textposition="outside",
                cliponaxis=False,
                textfont={"size": 11, "color": palette.text},
                customdata=[chart_text(row[0]) for row in rows],
                hovertemplate=f"%{{customdata}}<br>%{{text}} of {name}<extra></extra>",
            )
        )
    figure.update_yaxes(
        tickvals=places,
        ticktext=[chart_text(row[0], 34) for row in rows],
        range=[max(len(rows), 4) - 0.4, -0.6],
        showgrid=False,
        tickfont={"size": 11},
    )
    figure.update_xaxes(
        range=[0, 1.18], tickformat=".0%", tickvals=[0, 0.25, 0.5, 0.75, 1], showgrid=True, gridcolor=palette.grid
    )
    figure.update_layout(barmode="overlay")
    return figure


def bridge(change: Mapping[str, Any], palette: Palette, *, height: int = HEIGHT + 20) -> go.Figure:
    """From the cost before to the cost now in four steps that add up: amber costs more, blue costs less."""
    steps = [Decimal(change[f"{name}_usd"]) for name in EFFECTS]
    before, after = Decimal(change["before_usd"]), Decimal(change["after_usd"])
    figure = blank(palette, height=height, legend=False)
    texts = [fmt.money(before), *(fmt.signed_money(step) if step else "$0" for step in steps), fmt.money(after)]
    figure.add_trace(
        go.Waterfall(
            x=["Before", *EFFECTS.values(), "Now"],
            measure=["absolute", *("relative" for _ in steps), "total"],
            y=[float(before), *map(float, steps), float(after)],
            text=texts,
            textposition="outside",
            textfont={"color": palette.text},
            cliponaxis=False,
            increasing={"marker": {"color": palette.accent}},
            decreasing={"marker": {"color": palette.main}},
            totals={"marker": {"color": palette.other}},
            connector={"line": {"color": palette.grid, "width": 1}},
            customdata=texts,
            hovertemplate="%{x}: %{customdata}<extra></extra>",
        )
    )
    levels = list(accumulate([before, *steps]))
    low, high = float(min([Decimal(0), *levels])), float(max(levels))
    room = (high - low or 1.0) * 0.12
    figure.update_yaxes(range=[low - (room if low < 0 else 0), high + room], **ticks(Unit.USD, high))
    return figure


def burn(found: Mapping[str, Any], palette: Palette, *, height: int = HEIGHT) -> go.Figure:
    """The month's cost as it adds up, and the forecast of its end with P10 to P90.

    Args:
        found: An answer of `POST /api/v1/costs/month`.
        palette: How to draw.
        height: Pixels.
    """
    figure = blank(palette, height=height, unified=True)
    days = [date.fromisoformat(row["date"]) for row in found["days"]]
    sums = list(accumulate(float(row["cost_usd"]) for row in found["days"]))
    first = date.fromisoformat(str(found["start"])[:10])
    last = date.fromisoformat(str(found["end"])[:10]) - timedelta(days=1)
    top = max(sums, default=0.0)
    ahead = found["forecast"]
    if ahead is not None and days and days[-1] < last:
        ends, start = [days[-1], last], sums[-1]
        top = max(top, ahead["p90_usd"])
        edge = {"mode": "lines", "line_width": 0, "hoverinfo": "skip"}
        figure.add_trace(go.Scatter(x=ends, y=[start, ahead["p90_usd"]], showlegend=False, **edge))
        band = {"fill": "tonexty", "fillcolor": faded(palette.main, 0.16)}
        figure.add_trace(go.Scatter(x=ends, y=[start, ahead["p10_usd"]], name="P10 to P90", **edge, **band))
        figure.add_trace(
            go.Scatter(
                x=ends,
                y=[start, ahead["p50_usd"]],
                name="forecast",
                mode="lines",
                line={"dash": "dash", "width": 2, "color": palette.main},
                customdata=[fmt.money(start), fmt.money(ahead["p50_usd"])],
                hovertemplate="%{customdata}",
            )
        )
    figure.add_trace(
        go.Scatter(
            x=days,
            y=sums,
            name="so far",
            mode="lines" if len(days) > 1 else "markers",
            line={"width": 2.5, "color": palette.main},
            customdata=[fmt.money(value) for value in sums],
            hovertemplate="%{customdata}",
        )
    )
    figure.update_xaxes(range=[first - timedelta(hours=12), last + timedelta(hours=12)], tickformat="%b %-d")
    figure.update_yaxes(rangemode="tozero", **ticks(Unit.USD, top))
    return figure


def composition(rows: Sequence[Mapping[str, Any]], palette: Palette, order: Sequence[str], *, height: int = HEIGHT) -> go.Figure:
    """Areas by model, and within each by what was paid for. Rows hold `model` and the measures of `PARTS`."""
    names = [shorten(row["model"]) for row in rows[:_MODELS_MAX]]
    fill = colours(names, palette, [shorten(name) for name in order])
    labels, parents, values, texts, shades, ids = [], [], [], [], [], []
    for number, row in enumerate(rows[:_MODELS_MAX]):
        held = {word: Decimal(str(row[name])) for name, word in PARTS.items() if row[name]}
        whole = sum(held.values(), Decimal(0))
        if whole <= 0:
            continue
        ids.append(f"m{number}")
        labels.append(chart_text(names[number], 30))
        parents.append("")
        values.append(0.0)
        texts.append(fmt.money(whole))
        shades.append(fill[names[number]])
        for word, amount in held.items():
            ids.append(f"m{number}.{word}")
            labels.append(word)
            parents.append(f"m{number}")
            values.append(float(amount))
            texts.append(fmt.money(amount))
            shades.append(fill[names[number]])
    figure = blank(palette, height=height, legend=False)
    figure.add_trace(
        go.Treemap(
            ids=ids,
            labels=labels,
            parents=parents,
            values=values,
            branchvalues="remainder",
            customdata=texts,
            texttemplate="%{label}<br>%{customdata}",
            hovertemplate="%{label}<br>%{customdata}<extra></extra>",
            marker={"colors": shades, "line": {"color": palette.page, "width": 1}},
            textfont={"color": [on_fill(shade) for shade in shades]},
            pathbar={"visible": False},
            tiling={"pad": 2},
            root={"color": "rgba(0,0,0,0)"},
        )
    )
    return figure


def stacked_parts(rows: Sequence[tuple[str | None, Mapping[str, Any]]], palette: Palette) -> go.Figure:
    """One bar per group, cut into what was paid for; the groups from top to bottom."""
    figure = blank(palette, height=max(160, 70 + _ROW * len(rows)))
    for number, (name, word) in enumerate(PARTS.items()):
        amounts = [Decimal(str(row[name] or 0)) for _, row in rows]
        if not any(amounts):
            continue
        figure.add_trace(
            go.Bar(
                orientation="h",
                name=word,
                y=list(range(len(rows))),
                x=[float(amount) for amount in amounts],
                width=0.62,
                marker={"color": [*palette.series, palette.other][number], "opacity": 0.9},
                customdata=[f"{chart_text(group)}<br>{word} {fmt.money(a)}" for (group, _), a in zip(rows, amounts, strict=True)],
                hovertemplate="%{customdata}<extra></extra>",
            )
        )
    top = max((float(sum((Decimal(str(row[n] or 0)) for n in PARTS), Decimal(0))) for _, row in rows), default=0.0)
    figure.update_layout(barmode="stack", legend_traceorder="normal")
    figure.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=[chart_text(group, 30) for group, _ in rows],
        range=[len(rows) - 0.4, -0.6],
        showgrid=False,
    )
    figure.update_xaxes(rangemode="tozero", showgrid=True, gridcolor=palette.grid, **ticks(Unit.USD, top))
    return figure


def against(rows: Sequence[tuple[str | None, Decimal, Decimal]], names: tuple[str, str], palette: Palette) -> go.Figure:
    """Two amounts per group beside each other: (group, first, second), in USD."""
    figure = blank(palette, height=max(170, 74 + 46 * len(rows)))
    places = list(range(len(rows)))
    sides = (
        (names[0], [row[1] for row in rows], -0.38, palette.other),
        (names[1], [row[2] for row in rows], 0.0, palette.main),
    )
    for name, amounts, offset, colour in sides:
        figure.add_trace(
            go.Bar(
                orientation="h",
                name=chart_text(name, 40),
                y=places,
                x=[float(amount) for amount in amounts],
                offset=offset,
                width=0.38,
                marker={"color": colour},
                text=[fmt.money(amount) for amount in amounts],
                textposition="outside",
                cliponaxis=False,
                textfont={"size": 11, "color": palette.text},
                customdata=[chart_text(row[0]) for row in rows],
                hovertemplate="%{customdata}: %{text}<extra></extra>",
            )
        )
    top = max((float(max(row[1], row[2])) for row in rows), default=0.0)
    figure.update_yaxes(
        tickvals=places, ticktext=[chart_text(row[0], 30) for row in rows], range=[len(rows) - 0.4, -0.6], showgrid=False
    )
    figure.update_xaxes(range=[0, (top or 1.0) * 1.18], showgrid=True, gridcolor=palette.grid, **ticks(Unit.USD, top))
    figure.update_layout(barmode="overlay")
    return figure
