"""What the same traffic would have cost at another model's prices, with what such a sum does not say."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import polars as pl
import streamlit as st

from spanledger.client import ClientError, InvalidRequest
from spanledger_dashboard import data, tables
from spanledger_dashboard import format as fmt
from spanledger_dashboard.cards import card, empty, figure, problem
from spanledger_dashboard.charts import costs as charts
from spanledger_dashboard.scope import Scope
from spanledger_dashboard.state import question
from spanledger_dashboard.untrusted import label, shorten

SHOWN: Final = 8
_BETWEEN: Final = " · "


def named(provider: str, model: str) -> str:
    """A model with its provider, as the choice shows it and the URL holds it."""
    return f"{model}{_BETWEEN}{provider}" if provider else model


def parsed(text: str) -> tuple[str, str]:
    """Provider and model of such a text; a model alone has no provider."""
    model, _, provider = text.partition(_BETWEEN)
    return provider.strip(), model.strip()


def draw(here: Scope) -> None:
    """Draw the section."""
    answer = data.together(models=data.route(here.project, "/api/v1/prices/models"))["models"]
    listed = {} if isinstance(answer, ClientError) else answer["models"]
    options = [named(provider, model) for provider, models in listed.items() for model in models]
    stored = st.session_state.get("c_model") or st.query_params.get("c_model")
    if stored and stored not in options:
        options.append(stored)
    with card("Another model", "What the calls of this range would have cost with the same tokens at another model's prices"):
        chosen = st.selectbox(
            "Model",
            options,
            index=None,
            key="c_model",
            bind="query-params",
            accept_new_options=True,
            placeholder="Choose a model, or write a name",
            width=420,
        )
        if not chosen:
            empty("Choose a model. All models of the price list are offered; your own prices count too.")
            return
        provider, model = parsed(chosen)
        asked = question(here.filters, here.window) | {"model": model, "provider": provider}
        found = data.together(found=data.costs(here.project, "what-if", asked))["found"]
        if isinstance(found, InvalidRequest):
            st.warning(label(found.detail or found.title, 300), title="This model cannot be priced", icon=":material/sell:")
            return
        if isinstance(found, ClientError):
            problem(found, "the other model", "whatif")
            return
        _answer(here, chosen, found)


def _answer(here: Scope, chosen: str, found: Mapping[str, Any]) -> None:
    if not found["calls"]:
        empty("No call in this range has both its tokens and its cost known.")
        return
    was, would, difference = (Decimal(found[name]) for name in ("cost_usd", "would_cost_usd", "difference_usd"))
    change = fmt.change(tables.unit("cost_usd"), would, was)
    left, right = st.columns([4, 8], gap="medium")
    with left:
        st.metric("These calls cost", label(fmt.money(was)))
        st.metric(
            "They would have cost",
            label(fmt.money(would)),
            label(f"{fmt.signed_money(difference)}{f' ({change})' if change else ''}"),
            delta_color="red" if difference > 0 else "green" if difference < 0 else "gray",
            delta_arrow="off",
        )
        st.caption(label(f"{fmt.plural(found['calls'], 'model call')} whose tokens and cost are known."))
        if found["calls_left_out"]:
            said = f"{fmt.plural(found['calls_left_out'], 'call')} left out of both sums: the model has no price for them."
            st.caption(label(said, 200))
    with right:
        models = found["models"]
        rows = [(row["model"], Decimal(row["cost_usd"]), Decimal(row["would_cost_usd"])) for row in models[:SHOWN]]
        alt = f"{fmt.money(was)} would have been {fmt.money(would)}."
        figure(charts.against(rows, ("cost", f"as {shorten(chosen, 30)}"), here.palette), "costs_whatif", alt)
    _models(models)
    st.caption("What this does not say")
    for caveat in found["caveats"]:
        st.caption(label(f"· {caveat}", 300))


def _models(models: list[Mapping[str, Any]]) -> None:
    money = ("cost_usd", "would_cost_usd", "difference")
    shown: dict[str, list[Any]] = {
        "model": [row["model"] or "not set" for row in models],
        "provider": [row["provider"] or "not set" for row in models],
        "calls": [row["calls"] for row in models],
        "cost_usd": [Decimal(row["cost_usd"]) for row in models],
        "would_cost_usd": [Decimal(row["would_cost_usd"]) for row in models],
        "difference": [Decimal(row["would_cost_usd"]) - Decimal(row["cost_usd"]) for row in models],
        "left_out": [
            f"{row['calls_left_out']:,}: {str(row['left_out_reason'] or '').replace('_', ' ')}" if row["calls_left_out"] else ""
            for row in models
        ],
    }
    tables.show(
        pl.DataFrame(shown, schema_overrides=dict.fromkeys(money, pl.Decimal(38, 12))),
        title="What another model would have cost",
        key="costs_whatif_models",
        alt="What each model's traffic would have cost",
        columns={
            "model": tables.words("Answered by", pinned=True),
            "provider": tables.words("Provider"),
            "calls": st.column_config.NumberColumn("Calls", format="%,.0f"),
            "cost_usd": tables.Money("Cost"),
            "would_cost_usd": tables.Money("Would have cost"),
            "difference": tables.Money("Difference"),
            "left_out": tables.words("Left out"),
        },
    )
