"""Interactions as a table, the same on every page; selecting a row opens the interaction."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
import streamlit as st

from spanledger_dashboard import tables
from spanledger_dashboard.cards import empty
from spanledger_dashboard.links import open_interaction
from spanledger_dashboard.scope import Scope
from spanledger_dashboard.untrusted import shorten
from spanledger_schema.catalogue import MEASURES

_PREVIEW = 90
COLUMNS = ("time", "outcome", "feature", "asked", "model", "spans", "duration", "cost", "confidence", "opinion", "user")


def outcome(item: Mapping[str, Any]) -> str:
    """How an interaction ended, in words."""
    mode = item["failure_mode"]
    return f"✕ {str(mode).replace('_', ' ')}" if mode else "✓ ok"


def opinion(item: Mapping[str, Any]) -> str:
    """What users thought of it."""
    marks = [{True: "positive", False: "negative"}.get(given["positive"], "neutral") for given in item["feedback"]]
    return ", ".join(dict.fromkeys(marks))


def _confidence(item: Mapping[str, Any]) -> float | None:
    values = [float(value) for value in item["confidence"].values() if value is not None]
    return min(values) if values else None


def table(
    items: Sequence[Mapping[str, Any]], here: Scope, *, key: str, columns: Sequence[str] = COLUMNS, height: int | None = None
) -> None:
    """Draw the interactions; text cells show stored text as it is."""
    if not items:
        empty("No interaction matches.")
        return
    costs = [None if item["cost_usd"] is None else float(item["cost_usd"]) for item in items]
    shown = pl.DataFrame(
        {
            "time": [item["time"] for item in items],
            "outcome": [outcome(item) for item in items],
            "feature": [item["feature"] or "not set" for item in items],
            "asked": [shorten(item["preview"] or item["name"], _PREVIEW) for item in items],
            "model": [", ".join(item["models"]) for item in items],
            "spans": [item["spans"] for item in items],
            "duration": [item["duration_s"] for item in items],
            "cost": costs,
            "confidence": [_confidence(item) for item in items],
            "opinion": [opinion(item) for item in items],
            "user": [item["user"] for item in items],
        },
        schema_overrides={"cost": pl.Float64, "confidence": pl.Float64, "duration": pl.Float64, "user": pl.String},
    ).with_columns(pl.col("time").str.to_datetime(time_zone="UTC"))
    event = st.dataframe(
        shown,
        hide_index=True,
        placeholder=tables.MISSING,
        row_height=tables.ROW_HEIGHT,
        key=key,
        height=height or "auto",
        column_order=columns,
        on_select="rerun",
        selection_mode="single-row",
        alt="Interactions with outcome, cost and duration",
        column_config={
            "time": st.column_config.DatetimeColumn("Time", format="MMM D, HH:mm:ss", timezone=here.zone, width=130),
            "outcome": tables.words("Outcome", width=120),
            "feature": tables.words("Feature", width=115),
            "asked": tables.words("Asked", width="medium"),
            "model": tables.words("Model", width=115),
            "spans": st.column_config.NumberColumn("Spans", width="small"),
            "duration": st.column_config.NumberColumn("Duration", format="%.2f s", width="small"),
            "cost": st.column_config.NumberColumn(
                "Cost", help=MEASURES["cost_usd"].description, format=tables.money_format(costs), width="small"
            ),
            "confidence": st.column_config.ProgressColumn(
                "Confidence",
                help="The lowest that any source states.",
                format="%.2f",
                min_value=0,
                max_value=1,
                color=here.palette.main,
                width="small",
            ),
            "opinion": tables.words("Feedback", width="small"),
            "user": tables.words("User", width="small"),
        },
    )
    if (row := tables.selected(event)) is not None:
        open_interaction(str(items[row]["id"]))
