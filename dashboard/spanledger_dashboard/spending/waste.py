"""Money that bought nothing, and what caching saves and could."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import polars as pl
import streamlit as st

from spanledger.client import ClientError
from spanledger_dashboard import data, shape, tables
from spanledger_dashboard import format as fmt
from spanledger_dashboard.cards import card, empty, figure, problem
from spanledger_dashboard.charts import bars
from spanledger_dashboard.links import link
from spanledger_dashboard.scope import Scope
from spanledger_dashboard.state import ask, question
from spanledger_dashboard.untrusted import label
from spanledger_schema.units import Unit

GROUPS_MAX: Final = 50
MISSED: Final = (
    "At most: calls of one feature, model and prompt version are taken to share a beginning as long as the shortest twentieth of "
    "their inputs. Within five minutes of another such call it could have been read from the cache; what was not is missed."
)


def draw(here: Scope) -> None:
    """Draw the section."""
    asked = question(here.filters, here.window)
    hits = ask(here.filters, here.window, ["cache_hit_rate", "cost_usd"])
    got = data.together(
        waste=data.costs(here.project, "waste", asked),
        caching=data.costs(here.project, "caching", asked),
        hits=data.query(here.project, hits),
    )
    left, right = st.columns([5, 7], gap="small")
    with left:
        _waste(here, got)
    with right:
        _caching(here, got)


def _waste(here: Scope, got: Mapping[str, Any]) -> None:
    found, whole = got["waste"], got["hits"]
    said = "Paid for nothing, by cause; the causes add up"
    if not isinstance(found, ClientError) and isinstance(whole, pl.DataFrame) and (cost := shape.only(whole).get("cost_usd")):
        wasted = Decimal(found["wasted_cost_usd"])
        said = f"{fmt.money(wasted)} was paid for nothing: {fmt.percent(wasted / shape.exact(cost))} of cost, by cause"
    with card("Wasted", said):
        if isinstance(found, ClientError):
            problem(found, "the waste", "waste")
            return
        causes = found["causes"]
        if not causes:
            empty("Nothing was wasted in this range.")
            return
        rows = [(row["cause"], float(row["cost_usd"]), fmt.money(Decimal(row["cost_usd"]))) for row in causes]
        chart = bars.parts(rows, here.palette, unit=Unit.USD, height=70 + 40 * len(rows))
        figure(chart, "costs_waste", f"Most was wasted by {rows[0][0]}: {rows[0][2]}.")
        tables.show(
            pl.DataFrame(
                {
                    "cause": [row["cause"] for row in causes],
                    "meaning": [row["meaning"] for row in causes],
                    "cost": [Decimal(row["cost_usd"]) for row in causes],
                    "interactions": [row["interactions"] for row in causes],
                    "calls": [row["calls"] for row in causes],
                },
                schema_overrides={"cost": pl.Decimal(38, 12)},
            ),
            title="Wasted, by cause",
            key="costs_causes",
            alt="Wasted cost by cause",
            order=["cause", "cost", "interactions", "calls", "meaning"],
            columns={
                "cause": tables.words("Cause", pinned=True),
                "meaning": tables.words("What it is", width="medium"),
                "cost": tables.Money("Cost"),
                "interactions": st.column_config.NumberColumn("Interactions", format="%,.0f", width="small"),
                "calls": st.column_config.NumberColumn("Calls", format="%,.0f", width="small"),
            },
        )
        link("failures", "Failures")


def _caching(here: Scope, got: Mapping[str, Any]) -> None:
    found = got["caching"]
    with card("Caching", "What reading from the provider's cache saved, and what it could have saved at most"):
        if isinstance(found, ClientError):
            problem(found, "the caching", "caching")
            return
        rate = shape.only(got["hits"]).get("cache_hit_rate") if isinstance(got["hits"], pl.DataFrame) else None
        with st.container(horizontal=True, gap="small"):
            st.metric(
                "Cache hit rate",
                label(fmt.percent(rate)),
                help="Input tokens that were read from a cache, over all input tokens.",
            )
            st.metric("Saved", label(fmt.money(Decimal(found["saved_usd"]))), help=label(_saved(), 300))
            st.metric("Missed, at most", label(fmt.money(Decimal(found["missed_usd"]))), help=label(MISSED, 400))
        _groups(here, found["groups"][:GROUPS_MAX])
        st.caption(label(MISSED, 400))


def _saved() -> str:
    return "What cached input would have cost at the full input price, less what it did cost (writes included)."


def _groups(here: Scope, groups: Sequence[Mapping[str, Any]]) -> None:
    if not groups:
        empty("No call states its tokens.")
        return
    rates = [None if row["cache_hit_rate"] is None else row["cache_hit_rate"] * 100 for row in groups]
    money = ("missed_usd", "saved_usd")
    shown: dict[str, list[Any]] = {name: [row[name] or "not set" for row in groups] for name in ("feature", "model")}
    shown |= {name: [Decimal(row[name]) for row in groups] for name in money}
    shown |= {"rate": rates, "missed_tokens": [row["missed_tokens"] for row in groups]}
    shown["calls"] = [row["calls"] for row in groups]
    tables.show(
        pl.DataFrame(shown, schema_overrides=dict.fromkeys(money, pl.Decimal(38, 12)) | {"rate": pl.Float64}),
        title="Caching, by feature and model",
        key="costs_caching",
        alt="Savings by caching, made and missed, by feature and model",
        order=["feature", "model", "missed_usd", "saved_usd", "rate", "missed_tokens", "calls"],
        columns={
            "feature": tables.words("Feature", pinned=True),
            "model": tables.words("Model"),
            "missed_usd": tables.Money("Missed, at most"),
            "saved_usd": tables.Money("Saved"),
            "rate": tables.bar("Hit rate", "Input tokens read from a cache.", rates, here.palette),
            "missed_tokens": st.column_config.NumberColumn("Tokens missed", format="%,.0f"),
            "calls": st.column_config.NumberColumn("Calls", format="%,.0f"),
        },
    )
