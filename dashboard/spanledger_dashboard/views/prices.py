"""Prices: what does each model cost, who says so, and what is not priced?"""

from typing import Final

import streamlit as st

from spanledger_dashboard import scope
from spanledger_dashboard.pricing import again, look, own, resolve

SECTIONS: Final = ("To look at", "Your prices", "What a model costs", "Price again")


def render() -> None:
    """Draw the section that the reader chose."""
    here = scope.current()
    section = st.segmented_control(
        "Section",
        SECTIONS,
        default=SECTIONS[0],
        required=True,
        key="p_view",
        bind="query-params",
        label_visibility="collapsed",
    )
    match section:
        case "Your prices":
            own.draw(here)
        case "What a model costs":
            resolve.draw(here)
        case "Price again":
            again.draw(here)
        case _:
            look.draw(here)


if __name__ == "__main__":
    render()
