"""Questions about spending not done, or not yet: caching, another model, the rest of the month."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from spanledger_collector.costs.forecast import forecast
from spanledger_collector.costs.whatif import CAVEATS, Bucket, recost, thresholds
from spanledger_collector.pricing.book import Book
from spanledger_collector.pricing.rates import Card
from spanledger_collector.query.compile import calls_about
from spanledger_collector.query.costs import INPUT, PICO, iso, pico, range_of, usd
from spanledger_collector.query.run import answer
from spanledger_collector.store.protocol import Store, rows_of
from spanledger_schema.query import Query, QueryError

_NS_PER_HOUR: Final = 3_600_000_000_000
_REPEAT_NS: Final = 300 * 1_000_000_000
_PREFIX_TOKENS_MIN: Final = 1_024


def caching(store: Store, project: str, query: Query, book: Book) -> dict[str, Any]:
    """What caching saved, and what it could have saved at most, by feature and model.

    Calls of one feature, model and prompt version share a beginning (instructions, tools). It is taken to be as long as the
    shortest twentieth of their inputs. A call within five minutes of such another could have read that much from the cache;
    what it did not read is missed, at the difference of the two prices. Beginnings below 1,024 tokens count nothing: no
    provider caches them.
    """
    sql = calls_about(query, project)
    keys = "provider, model, feature, prompt_version"
    inner = (
        f"SELECT {keys}, start_time, {INPUT} AS given, ifNull(cache_read_tokens, 0) AS read, cache_savings_usd, "
        f"toUnixTimestamp64Nano(start_time) - toUnixTimestamp64Nano(lagInFrame(start_time, 1, toDateTime64(0, 9, 'UTC')) "
        f"OVER (PARTITION BY {keys} ORDER BY start_time ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)) <= {_REPEAT_NS} AS repeats "
        f"FROM {sql.text} AND kind = 'model' AND isNotNull(uncached_input_tokens)"
    )
    text = (
        f"SELECT {keys}, intDiv(toUnixTimestamp(start_time), 86400) AS day, count() AS calls, sum(repeats) AS repeated, "
        "sum(given) AS given_sum, sum(read) AS read_sum, sum(cache_savings_usd) AS saved, "
        "sumIf(greatest(0, toInt64(least(shared, given)) - toInt64(read)), "
        f"repeats AND shared >= {_PREFIX_TOKENS_MIN}) AS missed "
        f"FROM (SELECT *, toUInt64(quantileExact(0.05)(given) OVER (PARTITION BY {keys})) AS shared FROM ({inner})) "
        f"GROUP BY {keys}, day"
    )
    groups: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows_of(store.read(text, sql.parameters)):
        entry = groups.setdefault(
            (row["feature"], row["model"]),
            {"calls": 0, "repeats": 0, "input_tokens": 0, "cache_read_tokens": 0, "missed_tokens": 0}
            | {"saved": Decimal(0), "missed": Decimal(0)},
        )
        for name, column in (("calls", "calls"), ("repeats", "repeated"), ("input_tokens", "given_sum")):
            entry[name] += int(row[column])
        entry["cache_read_tokens"] += int(row["read_sum"])
        entry["missed_tokens"] += int(row["missed"])
        entry["saved"] += row["saved"] or Decimal(0)
        entry["missed"] += _difference(book, row["provider"], row["model"], int(row["day"])) * int(row["missed"])
    found = [
        {
            "feature": feature or None,
            "model": model or None,
            **{name: value for name, value in entry.items() if name not in ("saved", "missed")},
            "cache_hit_rate": entry["cache_read_tokens"] / entry["input_tokens"] if entry["input_tokens"] else None,
            "saved_usd": usd(entry["saved"]),
            "missed_usd": usd(entry["missed"]),
        }
        for (feature, model), entry in groups.items()
    ]
    found.sort(key=lambda row: (-Decimal(row["missed_usd"]), str(row["feature"]), str(row["model"])))
    return {
        "saved_usd": usd(sum((entry["saved"] for entry in groups.values()), Decimal(0))),
        "missed_usd": usd(sum((entry["missed"] for entry in groups.values()), Decimal(0))),
        "groups": found,
    }


def _difference(book: Book, provider: str, model: str, day: int) -> Decimal:
    """Input price less cache read price in USD per token, 0 where either is unknown."""
    card = book.card(provider, model, day * 24 * _NS_PER_HOUR)
    if not isinstance(card, Card):
        return Decimal(0)
    rates = card.steps[-1][1]
    return max(Decimal(0), Decimal((rates.input or 0) - rates.cache_read)) / PICO


def what_if(store: Store, project: str, query: Query, book: Book, provider: str, model: str) -> dict[str, Any]:
    """What another model would have cost on the same traffic, by the model that answered.

    Raises:
        QueryError: the other model has no price, or a filter is on something that only interactions have.
    """
    start, end = range_of(query)
    hours = range(int(start.timestamp()) // 3_600, min(int(end.timestamp()), int(datetime.now(UTC).timestamp())) // 3_600 + 1)
    if isinstance(reason := book.card(provider, model, hours[-1] * _NS_PER_HOUR), str):
        raise QueryError(f"{model[:100]!r} has no price ({reason}); give a model that has one, or set its price")
    steps = thresholds(book, provider, model, hours[:: max(1, len(hours) // 200)])
    sql = calls_about(query, project)
    kinds = ("cache_read", "cache_write_5m", "cache_write_1h", "reasoning")
    sums = ["sum(uncached_input_tokens) AS t_input", "sum(visible_output_tokens) AS t_output"]
    sums += [f"sum(ifNull({kind}_tokens, 0)) AS t_{kind}" for kind in kinds]
    text = (
        "SELECT provider, model, intDiv(toUnixTimestamp(start_time), 3600) AS hour, "
        f"arrayCount(t -> {INPUT} > t, {{steps:Array(UInt64)}}) AS step, count() AS calls, "
        f"sum(cost_usd) AS cost, {', '.join(sums)}, sumMap(CAST(other_tokens, 'Map(String, UInt64)')) AS others "
        f"FROM {sql.text} AND kind = 'model' AND isNotNull(uncached_input_tokens) AND isNotNull(visible_output_tokens) "
        "AND isNotNull(cost_usd) GROUP BY provider, model, hour, step"
    )
    buckets = [
        Bucket(
            row["provider"],
            row["model"],
            int(row["hour"]),
            int(row["step"]),
            int(row["calls"]),
            pico(row["cost"]),
            {name: int(row[f"t_{name}"] or 0) for name in ("input", "output", *kinds)} | dict(row["others"] or ()),
        )
        for row in rows_of(store.read(text, {**sql.parameters, "steps": list(steps)}))
    ]
    rows = recost(book, provider, model, steps, buckets)
    own, other = sum(row.cost_pico for row in rows), sum(row.other_pico for row in rows)
    return {
        "provider": provider or None,
        "model": model,
        "calls": sum(row.calls for row in rows),
        "cost_usd": pico_usd(own),
        "would_cost_usd": pico_usd(other),
        "difference_usd": pico_usd(other - own),
        "calls_left_out": sum(row.left_out for row in rows),
        "models": [
            {
                "provider": row.provider or None,
                "model": row.model or None,
                "calls": row.calls,
                "cost_usd": pico_usd(row.cost_pico),
                "would_cost_usd": pico_usd(row.other_pico),
                "calls_left_out": row.left_out,
                "left_out_reason": row.reason or None,
            }
            for row in rows
        ],
        "caveats": list(CAVEATS),
    }


def month(store: Store, project: str, query: Query, now: datetime) -> dict[str, Any]:
    """The month so far, and what it will have cost by its end, in the query's time zone."""
    zone = ZoneInfo(query.timezone)
    here = now.astimezone(zone)
    first = here.date().replace(day=1)
    end = (first + timedelta(days=32)).replace(day=1)
    since = min(first, here.date() - timedelta(days=60))
    daily_query = replace(
        query,
        measures=("cost_usd",),
        dimensions=(),
        granularity="day",
        start=_midnight(since, zone),
        end=now,
        order_by=(),
        limit=1_000,
    )
    table, _ = answer(store, daily_query, project)
    costs = {row["time"].astimezone(zone).date(): row["cost_usd"] or Decimal(0) for row in rows_of(table)}
    today_usd = costs.get(here.date(), Decimal(0))
    to_date = sum((cost for day, cost in costs.items() if day >= first), Decimal(0))
    history = _whole_days(costs, here.date())
    found = forecast(history, here.date(), float(today_usd), end)
    before_today = float(to_date - today_usd)
    return {
        "month": f"{first:%Y-%m}",
        "start": iso(_midnight(first, zone)),
        "end": iso(_midnight(end, zone)),
        "to_date_usd": usd(to_date),
        "forecast": None
        if found is None
        else {
            "p10_usd": before_today + found.p10_usd,
            "p50_usd": before_today + found.p50_usd,
            "p90_usd": before_today + found.p90_usd,
            "days_used": found.days_used,
            "backtests": found.backtests,
            "backtests_covered": found.covered,
        },
        "days": [{"date": f"{day:%Y-%m-%d}", "cost_usd": usd(cost)} for day, cost in sorted(costs.items()) if day >= first],
    }


def _whole_days(costs: Mapping[date, Decimal], today: date) -> list[tuple[date, float]]:
    """Whole days from the first that cost anything to yesterday; a day without calls cost nothing."""
    known = [day for day, cost in costs.items() if cost and day < today]
    if not known:
        return []
    first = min(known)
    days: Sequence[date] = [first + timedelta(days=number) for number in range((today - first).days)]
    return [(day, float(costs.get(day, Decimal(0)))) for day in days]


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def pico_usd(value: int) -> str:
    """1e-12 USD as USD in plain notation."""
    return usd(Decimal(value) / PICO)
