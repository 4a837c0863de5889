"""Why cost changed against the time before: an exact decomposition into volume, model mix, tokens per call and price."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import polars as pl
import streamlit as st

from spanledger.client import ClientError
from spanledger_dashboard import data, tables
from spanledger_dashboard import format as fmt
from spanledger_dashboard.cards import card, empty, figure, problem, when
from spanledger_dashboard.charts import costs as charts
from spanledger_dashboard.scope import Scope
from spanledger_dashboard.state import iso, question
from spanledger_dashboard.untrusted import label

MEANING: Final = {
    "volume": "more or fewer calls at what one cost before.",
    "mix": "calls moved to dearer or cheaper models; new ones and those gone are all mix.",
    "tokens_per_call": "calls of the same model read or wrote more or fewer tokens.",
    "price": "the same tokens at another price.",
}
MODELS_MAX: Final = 50
EXACT: Final = pl.Decimal(38, 12)


def draw(here: Scope) -> None:
    """Draw the section."""
    if not here.comparable:
        with card("What changed"):
            empty(f"{here.compared} A shorter time range, or another choice under Filters, has something to compare with.")
        return
    past = here.window.previous
    asked = question(here.filters, here.window) | {"compare_start": iso(past.start), "compare_end": iso(past.end)}
    found = data.together(changes=data.costs(here.project, "changes", asked))["changes"]
    if isinstance(found, ClientError):
        with card("What changed"):
            problem(found, "what changed", "changed")
        return
    overall = found["overall"]
    left, right = st.columns([7, 5], gap="small")
    with left, card(f"What changed {here.window.baseline}", _period(here, found)):
        if Decimal(overall["before_usd"]) or Decimal(overall["after_usd"]):
            alt = f"Cost went from {fmt.money(Decimal(overall['before_usd']))} to {fmt.money(Decimal(overall['after_usd']))}."
            figure(charts.bridge(overall, here.palette), "costs_bridge", alt)
        else:
            empty("Neither period has a known cost.")
    with right, card("In numbers", "The four add up to the change, to the last digit"):
        _numbers(overall)
        _left_out(found)
    with card("By model", "The largest change first; each row adds up as well"):
        _models(found["models"][:MODELS_MAX])


def _period(here: Scope, found: Mapping[str, Any]) -> str:
    sides = [found[side][edge] for side in ("before", "after") for edge in ("start", "end")]
    first, until, then, now = (fmt.moment(when(text), here.zone) for text in sides)
    return f"{first} – {until} against {then} – {now}"


def _numbers(overall: Mapping[str, Any]) -> None:
    change = Decimal(overall["change_usd"])
    relative = fmt.change(tables.unit("cost_usd"), Decimal(overall["after_usd"]), Decimal(overall["before_usd"]))
    with st.container(horizontal=True, gap="small"):
        st.metric(
            "Change", label(fmt.signed_money(change)), label(relative) if relative else None, delta_color="off", delta_arrow="off"
        )
        st.metric(
            "Calls with a known cost",
            label(fmt.count(overall["calls_after"])),
            label(f"{overall['calls_after'] - overall['calls_before']:+,}"),
            delta_color="off",
            delta_arrow="off",
        )
    rows = [(title, Decimal(overall[f"{name}_usd"])) for name, title in charts.EFFECTS.items()]
    tables.show(
        pl.DataFrame({"effect": [row[0] for row in rows], "usd": [row[1] for row in rows]}, schema_overrides={"usd": EXACT}),
        title="What changed",
        key="costs_effects",
        alt="The change in four effects",
        columns={"effect": tables.words("Effect", pinned=True), "usd": tables.Money("Change")},
    )
    st.caption(label(" ".join(f"{charts.EFFECTS[name]}: {what}" for name, what in MEANING.items()), 400))


def _left_out(found: Mapping[str, Any]) -> None:
    before, after = (int(found[side]["calls_without_cost"]) for side in ("before", "after"))
    if before or after:
        said = (
            f"Left out: {fmt.plural(before, 'generation')} of unknown cost before, {fmt.count(after)} now; sums are lower bounds."
        )
        st.caption(label(said, 200))


def _models(models: list[Mapping[str, Any]]) -> None:
    if not models:
        empty("No call of a known cost in either period.")
        return
    money = ("before_usd", "after_usd", "change_usd", *(f"{name}_usd" for name in charts.EFFECTS))
    titles = {"before_usd": "Before", "after_usd": "Now", "change_usd": "Change"}
    titles |= {f"{name}_usd": title for name, title in charts.EFFECTS.items()}
    shown: dict[str, list[Any]] = {"model": [row["model"] or "not set" for row in models]}
    shown |= {name: [Decimal(row[name]) for row in models] for name in money}
    shown |= {name: [row[name] for row in models] for name in ("calls_before", "calls_after")}
    tables.show(
        pl.DataFrame(shown, schema_overrides=dict.fromkeys(money, EXACT)),
        title="What changed, by model",
        key="costs_changed_models",
        alt="The change by model",
        columns={
            "model": tables.words("Model", pinned=True),
            **{name: tables.Money(titles[name]) for name in money},
            "calls_before": st.column_config.NumberColumn("Calls before", format="%,.0f"),
            "calls_after": st.column_config.NumberColumn("Calls now", format="%,.0f"),
        },
    )
