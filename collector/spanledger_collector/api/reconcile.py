"""Reconciliation: a provider's own export against the ledger."""

import re
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Body

from spanledger_collector.api.services import ProjectDep, ServicesDep
from spanledger_collector.costs.bills.lines import Bill
from spanledger_collector.costs.bills.read import Options, read_bill
from spanledger_collector.costs.sides import to_usd
from spanledger_collector.errors import InvalidQuestion, PayloadTooLarge
from spanledger_collector.query.reconcile import compare
from spanledger_schema.query import Query, QueryError

router = APIRouter()

_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d")
_FILES_MAX: Final = 20
_CHARS_MAX: Final = 32 * 1024 * 1024
_OF_FILES: Final = ("format", "columns", "provider", "only")
_OWN: Final = ("files", "text", "rates", *_OF_FILES)
_OF_QUERY: Final = ("filters", "start", "end", "timezone")
_EXAMPLE: Final = {
    "files": [{"name": "costs.csv", "text": "day,model,cost_usd\n2026-11-20,gpt-4o,12.50\n"}],
    "provider": "openai",
    "timezone": "UTC",
}


@router.post("/reconcile", summary="Does the bill agree with the ledger?")
def post_reconcile(
    raw: Annotated[dict[str, Any], Body(examples=[_EXAMPLE])], parts: ServicesDep, project: ProjectDep
) -> dict[str, Any]:
    """Compare a provider's own exports with the ledger, by day and model, and say why they differ.

    `files` are texts: OpenAI's usage and costs exports, Anthropic's usage and cost exports (the consoles' tables or the APIs'
    pages), or any table with a day and money or tokens. Several add up, as the usage and the costs of the same days do. The parts
    of the difference add up to `bill_usd - ours_usd` exactly. `start` and `end` may be days, and narrow what the files speak of.
    """
    if unknown := sorted(map(str, set(raw) - {*_OWN, *_OF_QUERY})):
        raise InvalidQuestion(f"unknown field {unknown[0][:60]!r}; there are: {', '.join(sorted((*_OWN, *_OF_QUERY)))}")
    query = _query(raw)
    zone, rates = ZoneInfo(query.timezone), _rates(raw.get("rates"))
    bills = [to_usd(bill, rates) for bill in _bills(raw, zone)]
    return compare(parts.store, project, query, bills, parts.books.of(project))


def _query(raw: Mapping[str, Any]) -> Query:
    """Filters, range and time zone; the range may be days, which begin in that zone."""
    given = {key: raw[key] for key in _OF_QUERY if key in raw}
    zone = ZoneInfo(Query.from_dict({"measures": ["generations"], "timezone": given.get("timezone", "UTC")}).timezone)
    for side in ("start", "end"):
        if isinstance(text := given.get(side), str) and _DAY.fullmatch(text):
            try:
                given[side] = datetime.combine(date.fromisoformat(text), time(), zone)
            except ValueError:
                raise QueryError(f"{side} is {text}, which is no day") from None
    return Query.from_dict({"measures": ["generations"], **given})


def _bills(raw: Mapping[str, Any], zone: ZoneInfo) -> list[Bill]:
    files = raw.get("files", [{"text": raw["text"]}] if "text" in raw else None)
    if not isinstance(files, list) or not 0 < len(files) <= _FILES_MAX or not all(isinstance(file, dict) for file in files):
        raise InvalidQuestion(f'files is a list of 1 to {_FILES_MAX} objects such as {{"name": "costs.csv", "text": "…"}}.')
    texts = [file.get("text") for file in files]
    if not all(isinstance(text, str) for text in texts):
        raise InvalidQuestion("The text of a file is a text.")
    if sum(map(len, texts)) > _CHARS_MAX:
        raise PayloadTooLarge(f"The files are larger than {_CHARS_MAX // 2**20} MiB together; export a shorter time.")
    if len({text.strip() for text in texts}) < len(texts):
        raise InvalidQuestion("The same file is given twice; it would be added up.")
    bills = []
    for number, (file, text) in enumerate(zip(files, texts, strict=True), 1):
        options = _options({**{key: raw[key] for key in _OF_FILES if key in raw}, **file}, zone)
        try:
            bills.append(read_bill(text, options))
        except InvalidQuestion as error:
            name = _text(file, "name") or f"file {number}"
            raise InvalidQuestion(f"{name[:100]}: {error.detail}") from None
    return bills


def _options(raw: Mapping[str, Any], zone: ZoneInfo) -> Options:
    columns, only = (_texts(raw, name) for name in ("columns", "only"))
    return Options(_text(raw, "format"), columns, _text(raw, "provider"), zone, only)


def _text(raw: Mapping[str, Any], name: str) -> str:
    value = raw.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidQuestion(f"{name} is a text.")
    return (value or "")[:300]


def _texts(raw: Mapping[str, Any], name: str) -> dict[str, str]:
    value = raw.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for pair in value.items() for text in pair):
        raise InvalidQuestion(f'{name} is an object of texts, such as {{"day": "Date", "cost": "Amount"}}.')
    return dict(value)


def _rates(raw: Any) -> dict[str, Decimal]:
    found = {}
    for currency, text in _texts({"rates": raw}, "rates").items():
        try:
            rate = Decimal(text)
        except InvalidOperation:
            rate = Decimal(0)
        if not rate.is_finite() or not 0 < rate < 10**9:
            raise QueryError(f"the rate of {currency[:10]} is {text[:40]!r}; it is what one is in USD, such as 1.08")
        found[currency.strip().upper()] = rate
    return found
