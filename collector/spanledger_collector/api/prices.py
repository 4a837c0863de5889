"""Prices: what usage costs and why, the user's own prices with their history, and what should be looked at."""

import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Query
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from spanledger_collector.api.services import ProjectDep, Services, ServicesDep
from spanledger_collector.clock import CLOCK
from spanledger_collector.errors import InvalidQuestion, NotFound
from spanledger_collector.pricing import corrections, table
from spanledger_collector.pricing.check import findings
from spanledger_collector.pricing.compile import compile_shipped, mode_of
from spanledger_collector.pricing.quote import REASONS, parse_quote, quote, show_card
from spanledger_collector.pricing.rates import Card, Period
from spanledger_collector.pricing.user import UserPrice, parse_price
from spanledger_collector.query.interactions import iso
from spanledger_collector.store import price_book

router = APIRouter(prefix="/api/v1/prices", tags=["Prices"])

_QUOTES_MAX: Final = 10_000
_PRICES_MAX: Final = 5_000
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_QUESTION: Final = {
    "provider": "openai",
    "model": "gpt-4o",
    "timestamp": "2026-08-10T12:00:00Z",
    "usage": {"input_tokens": 1200, "cache_read_tokens": 1000, "output_tokens": 300, "web_searches": 1},
    "context": {"processing": "batch"},
}
_PRICE: Final = {
    "provider": "openai",
    "model": "gpt-4o*",
    "multiplier": "0.82",
    "valid_from": "2026-07-01",
    "note": "contract 17",
}
QuoteBody = Annotated[Any, Body(examples=[_QUESTION, [_QUESTION]])]
PriceBody = Annotated[Any, Body(examples=[_PRICE, [_PRICE]])]


@router.post("/quote", summary="What some usage costs")
async def post_quote(body: QuoteBody, parts: ServicesDep, project: ProjectDep) -> Any:
    """A question, or a list of them that is answered in the same order.

    `status` is priced, free, estimated or unpriced (with a `reason`); `cost_usd` is a text in plain notation, or null where the
    cost is unknown. Priced by the code that prices what is settled, with the project's own prices.
    """
    now, book = datetime.now(UTC), parts.books.of(project)
    if isinstance(body, list):
        if len(body) > _QUOTES_MAX:
            raise InvalidQuestion(f"At most {_QUOTES_MAX} quotes at once.")
        return await run_in_threadpool(lambda: [quote(book, parse_quote(item, now)) for item in body])
    return quote(book, parse_quote(body, now))


@router.get("", summary="Your own prices")
def get_prices(parts: ServicesDep, project: ProjectDep) -> dict[str, Any]:
    """The project's own prices, and which lists stand behind them."""
    prices = [show(price) for price in price_book.read_prices(parts.store, project)]
    return {"prices": prices, "sources": sources()}


@router.post("", summary="Set prices", status_code=201)
@router.put("", summary="Set prices", status_code=201)
def put_prices(body: PriceBody, parts: ServicesDep, project: ProjectDep) -> dict[str, Any]:
    """Set one price or a list of them, all or none; the same match from the same date again is a new version of that price.

    Calls that are settled from now on are priced by it (at once here, within a second on other collectors). Calls that were
    settled before keep their price until they are re-priced.
    """
    raw = body if isinstance(body, list) else [body]
    if not raw or len(raw) > _PRICES_MAX:
        raise InvalidQuestion(f"Give between 1 and {_PRICES_MAX} prices.")
    now = CLOCK.now_ns()
    CLOCK.not_before(now + len(raw))
    prices = [parse_price(item, now + number) for number, item in enumerate(raw)]
    price_book.write_prices(parts.store, project, prices)
    parts.books.reload()
    return {"prices": [show(price) for price in prices]}


@router.delete("/{price_id}", summary="Retire a price", status_code=204)
def delete_price(price_id: str, parts: ServicesDep, project: ProjectDep) -> Response:
    """Retire a price; its history stays. To end a price at a date instead, set it again with `valid_until`."""
    price = _find(parts, project, price_id)
    price_book.write_prices(parts.store, project, [price._replace(changed_at=CLOCK.now_ns())], is_deleted=True)
    parts.books.reload()
    return Response(status_code=204)


@router.get("/history", summary="Every version of your prices")
def get_history(parts: ServicesDep, project: ProjectDep, price_id: str | None = None) -> dict[str, Any]:
    """What was set and retired when, the oldest first."""
    versions = price_book.read_history(parts.store, project)
    shown = [
        {**show(version.price), "action": "retired" if version.is_deleted else "set"}
        for version in versions
        if price_id is None or version.price.price_id == price_id
    ]
    return {"versions": shown}


