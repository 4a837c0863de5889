"""Interactions: which match, and what happened in this one?"""

from typing import Any, Final

import streamlit as st

from spanledger.client import ClientError, NotFound
from spanledger_dashboard import data, detail, export, scope, tables
from spanledger_dashboard.cards import problem
from spanledger_dashboard.listing import records, table
from spanledger_dashboard.scope import Scope
from spanledger_dashboard.state import interaction_params
from spanledger_dashboard.untrusted import label
from spanledger_schema.failure_modes import FAILURE_MODES

PAGE: Final = 50
EXPORT_MAX: Final = 5_000
ROWS: Final = 18
HEIGHT: Final = 36 + ROWS * tables.ROW_HEIGHT
ORDERS: Final = {
    "latest first": "-time",
    "oldest first": "time",
    "most expensive": "-cost_usd",
    "slowest": "-duration_s",
    "least confident": "confidence",
}
OUTCOMES: Final = {"any outcome": None, "failed": True, "succeeded": False}
OPINIONS: Final = {"any feedback": None, "rated positive": "positive", "rated negative": "negative", "rated": "any"}


def render() -> None:
    """Draw the list, or the one interaction that the URL names."""
    here = scope.current()
    chosen = st.query_params.get("trace")
    if chosen:
        _one(here, chosen)
    else:
        _list(here)


def _one(here: Scope, id: str) -> None:
    if st.button("All interactions", icon=":material/arrow_back:", type="tertiary", key="back"):
        for name in ("trace", detail.SPAN, detail.SHOWN):
            st.query_params.pop(name, None)
        st.rerun()
    found = data.together(one=data.interaction(here.project, id[:200]))["one"]
    if isinstance(found, NotFound):
        st.info(
            "It may be in another project, erased, or not settled yet: that takes up to 5 s.",
            title="There is no interaction with this id",
            icon=":material/search_off:",
        )
    elif isinstance(found, ClientError):
        problem(found, "the interaction", "one")
    else:
        detail.draw(here, found)


def _filters() -> dict[str, Any]:
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="list_filters"):
        shared: dict[str, Any] = {"bind": "query-params", "label_visibility": "collapsed"}
        order = st.selectbox("Order", list(ORDERS), key="i_order", width=160, icon=":material/sort:", **shared)
        outcome = st.selectbox("Outcome", list(OUTCOMES), key="i_outcome", width=135, **shared)
        modes = st.multiselect(
            "Failure mode",
            list(FAILURE_MODES),
            key="i_mode",
            width=170,
            placeholder="Any failure mode",
            accept_new_options=True,
            **shared,
        )
        opinion = st.selectbox("Feedback", list(OPINIONS), key="i_rated", width=140, **shared)
        text = st.text_input("Name contains", key="i_text", width=150, placeholder="Name contains…", **shared)
        cost = st.text_input("At least this cost in USD", key="i_cost", width=110, placeholder="Min. cost $", **shared)
        sure = st.text_input("At most this confidence", key="i_conf", width=135, placeholder="Max. confidence", **shared)
    params: dict[str, Any] = {"order": ORDERS.get(order or "", "-time"), "limit": PAGE}
    optional = {
        "failed": OUTCOMES.get(outcome or ""),
        "failure_mode": modes or None,
        "feedback": OPINIONS.get(opinion or ""),
        "text": text.strip() or None,
        "min_cost_usd": _number(cost),
        "max_confidence": _number(sure),
    }
    return params | {name: value for name, value in optional.items() if value is not None}


def _number(text: str) -> str | None:
    cleaned = text.strip().lstrip("$")
    try:
        value = float(cleaned)
    except ValueError:
        if cleaned:
            st.caption("Cost and confidence are plain numbers, such as 0.05.")
        return None
    return cleaned if 0 <= value < 1e9 else None


def _list(here: Scope) -> None:
    params = interaction_params(here.filters, here.window) | _filters()
    # Keyset cursors point forwards only, so the way back is the trail of those already used; a changed question begins anew.
    question = {name: value for name, value in params.items() if name not in ("start", "end")} | {"range": here.filters.range}
    if st.session_state.get("_trail_of") != question:
        st.session_state["_trail_of"], st.session_state["_trail"] = question, []
    trail: list[str] = st.session_state["_trail"]
    got = data.together(page=data.interactions(here.project, **params, **({"cursor": trail[-1]} if trail else {})))["page"]
    if isinstance(got, ClientError):
        problem(got, "the interactions", "list")
        return
    everything = data.all_interactions(here.project, params, EXPORT_MAX)
    export.offer(
        "Interactions",
        lambda: records(everything()),
        f"All that match, in this order; at most {EXPORT_MAX:,}.",
    )
    table(got["items"], here, key="interactions", height=HEIGHT if len(got["items"]) > ROWS else None)
    with st.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center", gap="small"):
        first = len(trail) * PAGE
        if got["items"]:
            st.caption(label(f"{first + 1:,} to {first + len(got['items']):,}"), width="content")
        if st.button("Previous", icon=":material/chevron_left:", disabled=not trail, key="previous"):
            trail.pop()
            st.rerun()
        if st.button("Next", icon=":material/chevron_right:", icon_position="right", disabled=not got["next_cursor"], key="next"):
            trail.append(got["next_cursor"])
            st.rerun()


if __name__ == "__main__":
    render()
