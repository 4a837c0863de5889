"""Interactions as a table, the same on every page; selecting a row opens the interaction."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import polars as pl
import streamlit as st

from spanledger_dashboard import export, tables
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


def records(items: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """The interactions as rows for a file: names say units, times are UTC, money is exact."""
    copied = ("id", "time", "name", "app", "environment", "release", "feature", "user", "session", "failure_mode")
    numbers = ("spans", "generations", "input_tokens", "output_tokens", "duration_s")
    columns: dict[str, list[Any]] = {name: [item[name] for item in items] for name in (*copied, *numbers)}
    columns["models"] = [", ".join(item["models"]) for item in items]
    columns["cost_usd"] = [None if item["cost_usd"] is None else Decimal(item["cost_usd"]) for item in items]
    columns["lowest_confidence"] = [_confidence(item) for item in items]
    columns["feedback"] = [opinion(item) for item in items]
    columns["tags"] = ["; ".join(f"{key}={value}" for key, value in item["tags"].items()) for item in items]
    columns["asked"] = [item["preview"] for item in items]
    kinds: dict[str, Any] = dict.fromkeys(copied, pl.String) | dict.fromkeys(numbers, pl.Int64)
    kinds |= {"duration_s": pl.Float64, "cost_usd": pl.Decimal(38, 12), "lowest_confidence": pl.Float64, "asked": pl.String}
    return pl.DataFrame(columns, schema_overrides=kinds)


def table(
    items: Sequence[Mapping[str, Any]],
    here: Scope,
    *,
    key: str,
    columns: Sequence[str] = COLUMNS,
    height: int | None = None,
    title: str | None = None,
) -> None:
    """Draw the interactions; text cells show stored text as it is. With a `title` the rows are offered for export."""
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
    if title:
        export.offer(title, records(items))
    row = tables.show(
        shown,
        title="",
        offered=False,
        key=key,
        height=height or "auto",
        order=columns,
        selectable=True,
        alt="Interactions with outcome, cost and duration",
        columns={
            "time": st.column_config.DatetimeColumn("Time", format="MMM D, HH:mm:ss", timezone=here.zone, width=130),
            "outcome": tables.words("Outcome", width=120),
            "feature": tables.words("Feature", width=115),
            "asked": tables.words("Asked", width="medium"),
            "model": tables.words("Model", width=115),
            "spans": st.column_config.NumberColumn("Spans", format="%,.0f", width="small"),
            "duration": st.column_config.NumberColumn("Duration", format="%.2f s", width="small"),
            "cost": tables.Money("Cost", MEASURES["cost_usd"].description, width="small"),
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
    if row is not None:
        open_interaction(str(items[row]["id"]))