@router.get("/resolve", summary="The price of a model, with its history")
def get_resolved(
    parts: ServicesDep,
    project: ProjectDep,
    model: Annotated[str, Query(max_length=300)],
    provider: Annotated[str, Query(max_length=300)] = "",
    processing: Annotated[str, Query(max_length=100)] = "",
    service_tier: Annotated[str, Query(max_length=100)] = "",
) -> dict[str, Any]:
    """Every price that a model has had, with its source and why it is so; the one that holds now is marked."""
    mode = mode_of(processing, service_tier)
    book = parts.books.of(project)
    timeline = book.timeline(provider, model, mode)
    now = time.time_ns()
    if isinstance(timeline, str):
        return {
            "provider": provider,
            "model": model,
            "processing": mode,
            "reason": timeline,
            "explanation": explain(timeline),
            "periods": [],
        }
    current = max((period.start for period in timeline.periods if period.start <= now), default=timeline.periods[0].start)
    periods = [_show_period(period, is_current=period.start == current) for period in timeline.periods]
    for before, after in pairwise(periods):
        before["until"] = after["from"]
    return {"provider": provider, "model": model, "processing": mode, "reason": None, "explanation": None, "periods": periods}


@router.get("/check", summary="What to look at in your prices")
def get_check(parts: ServicesDep, project: ProjectDep, days: Annotated[int, Query(ge=1, le=400)] = 30) -> dict[str, Any]:
    """Models without a price, prices that expire or apply to nothing, calls priced by an older list, and lists that are old.

    Looks at the calls of the last `days`.
    """
    now = datetime.now(UTC)
    traffic = price_book.read_traffic(parts.store, project, now - timedelta(days=days))
    return {"findings": findings(traffic, price_book.read_prices(parts.store, project), now), "sources": sources()}


@router.get("/diff", summary="Where your prices differ from the list's")
def get_diff(parts: ServicesDep, project: ProjectDep, days: Annotated[int, Query(ge=1, le=400)] = 30) -> dict[str, Any]:
    """Prices, of the models that were called in the last `days`, that are others here and now than in the price list's release.

    `ours` is by your own prices and the shipped corrections, `release` by genai-prices alone; null is no price.
    """
    now = datetime.now(UTC)
    now_ns, book = time.time_ns(), parts.books.of(project)
    traffic = price_book.read_traffic(parts.store, project, now - timedelta(days=days))
    rows = []
    for provider, model in sorted({(row.provider, row.model) for row in traffic if row.model}):
        plain_list = compile_shipped(provider, model, "", is_corrected=False)
        ours = book.card(provider, model, now_ns)
        release = plain_list if isinstance(plain_list, str) else plain_list.at(now_ns)
        mine, theirs = ({} if isinstance(card, str) else show_card(card) for card in (ours, release))
        for kind in sorted({*mine, *theirs}):
            if mine.get(kind) != theirs.get(kind):
                source = None if isinstance(ours, str) else ours.source
                entry = {"provider": provider, "model": model, "kind": kind, "ours": mine.get(kind), "release": theirs.get(kind)}
                rows.append({**entry, "source": source})
    return {"release": table.VERSION, "differences": rows}


@router.get("/models", summary="Models with a shipped price")
def get_models(provider: Annotated[str, Query(max_length=300)] = "") -> dict[str, Any]:
    """Providers and models of the shipped list, in the list's own names."""
    found: dict[str, list[str]] = {}
    for listed in table.models():
        if not provider or listed.provider == provider:
            found.setdefault(listed.provider, []).append(listed.info.id)
    return {"models": found}


def sources() -> list[dict[str, str]]:
    """The price lists behind the user's own prices, the first first."""
    return [
        {"source": corrections.SOURCE, "version": f"{corrections.SOURCE}/{corrections.shipped().version}"},
        {"source": table.SOURCE, "version": table.VERSION},
    ]


def show(price: UserPrice) -> dict[str, Any]:
    """A price as the API shows it."""
    return {"id": price.price_id, **price.to_dict(), "changed_at": iso(price.changed_at), "version": price.version}


def explain(reason: str) -> str:
    """What the reason of an unpriced call means."""
    if kind := reason.removeprefix("no_price_for_") if reason.startswith("no_price_for_") else "":
        return f"The model has no price for {kind.replace('_', ' ')}."
    return REASONS.get(reason, reason)


def _find(parts: Services, project: str, price_id: str) -> UserPrice:
    for price in price_book.read_prices(parts.store, project):
        if price.price_id == price_id:
            return price
    raise NotFound("This project has no such price.")


def _show_period(period: Period, *, is_current: bool) -> dict[str, Any]:
    windows = []
    for window in period.windows:
        hours = f"{window.start // 60:02}:{window.start % 60:02}-{window.end // 60:02}:{window.end % 60:02}"
        windows.append({"days": [_DAYS[day] for day in sorted(window.days)], "hours_utc": hours, **_show_card(window.card)})
    return {
        "from": iso(period.start) if period.start > 0 else None,
        "until": None,
        "is_current": is_current,
        **_show_card(period.card),
        "windows": windows,
    }


def _show_card(card: Card | str) -> dict[str, Any]:
    if isinstance(card, str):
        return {"prices": None, "source": None, "version": None, "reason": card}
    return {"prices": show_card(card), "source": card.source, "version": card.version, "reason": None}
