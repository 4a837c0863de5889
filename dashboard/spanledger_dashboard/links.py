"""Ways from one page to another, with the filters."""

from typing import Final

import streamlit as st

from spanledger_dashboard.state import CHOICES, Filters, to_params

VIEWS: Final = "views"


def params(filters: Filters, **extra: str) -> dict[str, str | list[str]]:
    """URL parameters of a page that shows `filters`."""
    return {name: values if len(values) > 1 else values[0] for name, values in to_params(filters).items()} | extra


def go(page: str, filters: Filters, **extra: str) -> None:
    """Open `page` (a file of views) with `filters`."""
    for name in CHOICES:
        st.session_state.pop(name, None)
    st.switch_page(f"{VIEWS}/{page}.py", query_params=params(filters, **extra))


def link(page: str, text: str, filters: Filters, *, icon: str = ":material/arrow_forward:", **extra: str) -> None:
    """A link to `page` (a file of views) with `filters`. The text is the dashboard's own, never stored text."""
    st.page_link(f"{VIEWS}/{page}.py", label=text, icon=icon, icon_position="right", query_params=params(filters, **extra))
