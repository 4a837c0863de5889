"""What every page is asked to show, worked out once per run by the frame around it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

import streamlit as st

from spanledger_dashboard.state import Filters, Window
from spanledger_dashboard.theme import Palette
from spanledger_schema.catalogue import FAILURE_MODES

_KEY = "_scope"


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
    def comparable(self) -> bool:
        """Whether the period before is covered by data: half a period would make everything seem to have doubled."""
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
