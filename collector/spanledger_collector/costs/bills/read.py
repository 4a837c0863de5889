"""A bill's text becomes lines: which of the known exports it is is seen from its columns."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from spanledger_collector.costs.bills import anthropic, generic, openai
from spanledger_collector.costs.bills.lines import Bill, BillLine, half_digit
from spanledger_collector.costs.bills.values import Row
from spanledger_collector.errors import InvalidQuestion

ROWS_MAX: Final = 200_000
_DEPTH_MAX: Final = 4
_DAY_MAX: Final = timedelta(hours=25)
_GENERIC: Final = "generic"
_JSON: Final = json.JSONDecoder(parse_float=Decimal, parse_int=Decimal)


class Format(NamedTuple):
    """A known export: the columns by which it is known, any one of each group, and who reads its rows."""

    name: str
    needs: tuple[tuple[str, ...], ...]
    read: Callable[[Row, ZoneInfo], BillLine | None]
    start: tuple[str, ...]
    end: tuple[str, ...]

    @property
    def holds_money(self) -> bool:
        """Whether it is of costs; else it is of usage."""
        return "cost" in self.name


_OPENAI: Final = (("start_time", "start_time_iso"), ("end_time", "end_time_iso"))
FORMATS: Final = (
    Format("openai-costs", (_OPENAI[0], ("amount_value",)), openai.read_costs, *_OPENAI),
    Format("openai-usage", (_OPENAI[0], ("num_model_requests",), ("input_tokens",)), openai.read_usage, *_OPENAI),
    Format("anthropic-cost", (("usage_date_utc",), ("cost_usd",)), anthropic.read_console_cost, ("usage_date_utc",), ()),
    Format(
        "anthropic-usage",
        (("usage_date_utc",), ("usage_input_tokens_no_cache",), ("usage_output_tokens",)),
        anthropic.read_console_usage,
        ("usage_date_utc",),
        (),
    ),
    Format(
        "anthropic-cost-report",
        (("starting_at",), ("amount",), ("currency",)),
        anthropic.read_api_cost,
        ("starting_at",),
        ("ending_at",),
    ),
    Format(
        "anthropic-usage-report",
        (("starting_at",), ("uncached_input_tokens",)),
        anthropic.read_api_usage,
        ("starting_at",),
        ("ending_at",),
    ),
)
NAMES: Final = (*(known.name for known in FORMATS), _GENERIC)


class Options(NamedTuple):
    """How to read a file.

    Attributes:
        kind: A name of `NAMES`; empty to tell it from the columns.
        columns: For a generic table: what (a key of `generic.USUAL`) is in which column.
        provider: Of a generic table that does not say.
        zone: In which its days begin.
        only: Columns and the value that they must have, such as one workspace of several.
    """

    kind: str = ""
    columns: Mapping[str, str] = {}
    provider: str = ""
    zone: ZoneInfo = ZoneInfo("UTC")
    only: Mapping[str, str] = {}


def read_bill(text: str, options: Options) -> Bill:
    """Read one file.

    Raises:
        InvalidQuestion: it is none of the exports that can be read, or a row of it makes no sense.
    """
    text = text.removeprefix("\ufeff").strip()
    if not text:
        raise InvalidQuestion("The file is empty.")
    if options.kind and options.kind not in NAMES:
        raise InvalidQuestion(f"There is no format {options.kind[:40]!r}; there are: {', '.join(NAMES)}.")
    bill = Bill("")
    rows, columns = _json_rows(text, bill) if text[0] in "[{" else _table_rows(text)
    read, known, held = _reader(columns, options)
    bill.format = known.name if known else _GENERIC
    bill.provider = known.name.partition("-")[0] if known else options.provider
    bill.holds_money, bill.holds_tokens = "cost" in held, "tokens" in held
    _check_only(columns, options.only)
    for row in rows:
        if any(row.text(name) != value for name, value in options.only.items()):
            continue
        if known is not None:
            bill.days |= _days(row, known, options.zone)
        if (line := read(row, options.zone)) is not None:
            bill.lines.append(line)
            bill.days.add(line.day)
    bill.half_digit = half_digit(bill.lines)
    if not bill.days:
        raise InvalidQuestion("The file has no rows with a day" + (" that fit --only." if options.only else "."))
    return bill


def _reader(columns: list[str], options: Options) -> tuple[Callable[[Row, ZoneInfo], BillLine | None], Format | None, set[str]]:
    present = set(columns)
    for known in FORMATS:
        is_asked = known.name == options.kind
        fits = all(any(name in present for name in group) for group in known.needs)
        if is_asked and not fits:
            raise InvalidQuestion(f"This is no {known.name} file: {_wants(known)}. It has: {generic.listed(columns)}.")
        if fits and (is_asked or not (options.kind or options.columns)):
            return known.read, known, {"cost" if known.holds_money else "tokens"}
    found = generic.columns_of(columns, options.columns)
    if not generic.is_enough(found):
        raise InvalidQuestion(
            "This file is none of the exports that can be read. "
            + " ".join(f"{_wants(known)}." for known in FORMATS)
            + " Any other table needs a day and a cost or tokens: say which column holds what, such as day=Date, model=SKU, "
            f"cost=Amount (also {', '.join(name for name in generic.USUAL if name not in ('day', 'model', 'cost'))}). "
            f"The file has: {generic.listed(columns)}."
        )
    held = {"tokens" if what.endswith("_tokens") else what for what in found}
    return lambda row, zone: generic.read_row(row, zone, found, options.provider), None, held


def _wants(known: Format) -> str:
    return f"{known.name} has {' and '.join(' or '.join(group) for group in known.needs)}"


def _check_only(columns: list[str], only: Mapping[str, str]) -> None:
    if missing := sorted(set(only) - set(columns)):
        raise InvalidQuestion(f"The file has no column {missing[0][:60]!r} to choose rows by; it has: {generic.listed(columns)}.")


def _days(row: Row, known: Format, zone: ZoneInfo) -> set[date]:
    start, end = row.moment(*known.start), row.moment(*known.end) if known.end else None
    if isinstance(start, datetime) and isinstance(end, datetime) and end - start > _DAY_MAX:
        raise InvalidQuestion(f"{row.place} is about {(end - start).days} days at once; export it by the day.")
    if isinstance(start, datetime):
        return {start.astimezone(zone).date()}
    return {start} if start is not None else set()


def _table_rows(text: str) -> tuple[Iterator[Row], list[str]]:
    head = text.partition("\n")[0]
    delimiter = max("\t,;", key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        columns = [name.strip() for name in next(reader)]
    except (csv.Error, StopIteration):
        raise InvalidQuestion("The file is neither JSON nor a table of text.") from None
    if len(columns) < 2 or any(len(name) > 200 or not name.isprintable() for name in columns):
        raise InvalidQuestion("The file is neither JSON nor a table with a line of column names.")

    def rows() -> Iterator[Row]:
        try:
            for number, cells in enumerate(reader, 2):
                if number > ROWS_MAX:
                    raise InvalidQuestion(f"The file has more than {ROWS_MAX:,} rows; export a shorter time.")
                if len(cells) > len(columns) and any(cells[len(columns) :]):
                    raise InvalidQuestion(f"Line {number} has more cells than there are columns.")
                if any(cells):
                    yield Row(f"Line {number}", dict(zip(columns, cells, strict=False)))
        except csv.Error:
            raise InvalidQuestion("The table cannot be read: a quote is not closed, or a cell is too long.") from None

    return rows(), columns


def _json_rows(text: str, bill: Bill) -> tuple[Iterator[Row], list[str]]:
    rows = list(_flattened(_pages(text), bill))
    if len(rows) > ROWS_MAX:
        raise InvalidQuestion(f"The file has more than {ROWS_MAX:,} results; export a shorter time.")
    columns: dict[str, None] = {}
    for row in rows:
        columns.update(dict.fromkeys(row))
    return iter(rows), list(columns)


def _pages(text: str) -> Iterator[Any]:
    """One JSON value, or several one after the other, as pages that were appended to a file."""
    at = 0
    try:
        while at < len(text):
            value, at = _JSON.raw_decode(text, at)
            yield from value if isinstance(value, list) else [value]
            while at < len(text) and text[at].isspace():
                at += 1
    except (ValueError, RecursionError):
        raise InvalidQuestion("The file begins like JSON and is none.") from None


def _flattened(pages: Iterable[Any], bill: Bill) -> Iterator[Row]:
    number = 0
    for page in pages:
        if not isinstance(page, dict):
            raise InvalidQuestion("The JSON holds no pages of usage or costs.")
        buckets = page.get("data", [page])
        is_last = not page.get("has_more")
        if not is_last and not bill.notes:
            bill.notes.append("A page says that there is more after it: the file may be only a part.")
        if is_last:
            bill.notes.clear()
        for bucket in buckets if isinstance(buckets, list) else ():
            if not isinstance(bucket, dict):
                raise InvalidQuestion("The JSON holds no buckets of usage or costs.")
            own = {key: value for key, value in bucket.items() if not isinstance(value, dict | list)}
            results = bucket.get("results", bucket.get("result"))
            for result in results if isinstance(results, list) and results else [{}]:
                number += 1
                yield Row(f"Result {number}", {**own, **_flat(result if isinstance(result, dict) else {})})


def _flat(result: Mapping[str, Any], prefix: str = "", depth: int = 0) -> dict[str, Any]:
    """Nested objects with dotted names; `amount.value` as the table calls it."""
    found: dict[str, Any] = {}
    for key, value in result.items():
        if isinstance(value, dict) and depth < _DEPTH_MAX:
            found |= _flat(value, "amount_" if key == "amount" else f"{prefix}{key}.", depth + 1)
        elif not isinstance(value, dict | list):
            found[f"{prefix}{key}"] = value
    return found
