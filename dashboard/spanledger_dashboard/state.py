"""What the reader looks at: filters, their URL parameters and the Queries they become.

The URL is the state: a link shows its receiver the same filters. Relative ranges stay relative in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any, Final
from zoneinfo import ZoneInfo

from spanledger_dashboard.untrusted import NOT_SET
from spanledger_schema.dimensions import DIMENSIONS, TAG_DIMENSION_PREFIX
from spanledger_schema.query import Filter, Query
from spanledger_schema.semconv import DEFAULT_PROJECT

CUSTOM: Final = "custom"
RANGES: Final[dict[str, timedelta]] = {
    "1h": timedelta(hours=1),
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
    "90d": timedelta(days=90),
}
RANGE_LABELS: Final = {
    "1h": "Last hour",
    "24h": "Last 24 h",
    "7d": "Last 7 d",
    "30d": "Last 30 d",
    "90d": "Last 90 d",
    CUSTOM: "Custom",
}
RANGE_DEFAULT: Final = "24h"
CHOICES: Final[dict[str, str]] = {
    "env": "environment",
    "app": "app",
    "feature": "feature",
    "model": "model",
    "release": "release",
    "user": "user",
    "session": "session",
}
"""URL parameter -> dimension of the catalogue. The value `not set` stands for null."""
TAG: Final = "tag"
"""URL parameter of tags. Its values are `key=value`: values of one key are alternatives, different keys must all match."""
PARAMS: Final = (*CHOICES, TAG)
TYPED: Final = ("user", "session")
"""Parameters that hold one value and are typed in."""
COMPARE: Final = {
    "previous period": "the stretch of equal length right before",
    "same weekdays before": "the same hours of the same weekdays, as many whole weeks earlier as the range is long",
    "a year before": "52 weeks earlier, so that weekdays match",
    "nothing": "no comparison",
}
"""What the present can be compared with, and what that means."""
COMPARE_DEFAULT: Final = "previous period"
COMPARE_NONE: Final = "nothing"
_DAY: Final = timedelta(days=1)
_WEEK: Final = timedelta(days=7)
_YEAR_WEEKS: Final = 52
_STEPS: Final = (
    (timedelta(hours=3), "minute"),
    (timedelta(days=3), "hour"),
    (timedelta(days=120), "day"),
    (timedelta(days=800), "week"),
)
_BUCKETS: Final = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=32),
}
_SHORT: Final = 14
_YEARS: Final = range(1970, 2200)
_CLOCK_TICK: Final = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters of every page. `start` and `end` count with the range `custom` only.

    `choices` holds parameter -> values, `compare` is a key of `COMPARE`.
    """

    range: str = RANGE_DEFAULT
    start: datetime | None = None
    end: datetime | None = None
    project: str = DEFAULT_PROJECT
    timezone: str = ""
    compare: str = COMPARE_DEFAULT
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def zone(self, readers: str | None) -> str:
        """The time zone to show: the one chosen, else the reader's own if it is known, else UTC."""
        return self.timezone or (readers if readers and _is_zone(readers) else "UTC")


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time [start, end), what it is compared with, and the bucket that suits its charts."""

    start: datetime
    end: datetime
    granularity: str
    zone: str
    label: str
    current: bool
    compare: str = COMPARE_DEFAULT

    @property
    def previous(self) -> "Window":
        """The stretch that this one is compared with; where nothing is compared, the one right before."""
        if not (weeks := self._weeks_back):
            return replace(self, start=self.start - (self.end - self.start), end=self.start, current=False)
        start, end = (_weeks_earlier(moment, weeks, self.zone) for moment in (self.start, self.end))
        return replace(self, start=start, end=end, current=False)

    @property
    def _weeks_back(self) -> int:
        # A week begins on a whole bucket and is somewhat longer than seven days: so much may belong to both.
        length = self.end - self.start - _DAY
        if self.compare == "a year before":
            return _YEAR_WEEKS * max(1, ceil(length / (_YEAR_WEEKS * _WEEK)))
        return max(1, ceil(length / _WEEK)) if self.compare == "same weekdays before" else 0

    @property
    def versus(self) -> str:
        """The same in the few letters that fit beside a key figure."""
        return self.baseline if len(self.baseline) <= _SHORT else "vs before"

    @property
    def baseline(self) -> str:
        """What a change is compared with, in words."""
        if self.compare == COMPARE_NONE:
            return "vs nothing"
        if weeks := self._weeks_back:
            return f"vs {weeks} wk ago"
        return f"vs prior {self.label.removeprefix('Last ')}" if self.label.startswith("Last ") else "vs the time before"


def _weeks_earlier(moment: datetime, weeks: int, zone: str) -> datetime:
    """The same time by the wall clock, whatever the clock change between."""
    return (moment.astimezone(ZoneInfo(zone)) - weeks * _WEEK).astimezone(UTC)


def tag_pair(text: str) -> tuple[str, str] | None:
    """The key and the value of a tag as the URL writes it, `key=value`; None for text that is no tag."""
    key, _, value = text.partition("=")
    return (key, value) if key and value else None


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


def _first(values: Sequence[str] | None) -> str:
    return values[0] if values else ""


def _moment(text: str) -> datetime | None:
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return None
    try:
        moment = parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except OverflowError:
        return None
    return moment.replace(second=0, microsecond=0) if moment.year in _YEARS else None


def from_params(params: Mapping[str, Sequence[str]]) -> Filters:
    """Read URL parameters; what makes no sense falls back to its default, it never fails."""
    chosen = _first(params.get("range"))
    start, end = _moment(_first(params.get("from"))), _moment(_first(params.get("to")))
    if chosen not in RANGE_LABELS or (chosen == CUSTOM and (start is None or end is None or end <= start)):
        chosen = RANGE_DEFAULT
    zone = _first(params.get("tz"))
    choices = {name: tuple(dict.fromkeys(filter(None, params.get(name, ())))) for name in PARAMS}
    choices[TAG] = tuple(text for text in choices[TAG] if tag_pair(text))
    compare = _first(params.get("cmp"))
    project = _first(params.get("project"))
    return Filters(
        range=chosen,
        start=start if chosen == CUSTOM else None,
        end=end if chosen == CUSTOM else None,
        project=project if project and project.isascii() and project.isprintable() else DEFAULT_PROJECT,
        timezone=zone if zone and _is_zone(zone) else "",
        compare=compare if compare in COMPARE else COMPARE_DEFAULT,
        choices={name: values for name, values in choices.items() if values},
    )


def to_params(filters: Filters) -> dict[str, list[str]]:
    """The URL parameters of `filters`; defaults are left out. `from_params` reads them back."""
    params: dict[str, list[str]] = {}
    if filters.range != RANGE_DEFAULT:
        params["range"] = [filters.range]
    if filters.start is not None and filters.end is not None:
        params["from"], params["to"] = [_minute(filters.start)], [_minute(filters.end)]
    if filters.project != DEFAULT_PROJECT:
        params["project"] = [filters.project]
    if filters.timezone:
        params["tz"] = [filters.timezone]
    if filters.compare != COMPARE_DEFAULT:
        params["cmp"] = [filters.compare]
    return params | {name: list(values) for name, values in filters.choices.items() if values}


def _minute(moment: datetime) -> str:
    # The form that the widget writes into the URL and reads from it.
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="minutes")


def iso(moment: datetime) -> str:
    """ISO 8601 in UTC with Z."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def narrowed(filters: Filters, dimension: str, value: str | None) -> Filters:
    """`filters` with the values of one dimension or tag replaced by `value`; None means "not set".

    Raises:
        KeyError: for a dimension that is no filter of the bar.
    """
    if dimension.startswith(TAG_DIMENSION_PREFIX):
        key = dimension.removeprefix(TAG_DIMENSION_PREFIX)
        others = [text for text in filters.choices.get(TAG, ()) if not text.startswith(f"{key}=")]
        return replace(filters, choices={**filters.choices, TAG: (*others, f"{key}={value or NOT_SET}")})
    name = next((param for param, dim in CHOICES.items() if dim == dimension), None)
    if name is None:
        raise KeyError(dimension)
    return replace(filters, choices={**filters.choices, name: (value or NOT_SET,)})


