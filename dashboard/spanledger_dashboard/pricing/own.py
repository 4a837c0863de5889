"""The project's own prices: what is set, changing it, and what was set when."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import polars as pl
import streamlit as st

from spanledger.client import ClientError
from spanledger_dashboard import data, tables
from spanledger_dashboard.cards import allowed, card, empty, problem
from spanledger_dashboard.pricing.form import form
from spanledger_dashboard.pricing.words import describe
from spanledger_dashboard.scope import Scope
from spanledger_dashboard.untrusted import label

PATH: Final = "/api/v1/prices"
CHOSEN: Final = "p_id"
NEW: Final = "new"
_ROUND: Final = "_prices_round"
_DRAFT: Final = "_price_draft"
_SAVED: Final = "_price_saved"


def start(model: str, provider: str) -> bool:
    """Begin a price for a model; the next run shows its form. False when that is the one begun already."""
    draft = {"model": model, "provider": provider or "*"}
    if st.query_params.get(CHOSEN) == NEW and st.session_state.get(_DRAFT) == draft:
        return False
    st.session_state[_DRAFT] = draft
    st.query_params[CHOSEN] = NEW
    return True


def draw(here: Scope) -> None:
    """Draw the section."""
    got = data.together(prices=data.route(here.project, PATH), history=data.route(here.project, f"{PATH}/history"))
    if isinstance(got["prices"], ClientError):
        problem(got["prices"], "the prices", "prices")
        return
    prices: list[dict[str, Any]] = got["prices"]["prices"]
    _said()
    _list(here, prices)
    chosen = st.query_params.get(CHOSEN)
    known = next((price for price in prices if price["id"] == chosen), None)
    if chosen == NEW or known is not None:
        edit(here, known)
    with card("History", "Every version of your prices, the newest first"):
        _history(here, got["history"])


def _said() -> None:
    if st.session_state.pop(_SAVED, False):
        st.success(
            "Calls that are settled from now on cost the new price. Those before keep theirs until you price them again.",
            title="Saved",
            icon=":material/check_circle:",
        )


def _list(here: Scope, prices: Sequence[Mapping[str, Any]]) -> None:
    with card("Your prices", "They come before every list. Select a row to change or retire a price"):
        if prices:
            row = tables.show(
                _frame(prices),
                title="Your prices",
                key=f"prices_own_{st.session_state.get(_ROUND, 0)}",
                selectable=True,
                alt="Your own prices",
                order=["model", "provider", "price", "from", "until", "note", "changed"],
                columns=_columns(here),
            )
            if row is not None and st.query_params.get(CHOSEN) != prices[row]["id"]:
                st.query_params[CHOSEN] = str(prices[row]["id"])
                st.rerun()
        else:
            empty(
                "None yet: what the lists say is what counts. Set one for a negotiated discount, a model of your own, "
                "a deployment's name, a tool or a retrieval."
            )
        if allowed("admin", "set prices") and st.button("New price", icon=":material/add:", type="primary", key="price_new"):
            st.session_state.pop(_DRAFT, None)
            st.query_params[CHOSEN] = NEW
            st.session_state[_ROUND] = st.session_state.get(_ROUND, 0) + 1
            st.rerun()


def _frame(prices: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "model": [price["model"] for price in prices],
            "provider": [price["provider"] if price["kind"] == "model" else str(price["kind"]) for price in prices],
            "price": [describe(price) for price in prices],
            "from": [price.get("valid_from") for price in prices],
            "until": [price.get("valid_until") for price in prices],
            "note": [price.get("note") for price in prices],
            "changed": [price["changed_at"] for price in prices],
        },
        schema_overrides=dict.fromkeys(("from", "until", "note", "changed"), pl.String),
    ).with_columns(pl.col(name).str.to_datetime(time_zone="UTC", strict=False) for name in ("from", "until", "changed"))


def _columns(here: Scope) -> dict[str, Any]:
    when = st.column_config.DatetimeColumn
    return {
        "action": tables.words("What", width="small"),
        "model": tables.words("Model, tool or retrieval", pinned=True),
        "provider": tables.words("Provider"),
        "price": tables.words("Price", width="large"),
        "from": when("From", format="MMM D, YYYY", timezone="UTC", help="Inclusive, in UTC"),
        "until": when("Until", format="MMM D, YYYY", timezone="UTC", help="Exclusive, in UTC"),
        "note": tables.words("Note", width="medium"),
        "changed": when("Set", format="MMM D, YYYY, HH:mm", timezone=here.zone),
    }


def edit(here: Scope, known: Mapping[str, Any] | None) -> None:
    """Draw the form of a price, with its buttons."""
    with card("Change price" if known else "New price", "Amounts are kept to the last digit"):
        stored = known or st.session_state.get(_DRAFT) or {}
        # Another draft is another form: widgets keep what was typed into the last one.
        body, missing = form(
            stored, str(known["id"]) if known else f"{NEW}_{stored.get('provider', '')}_{stored.get('model', '')}"
        )
        for text in missing:
            st.caption(label(text, 200))
        is_mine = allowed("admin", "save a price")
        with st.container(horizontal=True, gap="small"):
            save = is_mine and st.button(
                "Save price", type="primary", icon=":material/save:", disabled=bool(missing), key="price_save"
            )
            retire = is_mine and known is not None and st.button("Retire", icon=":material/archive:", key="price_retire")
            if st.button("Close", key="price_close"):
                _close()
                st.rerun()
        if save:
            _write(here, "PUT", PATH, body)
        if retire and known is not None:
            _write(here, "DELETE", f"{PATH}/{known['id']}", None)


def _write(here: Scope, method: str, path: str, body: Any) -> None:
    try:
        data.change(here.project, method, path, body)
    except ClientError as error:
        st.error(label(str(error), 300), title="This was not saved", icon=":material/error:")
        return
    _close()
    st.session_state[_SAVED] = method == "PUT"
    st.rerun()


def _close() -> None:
    st.query_params.pop(CHOSEN, None)
    st.session_state.pop(_DRAFT, None)
    st.session_state[_ROUND] = st.session_state.get(_ROUND, 0) + 1


def _history(here: Scope, answer: Any) -> None:
    if isinstance(answer, ClientError):
        problem(answer, "the history", "price_history")
        return
    versions = list(reversed(answer["versions"]))
    if not versions:
        empty("Nothing was set yet.")
        return
    frame = _frame(versions).with_columns(pl.Series("action", [version["action"] for version in versions]))
    order = ["changed", "action", "model", "provider", "price", "from", "until", "note"]
    tables.show(
        frame,
        title="History of your prices",
        key="prices_history",
        alt="Every version of your prices",
        order=order,
        columns=_columns(here),
    )
