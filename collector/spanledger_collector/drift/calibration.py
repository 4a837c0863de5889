"""Is a stated confidence right? Reliability in equal-mass bins with Wilson intervals, and ECE beside what chance alone gives.

ECE of a perfectly calibrated model is well above 0 on few labels, so its 95th percentile under perfect calibration (same
confidences, simulated outcomes) is given with it, and no verdict below 100 labels.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from spanledger_schema.intervals import wilson

BINS: Final = 10
BIN_N_MIN: Final = 20
N_MIN: Final = 50
_SIMULATIONS: Final = 4_000
_SEED: Final = 20_261_124

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Bin:
    """One bin of the reliability diagram: mean confidence, accuracy, and accuracy's Wilson 95 % interval."""

    n: int
    confidence: float
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Reliability of `n` labelled values. `gap` is mean confidence less accuracy, with its 95 % interval."""

    n: int
    ece: float
    ece_null_p95: float
    gap: float
    gap_low: float
    gap_high: float
    bins: list[Bin]


def calibrate(confidence: Array, outcome: Array) -> Calibration | None:
    """Reliability of confidences against outcomes (1 right, 0 wrong).

    Returns:
        None below `N_MIN` labels: too few to show.
    """
    n = len(confidence)
    if n < N_MIN:
        return None
    order = np.argsort(confidence, kind="stable")
    p, y = confidence[order], outcome[order]
    edges = _edges(p)
    bins = []
    for start, end in pairwise(edges):
        size, hits = end - start, float(y[start:end].sum())
        low, high = wilson(hits, size)
        bins.append(Bin(int(size), float(p[start:end].mean()), hits / size, low, high))
    starts = edges[:-1]
    spread = np.sqrt(np.add.reduceat(p * (1 - p), starts))
    generator = np.random.default_rng(_SEED)
    # Right answers of a bin of calibrated confidences scatter around their sum, nearly normally for 20 and more.
    null = np.abs(generator.standard_normal((_SIMULATIONS, len(spread))) * spread).sum(axis=1) / n
    gaps = p - y
    gap, half = float(gaps.mean()), 1.96 * float(gaps.std(ddof=1)) / float(np.sqrt(n))
    return Calibration(n, _ece(p, y, edges), float(np.percentile(null, 95)), gap, gap - half, gap + half, bins)


def _edges(p: Array) -> list[int]:
    """Starts of equal-mass bins of at least `BIN_N_MIN`, never between equal values, and the end."""
    n = len(p)
    bins = max(1, min(BINS, n // BIN_N_MIN))
    edges = [0]
    for index in range(1, bins):
        # All values equal to the one at the boundary stay together.
        place = int(np.searchsorted(p, p[index * n // bins], side="left"))
        if place - edges[-1] >= BIN_N_MIN and n - place >= BIN_N_MIN:
            edges.append(place)
    return [*edges, n]


def _ece(p: Array, y: Array, edges: list[int]) -> float:
    gaps = [abs(float(p[start:end].mean() - y[start:end].mean())) * (end - start) for start, end in pairwise(edges)]
    return sum(gaps) / len(p)
