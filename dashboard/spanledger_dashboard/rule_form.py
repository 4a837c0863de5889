"""The form that reads like the rule: when [measure] is [above] [threshold] over [window]."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import streamlit as st

from spanledger_dashboard.rules import (
    COMPARISONS,
    NO_DATA,
    SEVERITIES,
    WINDOWS,
    lines,
    parse_threshold,
    sentence,
    show_threshold,
    window_length,
)
from spanledger_dashboard.untrusted import NOT_SET, label
from spanledger_schema.catalogue import MEASURES
from spanledger_schema.dimensions import DIMENSIONS
from spanledger_schema.failure_modes import FAILURE_MODES
from spanledger_schema.query import OPERATORS
from spanledger_schema.units import Unit

_WORDS: Final = {"in": "is", "not_in": "is not", "contains": "contains", "starts_with": "starts with"}
_UNIT_WORDS: Final = {Unit.RATIO: " (%)", Unit.USD: " ($)", Unit.SECONDS: " (s)"}


def form(stored: Mapping[str, Any], id: str, known: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Draw the form with the values of `stored`; the answer is the rule as it now reads, complete or not.

    Args:
        stored: A rule of the API.
        id: Keeps the widgets of different rules apart.
        known: Values to offer for a dimension.
    """
    key = f"rule_{id}_".__add__
    name = st.text_input("Name", stored["name"], key=key("name"), max_chars=200, placeholder="Spend of support per hour")
    measures = list(MEASURES)
    with st.container(horizontal=True, gap="small"):
        measure = st.selectbox(
            "When",
            measures,
            index=measures.index(stored["measure"]) if stored["measure"] in MEASURES else 0,
            key=key("measure"),
            format_func=lambda m: MEASURES[m].label,
            width=220,
        )
        unit = MEASURES[measure].unit
        comparison = st.selectbox(
            "is",
            list(COMPARISONS),
            index=list(COMPARISONS).index(stored["comparison"]),
            key=key("comparison"),
            format_func=COMPARISONS.__getitem__,
            width=120,
        )
        typed = st.text_input(
            f"threshold{_UNIT_WORDS.get(unit, '')}", show_threshold(stored["threshold"], unit), key=key("threshold"), width=110
        )
    st.caption(label(MEASURES[measure].description, 200))
    with st.container(horizontal=True, gap="small"):
        windows = list(dict.fromkeys([*WINDOWS, stored["window"]]))
        window = st.selectbox(
            "over",
            windows,
            index=windows.index(stored["window"]),
            key=key("window"),
            accept_new_options=True,
            width=100,
            help="A number with m, h or d.",
        )
        for_windows = st.number_input("windows in a row", 1, 1000, int(stored["for_windows"]), key=key("for"), width=130)
        minimum = st.number_input(
            "min. interactions",
            0,
            1_000_000_000,
            int(stored["min_interactions"]),
            key=key("min"),
            width=140,
            help="Windows with fewer are not judged.",
        )
    filters = _filters(stored["filters"], key, known)
    groups = list(dict.fromkeys([*DIMENSIONS, *stored["group_by"]]))
    group_by = st.multiselect(
        "for each (optional)", groups, list(stored["group_by"]), key=key("group"), format_func=_label, help="One state per group."
    )
    threshold = parse_threshold(typed, unit)
    rule = {
        "name": name.strip(),
        "measure": measure,
        "filters": filters,
        "group_by": group_by,
        "window": (window or "").strip(),
        "comparison": comparison,
        "threshold": "" if threshold is None else f"{threshold:f}",
        "min_interactions": int(minimum),
        "for_windows": int(for_windows),
        **_rest(stored, key),
    }
    if threshold is not None and window_length(rule["window"]) is not None:
        st.text(f"Fires when {sentence(rule)}.")
    return rule


def _label(dimension: str) -> str:
    return DIMENSIONS[dimension].label if dimension in DIMENSIONS else dimension


def _filters(stored: Sequence[Mapping[str, Any]], key: Any, known: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """One line per filtered dimension. A second filter on the same dimension is kept as it is."""
    first: dict[str, Mapping[str, Any]] = {}
    kept: list[dict[str, Any]] = []
    for condition in stored:
        if condition["dimension"] in first:
            kept.append(dict(condition))
        else:
            first[condition["dimension"]] = condition
    options = list(dict.fromkeys([*DIMENSIONS, *first]))
    chosen = st.multiselect("only where (optional)", options, list(first), key=key("where"), format_func=_label)
    found = []
    for dimension in chosen:
        before = first.get(dimension, {"op": "in", "values": []})
        with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
            op = st.selectbox(
                _label(dimension),
                OPERATORS,
                index=OPERATORS.index(before["op"]),
                key=key(f"op_{dimension}"),
                format_func=_WORDS.__getitem__,
                width=120,
            )
            values = [NOT_SET if value is None else str(value) for value in before["values"]]
            offered = FAILURE_MODES if dimension == "failure_mode" else known.get(dimension, ())
            given = st.multiselect(
                "values",
                list(dict.fromkeys([*offered, *values, NOT_SET])),
                values,
                key=key(f"values_{dimension}"),
                accept_new_options=True,
                label_visibility="collapsed",
            )
        found.append({"dimension": dimension, "op": op, "values": [None if value == NOT_SET else value for value in given]})
    return found + kept


def _rest(stored: Mapping[str, Any], key: Any) -> dict[str, Any]:
    severity = st.segmented_control(
        "Severity", SEVERITIES, default=stored["severity"], required=True, key=key("severity"), format_func=str.capitalize
    )
    with st.container(horizontal=True, gap="small"):
        webhooks = st.text_area("Webhooks, one per line", "\n".join(stored["webhooks"]), key=key("webhooks"), height=80)
        emails = st.text_area("E-mails, one per line", "\n".join(stored["emails"]), key=key("emails"), height=80)
    no_data = st.selectbox(
        "A window without data",
        list(NO_DATA),
        index=list(NO_DATA).index(stored["no_data"]),
        key=key("no_data"),
        format_func=NO_DATA.__getitem__,
        width=220,
    )
    return {
        "no_data": no_data,
        "severity": severity or stored["severity"],
        "enabled": st.toggle("On", bool(stored["enabled"]), key=key("enabled")),
        "webhooks": lines(webhooks),
        "emails": lines(emails),
    }
