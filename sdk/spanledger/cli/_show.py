"""What the commands share: their options, and how values from users and models are shown in a terminal, safely."""

import csv
import json
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from spanledger.client import Client

Url = Annotated[str | None, typer.Option("--url", help="Address of the collector [SPANLEDGER_ENDPOINT].")]
Project = Annotated[
    str | None, typer.Option("--project", help="Project to read [SPANLEDGER_PROJECT].", envvar="SPANLEDGER_PROJECT")
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON for programs, one value or one per line.")]
Filters = Annotated[
    list[str] | None,
    typer.Option("--filter", "-f", help="DIMENSION=VALUE (again for more, several values with a comma, != for not)."),
]

_NONE: Final = "—"
_DURATION: Final = re.compile(r"(\d{1,6})(m|h|d|w)")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
# Takes nothing from the text that it shows: no markup, no emoji codes, no highlighting.
CONSOLE: Final = Console(markup=False, emoji=False, highlight=False, soft_wrap=True)


def connect(url: str | None, project: str | None, timeout_s: float = 30.0) -> Client:
    """A client; the key comes from SPANLEDGER_API_KEY only, since arguments are seen by other users of the machine."""
    try:
        return Client(url, project=project, timeout_s=timeout_s)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def parse_duration(text: str) -> timedelta:
    """`30m`, `6h`, `7d` or `2w` as a duration.

    Raises:
        typer.BadParameter: for anything else.
    """
    match = _DURATION.fullmatch(text)
    if match is None or int(match[1]) == 0:
        raise typer.BadParameter(f"{text!r} is no duration such as 30m, 6h, 7d or 2w")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def parse_filters(texts: Sequence[str] | None) -> list[dict[str, Any]]:
    """Filters of a Query from `feature=search,chat` and `model!=gpt-4o`; an empty value means "not set".

    Raises:
        typer.BadParameter: for a text without `=`.
    """
    found: list[dict[str, Any]] = []
    for text in texts or ():
        name, equals, values = text.partition("=")
        op = "not_in" if name.endswith("!") else "in"
        name = name.removesuffix("!").strip()
        if not equals or not name:
            raise typer.BadParameter(f"{text!r} is no filter such as feature=search")
        found.append({"dimension": name, "op": op, "values": [value or None for value in values.split(",")]})
    return found


def last(text: str) -> datetime:
    """The time that lies `text` (a duration) before now."""
    try:
        return datetime.now(UTC) - parse_duration(text)
    except OverflowError:
        raise typer.BadParameter(f"{text!r} is longer ago than any calendar goes") from None


def safe(value: object, limit: int = 120) -> str:
    """Text of anybody as one line that can do nothing to a terminal."""
    text = "".join(c if c.isprintable() else " " for c in str(value)[: 4 * limit])
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def show_value(value: Any, unit: str | None) -> str:
    """A value of an answer for people; unknown is a dash, never 0."""
    if value is None:
        return _NONE
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M")
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        return _show_number(value, unit)
    return safe(value)


def _show_number(value: float | Decimal, unit: str | None) -> str:
    if unit == "USD":
        size = abs(float(value))
        if 0 < size < 1e-8:
            return "<$0.00000001"
        digits = 2 if size >= 100 or size == 0 else 4 if size >= 0.01 else 8
        text = f"${value:,.{digits}f}"
        return text.rstrip("0") if digits == 8 else text
    if unit == "ratio":
        return f"{value * 100:.2f} %"
    if unit == "s":
        return f"{value:,.3f} s"
    if unit in ("1", "tokens"):
        return f"{value:,.0f}"
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[bool] | None = None) -> None:
    """Print a table of texts that are safe already."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        table.add_column(Text(column), justify="right" if right is not None and right[index] else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    CONSOLE.print(table)


def show_json(value: Any) -> None:
    """Print one line of JSON in ASCII; Decimals as text, times as ISO 8601 with Z."""
    sys.stdout.write(json.dumps(value, default=_json_default, ensure_ascii=True) + "\n")
    sys.stdout.flush()


def _json_default(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def show_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print CSV that no spreadsheet takes for formulas."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([_csv_cell(column) for column in columns])
    for row in rows:
        writer.writerow([_csv_cell(cell) for cell in row])


def _csv_cell(value: Any) -> Any:
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return _json_default(value) if isinstance(value, (datetime, Decimal)) else value


def warn(text: str) -> None:
    """A line on standard error."""
    sys.stderr.write(f"{safe(text, 500)}\n")
