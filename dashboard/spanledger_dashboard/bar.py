"""The filter bar over every page. Its widgets are bound to the URL, so that a link carries what its sender saw."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import streamlit as st

from spanledger_dashboard import data, links
from spanledger_dashboard.state import (
    CHOICES,
    COMPARE,
    CUSTOM,
    PARAMS,
    RANGE_DEFAULT,
    RANGE_LABELS,
    TAG,
    TYPED,
    Filters,
    from_params,
    title,
)
from spanledger_dashboard.untrusted import label
from spanledger_schema.dimensions import DIMENSIONS
from spanledger_schema.semconv import DEFAULT_PROJECT

_FOLDED: Final = ("app", "feature", "model", "release")
_OPEN: Final = "_filters_open"
FOLDED: Final = "<style>[data-testid=stLayoutWrapper]:has(> .st-key-filters){display:none}</style>"
_PLURAL: Final = {
    "env": "All environments",
    "app": "All apps",
    "feature": "All features",
    "model": "All models",
    "release": "All releases",
}


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the reader chose, the known values of each dimension, and the place of the export menu."""

    filters: Filters
    known: dict[str, list[str]]
    menu: Any


def render(heading: str, project: str) -> Chosen:
    """Draw heading and filters.

    Args:
        heading: The page's title.
        project: The project whose values are offered.
    """
    links.apply_pending()
    reads = {name: data.values(project, CHOICES[name]) for name in ("env", *_FOLDED)}
    sources = data.values(project, "confidence_source")
    offered = data.together(projects=data.projects(project), confidence_source=sources, tags=data.tags(project), **reads)
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="bar"):
        st.title(heading, anchor=False, width="stretch")
        chosen = st.selectbox(
            "Time range",
            list(RANGE_LABELS),
            index=list(RANGE_LABELS).index(RANGE_DEFAULT),
            key="range",
            icon=":material/schedule:",
            bind="query-params",
            label_visibility="collapsed",
            width=125,
        )
        _project(offered["projects"], project)
        params = {"env": _choice("env", offered["env"], width=180)}
        active = sum(bool(_stored(name)) for name in (*_FOLDED, *TYPED, TAG, "tz"))
        active += _stored("cmp") not in (None, next(iter(COMPARE)))
        text = f"Filters ({active})" if active else "Filters"
        st.button(text, icon=":material/filter_list:", key="filters_toggle", on_click=_toggle)
        menu = st.popover("Export", icon=":material/ios_share:", key="export")
        if st.button("", icon=":material/refresh:", help="Read again now", key="reload"):
            data.forget()
            st.rerun()
    params |= _folded(offered)
    params["from"], params["to"] = _custom() if chosen == CUSTOM else ([], [])
    filters = from_params(params | {"range": [chosen or RANGE_DEFAULT], "project": [project]})
    _pills(filters)
    dimensions = {name: CHOICES[name] for name in reads} | {"confidence_source": "confidence_source"}
    known = {dimension: offered[name] for name, dimension in dimensions.items() if isinstance(offered[name], list)}
    return Chosen(filters, known, menu)


def _toggle() -> None:
    st.session_state[_OPEN] = not st.session_state.get(_OPEN, False)


def _folded(offered: dict[str, Any]) -> dict[str, list[str]]:
    """The filters that are seldom needed, folded away until asked for.

    They are hidden and not left out, and in no popover: the browser takes what it does not hold out of the URL.
    """
    if not st.session_state.get(_OPEN, False):
        st.html(FOLDED)
    with st.container(horizontal=True, gap="small", key="filters"):
        params = {name: _choice(name, offered[name], width=200) for name in _FOLDED}
        params |= {name: [_typed(name)] for name in TYPED}
        params[TAG] = _tags(offered["tags"])
        params["cmp"] = [_compare()]
        params["tz"] = [_time_zone()]
    return params


def _stored(name: str) -> Any:
    return st.session_state.get(name)


