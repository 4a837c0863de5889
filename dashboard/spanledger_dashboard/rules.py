"""Alert rules as a form and as a sentence: pure conversions, no widgets."""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from spanledger_dashboard import format as fmt
from spanledger_dashboard.untrusted import shorten
from spanledger_schema.catalogue import MEASURES
from spanledger_schema.dimensions import DIMENSIONS
from spanledger_schema.units import Unit

COMPARISONS: Final = {">": "above", ">=": "at or above", "<": "below", "<=": "at or below"}
WINDOWS: Final = ("5m", "15m", "1h", "6h", "1d", "7d")
SEVERITIES: Final = ("info", "warning", "critical")
NO_DATA: Final = {"ok": "counts as fine", "keep": "keeps the last state"}
BLANK: Final[dict[str, Any]] = {
    "name": "",
    "measure": "cost_usd",
    "filters": [],
    "group_by": [],
    "window": "1h",
    "comparison": ">",
    "threshold": "",
    "min_interactions": 0,
    "for_windows": 1,
    "no_data": "ok",
    "severity": "warning",
    "enabled": True,
    "webhooks": [],
    "emails": [],
}
FIELDS: Final = tuple(BLANK)
_WINDOW: Final = re.compile(r"([1-9]\d{0,4})([mhd])")
_UNITS: Final = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
_LOOK_BACK: Final = ((timedelta(minutes=30), timedelta(days=2)), (timedelta(hours=12), timedelta(days=14)))
_LOOK_BACK_MOST: Final = timedelta(days=60)


def window_length(text: str) -> timedelta | None:
    """The length of a window such as 15m, 1h or 7d; None when it is none."""
    found = _WINDOW.fullmatch(text.strip())
    return int(found[1]) * _UNITS[found[2]] if found else None


def look_back(window: timedelta) -> timedelta:
    """Over how much of the past a rule with this window is tried out."""
    return next((past for most, past in _LOOK_BACK if window <= most), _LOOK_BACK_MOST)


def parse_threshold(text: str, unit: Unit) -> Decimal | None:
    """The threshold that a reader typed, ratios in percent; None when it is no number."""
    cleaned = text.strip().lstrip("$").rstrip("%").replace(",", "").strip()
    try:
        value = Decimal(cleaned)
    except InvalidOperation:
        return None
    if not value.is_finite():
        return None
    return value / 100 if unit is Unit.RATIO else value


def show_threshold(value: Any, unit: Unit) -> str:
    """A stored threshold as a reader edits it, ratios in percent."""
    try:
        exact = Decimal(str(value))
    except InvalidOperation:
        return ""
    exact = exact * 100 if unit is Unit.RATIO else exact
    return f"{exact.normalize():f}"


def lines(text: str) -> list[str]:
    """The lines of a text area that are not blank, each once."""
    return list(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))


def problems(rule: Mapping[str, Any]) -> list[str]:
    """What keeps a rule from being tried out or saved, for the person who fills in the form."""
    found = []
    if not str(rule["name"]).strip():
        found.append("Give the rule a name.")
    if rule["threshold"] == "":
        found.append("The threshold is a number, such as 25 or 0.5.")
    if window_length(rule["window"]) is None:
        found.append("The window is a number with m, h or d, such as 15m, 1h or 7d.")
    found += [f"Choose a value for {DIMENSIONS[f['dimension']].label.lower()}." for f in rule["filters"] if not f["values"]]
    return found


def sentence(rule: Mapping[str, Any]) -> str:
    """The rule in words. Plain text: names and values in it come from outside."""
    measure = MEASURES.get(rule["measure"])
    if measure is None:
        return f"{rule['measure']} {rule['comparison']} {rule['threshold']} over {rule['window']}"
    threshold = parse_threshold(str(rule["threshold"]), Unit.COUNT)
    said = fmt.measure(measure.name, threshold) if threshold is not None else "…"
    text = f"{measure.label} is {COMPARISONS.get(rule['comparison'], rule['comparison'])} {said} over {rule['window']}"
    if int(rule["for_windows"]) > 1:
        text += f", {rule['for_windows']} windows in a row"
    if rule["filters"]:
        text += f", where {' and '.join(_condition(f) for f in rule['filters'])}"
    if rule["group_by"]:
        text += f", for each {', '.join(_dimension(name).lower() for name in rule['group_by'])}"
    if rule["min_interactions"]:
        text += f", with at least {fmt.plural(int(rule['min_interactions']), 'interaction')}"
    return text


def _dimension(name: str) -> str:
    return DIMENSIONS[name].label if name in DIMENSIONS else name


def _condition(condition: Mapping[str, Any]) -> str:
    words = {"in": "is", "not_in": "is not", "contains": "contains", "starts_with": "starts with"}
    values: Sequence[str | None] = condition["values"]
    said = " or ".join(shorten(value, 30) for value in values) or "…"
    return f"{_dimension(condition['dimension']).lower()} {words.get(condition['op'], condition['op'])} {said}"
