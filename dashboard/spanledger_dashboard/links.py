"""Ways from one page to another.

Filters are bound to the URL and stay as they are from page to page. Streamlit lets nobody set a bound parameter once its
widget was drawn, so a link that changes a filter leaves a note for the next run, which reads it before it draws the bar.
"""

from typing import Final

import streamlit as st

from spanledger_dashboard.state import PARAMS, TYPED, Filters

VIEWS: Final = "views"
PAGE: Final = "_page"
_PENDING: Final = "_pending_choices"


def go(page: str, filters: Filters | None = None, **params: str) -> None:
    """Open `page` (a file of views), with other choices in the filter bar if `filters` is given, and unbound `params`."""
    if filters is not None:
        st.session_state[_PENDING] = {name: list(filters.choices.get(name, ())) for name in PARAMS}
    st.switch_page(f"{VIEWS}/{page}.py", query_params=params)


def apply_pending() -> None:
    """Give the bar's widgets what the last run's link asked for; must come before they are drawn."""
    for name, values in st.session_state.pop(_PENDING, {}).items():
        st.session_state[name] = values if name not in TYPED else next(iter(values), "")


def arrive(page: str) -> None:
    """Note which page is shown; on a new one, say the filters again.

    Streamlit drops a list that came with the first URL from the URL of the next page, though not from its widget, unless it is
    set once more.
    """
    if st.session_state.get(PAGE) != page:
        st.session_state[PAGE] = page
        for name in PARAMS:
            if value := st.session_state.get(name):
                st.session_state[name] = value


def link(page: str, text: str) -> None:
    """A link to `page` (a file of views) with the same filters. The text is the dashboard's own, never stored text."""
    st.page_link(f"{VIEWS}/{page}.py", label=text, icon=":material/arrow_forward:", icon_position="right")


def open_interaction(id: str) -> None:
    """Open one interaction; from its own list the other parameters stay in the URL."""
    if st.session_state.get(PAGE) == "interactions":
        st.query_params["trace"] = id
        st.rerun()
    go("interactions", trace=id)
