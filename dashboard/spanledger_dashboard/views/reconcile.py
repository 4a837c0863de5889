"""Reconcile: does the provider's bill agree with the ledger, and if not, why?"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import polars as pl
import streamlit as st

from spanledger.client import ClientError
from spanledger_dashboard import data, scope, tables
from spanledger_dashboard import format as fmt
from spanledger_dashboard.cards import card, empty, problem
from spanledger_dashboard.untrusted import label, shorten

TYPES: Final = ("csv", "tsv", "txt", "json", "jsonl")
SECTIONS: Final = {"By model": "models", "By day": "days", "By day and model": "rows"}
TITLES: Final = {
    "unpriced": "Unpriced calls",
    "missing_spans": "Missing spans",
    "counted_more": "Counted more here",
    "estimated_usage": "Estimated usage",
    "different_price": "Different price",
    "discount": "Discount",
    "credits": "Credits",
    "fees": "Fees",
    "day_edge": "Edge of days",
    "rounding": "Rounding",
    "unexplained": "Unexplained",
}
_MONEY: Final = pl.Decimal(38, 12)
_WORDS_MAX: Final = 300
_COMMANDS_MAX: Final = 20


def render() -> None:
    """Draw the form, and the answer once there is a file."""
    here = scope.current()
    question = _ask()
    if question is None:
        return
    found = data.together(found=data.costs(here.project, "reconcile", question))["found"]
    if isinstance(found, ClientError):
        problem(found, "the comparison", "reconcile")
        return
    for warning in found["warnings"]:
        st.warning(label(warning, _WORDS_MAX), icon=":material/info:")
    _sums(found)
    _reasons(found)
    _prices(found["overrides"])
    _tables(found)


def _ask() -> dict[str, Any] | None:
    """The files and how to read them, as the API takes it; None while there is nothing to compare."""
    with card(
        "A bill against the ledger",
        "All calls of the project on the bill's days; the filters above do not apply. Nothing is changed",
    ):
        uploaded = st.file_uploader(
            "Exports of usage and costs",
            type=list(TYPES),
            accept_multiple_files=True,
            key="r_files",
            label_visibility="collapsed",
        )
        with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
            provider = st.text_input("Provider", key="r_provider", placeholder="if the file does not say", width=200)
            zone = st.text_input("Time zone of its days", key="r_zone", placeholder="UTC", width=180)
            columns = st.text_input(
                "Columns",
                key="r_columns",
                placeholder="day=Date, model=SKU, cost=Amount",
                width=320,
                help="Which column holds what, of a table that is no known export.",
            )
            only = st.text_input("Only rows", key="r_only", placeholder="workspace=prod", width=180)
            rates = st.text_input("Rates", key="r_rates", placeholder="EUR=1.08", width=140, help="What one is in USD.")
        files = [{"name": file.name, "text": text} for file in uploaded or () if (text := _text(file)) is not None]
        if not files:
            empty(
                "Upload OpenAI's or Anthropic's usage and costs exports (CSV, TSV or the API's JSON), or any table with a day "
                "and a cost. Usage and costs of the same days belong together: tokens tell missing calls from other prices."
            )
            return None
    pairs = {"columns": columns, "only": only, "rates": rates}
    asked: dict[str, Any] = {"files": files, "timezone": zone.strip() or "UTC"}
    asked |= {name: found for name, text in pairs.items() if (found := pairs_of(text))}
    return asked | ({"provider": provider.strip()} if provider.strip() else {})


def _text(file: Any) -> str | None:
    """The text of an uploaded file; spreadsheets save as UTF-8 or as UTF-16. What is no text is said, and None."""
    content = file.getvalue()
    try:
        return str(content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"))
    except UnicodeDecodeError:
        st.error(label(f"{shorten(file.name)} is no text: export it as CSV or JSON.", _WORDS_MAX), icon=":material/error:")
        return None


def pairs_of(text: str) -> dict[str, str]:
    """`day=Date, cost=Amount` as a mapping; parts without an equals sign are left out."""
    parts = (part.partition("=") for part in text.split(","))
    return {name.strip(): value.strip() for name, equals, value in parts if equals and name.strip() and value.strip()}


def _sums(found: Mapping[str, Any]) -> None:
    billed, ours, difference, left = (
        Decimal(found[name]) for name in ("bill_usd", "ours_usd", "difference_usd", "unexplained_usd")
    )
    is_billed = found["money"] == "billed"
    with st.container(horizontal=True, gap="small"):
        st.metric("On the bill" if is_billed else "Billed tokens, at the price here", label(fmt.money(billed)), border=True)
        st.metric("Here", label(fmt.money(ours)), border=True)
        st.metric("Difference", label(fmt.signed_money(difference) if difference else "$0"), border=True)
        st.metric("Unexplained", label(fmt.signed_money(left) if left else "$0"), border=True)
        share = found["found_share"]
        st.metric(
            "Billed tokens that are recorded here",
            label(fmt.percent(share)),
            border=True,
            help=None if share is not None else "The files count no tokens.",
        )
    left_out = found["left_out"]
    if left_out["calls"]:
        names = ", ".join(shorten(name, 40) for name in left_out["providers"]) or "no provider"
        cost = fmt.money(Decimal(left_out["cost_usd"]))
        st.caption(label(f"Not on this bill: {fmt.plural(left_out['calls'], 'call')} of {names}, {cost}.", _WORDS_MAX))


def _reasons(found: Mapping[str, Any]) -> None:
    with card(
        "Why they differ", f"{found['start']} up to {found['end']}, {found['timezone']}. The parts add up to the difference"
    ):
        reasons = found["reasons"]
        if not reasons:
            empty("They agree.")
            return
        tables.show(
            pl.DataFrame(
                {
                    "why": [_title(row["reason"]) for row in reasons],
                    "usd": [Decimal(row["usd"]) for row in reasons],
                    "tokens": [row["tokens"] for row in reasons],
                    "meaning": [row["meaning"] for row in reasons],
                    "advice": [row["advice"] for row in reasons],
                },
                schema_overrides={"usd": _MONEY, "tokens": pl.Int64},
            ),
            title="Why bill and ledger differ",
            key="reconcile_reasons",
            alt="The parts of the difference, which add up to it",
            columns={
                "why": tables.words("Why", pinned=True),
                "usd": tables.Money("Bill less ours"),
                "tokens": st.column_config.NumberColumn("Tokens", format="%,.0f", help="Bill less ours."),
                "meaning": tables.words("What it is", width="large"),
                "advice": tables.words("What to do", width="large"),
            },
        )


def _prices(overrides: Sequence[Mapping[str, Any]]) -> None:
    if not overrides:
        return
    with card("Prices that the bill implies", "Set them on the page Prices or by these commands, then price history again"):
        st.code("\n".join(shorten(row["command"], 2_000) for row in overrides[:_COMMANDS_MAX]), language=None, wrap_lines=True)


def _tables(found: Mapping[str, Any]) -> None:
    section = st.segmented_control(
        "Table",
        list(SECTIONS),
        default="By model",
        required=True,
        key="r_view",
        bind="query-params",
        label_visibility="collapsed",
    )
    name = section or "By model"
    rows = found[SECTIONS[name]]
    if not rows:
        empty("Neither side has anything on these days.")
        return
    reasons = [reason for reason in TITLES if any(reason in row["parts"] for row in rows)]
    shown: dict[str, Any] = {}
    columns: dict[str, Any] = {}
    if "day" in rows[0]:
        shown["day"] = [row["day"] for row in rows]
        columns["day"] = tables.words("Day", pinned=True)
    if "model" in rows[0]:
        shown["model"] = [row["model"] or "no model" for row in rows]
        shown["provider"] = [row["provider"] or "not set" for row in rows]
        columns |= {"model": tables.words("Model", pinned=True), "provider": tables.words("Provider")}
    shown |= {side: [Decimal(row[side]) for row in rows] for side in ("bill_usd", "ours_usd", "difference_usd")}
    columns |= {"bill_usd": tables.Money("Bill"), "ours_usd": tables.Money("Here"), "difference_usd": tables.Money("Difference")}
    for reason in reasons:
        shown[reason] = [Decimal(row["parts"][reason]) if reason in row["parts"] else None for row in rows]
        columns[reason] = tables.Money(_title(reason))
    shown["bill_tokens"] = [None if row["bill_tokens"] is None else sum(row["bill_tokens"].values()) for row in rows]
    shown["our_tokens"] = [sum(row["our_tokens"].values()) for row in rows]
    columns["bill_tokens"] = st.column_config.NumberColumn("Billed tokens", format="%,.0f")
    columns["our_tokens"] = st.column_config.NumberColumn("Tokens here", format="%,.0f")
    money = ("bill_usd", "ours_usd", "difference_usd", *reasons)
    overrides: dict[str, Any] = {**dict.fromkeys(money, _MONEY), "bill_tokens": pl.Int64, "our_tokens": pl.Int64}
    with card(name):
        tables.show(
            pl.DataFrame(shown, schema_overrides=overrides),
            title=f"Bill and ledger {name.lower()}",
            key=f"reconcile_{SECTIONS[name]}",
            alt=f"Bill and ledger {name.lower()}, with the parts of each difference",
            columns=columns,
        )


def _title(reason: str) -> str:
    return TITLES.get(reason, reason.replace("_", " "))


if __name__ == "__main__":
    render()