def _ceil(moment: datetime, step: timedelta) -> datetime:
    return moment + (datetime(1970, 1, 1, tzinfo=UTC) - moment) % step


def bucket_start(moment: datetime, granularity: str, zone: str) -> datetime:
    """The start of the bucket that holds `moment`, in UTC; buckets begin where `zone` says."""
    local = moment.astimezone(ZoneInfo(zone)).replace(second=0, microsecond=0)
    if granularity != "minute":
        local = local.replace(minute=0)
    if granularity in ("day", "week", "month"):
        local = local.replace(hour=0)
    if granularity == "week":
        local -= timedelta(days=local.weekday())
    if granularity == "month":
        local = local.replace(day=1)
    return local.astimezone(UTC)


def bucket_end(start: datetime, granularity: str, zone: str) -> datetime:
    """Where the bucket that begins at `start` ends."""
    inside = start + _BUCKETS[granularity] * 1.2 if granularity in ("day", "week") else start + _BUCKETS[granularity]
    return bucket_start(inside, granularity, zone)


def month_to_date(now: datetime) -> tuple[datetime, datetime]:
    """The calendar month so far, in UTC as bills count."""
    end = _ceil(now, _CLOCK_TICK)
    return now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0), end


def window(filters: Filters, now: datetime, zone: str) -> Window:
    """The time that `filters` mean at `now`. A relative range begins on a whole bucket and ends with the present."""
    if filters.range == CUSTOM and filters.start is not None and filters.end is not None:
        start, end, label = filters.start, filters.end, RANGE_LABELS[CUSTOM]
        return Window(start, end, _granularity(end - start), zone, label, start <= now < end, filters.compare)
    end = _ceil(now, _CLOCK_TICK)
    length = RANGES[filters.range]
    granularity = _granularity(length)
    start, label = bucket_start(end - length, granularity, zone), RANGE_LABELS[filters.range]
    return Window(start, end, granularity, zone, label, True, filters.compare)


