"""The form of a price: what it is for, in which way it is given, and from when."""

from collections.abc import Mapping
from typing import Any, Final

import streamlit as st

from spanledger_dashboard.pricing.words import TOKEN_KINDS, WAYS, is_amount, way_of
from spanledger_dashboard.untrusted import label

KINDS: Final = {"model": "a model", "tool": "a tool", "retrieval": "a retrieval"}
_FIRST: Final = ("input", "output", "cache_read", "cache_write_5m")


def form(stored: Mapping[str, Any], id: str) -> tuple[dict[str, Any], list[str]]:
    """Draw the form with the values of `stored`; the answer is the price as it now reads, and what it still needs.

    Args:
        stored: A price of the API, or a part of one.
        id: Keeps the widgets of different prices apart.
    """
    key = f"price_{id}_".__add__
    with st.container(horizontal=True, gap="small"):
        kinds = list(KINDS)
        kind = st.selectbox(
            "For",
            kinds,
            index=kinds.index(stored.get("kind", "model")),
            key=key("kind"),
            format_func=KINDS.__getitem__,
            width=130,
        )
        model = st.text_input(
            "Model" if kind == "model" else "Name",
            stored.get("model", ""),
            key=key("model"),
            width=230,
            placeholder="gpt-4o*",
            help="A name or a pattern with * and ?",
        )
        provider = "*"
        if kind == "model":
            provider = st.text_input("Provider", stored.get("provider", "*"), key=key("provider"), width=150, help="* is any")
    body: dict[str, Any] = {"kind": kind, "model": model.strip(), "provider": provider.strip() or "*"}
    missing = [] if body["model"] else ["Say which model, tool or retrieval it is for."]
    if kind == "model":
        ways = list(WAYS)
        way = st.selectbox(
            "Given as", ways, index=ways.index(way_of(stored)), key=key("way"), format_func=WAYS.__getitem__, width=300
        )
    else:
        way = "call"
    given, wanted = _amounts(stored, way, key)
    body |= given
    missing += wanted
    with st.container(horizontal=True, gap="small"):
        for name, title, tip in (
            ("valid_from", "From (UTC)", "Inclusive; a day is its beginning in UTC. Empty: always."),
            ("valid_until", "Until (UTC)", "Exclusive. Empty: until another says so."),
        ):
            text = st.text_input(
                title,
                (stored.get(name) or "").removesuffix("T00:00:00Z"),
                key=key(name),
                width=150,
                placeholder="2026-07-01",
                help=tip,
            ).strip()
            if text:
                body[name] = text
        note = st.text_input("Note", stored.get("note", ""), key=key("note"), width=260, max_chars=300, placeholder="contract 17")
    if note.strip():
        body["note"] = note.strip()
    return body, missing


def _amounts(stored: Mapping[str, Any], way: str, key: Any) -> tuple[dict[str, Any], list[str]]:
    match way:
        case "tokens":
            return _tokens(stored.get("prices") or {}, key)
        case "multiplier":
            text = _amount("Times the list's price", stored.get("multiplier"), key("multiplier"), "0.82")
            return {"multiplier": text}, _wrong(text, "the factor")
        case "same":
            return _same(stored, key)
        case "gpu":
            with st.container(horizontal=True, gap="small"):
                text = _amount("USD per GPU hour", stored.get("gpu_hour_usd"), key("gpu"), "2.90")
                gpus = _amount("GPUs", stored.get("gpus", "1"), key("gpus"), "1")
            st.caption("A call costs its duration times the price; such costs are marked as estimated.")
            return {"gpu_hour_usd": text, "gpus": gpus}, _wrong(text, "the price") + _wrong(gpus, "the number of GPUs")
        case _:
            text = _amount("USD per call", stored.get("per_call"), key("per_call"), "0.01")
            return {"per_call": text}, _wrong(text, "the price")


def _same(stored: Mapping[str, Any], key: Any) -> tuple[dict[str, Any], list[str]]:
    other = stored.get("price_as") or {}
    with st.container(horizontal=True, gap="small"):
        model = st.text_input("As model", other.get("model", ""), key=key("as_model"), width=200, placeholder="gpt-4o").strip()
        provider = st.text_input(
            "of provider", other.get("provider", ""), key=key("as_provider"), width=150, placeholder="openai"
        )
        times = _amount("Times", stored.get("multiplier"), key("as_times"), "1")
    body: dict[str, Any] = {"price_as": {"provider": provider.strip(), "model": model}}
    missing = [] if model else ["Say which model's price it has."]
    if times:
        body["multiplier"] = times
        missing += _wrong(times, "the factor")
    return body, missing


def _tokens(prices: Mapping[str, Any], key: Any) -> tuple[dict[str, Any], list[str]]:
    """The prices by kind. What the form has no field for (steps by input, fees) is kept as it is."""
    plain = {kind: value for kind, value in prices.items() if kind in TOKEN_KINDS and not isinstance(value, Mapping)}
    kept = {kind: value for kind, value in prices.items() if kind not in plain}
    more = [kind for kind in TOKEN_KINDS if kind not in _FIRST and kind not in kept]
    found, missing = dict(kept), []
    with st.container(horizontal=True, gap="small"):
        extra = [kind for kind in more if kind in plain]
        shown = [kind for kind in _FIRST if kind not in kept] + extra
        for kind in shown:
            text = _amount(f"{TOKEN_KINDS[kind]}, USD", plain.get(kind), key(kind), "2.50" if kind == "input" else "")
            if text:
                found[kind] = text
                missing += _wrong(text, TOKEN_KINDS[kind].lower())
    with st.expander("Other kinds of tokens", type="compact"), st.container(horizontal=True, gap="small"):
        for kind in (kind for kind in more if kind not in extra):
            if text := _amount(f"{TOKEN_KINDS[kind]}, USD", None, key(kind), ""):
                found[kind] = text
                missing += _wrong(text, TOKEN_KINDS[kind].lower())
    if kept:
        st.caption(label(f"Kept as it is: {', '.join(kept)}. `spanledger prices import` changes steps and fees.", 200))
    st.caption("USD per million tokens. 0 is free; an empty field is unknown, and calls that use that kind stay unpriced.")
    return {"prices": found}, missing or ([] if found else ["Give at least one price."])


def _amount(title: str, stored: Any, key: str, example: str) -> str:
    return (
        st.text_input(title, "" if stored is None else str(stored), key=key, width=150, placeholder=example).strip().lstrip("$")
    )


def _wrong(text: str, what: str) -> list[str]:
    return [] if is_amount(text) else [f"{what[0].upper()}{what[1:]} is a number such as 2.50."]
