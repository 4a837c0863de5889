"""What to look at in the prices: models without one, prices that expire or fit nothing, lists that are old."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import polars as pl
import streamlit as st

from spanledger.client import ClientError
from spanledger_dashboard import data, tables
from spanledger_dashboard.billing import unpriced
from spanledger_dashboard.cards import allowed, card, empty, problem
from spanledger_dashboard.pricing import own
from spanledger_dashboard.pricing.words import named, stepped, unit
from spanledger_dashboard.scope import Scope
from spanledger_dashboard.untrusted import badge_label, label, shorten

DAYS: Final = 30
WITHOUT_USAGE: Final = ("no_usage", "failed_without_usage", "impossible_usage", "implausible_usage")
"""Reasons that no price would help: the counts themselves are unknown."""
TITLES: Final = {
    "older_version": ("Priced by an older list", "violet"),
    "expired": ("Expired", "red"),
    "expires": ("Expires soon", "orange"),
    "unused": ("Fits no call", "gray"),
    "old_list": ("The list is old", "orange"),
    "old_correction": ("A correction is old", "gray"),
}


def draw(here: Scope) -> None:
    """Draw the section."""
    got = data.together(
        check=data.route(here.project, f"{own.PATH}/check", days=DAYS),
        diff=data.route(here.project, f"{own.PATH}/diff", days=DAYS),
    )
    if isinstance(got["check"], ClientError):
        with card("To look at"):
            problem(got["check"], "the findings", "check")
        return
    findings: list[dict[str, Any]] = got["check"]["findings"]
    without = [found for found in findings if found["code"] == "unpriced"]
    left, right = st.columns([8, 4], gap="small")
    with left:
        _unpriced(here, without)
    with right, card("Prices to check", f"Calls of the last {DAYS} days against what is known now"):
        _others([found for found in findings if found["code"] != "unpriced"])
        _sources(got["check"]["sources"])
    if st.query_params.get(own.CHOSEN) == own.NEW:
        own.edit(here, None)
    _differences(got["diff"])


def _unpriced(here: Scope, found: Sequence[Mapping[str, Any]]) -> None:
    said = f"Of the last {DAYS} days. Select a row to set a price for its model"
    with card("Without a price", said if found else None, ("nothing missing", "green") if not found else None):
        if not found:
            empty(f"Every generation of the last {DAYS} days has a known cost.")
            return
        frame = pl.DataFrame(
            {
                "model": [row["model"] or "not set" for row in found],
                "provider": [row["provider"] or "not set" for row in found],
                "calls": [row["calls"] for row in found],
                "tokens": [row["tokens"] for row in found],
                "why": [unpriced(row["reason"]) for row in found],
                "helps": ["no" if row["reason"] in WITHOUT_USAGE else "yes" for row in found],
                "last": [row["last_seen"] for row in found],
            }
        ).with_columns(pl.col("last").str.to_datetime(time_zone="UTC", strict=False))
        row = tables.show(
            frame,
            title="Without a price",
            key=f"prices_unpriced_{st.session_state.get('_prices_round', 0)}",
            alt="Models whose calls have no known cost",
            selectable=True,
            order=["model", "provider", "calls", "why", "helps", "tokens", "last"],
            columns={
                "model": tables.words("Model", pinned=True),
                "provider": tables.words("Provider"),
                "calls": st.column_config.NumberColumn("Calls", format="%,.0f", width="small"),
                "tokens": st.column_config.NumberColumn("Tokens", format="%,.0f", width="small"),
                "why": tables.words("Why", width=270),
                "helps": tables.words("A price helps", width="small"),
                "last": st.column_config.DatetimeColumn("Last seen", format="MMM D, HH:mm", timezone=here.zone),
            },
        )
        if row is None or not found[row]["model"]:
            return
        if found[row]["reason"] in WITHOUT_USAGE:
            st.caption("These calls say nothing of what they used: no price would tell their cost.")
        elif allowed("admin", "set a price") and own.start(found[row]["model"], found[row]["provider"]):
            st.rerun()


def _others(found: Sequence[Mapping[str, Any]]) -> None:
    if not found:
        empty("Nothing: no price expires, none is unused, no list is old.")
    for row in found:
        title, colour = TITLES.get(row["code"], (str(row["code"]).replace("_", " "), "gray"))
        with st.container(gap="xxsmall"):
            with st.container(horizontal=True, gap="small", vertical_alignment="center"):
                st.badge(badge_label(title), color=colour)  # type: ignore[arg-type]
                st.text(shorten(row["subject"], 70), width="content")
            st.caption(label(f"{row['message']}; {row['advice']}", 240))


def _sources(sources: Sequence[Mapping[str, Any]]) -> None:
    said = ", then ".join(str(source["version"]).replace("/", " ") for source in sources)
    st.caption(label(f"Asked in this order: a cost that came with the call, your prices, then {said}.", 240))


def _differences(answer: Any) -> None:
    with card("Where you pay others than the list", "Your prices and our corrections against the release of genai-prices, now"):
        if isinstance(answer, ClientError):
            problem(answer, "the differences", "diff")
            return
        rows = answer["differences"]
        if not rows:
            empty("Nowhere, for the models of these days.")
            return
        tables.show(
            pl.DataFrame(
                {
                    "model": [row["model"] for row in rows],
                    "provider": [row["provider"] for row in rows],
                    "kind": [named(row["kind"]) for row in rows],
                    "ours": [stepped(row["ours"]) for row in rows],
                    "release": [stepped(row["release"]) for row in rows],
                    "per": [unit(row["kind"]) for row in rows],
                    "source": [
                        {"user": "your price", "corrections": "a correction"}.get(row["source"], row["source"]) for row in rows
                    ],
                },
                schema_overrides={"source": pl.String},
            ),
            title="Where you pay others than the list",
            key="prices_diff",
            alt="Prices that differ from the list",
            columns={
                "model": tables.words("Model", pinned=True),
                "provider": tables.words("Provider"),
                "kind": tables.words("For"),
                "ours": tables.words("Here", width="medium"),
                "release": tables.words("In the list", width="medium"),
                "per": tables.words("Unit"),
                "source": tables.words("By"),
            },
        )
