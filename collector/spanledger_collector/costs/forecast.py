"""What a month will have cost: what it has cost so far, plus simulated days. Pure; the same history gives the same forecast.

Days are resampled: each simulated day is the recent level times a weekday's factor times a residual that really occurred. The
level of a path is itself drawn from the history, so that the interval says how uncertain it is. With less than two weeks
there is no weekday pattern; with less than three days there is no forecast (`../statistics` of the study: weekday mean,
residual bootstrap of days).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt

DAYS_MIN: Final = 3
DAYS_USED: Final = 56
_WEEKLY_FROM: Final = 14
_PATHS: Final = 4_000
_HALF_LIFE_DAYS: Final = 10.0
_SEED: Final = 20_261_122
_BACKTEST_DAYS: Final = 7
_BACKTESTS_MAX: Final = 8

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Forecast:
    """Quantiles of a period's cost in USD.

    `covered` of `backtests` earlier weeks lay between P10 and P90 of the forecast that was possible before them.
    """

    p10_usd: float
    p50_usd: float
    p90_usd: float
    days_used: int
    backtests: int
    covered: int


def forecast(daily: Sequence[tuple[date, float]], today: date, today_usd: float, end: date) -> Forecast | None:
    """Forecast what the days from today up to (not including) `end` will cost, today's whole cost included.

    Args:
        daily: Cost in USD of whole days before today, in order and without gaps.
        today: The day that is under way.
        today_usd: What today has cost so far; the day cannot come out below it.
        end: The first day after the period.

    Returns:
        The forecast, or None when the history is too short to say anything.

    """
    history = list(daily)[-DAYS_USED:]
    if len(history) < DAYS_MIN:
        return None
    days = [today + timedelta(days=number) for number in range(max(0, (end - today).days))]
    paths = _simulate(history, days)
    if days:
        paths[:, 0] = np.maximum(paths[:, 0], today_usd)
    sums = paths.sum(axis=1)
    p10, p50, p90 = (float(value) for value in np.quantile(sums, (0.1, 0.5, 0.9)))
    backtests, covered = _backtest(history)
    return Forecast(p10, p50, p90, len(history), backtests, covered)


def _backtest(history: Sequence[tuple[date, float]]) -> tuple[int, int]:
    tried = covered = 0
    for number in range(1, _BACKTESTS_MAX + 1):
        cut = len(history) - number * _BACKTEST_DAYS
        if cut < _WEEKLY_FROM:
            break
        ahead = history[cut : cut + _BACKTEST_DAYS]
        sums = _simulate(history[:cut], [day for day, _ in ahead]).sum(axis=1)
        low, high = np.quantile(sums, (0.1, 0.9))
        tried += 1
        covered += bool(low <= sum(cost for _, cost in ahead) <= high)
    return tried, covered


def _simulate(history: Sequence[tuple[date, float]], days: Sequence[date]) -> Floats:
    """Paths of daily cost, one row each."""
    generator = np.random.default_rng(_SEED)
    costs = np.array([cost for _, cost in history], dtype=np.float64)
    weekdays = np.array([day.weekday() for day, _ in history])
    factors = _weekday_factors(costs, weekdays)
    plain = costs / factors[weekdays]
    ages = np.arange(len(plain) - 1, -1, -1, dtype=np.float64)
    weights = 0.5 ** (ages / _HALF_LIFE_DAYS)
    weights /= weights.sum()
    level = float((plain * weights).sum())
    if level <= 0:
        return np.zeros((_PATHS, len(days)))
    # Each path has a level of its own: the weighted mean of as many days as the weights are worth, drawn from the history.
    worth = max(2, round(1 / float((weights**2).sum())))
    levels = generator.choice(plain, size=(_PATHS, worth), p=weights).mean(axis=1)
    ratios = plain / level
    drawn = generator.choice(ratios, size=(_PATHS, len(days)), p=weights)
    ahead = np.array([factors[day.weekday()] for day in days], dtype=np.float64)
    return np.asarray(levels[:, None] * drawn * ahead[None, :], dtype=np.float64)


def _weekday_factors(costs: Floats, weekdays: npt.NDArray[np.int64]) -> Floats:
    factors = np.ones(7)
    overall = float(costs.mean())
    if len(costs) < _WEEKLY_FROM or overall <= 0:
        return factors
    for weekday in range(7):
        mine = costs[weekdays == weekday]
        if len(mine) >= 2:
            # Shrunk towards no pattern: two Mondays are little evidence.
            weight = len(mine) / (len(mine) + 2)
            factors[weekday] = max(0.05, 1 + weight * (float(np.median(mine)) / overall - 1))
    return np.asarray(factors / factors.mean(), dtype=np.float64)
