"""For how long a project's data are kept: numbers thirteen months, what people and models wrote thirty days, by default."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from spanledger_collector.errors import InvalidQuestion

NUMBERS_DAYS: Final = 396
CONTENT_DAYS: Final = 30
DAYS_MAX: Final = 3_650


class Retention(NamedTuple):
    """Whole days after which numbers, and content, are deleted."""

    numbers_days: int = NUMBERS_DAYS
    content_days: int = CONTENT_DAYS


def parse_retention(raw: Mapping[str, Any], before: Retention) -> Retention:
    """Read a project's settings; what is not named stays as it was.

    Raises:
        InvalidQuestion: a field is unknown, or no number of days that makes sense.
    """
    if unknown := sorted(map(str, set(raw) - set(Retention._fields))):
        raise InvalidQuestion(f"A project has no setting {unknown[0][:60]!r}; there are: {', '.join(Retention._fields)}.")
    days = {name: raw.get(name, getattr(before, name)) for name in Retention._fields}
    for name, value in days.items():
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= DAYS_MAX:
            raise InvalidQuestion(f"{name} is a number of days from 1 to {DAYS_MAX:,}.")
    if days["content_days"] > days["numbers_days"]:
        raise InvalidQuestion("content_days is at most numbers_days: what was written cannot outlive its interaction.")
    return Retention(**days)
