"""Intervals of rates: one definition for every page, answer and alert."""

import math
from typing import Final

Z_95: Final = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""


def wilson(successes: float, trials: float, z: float = Z_95) -> tuple[float, float]:
    """Wilson's score interval of a rate (Wilson 1927), which stays within [0, 1] and is usable for small samples.

    Args:
        successes: How often it happened.
        trials: Out of how many; with 0 nothing is known.
        z: Normal quantile of the level, 95 % by default.

    Returns:
        Lower and upper bound.
    """
    if trials <= 0:
        return 0.0, 1.0
    rate = successes / trials
    weight = 1 + z * z / trials
    centre = (rate + z * z / (2 * trials)) / weight
    half = z * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials)) / weight
    return max(0.0, centre - half), min(1.0, centre + half)
