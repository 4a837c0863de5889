"""How sure a rate is: Wilson's interval, and whether two rates differ by more than chance would."""

from dataclasses import dataclass
from math import sqrt
from typing import Final

from spanledger_schema import intervals

Z_MATERIAL: Final = 2.5758293035489004
"""Two-sided 1 %: a change of a rate is coloured when chance alone would show it once in a hundred looks."""
Z_ATTENTION: Final = 3.2905267314918945
"""Two-sided 0.1 %: what is raised to the attention of everybody who opens the overview."""
TOO_FEW: Final = 30
"""Below this many samples a rate is drawn grey and judged by nobody."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of `hits` among `n` with its 95 % Wilson interval."""

    hits: int
    n: int
    value: float
    low: float
    high: float

    @property
    def too_few(self) -> bool:
        """Whether there are too few samples to judge."""
        return self.n < TOO_FEW


def wilson(hits: int, n: int) -> Rate | None:
    """The rate of `hits` among `n`; None without samples.

    Raises:
        ValueError: when hits are not between 0 and n.
    """
    if n == 0:
        return None
    if not 0 <= hits <= n:
        raise ValueError(f"{hits} hits among {n}")
    low, high = intervals.wilson(hits, n)
    # Nothing of n is exactly nothing; rounding would leave a trace of a bound.
    return Rate(hits, n, hits / n, 0.0 if hits == 0 else low, 1.0 if hits == n else high)


def difference_z(hits: int, n: int, hits_before: int, n_before: int) -> float:
    """The pooled two-proportion z of a rise; 0 where a side has no or too few samples to judge."""
    if n < TOO_FEW or n_before < TOO_FEW:
        return 0.0
    pooled = (hits + hits_before) / (n + n_before)
    spread = sqrt(pooled * (1 - pooled) * (1 / n + 1 / n_before))
    return 0.0 if spread == 0 else (hits / n - hits_before / n_before) / spread
