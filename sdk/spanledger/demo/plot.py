"""When things happen in the demonstration: its days, its releases, and the incidents that a viewer can find.

Pure. Everything is placed relative to the first day, so that a later start tells the same story on.
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

DAYS: Final = 30
PER_DAY: Final = 1_100.0
SEED: Final = 7

_RELEASES: Final = ((0.0, "2.2.0", "answer-v5"), (0.27, "2.3.0", "answer-v6"), (0.5, "2.3.1", "answer-v6"))
_GROWN_FROM, _GROWN_TO = 0.7, 0.79
_DRIFT_FROM, _DRIFT_TO = 0.66, 0.9
_OUTAGE_DAY: Final = 0.83
_OUTAGE_HOURS: Final = (15.5, 21.5)
_WEEKEND: Final = 0.55


@dataclass(frozen=True, slots=True)
class Plot:
    """The frame of one story.

    Attributes:
        begin: Midnight (UTC) of the first day.
        days: Length of the history; the incidents are placed in it.
        per_day: Interactions on an average day of the history.
        seed: Another seed is another story with the same incidents.
    """

    begin: datetime
    days: int = DAYS
    per_day: float = PER_DAY
    seed: int = SEED

    def share(self, at: datetime) -> float:
        """How far into the history a time is; above 1 after its end."""
        return (at - self.begin) / timedelta(days=self.days)

    def rate(self, at: datetime) -> float:
        """Interactions per hour: a working day with a long evening, quieter week-ends, and a product that grows."""
        hour = at.hour + at.minute / 60
        day = 1 + 0.62 * math.sin((hour - 9.0) / 24 * 2 * math.pi) + 0.18 * math.sin((hour - 17.0) / 12 * 2 * math.pi)
        week = _WEEKEND if at.weekday() >= 5 else 1.18
        growth = 0.65 + 0.7 * min(1.0, max(0.0, self.share(at)))
        return self.per_day / 24 * day * week * growth

    def release(self, at: datetime) -> tuple[str, str]:
        """The application's release and the prompt of the feature `answer` in it."""
        share = self.share(at)
        if share >= _GROWN_TO:
            return "2.4.1", "answer-v8"
        if share >= _GROWN_FROM:
            return "2.4.0", "answer-v7"
        return next((release, prompt) for since, release, prompt in reversed(_RELEASES) if share >= since or since == 0.0)

    def has_grown_prompt(self, at: datetime) -> bool:
        """The cost spike: release 2.4.0 sends the whole catalogue with every question, until 2.4.1 takes it back."""
        return _GROWN_FROM <= self.share(at) < _GROWN_TO

    def outage(self) -> tuple[datetime, datetime]:
        """The failure burst: the evening on which Anthropic's models answer 429 and 529."""
        day = self.begin + timedelta(days=int(_OUTAGE_DAY * self.days))
        return day + timedelta(hours=_OUTAGE_HOURS[0]), day + timedelta(hours=_OUTAGE_HOURS[1])

    def is_out(self, provider: str, at: datetime) -> bool:
        """Whether the provider is in trouble."""
        first, last = self.outage()
        return provider == "anthropic" and first <= at < last

    def drift(self, at: datetime) -> float:
        """The slow drift of the confidence of `triage`: 0 before it begins, 1 once it has arrived."""
        return min(1.0, max(0.0, (self.share(at) - _DRIFT_FROM) / (_DRIFT_TO - _DRIFT_FROM)))


def first_day(now: datetime, days: int) -> datetime:
    """Midnight (UTC) of the first day of a history that ends now."""
    return datetime(now.year, now.month, now.day, tzinfo=UTC) - timedelta(days=days)
