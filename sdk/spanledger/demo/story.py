"""What happens in the demonstration: sessions of users, hour by hour. Pure: the same plot gives the same interactions."""

import math
import random
from collections.abc import Iterator
from datetime import datetime, timedelta

from spanledger.demo.plan import Plan
from spanledger.demo.plot import Plot
from spanledger.demo.scenes import session


def interactions(plot: Plot, start: datetime, end: datetime, *, pace: float = 1.0) -> Iterator[Plan]:
    """Everything that begins in [start, end), in order.

    Args:
        plot: The frame.
        start: First moment.
        end: First moment after it.
        pace: How many times as busy as the plot says.
    """
    hour = start.replace(minute=0, second=0, microsecond=0)
    while hour < end:
        for plan in hour_of(plot, hour, pace):
            if start <= plan.at < end:
                yield plan
        hour += timedelta(hours=1)


def hour_of(plot: Plot, hour: datetime, pace: float = 1.0) -> list[Plan]:
    """The interactions of the sessions that begin in one hour, those that fall into the hour, in order."""
    # Not for secrets: a seed per hour makes each hour the same whenever it is told.
    rng = random.Random(f"{plot.seed}/{hour:%Y-%m-%dT%H}/{pace}")  # noqa: S311
    wanted = poisson(rng, plot.rate(hour + timedelta(minutes=30)) * pace)
    found: list[Plan] = []
    while len(found) < wanted:
        begins = hour + timedelta(seconds=rng.random() * 3_600)
        found.extend(plan for plan in session(plot, rng, begins) if plan.at < hour + timedelta(hours=1))
    return sorted(found, key=lambda plan: plan.at)


def poisson(rng: random.Random, mean: float) -> int:
    """A Poisson count (a rounded normal one for large means)."""
    if mean > 50:
        return max(0, round(rng.gauss(mean, math.sqrt(mean))))
    limit, count, product = math.exp(-mean), 0, rng.random()
    while product > limit:
        count, product = count + 1, product * rng.random()
    return count
