"""What a model costs now, who says so, and what it cost before."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import polars as pl
import streamlit as st

from spanledger.client import ClientError
from spanledger_dashboard import data, tables
from spanledger_dashboard.billing import price_source
from spanledger_dashboard.cards import allowed, card, empty, problem
from spanledger_dashboard.pricing import own
from spanledger_dashboard.pricing.words import named, stepped, unit
from spanledger_dashboard.scope import Scope
from spanledger_dashboard.spending import whatif
from spanledger_dashboard.untrusted import shorten

MODES: Final = {"": "as usual", "batch": "batch", "flex": "flex tier", "priority": "priority tier"}
_MODE: Final = "p_mode"
_WEEK: Final = 7


def draw(here: Scope) -> None:
    """Draw the section."""
    got = data.together(listed=data.route(here.project, f"{own.PATH}/models"), called=data.values(here.project, "model"))
    listed = {} if isinstance(got["listed"], ClientError) else got["listed"]["models"]
    called = [] if isinstance(got["called"], ClientError) else got["called"]
    options = [*called, *(whatif.named(provider, model) for provider, models in listed.items() for model in models)]
    stored = st.session_state.get("p_model") or st.query_params.get("p_model")
    if stored and stored not in options:
        options.append(stored)
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        chosen = st.selectbox(
            "Model",
            options,
            index=0 if called else None,
            key="p_model",
            bind="query-params",
            accept_new_options=True,
            width=420,
            placeholder="Choose a model, or write a name",
            help="Models that you called come first. Write `name · provider` where the name alone does not say whose it is.",
        )
        mode = st.selectbox("Processed", list(MODES), key=_MODE, bind="query-params", format_func=MODES.__getitem__, width=150)
    if not chosen:
        return
    provider, model = whatif.parsed(chosen)
    tier = {"processing": mode} if mode == "batch" else {"service_tier": mode} if mode else {}
    asked = data.route(here.project, f"{own.PATH}/resolve", model=model[:300], provider=provider[:300], **tier)
    found = data.together(found=asked)["found"]
    if isinstance(found, ClientError):
        problem(found, "the price", "resolve")
        return
    if not found["periods"]:
        with card("No price"):
            st.text(shorten(found["explanation"] or found["reason"], 300))
            if allowed("admin", "set a price") and st.button("Set a price for it", icon=":material/add:", key="resolve_set"):
                own.start(model, provider)
                st.rerun()
        if st.query_params.get(own.CHOSEN) == own.NEW:
            own.edit(here, None)
        return
    _periods(found["periods"])


def _periods(periods: Sequence[Mapping[str, Any]]) -> None:
    now = next((period for period in periods if period["is_current"]), periods[-1])
    left, right = st.columns([6, 7], gap="small")
    with left, card("Now", _source(now)):
        if now["prices"] is None:
            empty(f"No price now: {str(now['reason']).replace('_', ' ')}.")
        else:
            _card(now)
    with right, card("Over time", "The newest first; times are UTC"):
        shown = list(reversed(periods))
        tables.show(
            pl.DataFrame(
                {
                    "from": [_day(period["from"]) or "ever" for period in shown],
                    "until": [
                        _day(period["until"]) or "now" if period["is_current"] else _day(period["until"]) for period in shown
                    ],
                    "prices": [_line(period) for period in shown],
                    "source": [_source(period) for period in shown],
                },
                schema_overrides={"until": pl.String},
            ),
            title="Prices over time",
            key="prices_periods",
            alt="The prices that the model has had",
            columns={
                "from": tables.words("From", pinned=True),
                "until": tables.words("Until"),
                "prices": tables.words("Per 1M tokens", width=330),
                "source": tables.words("By", width="medium"),
            },
        )


def _day(text: str | None) -> str | None:
    return text[:10] if text and text[11:19] == "00:00:00" else text[:16].replace("T", " ") if text else None


def _source(period: Mapping[str, Any]) -> str:
    return price_source(period["source"], period["version"]) if period["source"] else "nobody"


def _line(period: Mapping[str, Any]) -> str:
    prices = period["prices"] or {}
    said = [f"{named(kind).lower()} {stepped(prices[kind])}" for kind in ("input", "cache_read", "output") if kind in prices]
    return "; ".join(said) or (str(period["reason"] or "").replace("_", " ") or "see the kinds")


def _card(period: Mapping[str, Any]) -> None:
    """Prices by kind; where the hour matters, a column for each stretch of hours."""
    prices = period["prices"]
    hours = [window for window in period["windows"] if window["prices"] is not None]
    # Days are seven at most and hours have a fixed form, so that a column's name is short.
    names = [f"{_days(window['days'])}{window['hours_utc']} UTC" for window in hours]
    rest = "Other hours" if hours else "USD"
    shown = {"For": [named(kind) for kind in prices], rest: [stepped(price) for price in prices.values()]}
    for name, window in zip(names, hours, strict=True):
        shown[name] = [stepped(window["prices"].get(kind)) for kind in prices]
    shown["Unit"] = [unit(kind) for kind in prices]
    columns = {name: tables.words(name, pinned=name == "For") for name in shown}
    tables.show(pl.DataFrame(shown), title="Price now", key="prices_now", alt="The price of each kind of usage", columns=columns)


def _days(days: Sequence[str]) -> str:
    return "" if len(days) == _WEEK else f"{days[0]}–{days[-1]} " if len(days) > 1 else f"{days[0]} "
