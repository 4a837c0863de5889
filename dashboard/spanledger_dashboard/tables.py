"""Tables: a column for each measure, written in the way of its unit and still sorted as a number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import polars as pl
import streamlit as st

from spanledger_dashboard import export
from spanledger_dashboard import format as fmt
from spanledger_dashboard.theme import Palette
from spanledger_schema.catalogue import MEASURES
from spanledger_schema.units import Unit

ROW_HEIGHT: Final = 34
_ROWS_ALL: Final = 20
"""Up to so many rows a table shows all, without a scroll bar of its own."""
_BAR_MOST: Final = 10.0
MISSING: Final = "–"
_UNITS: Final = {"%%": "%", " s": "s"}


@dataclass(frozen=True, slots=True)
class Money:
    """A column of dollars. One number of decimals would suit none of its cells where amounts differ widely."""

    title: str
    help: str | None = None
    width: Any = None
    each: bool = False
    """Whether it is the cost of one interaction: tiny ones are shown for a thousand, the whole column alike."""


def show(
    frame: pl.DataFrame,
    columns: Mapping[str, Any],
    *,
    title: str,
    key: str,
    alt: str,
    order: Sequence[str] | None = None,
    height: Any = "auto",
    selectable: bool = False,
    offered: bool = True,
) -> int | None:
    """Draw a table and offer it for export; the answer is the row that the reader selected.

    Args:
        frame: The rows; money as numbers.
        columns: How each column of the frame is shown.
        title: What the table is called in the export menu.
        key: The widget's key.
        alt: The sentence that says what it shows.
        order: The columns to show and their order; all without it.
        height: Pixels, or `auto`.
        selectable: Whether selecting a row means something.
        offered: Whether the table is offered for export as it is.
    """
    names = [name for name in order or frame.columns if name in frame.columns]
    if offered:
        export.offer(title, frame.select(names).rename({name: _header(name, columns.get(name)) for name in names}))
    amounts = [name for name in names if isinstance(columns.get(name), Money)]
    tiny = {name for name in amounts if columns[name].each and _is_tiny(frame[name].to_list())}
    written = [
        pl.Series(name, fmt.money_column([_times(value, name in tiny) for value in frame[name].to_list()]), dtype=pl.String)
        for name in amounts
    ]
    choosing: dict[str, Any] = {"on_select": "rerun", "selection_mode": "single-row"} if selectable else {}
    event: Any = st.dataframe(
        frame.with_columns(written),
        hide_index=True,
        placeholder=MISSING,
        row_height=ROW_HEIGHT,
        key=key,
        alt=alt,
        height="content" if height == "auto" and frame.height <= _ROWS_ALL else height,
        column_order=names,
        column_config={name: _drawn(config, name in tiny) for name, config in columns.items()},
        **choosing,
    )
    return selected(event) if selectable else None


def _is_tiny(values: Sequence[float | None]) -> bool:
    return any(value and abs(value) < fmt.TINY_USD for value in values)


def _times(value: float | None, thousandfold: bool) -> Decimal | None:
    return None if value is None else Decimal(str(value)) * (1000 if thousandfold else 1)


def _drawn(config: Any, thousandfold: bool) -> Any:
    if isinstance(config, Money) and thousandfold:
        title = config.title.replace("per interaction", "per 1k")
        title = title if title != config.title else f"{title}, × 1k"
        return st.column_config.TextColumn(title, help=f"{config.help} Here for a thousand interactions.", width=config.width)
    if isinstance(config, Money):
        return st.column_config.TextColumn(config.title, help=config.help, width=config.width)
    return config


def _header(name: str, config: Any) -> str:
    """The column's title with the unit of its numbers."""
    if isinstance(config, Money):
        return f"{config.title} (USD)"
    if config is None:
        return name
    format = str((config.get("type_config") or {}).get("format") or "")
    unit = next((unit for end, unit in _UNITS.items() if format.endswith(end)), None)
    heading = str(config.get("label") or name)
    return f"{heading} ({unit})" if unit else heading


def cells(name: str, values: Sequence[Any]) -> list[float | None]:
    """The values of a measure as a table shows them: ratios in percent."""
    scale = 100 if MEASURES[name].unit is Unit.RATIO else 1
    return [None if value is None else float(value) * scale for value in values]


def column(name: str, *, title: str | None = None) -> Any:
    """The column of a measure, with the catalogue's label and description."""
    measure = MEASURES[name]
    if measure.unit is Unit.USD:
        return Money(title or measure.label, measure.description, each=not measure.additive)
    formats = {
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
