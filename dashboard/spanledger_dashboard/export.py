"""What a page shows, as CSV files and as a link: the menu over every page, filled once the page was drawn."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlencode

import polars as pl
import streamlit as st

from spanledger_dashboard.state import CUSTOM, PARAMS, Filters, Window, to_params
from spanledger_dashboard.untrusted import label

_KEY: Final = "_offered"
_FORMULA: Final = r"^[=+\-@\t\r]"
"""How a cell begins that a spreadsheet would compute."""
_GLOBAL: Final = ("range", "from", "to", "project", "tz", "cmp", *PARAMS)


@dataclass(frozen=True, slots=True)
class Table:
    """One file of the menu: its title, its rows (read when they are asked for) and what is worth knowing about it."""

    title: str
    rows: Callable[[], pl.DataFrame]
    note: str = ""


def csv(frame: pl.DataFrame) -> bytes:
    """The frame as CSV that is safe to open in a spreadsheet.

    Text that a spreadsheet would compute gets an apostrophe before it; numbers stay numbers, unknown is an empty cell. Lists of
    words become one cell, lists of numbers (small charts) are left out.
    """
    shown = frame.select(
        [pl.col(name) for name, kind in frame.schema.items() if not isinstance(kind, pl.List) or kind.inner == pl.String]
    )
    words = [pl.col(name).list.join("; ") for name, kind in shown.schema.items() if isinstance(kind, pl.List)]
    text = pl.col(pl.String)
    safe = shown.with_columns(words).with_columns(
        pl.when(text.str.contains(_FORMULA)).then(pl.lit("'") + text).otherwise(text).name.keep()
    )
    return safe.write_csv(datetime_format="%Y-%m-%dT%H:%M:%S%:z").encode()


def begin() -> None:
    """Forget what the last run offered."""
    st.session_state[_KEY] = []


def offer(title: str, rows: pl.DataFrame | Callable[[], pl.DataFrame] | Any, note: str = "") -> None:
    """Add a table to the menu; a failed read in its place adds nothing.

    Args:
        title: What it is, in our own words.
        rows: The rows, or a function that reads them when the reader asks for the file.
        note: What is worth knowing about it, such as a limit of rows.
    """
    if isinstance(rows, pl.DataFrame):
        kept = rows
        st.session_state[_KEY].append(Table(title, lambda: kept, note))
    elif callable(rows):
        st.session_state[_KEY].append(Table(title, rows, note))


def file_name(page: str, title: str, within: Window) -> str:
    """The name of a file: page, table and days."""
    words = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    return f"spanledger_{page}_{words}_{within.start:%Y-%m-%d}_{within.end:%Y-%m-%d}.csv"


def link(base: str, filters: Filters, of_page: Mapping[str, Sequence[str]], within: Window | None = None) -> str:
    """The address that shows its receiver this page.

    Args:
        base: The address without parameters.
        filters: The filters of the bar.
        of_page: All parameters in the address; those of the bar are said anew.
        within: Given, its times are fixed in the link; else a relative range stays relative.
    """
    if within is not None:
        filters = replace(filters, range=CUSTOM, start=within.start, end=within.end)
    params = to_params(filters) | {name: list(values) for name, values in of_page.items() if name not in _GLOBAL}
    query = urlencode(params, doseq=True)
    return f"{base.partition('?')[0]}?{query}" if query else base.partition("?")[0]


def menu(page: str, filters: Filters, within: Window) -> None:
    """Draw the menu's inside: one file for each table of the page, and its links."""
    offered: list[Table] = st.session_state.get(_KEY) or []
    if offered:
        st.caption("What this page shows, as CSV")
    for number, table in enumerate(offered):
        st.download_button(
            label(table.title),
            data=lambda table=table: csv(table.rows()),  # type: ignore[misc]
            file_name=file_name(page, table.title, within),
            mime="text/csv",
            key=f"export_{number}",
            icon=":material/download:",
            help=label(table.note, 200) if table.note else None,
            type="tertiary",
            on_click="ignore",
        )
    here, params = st.context.url or "", st.query_params
    of_page = {name: params.get_all(name) for name in params}
    st.caption("Link to this page")
    st.code(link(here, filters, of_page), language=None, wrap_lines=True)
    if filters.range != CUSTOM:
        st.caption("The same with these times, for ever")
        st.code(link(here, filters, of_page, within), language=None, wrap_lines=True)
