"""The parts that pages are made of: cards, key figures, empty and failed states."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

import plotly.graph_objects as go
import polars as pl
import streamlit as st

from spanledger.client import ApiError, ClientError, Unauthorized, Unreachable
from spanledger_dashboard import data, reader
from spanledger_dashboard import format as fmt
from spanledger_dashboard.intervals import TOO_FEW, Z_MATERIAL, difference_z
from spanledger_dashboard.scope import Scope
from spanledger_dashboard.state import PARAMS, TYPED, title
from spanledger_dashboard.untrusted import badge_label, label, shorten
from spanledger_schema.catalogue import MEASURES
from spanledger_schema.units import Unit

CHART_CONFIG: Final = {"displayModeBar": False, "responsive": True}
WIDE: Final = "90d"
MATERIAL_CHANGE: Final = 0.2
"""From this relative change on, money and time are coloured; rates are tested instead."""

COUNTED_BY: Final = {
    "failure_rate": "interactions",
    "escalation_rate": "interactions",
    "fallback_rate": "interactions",
    "retry_rate": "generations",
    "priced_share": "generations",
    "feedback_positive_rate": "feedback_judged",
}
"""The measure that is the n of a rate; other rates are shown and never coloured."""


@contextmanager
def card(
    title: str, caption: str | None = None, badge: tuple[str, str] | None = None, *, key: str | None = None, stretch: bool = True
) -> Iterator[None]:
    """A bordered card with a title, a line of explanation and, if given, a (text, colour) badge beside the title.

    It is as high as its neighbour unless `stretch` is off, which suits cards that stand on each other.
    """
    with st.container(border=True, height="stretch" if stretch else "content", key=key):
        with st.container(gap="xxsmall"):
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                st.markdown(f"**{label(title)}**", width="content")
                if badge:
                    st.badge(badge_label(badge[0]), color=badge[1])  # type: ignore[arg-type]
            if caption:
                st.caption(label(caption, 200))
        yield


def figure(chart: go.Figure, key: str, alt: str) -> None:
    """A chart with the sentence that says what it shows."""
    st.plotly_chart(chart, key=key, config=CHART_CONFIG, theme=None, alt=shorten(alt, 300))


def problem(error: ClientError, what: str, key: str) -> None:
    """A failed read in the place of what it would have shown, with a way to try again."""
    if isinstance(error, Unreachable):
        text = "The collector does not answer."
    elif isinstance(error, Unauthorized):
        text = f"You may not see this. {error.detail}"
    elif isinstance(error, ApiError):
        text = error.detail or error.title
    else:
        text = str(error)
    st.error(label(text, 300), title=f"Could not load {what}", icon=":material/error:")
    if st.button("Try again", key=f"again_{key}", icon=":material/refresh:"):
        data.forget()
        st.rerun()


def rows(answer: pl.DataFrame | ClientError, what: str, key: str) -> pl.DataFrame | None:
    """The frame of an answer; a failed one is shown in its place and None returned."""
    if isinstance(answer, ClientError):
        problem(answer, what, key)
        return None
    return answer


def empty(text: str) -> None:
    """Say in a card that there is nothing and what to do."""
    st.caption(label(text, 300))


def allowed(scope: str, what: str) -> bool:
    """Whether the reader has a scope; where not, say in the place of the buttons what it takes to do `what`."""
    if reader.may(scope):
        return True
    # Of our own words only: an icon is markdown.
    st.caption(f":material/lock: To {what} you need the scope {label(scope)}.")
    return False


def _widen() -> None:
    st.session_state["range"] = WIDE


def _clear() -> None:
    for name in PARAMS:
        st.session_state[name] = "" if name in TYPED else []


def nothing(here: Scope) -> None:
    """Say that no interaction matches, and offer the two ways out."""
    with st.container(border=True):
        st.subheader("No interactions here", anchor=False)
        chosen = [f"{title(name).lower()} {' or '.join(v)}" for name, v in here.filters.choices.items()]
        where = f" with {', '.join(chosen)}" if chosen else ""
        st.text(shorten(f"Nothing in the {here.window.label.lower()}{where}.", 300))
        with st.container(horizontal=True, gap="small"):
            if here.filters.range != WIDE:
                st.button("Widen to 90 days", icon=":material/date_range:", key="widen", on_click=_widen)
            if chosen:
                st.button("Clear filters", icon=":material/filter_list_off:", key="clear_filters", on_click=_clear)


def is_material(name: str, now: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Whether a measure changed by more than its noise: a test for rates whose n is known, 20 % for money and time."""
    if now.get(name) is None or before.get(name) is None:
        return False
    if (counted := COUNTED_BY.get(name)) is not None:
        n, n_before = int(now.get(counted) or 0), int(before.get(counted) or 0)
        hits, hits_before = round(float(now[name]) * n), round(float(before[name]) * n_before)
        return abs(difference_z(hits, n, hits_before, n_before)) >= Z_MATERIAL
    if MEASURES[name].unit in (Unit.RATIO, Unit.PROBABILITY) or not before[name]:
        return False
    return abs(float(now[name]) / float(before[name]) - 1) >= MATERIAL_CHANGE


def _colour(name: str, now: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    rising = MEASURES[name].rising_is
    if rising == "neutral" or not is_material(name, now, before):
        return "gray"
    rose = float(now[name]) > float(before[name])
    return "green" if rose == (rising == "good") else "red"


def kpi(
    name: str,
    now: Mapping[str, Any],
    before: Mapping[str, Any],
    here: Scope,
    *,
    title: str | None = None,
    note: str | None = None,
    spark: Sequence[float] = (),
    text: str | None = None,
) -> None:
    """A key figure: the catalogue's label and meaning, its change against the period before, and its course.

    `text` is written instead of the value where the value alone would say too much.
    """
    measure = MEASURES[name]
    value = now.get(name)
    if (counted := COUNTED_BY.get(name)) is not None and 0 < int(now.get(counted) or 0) < TOO_FEW:
        note = f"n = {int(now[counted])}, too few"
    delta = fmt.change(measure.unit, value, before.get(name)) if here.comparable else None
    colour = _colour(name, now, before) if delta is not None else "gray"
    compared = f"Change {here.compared}; coloured when it is more than noise." if here.comparable else here.compared
    st.metric(
        label(title or measure.label),
        label(text or fmt.measure(name, value, compact=True)),
        delta,
        delta_color=colour,  # type: ignore[arg-type]
        delta_arrow="auto" if delta and delta.strip("+-0.%p ") else "off",
        delta_description=label(note) if note else None,
        help=label(f"{measure.description} {compared}", 300),
        border=True,
        height="stretch",
        chart_data=list(spark) or None,
        chart_type="area",
    )


def changes(here: Scope) -> str:
    """What the changes in a table are measured against, for its caption."""
    return f"change {here.compared}" if here.comparable else here.compared


def unit_of(name: str) -> Unit:
    """The unit of a measure."""
    return MEASURES[name].unit


def when(text: str | None) -> datetime | None:
    """A time of the API."""
    return datetime.fromisoformat(text) if text else None