def _options(name: str, offered: Any) -> list[str]:
    """What the collector offers, and what the URL already says: a link's filter must never be dropped silently."""
    known = list(offered) if isinstance(offered, list) else []
    stored = _stored(name) or st.query_params.get_all(name)
    return list(dict.fromkeys([*known, *stored]))


def _choice(name: str, offered: Any, width: Any = "stretch") -> list[str]:
    dimension = DIMENSIONS[CHOICES[name]]
    return st.multiselect(
        dimension.label,
        _options(name, offered),
        key=name,
        bind="query-params",
        accept_new_options=True,
        width=width,
        placeholder=_PLURAL[name],
        label_visibility="collapsed" if name == "env" else "visible",
        help=None if name == "env" else dimension.description,
    )


def _tags(offered: Any) -> list[str]:
    known = [f"{tag['key']}={value}" for tag in offered for value in tag["values"]] if isinstance(offered, list) else []
    return st.multiselect(
        "Tag",
        _options(TAG, known),
        key=TAG,
        bind="query-params",
        accept_new_options=True,
        width=200,
        placeholder="All tags",
        help="key=value. Values of one key are alternatives, different keys must all match. The most frequent are offered; "
        "others can be typed in.",
    )


def _compare() -> str:
    return st.selectbox(
        "Compare with",
        list(COMPARE),
        key="cmp",
        bind="query-params",
        width=200,
        help="What changes are measured against. " + " ".join(f"{name.capitalize()}: {what}." for name, what in COMPARE.items()),
    )


def _typed(name: str) -> str:
    dimension = DIMENSIONS[CHOICES[name]]
    return st.text_input(
        dimension.label, key=name, bind="query-params", help=dimension.description, placeholder="exact id", width=150
    ).strip()


def _project(offered: Any, project: str) -> None:
    names = [str(found["name"]) for found in offered] if isinstance(offered, list) else []
    options = list(dict.fromkeys([DEFAULT_PROJECT, *names, project]))
    if len(options) > 1:
        st.selectbox("Project", options, key="project", bind="query-params", label_visibility="collapsed", width=140)


def _time_zone() -> str:
    own = st.context.timezone or "UTC"
    chosen = st.selectbox(
        "Time zone",
        ["", "UTC"],
        key="tz",
        bind="query-params",
        accept_new_options=True,
        format_func=lambda name: name or f"Browser ({own})",
        help="A name such as Europe/Berlin works too.",
        width=200,
    )
    return chosen or ""


def _custom() -> tuple[list[str], list[str]]:
    now = datetime.now(UTC).replace(second=0, microsecond=0, tzinfo=None)
    with st.container(horizontal=True, horizontal_alignment="right", gap="small"):
        begin = st.datetime_input("From (UTC)", now - timedelta(days=7), key="from", bind="query-params", width=190)
        end = st.datetime_input("To (UTC)", now, key="to", bind="query-params", width=190)
    if begin is None or end is None or end <= begin:
        st.caption("The range ends before it begins; the last 24 h are shown.")
        return [], []
    return [begin.isoformat()], [end.isoformat()]


def _remove(name: str, value: str) -> None:
    stored = _stored(name)
    st.session_state[name] = [v for v in stored if v != value] if isinstance(stored, list) else ""


def _clear(names: Iterable[str]) -> None:
    for name in names:
        st.session_state[name] = "" if name in TYPED else []


def _pills(filters: Filters) -> None:
    found = [(name, value) for name, values in filters.choices.items() if name != "env" for value in values]
    if not found:
        return
    with st.container(horizontal=True, gap="xsmall", key="pills"):
        for name, value in found:
            text = f"{title(name)}: {label(value, 40)}"
            st.button(
                text,
                icon=":material/close:",
                icon_position="right",
                key=f"pill_{name}_{value}",
                on_click=_remove,
                args=(name, value),
            )
        st.button(
            "Clear all",
            type="tertiary",
            key="pills_clear",
            on_click=_clear,
            args=([name for name in PARAMS if name in dict(found)],),
        )
