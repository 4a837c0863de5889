"""Pricing history again: first what would change, then the change, and what each one changed."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import polars as pl
import streamlit as st

from spanledger.client import ClientError
from spanledger_dashboard import data, tables
from spanledger_dashboard import format as fmt
from spanledger_dashboard.cards import allowed, card, empty, problem, when
from spanledger_dashboard.scope import Scope
from spanledger_dashboard.state import iso
from spanledger_dashboard.untrusted import badge_label, label

PATH: Final = "/api/v1/reprices"
SINCE: Final = {"the last 7 days": 7, "the last 30 days": 30, "the last 90 days": 90, "all of history": None}
UNDER_WAY: Final = ("queued", "running")
_SHOWN: Final = "_reprice"
_WAIT_S: Final = 1
_COLOURS: Final = {"done": "green", "failed": "red", "queued": "blue", "running": "blue"}


def draw(here: Scope) -> None:
    """Draw the section."""
    with card(
        "Price history again", "With the prices that are known now. First see what would change; nothing changes until you say so"
    ):
        if allowed("admin", "price history again") and (chosen := _ask(here)):
            _watch(here, chosen)
    with card("What was priced again", "The newest first; trials changed nothing"):
        _past(here)


def _ask(here: Scope) -> str | None:
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        since = st.selectbox("Calls of", list(SINCE), index=1, key="p_since", bind="query-params", width=180)
        model = st.text_input("Model", key="p_again", bind="query-params", width=200, placeholder="any, or gpt-4o*").strip()
        if st.button("Show what would change", icon=":material/preview:", type="primary", key="reprice_try"):
            _begin(here, since, model, is_dry_run=True)
    chosen: str | None = st.session_state.get(_SHOWN)
    return chosen


def _begin(here: Scope, since: str | None, model: str, *, is_dry_run: bool) -> None:
    days = SINCE.get(since or "")
    body: dict[str, Any] = {"dry_run": is_dry_run}
    if days is not None:
        body["since"] = iso(datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=days))
    if model:
        body["model"] = model
    _send(here, body)


def _send(here: Scope, body: dict[str, Any]) -> None:
    try:
        st.session_state[_SHOWN] = data.change(here.project, "POST", PATH, body)["id"]
    except ClientError as error:
        st.error(label(str(error), 300), title="It did not begin", icon=":material/error:")
        return
    st.rerun()


def _watch(here: Scope, id: str) -> None:
    try:
        found = data.fresh(here.project, f"{PATH}/{id}")
    except ClientError as error:
        problem(error, "the re-pricing", "reprice")
        return
    if found["state"] in UNDER_WAY:
        _progress(here.project, id)
    else:
        _result(here, found)


@st.fragment(run_every=_WAIT_S)
def _progress(project: str, id: str) -> None:
    """How far it is; looks again by itself, and draws the page anew once it is over."""
    try:
        found = data.fresh(project, f"{PATH}/{id}")
    except ClientError as error:
        problem(error, "the re-pricing", "reprice_progress")
        return
    if found["state"] not in UNDER_WAY:
        data.forget()
        st.rerun()
    whole, done = int(found["traces_total"] or 0), int(found["traces_done"])
    st.progress(min(1.0, done / whole) if whole else 0.0, text=label(f"{done:,} of {fmt.plural(whole, 'trace')}"))


def _result(here: Scope, found: Mapping[str, Any]) -> None:
    _sums(found)
    _changes(found["changes"])
    if found["dry_run"] and found["state"] == "done" and found["calls_changed"]:
        st.caption("Totals move by exactly this difference. The record stays.")
        if st.button("Price them again", icon=":material/published_with_changes:", type="primary", key="reprice_do"):
            _send(here, {name: found[name] for name in ("since", "until", "model") if found[name]} | {"dry_run": False})


def _sums(found: Mapping[str, Any]) -> None:
    before, after, difference = (Decimal(found[name]) for name in ("before_usd", "after_usd", "difference_usd"))
    word = "would change" if found["dry_run"] else "changed"
    with st.container(horizontal=True, gap="small"):
        st.metric(
            label(f"Calls that {word}"),
            label(fmt.count(found["calls_changed"])),
            help=label(f"In {found['traces_done']:,} traces."),
        )
        st.metric("Their cost before", label(fmt.money(before)), help="An unknown cost counts as nothing here.")
        st.metric("Their cost after", label(fmt.money(after)))
        st.metric("Difference", label(fmt.signed_money(difference) if difference else "$0"))
    if found["state"] != "done":
        st.badge(badge_label(str(found["state"])), color=_COLOURS.get(found["state"], "orange"))  # type: ignore[arg-type]


def _changes(changes: Sequence[Mapping[str, Any]]) -> None:
    if not changes:
        empty("Every call already costs what is known now.")
        return
    money = ("before", "after", "difference")
    shown = {
        "model": [row["model"] or "not set" for row in changes],
        "provider": [row["provider"] or "not set" for row in changes],
        "calls": [row["calls"] for row in changes],
        "was": [_price(row["before"]) for row in changes],
        "is": [_price(row["after"]) for row in changes],
        "before": [Decimal(row["before"]["usd"]) for row in changes],
        "after": [Decimal(row["after"]["usd"]) for row in changes],
        "difference": [Decimal(row["difference_usd"]) for row in changes],
        "why": [str(row["why"] or "") for row in changes],
    }
    tables.show(
        pl.DataFrame(shown, schema_overrides=dict.fromkeys(money, pl.Decimal(38, 12))),
        title="What re-pricing changes",
        key="reprice_changes",
        alt="What changes, by model",
        order=["model", "provider", "calls", "before", "after", "difference", "why", "was", "is"],
        columns={
            "model": tables.words("Model", pinned=True),
            "provider": tables.words("Provider"),
            "calls": st.column_config.NumberColumn("Calls", format="%,.0f", width="small"),
            "before": tables.Money("Before"),
            "after": tables.Money("After"),
            "difference": tables.Money("Difference"),
            "why": tables.words("Why", width="medium"),
            "was": tables.words("Was"),
            "is": tables.words("Is"),
        },
    )


def _price(side: Mapping[str, Any]) -> str:
    return f"{side['status']} by {side['price']}" if side["price"] else str(side["status"])


def _past(here: Scope) -> None:
    answer = data.together(past=data.route(here.project, PATH, limit=50))["past"]
    if isinstance(answer, ClientError):
        problem(answer, "the re-pricings", "reprices")
        return
    found = answer["reprices"]
    if not found:
        empty("Nothing yet.")
        return
    frame = pl.DataFrame(
        {
            "at": [when(row["started_at"]) for row in found],
            "what": ["trial" if row["dry_run"] else "for good" for row in found],
            "state": [str(row["state"]) for row in found],
            "scope": [_scope(row) for row in found],
            "calls": [row["calls_changed"] for row in found],
            "before": [Decimal(row["before_usd"]) for row in found],
            "after": [Decimal(row["after_usd"]) for row in found],
            "difference": [Decimal(row["difference_usd"]) for row in found],
        },
        schema_overrides=dict.fromkeys(("before", "after", "difference"), pl.Decimal(38, 12)),
    )
    row = tables.show(
        frame,
        title="What was priced again",
        key="reprice_past",
        alt="Re-pricings and what they changed",
        selectable=True,
        columns={
            "at": st.column_config.DatetimeColumn("Begun", format="MMM D, YYYY, HH:mm:ss", timezone=here.zone, pinned=True),
            "what": tables.words("What", width="small"),
            "state": tables.words("State", width="small"),
            "scope": tables.words("Calls", width="medium"),
            "calls": st.column_config.NumberColumn("Changed", format="%,.0f", width="small"),
            "before": tables.Money("Before"),
            "after": tables.Money("After"),
            "difference": tables.Money("Difference"),
        },
    )
    if row is not None and st.session_state.get(_SHOWN) != found[row]["id"] and st.session_state.get("_reprice_row") != row:
        st.session_state[_SHOWN], st.session_state["_reprice_row"] = found[row]["id"], row
        st.rerun()
    if row is None:
        st.session_state.pop("_reprice_row", None)


def _scope(row: Mapping[str, Any]) -> str:
    since = f"since {str(row['since'])[:10]}" if row["since"] else "all of history"
    return f"{since}, {row['model']}" if row["model"] else since
