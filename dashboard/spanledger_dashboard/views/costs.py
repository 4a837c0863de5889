"""Costs: where does the money go, what will the month cost, and what does one interaction cost?"""

from typing import Final

import streamlit as st

from spanledger.client import ClientError
from spanledger_dashboard import data, export, scope, shape
from spanledger_dashboard.cards import nothing, problem
from spanledger_dashboard.spending import breakdown, changed, figures, overview, single, waste, whatif

SECTIONS: Final = ("Overview", "Breakdown", "What changed", "Interactions", "Waste and caching", "Another model")


def render() -> None:
    """Draw the page: key figures, and the section that the reader chose."""
    here = scope.current()
    got = data.together(**figures.reads(here))
    if isinstance(got["now"], ClientError):
        problem(got["now"], "the costs", "costs")
        return
    now = shape.only(got["now"])
    if not now.get("interactions"):
        nothing(here)
        return
    export.offer("Key figures", got["now"])
    figures.draw(here, now, got)
    section = st.segmented_control(
        "Section",
        SECTIONS,
        default=SECTIONS[0],
        required=True,
        key="c_view",
        bind="query-params",
        label_visibility="collapsed",
    )
    match section:
        case "Breakdown":
            breakdown.draw(here)
        case "What changed":
            changed.draw(here)
        case "Interactions":
            single.draw(here, got["course"])
        case "Waste and caching":
            waste.draw(here)
        case "Another model":
            whatif.draw(here)
        case _:
            overview.draw(here, got)


if __name__ == "__main__":
    render()
