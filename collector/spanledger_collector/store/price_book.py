"""The users' prices and the record of re-pricings in the store: versions are appended, the newest counts."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, NamedTuple

import orjson

from spanledger_collector.pricing.check import Traffic
from spanledger_collector.pricing.user import UserPrice, parse_price
from spanledger_collector.store.arrow import rows_from, table
from spanledger_collector.store.protocol import Store, rows_of
from spanledger_schema.spans import Fields

_PRICE_FIELDS: Final[Fields] = (
    ("project", "text"),
    ("price_id", "text"),
    ("body", "text"),
    ("is_deleted", "u8"),
    ("changed_at", "time"),
    ("version", "u64"),
)


_STEP: Final = "if(kind IN ('tool', 'retrieval'), name, '') AS step"
_TOKENS: Final = "sum(coalesce(uncached_input_tokens, 0) + coalesce(visible_output_tokens, 0))"


class PriceVersion(NamedTuple):
    """One version of a price; `changed_at` in nanoseconds since 1970."""

    price: UserPrice
    is_deleted: bool
    changed_at: int


def read_all(store: Store) -> list[tuple[str, UserPrice]]:
    """Project and price, for every price that is set now."""
    newest: dict[tuple[str, str], tuple[str, PriceVersion]] = {}
    for project, version in _versions(store, "", {}):
        newest[project, version.price.price_id] = (project, version)
    return [(project, version.price) for project, version in newest.values() if not version.is_deleted]


def read_prices(store: Store, project: str) -> list[UserPrice]:
    """The project's prices as they are set now, in the order of their first setting."""
    newest: dict[str, PriceVersion] = {}
    for version in read_history(store, project):
        newest[version.price.price_id] = version
    return [version.price for version in newest.values() if not version.is_deleted]


def read_history(store: Store, project: str) -> list[PriceVersion]:
    """Every version of the project's prices, the oldest first."""
    return [version for _, version in _versions(store, "WHERE project = {project:String} ", {"project": project})]


def write_prices(store: Store, project: str, prices: list[UserPrice], *, is_deleted: bool = False) -> None:
    """Append a version of each price, at its `changed_at`."""
    rows = [
        (project, price.price_id, orjson.dumps(price.to_dict()).decode(), int(is_deleted), price.changed_at, price.changed_at)
        for price in prices
    ]
    if rows:
        store.insert("user_prices", table(rows, _PRICE_FIELDS), "prices")


def newest_version(store: Store) -> int:
    """Changes whenever somebody sets a price."""
    return int(store.read("SELECT max(version) AS v FROM user_prices").column("v")[0].as_py() or 0)


def read_traffic(store: Store, project: str, since: datetime) -> list[Traffic]:
    """How the project's calls since a time were priced: by model, and by name for tools and retrievals."""
    groups = "kind, step, provider, model, cost_status, cost_source, price_version, unpriced_reason"
    sql = (
        f"SELECT {groups.replace('step', _STEP)}, count() AS n, {_TOKENS} AS tokens, max(start_time) AS last FROM calls FINAL "
        "WHERE project = {project:String} AND start_time >= {since:DateTime64(6, 'UTC')} "
        f"GROUP BY {groups} ORDER BY n DESC LIMIT 10000"
    )
    parameters = {"project": project, "since": since.strftime("%Y-%m-%d %H:%M:%S.%f")}
    return [Traffic(*row.values()) for row in rows_of(store.read(sql, parameters))]


def _versions(store: Store, condition: str, parameters: dict[str, Any]) -> Iterator[tuple[str, PriceVersion]]:
    names = ", ".join(name for name, _ in _PRICE_FIELDS)
    sql = f"SELECT {names} FROM user_prices {condition}ORDER BY version, project, price_id"
    for project, _, body, is_deleted, changed_at, _ in rows_from(store.read(sql, parameters), _PRICE_FIELDS, tuple):
        yield project, PriceVersion(parse_price(orjson.loads(body), changed_at), bool(is_deleted), changed_at)