def since(within: Window, began: datetime | None) -> Window:
    """The window from when there is data, in buckets that suit so short a time; unchanged where data covers it.

    A day in hours shows nothing of an application that was instrumented ten minutes ago.
    """
    if began is None or not within.start < began < within.end or not within.current:
        return within
    granularity = _granularity(within.end - began)
    return replace(within, start=bucket_start(began, granularity, within.zone), granularity=granularity)


def _granularity(length: timedelta) -> str:
    return next((name for most, name in _STEPS if length <= most), "month")


def query_filters(filters: Filters) -> tuple[Filter, ...]:
    """The filters as the Query states them; `not set` becomes null."""
    chosen = {CHOICES[name]: values for name, values in filters.choices.items() if values and name != TAG}
    chosen |= {f"{TAG_DIMENSION_PREFIX}{key}": values for key, values in tags(filters).items()}
    return tuple(
        Filter(dimension, "in", tuple(None if value == NOT_SET else value for value in values))
        for dimension, values in chosen.items()
    )


def tags(filters: Filters) -> dict[str, tuple[str, ...]]:
    """The chosen tags: key -> its alternatives."""
    found: dict[str, tuple[str, ...]] = {}
    for pair in map(tag_pair, filters.choices.get(TAG, ())):
        if pair is not None:
            found[pair[0]] = (*found.get(pair[0], ()), pair[1])
    return found


def title(param: str) -> str:
    """What the parameter of a filter is called."""
    return "Tag" if param == TAG else DIMENSIONS[CHOICES[param]].label


def ask(
    filters: Filters,
    within: Window,
    measures: Sequence[str],
    by: Sequence[str] = (),
    *,
    over_time: bool = False,
    where: Sequence[Filter] = (),
    order: Sequence[str] = (),
    limit: int = 10_000,
) -> Query:
    """The Query for `measures` over `within` under the filters of the page, by dimensions or over time or both."""
    return Query(
        measures=tuple(measures),
        dimensions=tuple(by),
        granularity=within.granularity if over_time else None,
        filters=(*query_filters(filters), *where),
        start=within.start,
        end=within.end,
        timezone=within.zone,
        order_by=("time",) if over_time and not order else tuple(order),
        limit=limit,
    )


def can_narrow(dimension: str) -> bool:
    """Whether the bar can filter by a dimension."""
    return dimension in CHOICES.values() or dimension.startswith(TAG_DIMENSION_PREFIX)


def question(filters: Filters, within: Window) -> dict[str, Any]:
    """Filters, range and zone as the questions about costs take them."""
    asked = ask(filters, within, ["cost_usd"]).to_dict()
    return {name: asked[name] for name in ("filters", "start", "end", "timezone")}


def interaction_params(filters: Filters, within: Window) -> dict[str, Any]:
    """The same filters as parameters of `GET /api/v1/interactions`."""
    params: dict[str, Any] = {"start": iso(within.start), "end": iso(within.end)}
    for name, values in filters.choices.items():
        if not values or name == TAG:
            continue
        dimension = CHOICES[name]
        sent = ["" if value == NOT_SET else value for value in values]
        params[dimension] = sent[0] if name in TYPED else sent
    if chosen := tags(filters):
        params[TAG] = [f"{key}={'' if value == NOT_SET else value}" for key, values in chosen.items() for value in values]
    return params
