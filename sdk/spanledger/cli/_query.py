"""`spanledger query`."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from spanledger.cli._show import (
    AsJson,
    Filters,
    Project,
    Url,
    connect,
    last,
    parse_filters,
    show_csv,
    show_json,
    show_table,
    show_value,
    warn,
)
from spanledger_schema.catalogue import MEASURES
from spanledger_schema.dimensions import DIMENSIONS
from spanledger_schema.query import GRANULARITIES, Query, QueryError

_MEASURES = f"What to count: {', '.join(MEASURES)}."
_BY = f"Break down by: {', '.join(DIMENSIONS)}, tag:<key>."


def query(
    measures: Annotated[list[str], typer.Argument(help=_MEASURES, metavar="MEASURE…")],
    by: Annotated[list[str] | None, typer.Option("--by", "-b", help=_BY)] = None,
    since: Annotated[str, typer.Option("--last", help="How far back: 30m, 6h, 7d, 2w, or all.")] = "7d",
    filters: Filters = None,
    granularity: Annotated[str | None, typer.Option("--granularity", "-g", help=f"{', '.join(GRANULARITIES)}.")] = None,
    start: Annotated[str | None, typer.Option(help="ISO 8601, instead of --last.")] = None,
    end: Annotated[str | None, typer.Option(help="ISO 8601; default now.")] = None,
    timezone: Annotated[str, typer.Option(help="Where days begin, such as Europe/Berlin.")] = "UTC",
    order_by: Annotated[list[str] | None, typer.Option("--order", help="Column to sort by, with - for falling.")] = None,
    limit: Annotated[int, typer.Option(help="Rows at most.")] = 1_000,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV.")] = False,
    url: Url = None,
    project: Project = None,
) -> None:
    """Ask for numbers: cost, tokens, failures, confidence, feedback, by any dimension."""
    asked: dict[str, object] = {
        "measures": measures,
        "dimensions": by or [],
        "granularity": granularity,
        "filters": parse_filters(filters),
        "start": start or (None if since == "all" else last(since)),
        "end": end or (None if since == "all" and start is None else datetime.now(UTC)),
        "timezone": timezone,
        "order_by": order_by or _falling(measures, granularity),
        "limit": limit,
    }
    try:
        question = Query.from_dict(asked)
    except QueryError as error:
        raise typer.BadParameter(str(error)) from None
    with connect(url, project) as client:
        answer = client.query(question)
    for warning in answer.warnings:
        warn(f"note: {warning}")
    columns, rows = answer.frame.columns, answer.frame.rows()
    if as_json:
        for row in rows:
            show_json(dict(zip(columns, row, strict=True)))
    elif as_csv:
        show_csv(columns, rows)
    else:
        units = [answer.units.get(column) for column in columns]
        shown = [[show_value(value, unit) for value, unit in zip(row, units, strict=True)] for row in rows]
        show_table(columns, shown, [unit is not None for unit in units])
    if len(rows) == limit > 1:
        warn(f"note: shows the first {limit} rows; --limit shows more")


def _falling(measures: list[str], granularity: str | None) -> list[str]:
    return ["time"] if granularity else [f"-{measures[0]}"]
