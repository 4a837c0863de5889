"""The corrections that we ship (`corrections.toml`), read once and checked as they are read. Pure but for its own data file."""

import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import lru_cache
from importlib import resources
from typing import Any, Final, NamedTuple

from spanledger_collector.pricing.rates import Price
from spanledger_collector.pricing.user import parse_prices

SOURCE: Final = "corrections"
MODES: Final = ("batch", "flex", "priority", "fast")


class Hours(NamedTuple):
    """Prices for some hours of the week: days (Monday is 0), minutes of the day in UTC, prices by kind."""

    days: frozenset[int]
    start: int
    end: int
    prices: Mapping[str, Price]


class Correction(NamedTuple):
    """A patch of some models' prices from a time on and until another."""

    provider: str
    models: tuple[str, ...]
    since: datetime | None
    until: datetime | None
    prices: Mapping[str, Price]
    windows: tuple[Hours, ...] | None
    reason: str
    source: str
    checked_on: str

    def holds(self, at: datetime) -> bool:
        """Whether it holds at a time."""
        return (self.since is None or self.since <= at) and (self.until is None or at < self.until)


class ModeRule(NamedTuple):
    """What a way of processing changes: a factor on the kinds of tokens that are not kept, then prices of its own."""

    provider: str
    models: tuple[str, ...]
    mode: str
    factor: Decimal
    keep: frozenset[str]
    prices: Mapping[str, Price]
    reason: str
    source: str
    checked_on: str


class Corrections(NamedTuple):
    """Everything in the file, the patches by provider and model."""

    version: str
    patches: Mapping[tuple[str, str], tuple[Correction, ...]]
    modes: tuple[ModeRule, ...]

    def of(self, provider: str, *names: str) -> tuple[Correction, ...]:
        """The patches of a model under any of its names, each once."""
        found: dict[int, Correction] = {}
        for name in names:
            for patch in self.patches.get((provider, name), ()):
                found[id(patch)] = patch
        return tuple(found.values())

    def mode(self, provider: str, model: str, mode: str) -> ModeRule | None:
        """The first rule for a mode of a model."""
        for rule in self.modes:
            if rule.provider == provider and rule.mode == mode and any(fnmatchcase(model, glob) for glob in rule.models):
                return rule
        return None


NONE: Final = Corrections("", {}, ())
"""No corrections at all."""


@lru_cache(maxsize=1)
def shipped() -> Corrections:
    """The file of this release.

    Raises:
        ValueError, InvalidQuestion: the file is wrong (a test reads it).
    """
    text = (resources.files("spanledger_collector.pricing") / "corrections.toml").read_text("utf-8")
    raw = tomllib.loads(text)
    patches: dict[tuple[str, str], list[Correction]] = {}
    for entry in raw["price"]:
        patch = _correction(entry)
        for model in patch.models:
            patches.setdefault((patch.provider, model), []).append(patch)
    modes = tuple(_mode(entry) for entry in raw["mode"])
    return Corrections(str(raw["version"]), {key: tuple(found) for key, found in patches.items()}, modes)


def _correction(entry: dict[str, Any]) -> Correction:
    windows = entry.get("windows")
    return Correction(
        entry["provider"],
        tuple(entry["models"]),
        _time(entry.get("from")),
        _time(entry.get("until")),
        parse_prices(entry["prices"]),
        None if windows is None else tuple(hours for window in windows for hours in _hours(window)),
        entry["reason"],
        entry["source"],
        entry["checked_on"],
    )


def _mode(entry: dict[str, Any]) -> ModeRule:
    if entry["mode"] not in MODES:
        raise ValueError(f"{entry['mode']} is no mode")
    keep = frozenset(entry.get("keep", ()))
    return ModeRule(
        entry["provider"],
        tuple(entry["models"]),
        entry["mode"],
        Decimal(entry["factor"]),
        keep,
        parse_prices(entry.get("prices")),
        entry["reason"],
        entry["source"],
        entry["checked_on"],
    )


def _hours(window: dict[str, Any]) -> list[Hours]:
    days = frozenset(day - 1 for day in window["days"])
    found = []
    for text in window["hours"]:
        start, end = (int(part[:2]) * 60 + int(part[3:]) for part in text.split("-"))
        found.append(Hours(days, start, end, parse_prices(window["prices"])))
    return found


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)
