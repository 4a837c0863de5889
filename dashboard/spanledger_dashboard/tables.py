"""Tables: a column for each measure, written in the way of its unit and still sorted as a number."""

from collections.abc import Sequence
from math import floor, log10
from typing import Any, Final

import streamlit as st

from spanledger_dashboard.theme import Palette
from spanledger_schema.catalogue import MEASURES
from spanledger_schema.units import Unit

ROW_HEIGHT: Final = 34
_DECIMALS_MAX: Final = 9
_BAR_MOST: Final = 10.0
MISSING: Final = "–"


def money_format(values: Sequence[Any]) -> str:
    """One number of decimals for a column, enough for its smallest amount that is not zero to have two digits."""
    known = [abs(float(value)) for value in values if value]
    if not known or min(known) >= 100:
        return "$%,.0f"
    return f"$%,.{min(_DECIMALS_MAX, max(2, 1 - floor(log10(min(known)))))}f"


def cells(name: str, values: Sequence[Any]) -> list[float | None]:
    """The values of a measure as a table shows them: ratios in percent."""
    scale = 100 if MEASURES[name].unit is Unit.RATIO else 1
    return [None if value is None else float(value) * scale for value in values]


def column(name: str, values: Sequence[Any], *, title: str | None = None) -> Any:
    """The column of a measure, with the catalogue's label and description."""
    measure = MEASURES[name]
    formats = {
        Unit.USD: money_format(values),
        Unit.RATIO: "%.1f%%",
        Unit.SECONDS: "%.2f s",
        Unit.PROBABILITY: "%.2f",
    }
    return st.column_config.NumberColumn(
        title or measure.label, help=measure.description, format=formats.get(measure.unit, "%,.0f")
    )


def share_bar(name: str, values: Sequence[float | None], palette: Palette, *, title: str | None = None, bad: bool = False) -> Any:
    """A column of bars in percent for a ratio; the scale begins at zero and ends with the largest value, 10 % at least."""
    measure = MEASURES[name]
    return st.column_config.ProgressColumn(
        title or measure.label,
        help=measure.description,
        format="%.1f%%",
        min_value=0,
        max_value=max([_BAR_MOST, *(value for value in values if value is not None)]),
        color=palette.warn if bad else palette.main,
    )


def bar(title: str, help: str, values: Sequence[float | None], palette: Palette) -> Any:
    """A column of bars for percentages that are no measure of their own, such as shares of a total."""
    most = max([_BAR_MOST, *(value for value in values if value is not None)])
    return st.column_config.ProgressColumn(
        title, help=help, format="%.1f%%", min_value=0, max_value=most, color=palette.main, width="small"
    )


def title(name: str) -> str:
    """The catalogue's label of a measure."""
    return MEASURES[name].label


def unit(name: str) -> Unit:
    """The unit of a measure."""
    return MEASURES[name].unit


def trend(title: str, palette: Palette, *, bars: bool = False) -> Any:
    """A column of small charts that begin at zero."""
    if bars:
        return st.column_config.BarChartColumn(title, y_min=0, color=palette.main, width="small")
    return st.column_config.AreaChartColumn(title, y_min=0, color=palette.main, width="small")


def words(title: str, *, help: str | None = None, pinned: bool = False, width: Any = None) -> Any:
    """A column of text, shown as it is."""
    return st.column_config.TextColumn(title, help=help, pinned=pinned, width=width)


def selected(event: Any) -> int | None:
    """The row that the reader chose in a table with single-row selection."""
    chosen = event.selection.rows
    return int(chosen[0]) if chosen else None


def chips(title: str, options: Sequence[str], colours: Sequence[str]) -> Any:
    """A column of coloured words."""
    return st.column_config.MultiselectColumn(title, options=list(options), color=list(colours), width="small")
