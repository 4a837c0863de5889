"""One interaction's spans on a common clock."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import plotly.graph_objects as go

from spanledger_dashboard import format as fmt
from spanledger_dashboard.charts.figure import blank
from spanledger_dashboard.theme import Palette, on_fill
from spanledger_dashboard.untrusted import chart_text

ROW: Final = 32
_KINDS: Final = ("model", "tool", "retrieval", "embedding", "rerank", "guardrail")
_LABELS: Final = 176
_INDENT: Final = 12
_DEPTH_MAX: Final = 6


def ordered(spans: Sequence[Mapping[str, Any]]) -> list[tuple[int, Mapping[str, Any]]]:
    """Spans parent before child, siblings by start, each with its depth; a span whose parent is missing is a root."""
    known = {span["span_id"] for span in spans}
    children: dict[str | None, list[Mapping[str, Any]]] = {}
    for span in sorted(spans, key=lambda s: (s["offset_s"] or 0.0, s["span_id"])):
        parent = span["parent_span_id"]
        children.setdefault(parent if parent in known and parent != span["span_id"] else None, []).append(span)
    found: list[tuple[int, Mapping[str, Any]]] = []
    seen: set[str] = set()
    waiting = [(0, span) for span in reversed(children.get(None, []))]
    while waiting:
        depth, span = waiting.pop()
        if span["span_id"] in seen:
            continue
        seen.add(span["span_id"])
        found.append((depth, span))
        waiting += [(depth + 1, child) for child in reversed(children.get(span["span_id"], []))]
    return found + [(0, span) for span in spans if span["span_id"] not in seen]


def _colour(kind: str, palette: Palette) -> str:
    return palette.series[_KINDS.index(kind)] if kind in _KINDS else palette.other


def waterfall(rows: Sequence[tuple[int, Mapping[str, Any]]], palette: Palette) -> go.Figure:
    """One bar per span, coloured by kind; failed spans have a red outline and a cross.

    Args:
        rows: Spans with their depths, as `ordered` gives them.
        palette: How to draw.
    """
    figure = blank(palette, height=70 + ROW * max(len(rows), 2))
    whole = max(((span["offset_s"] or 0.0) + (span["duration_s"] or 0.0) for _, span in rows), default=0.0) or 1.0
    kinds = list(dict.fromkeys(str(span["kind"]) for _, span in rows))
    for kind in kinds:
        fill = _colour(kind, palette)
        mine = [(index, span) for index, (_, span) in enumerate(rows) if str(span["kind"]) == kind]
        texts = [fmt.duration(s["duration_s"]) + (" ✕" if s["status"] == "error" else "") for _, s in mine]
        wide = [(s["duration_s"] or 0.0) > whole * 0.12 for _, s in mine]
        figure.add_trace(
            go.Bar(
                orientation="h",
                name=chart_text(kind, 24),
                y=[index for index, _ in mine],
                base=[s["offset_s"] or 0.0 for _, s in mine],
                x=[max(s["duration_s"] or 0.0, whole * 0.003) for _, s in mine],
                width=0.62,
                text=texts,
                textposition=["inside" if w else "outside" for w in wide],
                insidetextanchor="start",
                cliponaxis=False,
                textfont={"color": [on_fill(fill) if w else palette.text for w in wide], "size": 11},
                marker={
                    "color": fill,
                    "line": {
                        "color": [palette.bad if s["status"] == "error" else fill for _, s in mine],
                        "width": [2 if s["status"] == "error" else 0 for _, s in mine],
                    },
                },
                customdata=[[s["span_id"], chart_text(s["name"]), text] for (_, s), text in zip(mine, texts, strict=True)],
                hovertemplate="%{customdata[1]}<br>%{customdata[2]}<extra></extra>",
            )
        )
    figure.update_layout(barmode="overlay", bargap=0.2, legend_traceorder="normal")
    figure.update_yaxes(showticklabels=False, range=[len(rows) - 0.4, -0.6], showgrid=False)
    figure.update_layout(margin_l=_LABELS)
    # Tick labels are right-aligned and cannot show depth; all at once, because adding them one by one takes quadratic time.
    figure.update_layout(annotations=[_name(index, depth, span, palette) for index, (depth, span) in enumerate(rows)])
    figure.update_xaxes(
        side="top", range=[0, whole * 1.12], showgrid=True, gridcolor=palette.grid, ticksuffix=" s", tickformat="~g"
    )
    return figure


def _name(index: int, depth: int, span: Mapping[str, Any], palette: Palette) -> dict[str, Any]:
    """The label of a row, further to the right the deeper it is."""
    shift = _INDENT * min(depth, _DEPTH_MAX)
    return {
        "xref": "paper",
        "x": 0,
        "xshift": shift - _LABELS,
        "y": index,
        "xanchor": "left",
        "showarrow": False,
        "text": chart_text(span["name"], 26 - shift // 7),
        "font": {"size": 11, "color": palette.muted},
    }
