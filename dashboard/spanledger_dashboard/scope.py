"""What every page is asked to show, worked out once per run by the frame around it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, cast

import streamlit as st

from spanledger_dashboard.state import COMPARE_NONE, Filters, Window
from spanledger_dashboard.theme import Palette
from spanledger_schema.failure_modes import FAILURE_MODES

_KEY = "_scope"
NO_BASELINE: Final = "The time to compare with has no complete data."
NOTHING_CHOSEN: Final = "Nothing is compared: the filters say so."


@dataclass(frozen=True, slots=True)
class Scope:
    """Filters, the time they mean now, how to draw, alert rules, known values of dimensions, and since when there is data."""

    filters: Filters
    window: Window
    palette: Palette
    rules: tuple[dict[str, Any], ...] = ()
    known: Mapping[str, list[str]] = field(default_factory=dict)
    data_from: datetime | None = None

    @property
    def project(self) -> str:
        """The project to read."""
        return self.filters.project

    @property
    def zone(self) -> str:
        """The time zone to show."""
        return self.window.zone

    @property
    def compared(self) -> str:
        """What changes are measured against, in words, or why there is nothing to compare with."""
        if self.comparable:
            return self.window.baseline
        return NOTHING_CHOSEN if self.window.compare == COMPARE_NONE else NO_BASELINE

    @property
    def comparable(self) -> bool:
        """Whether something is compared, and covered by data: half a period would make everything seem to have doubled."""
        if self.window.compare == COMPARE_NONE:
            return False
        return self.data_from is not None and self.data_from <= self.window.previous.start

    def order(self, dimension: str) -> list[str]:
        """All known values of a dimension, busiest first whatever the filters: who gets which colour."""
        return list(FAILURE_MODES) if dimension == "failure_mode" else self.known.get(dimension, [])


def put(scope: Scope) -> None:
    """Set the scope of this run."""
    st.session_state[_KEY] = scope


def current() -> Scope:
    """The scope of this run."""
    return cast(Scope, st.session_state[_KEY])
