"""What to look at in a project's prices: what has none, what is old, what applies to nothing. Pure."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from spanledger_collector.pricing import corrections, table
from spanledger_collector.pricing.book import names_of
from spanledger_collector.pricing.user import UserPrice
from spanledger_schema.tokens import CostStatus

SOON: Final = timedelta(days=30)
LIST_OLD: Final = timedelta(days=60)
CORRECTION_OLD: Final = timedelta(days=180)


class Traffic(NamedTuple):
    """Calls of one kind to one model that were priced alike."""

    kind: str
    name: str
    provider: str
    model: str
    status: str
    source: str
    version: str
    reason: str
    calls: int
    tokens: int
    last_seen: datetime


def findings(traffic: Sequence[Traffic], prices: Sequence[UserPrice], now: datetime) -> list[dict[str, Any]]:
    """What should be looked at, the most urgent first; each has a `code`, a `subject`, a `message` and what to do (`advice`).

    Args:
        traffic: What was called of late.
        prices: The project's own prices.
        now: The present time.
    """
    found = [*_unpriced(traffic), *_outdated(traffic, prices), *_own(traffic, prices, now), *_shipped(traffic, now)]
    return found


def _finding(code: str, subject: str, message: str, advice: str, **more: Any) -> dict[str, Any]:
    return {"code": code, "subject": subject, "message": message, "advice": advice, **more}


def _unpriced(traffic: Iterable[Traffic]) -> list[dict[str, Any]]:
    unpriced = sorted((row for row in traffic if row.status == CostStatus.UNPRICED), key=lambda row: -row.calls)
    return [
        _finding(
            "unpriced",
            f"{row.provider or 'unknown provider'} {row.model or 'unnamed model'}",
            f"{row.calls} calls have no known cost: {row.reason}",
            "set a price, or price_as another model" if row.model else "let the instrumentation record the model",
            provider=row.provider,
            model=row.model,
            reason=row.reason,
            calls=row.calls,
            tokens=row.tokens,
            last_seen=_iso(row.last_seen),
        )
        for row in unpriced
    ]


def _outdated(traffic: Iterable[Traffic], prices: Sequence[UserPrice]) -> list[dict[str, Any]]:
    current = {table.VERSION, f"{corrections.SOURCE}/{corrections.shipped().version}", *(price.version for price in prices)}
    calls: dict[str, int] = {}
    for row in traffic:
        if row.version and row.version not in current:
            calls[row.version] = calls.get(row.version, 0) + row.calls
    return [
        _finding(
            "older_version",
            version,
            f"{count} calls were priced by it",
            "spanledger reprice --dry-run shows what is different now",
        )
        for version, count in sorted(calls.items())
    ]


def _own(traffic: Sequence[Traffic], prices: Iterable[UserPrice], now: datetime) -> list[dict[str, Any]]:
    found = []
    for price in prices:
        subject = f"{price.kind} {price.provider} {price.model}"
        if price.valid_until is not None and price.valid_until <= now:
            found.append(
                _finding(
                    "expired",
                    subject,
                    f"ended on {price.valid_until:%Y-%m-%d}",
                    "set its successor, or retire it",
                    id=price.price_id,
                )
            )
        elif price.valid_until is not None and price.valid_until <= now + SOON:
            found.append(
                _finding("expires", subject, f"ends on {price.valid_until:%Y-%m-%d}", "set its successor", id=price.price_id)
            )
        elif not any(_is_about(price, row) for row in traffic):
            found.append(
                _finding(
                    "unused",
                    subject,
                    "no call of late goes by these names",
                    "check its patterns, or retire it",
                    id=price.price_id,
                )
            )
    return found


def _is_about(price: UserPrice, row: Traffic) -> bool:
    if price.kind == "model":
        return row.model != "" and price.matches("model", names_of(row.provider, row.model))
    return price.matches(row.kind, frozenset({("", row.name.lower())}))


def _shipped(traffic: Iterable[Traffic], now: datetime) -> list[dict[str, Any]]:
    found = []
    newest = newest_price(now)
    if newest + LIST_OLD < now:
        message = f"its newest price is of {newest:%Y-%m-%d}"
        found.append(_finding("old_list", table.VERSION, message, "pip install --upgrade genai-prices"))
    fixes = corrections.shipped()
    used = {(row.provider, row.model) for row in traffic if row.source == corrections.SOURCE}
    for provider, model in sorted(used):
        for candidate in sorted(names_of(provider, model)):
            for patch in fixes.of(*candidate):
                if datetime.fromisoformat(patch.checked_on).replace(tzinfo=UTC) + CORRECTION_OLD < now and patch.holds(now):
                    subject = f"{provider} {model}"
                    found.append(
                        _finding("old_correction", subject, f"checked on {patch.checked_on}", f"compare with {patch.source}")
                    )
    return found


def newest_price(now: datetime) -> datetime:
    """The day of the newest price change that the shipped list knows and that has come."""
    days = [day for listed in table.models() for day in table.starts(listed.info) if day <= now]
    return max(days, default=datetime(1970, 1, 1, tzinfo=UTC))


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
