"""The multi-scale two-sample scan: one source's confidence against a frozen reference.

Values become ranks in the reference (mid-rank for ties), so that ceilings, heavy tails and few levels are harmless. Three
channels (location, spread, low tail) are compared in windows of 6 h, 1 d, 3 d and 7 d, seasonally adjusted by weekday type and
time of day, with measured over-dispersion and day effects; a fourth (shape) is a chi-square on 20 reference-quantile bins. An
alarm needs |z| >= 4.1 and an effect of 0.06 standard deviations: about 5 false alarm days in 1,000 on the benchmark of the
design study.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
import numpy.typing as npt

BLOCK_S: Final = 21_600
WINDOWS: Final = {"6h": 1, "1d": 4, "3d": 12, "7d": 28}
"""Windows in blocks."""
Z_ALARM: Final = 4.1
EFFECT_MIN: Final = 0.06
SHAPE_P: Final = 1e-5
SHAPE_PSI: Final = 0.03
N_WINDOW_MIN: Final = 25
N_SHAPE_MIN: Final = 100
N_REFERENCE_MIN: Final = 300
REFERENCE_DAYS_MIN: Final = 7
_SHAPE_BINS: Final = 20
_SHRINK: Final = 50.0

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Blocks:
    """Counts of values in bins by 6 h block.

    Attributes:
        index: Number of each block since 1970, ascending, without gaps.
        counts: One row per block, one column per bin; bins ascend in value.
    """

    index: npt.NDArray[np.int64]
    counts: Array


@dataclass(frozen=True, slots=True)
class Finding:
    """One channel in one window: z and effect in standard deviations of the reference, and whether it is an alarm."""

    channel: str
    window: str
    n: int
    z: float | None
    effect: float | None
    alarm: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """State is ok, moved, learning, too_few or no_data; `moved_since` is when the running episode began."""

    state: str
    moved_since: datetime | None
    message: str
    reference_n: int
    findings: list[Finding]
    psi: float | None
    psi_n: int


@dataclass(frozen=True, slots=True)
class _Channel:
    name: str
    values: Array
    deviation: float
    phi: float
    tau2: float
    cell_means: Array
    cell_n: Array


def judge(blocks: Blocks, reference: tuple[int, int], until: int) -> Verdict:
    """Compare what came after the reference with it.

    Args:
        blocks: Counts covering reference and what is judged.
        reference: First block of the reference and the first one after it.
        until: The first block that is not judged any more (the current one is incomplete).
    """
    in_reference = (blocks.index >= reference[0]) & (blocks.index < reference[1])
    reference_counts = blocks.counts[in_reference]
    n_reference = int(reference_counts.sum())
    if blocks.counts.sum() == 0:
        return Verdict("no_data", None, "No confidence values of this source in this period.", 0, [], None, 0)
    days = (reference[1] - reference[0]) * BLOCK_S / 86_400
    if n_reference < N_REFERENCE_MIN or days < REFERENCE_DAYS_MIN:
        words = (
            f"Learning: the reference holds {n_reference:,} values over {days:.0f} days; "
            f"{N_REFERENCE_MIN} over {REFERENCE_DAYS_MIN} days are needed to judge."
        )
        return Verdict("learning", None, words, n_reference, [], None, 0)
    ranks = _ranks(reference_counts.sum(axis=0))
    channels = [
        _profile(name, values, blocks, in_reference)
        for name, values in (
            ("location", ranks - 0.5),
            ("spread", np.abs(ranks - 0.5)),
            ("low tail", (ranks <= 0.05).astype(np.float64)),
        )
    ]
    ends = [end for end in range(reference[1] + 1, until + 1) if end <= blocks.index[-1] + 1]
    sweeps = _sweep(blocks, channels, ranks, reference_counts, reference[1], ends) if ends else []
    findings = [sweep.at(-1) for sweep in sweeps]
    since = _episode_start(sweeps, ends)
    psi, psi_n = _psi(blocks, ranks, reference_counts, reference[1], ends[-1] if ends else reference[1])
    newest = max((finding.n for finding in findings), default=0)
    if since is not None:
        return Verdict("moved", since, _moved_words(since, findings), n_reference, findings, psi, psi_n)
    if newest < N_WINDOW_MIN:
        words = f"Too few to judge: n = {newest} in the last 7 days after the reference; {N_WINDOW_MIN} are needed."
        return Verdict("too_few", None, words, n_reference, findings, psi, psi_n)
    words = f"No move found against the reference (n = {newest:,} in the longest window)."
    return Verdict("ok", None, words, n_reference, findings, psi, psi_n)


def _ranks(counts: Array) -> Array:
    """Mid-rank of each bin in the reference."""
    total = counts.sum()
    return np.asarray((np.cumsum(counts) - counts / 2) / total, dtype=np.float64)


def _cells(index: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Weekday or weekend, times 6 h of the day (UTC): 8 cells."""
    days = index // 4
    weekend = ((days + 3) % 7 >= 5).astype(np.int64)
    return weekend * 4 + index % 4


def _profile(name: str, values: Array, blocks: Blocks, in_reference: npt.NDArray[np.bool_]) -> _Channel:
    """The reference's season, variance, over-dispersion and day effect for one channel."""
    counts, index = blocks.counts[in_reference], blocks.index[in_reference]
    n, total = counts.sum(axis=1), counts @ values
    cells = _cells(index)
    overall = total.sum() / n.sum()
    cell_n = np.bincount(cells, weights=n, minlength=8)
    cell_sum = np.bincount(cells, weights=total, minlength=8)
    means = np.where(cell_n > 0, cell_sum / np.maximum(cell_n, 1), overall)
    # Cells with few values are drawn to the overall mean.
    means = overall + (means - overall) * cell_n / (cell_n + _SHRINK)
    residual = total - n * means[cells]
    square = (counts @ values**2).sum() - 2 * (means[cells] * total).sum() + (n * means[cells] ** 2).sum()
    variance = max(float(square / n.sum()), 1e-9)
    busy = n >= 2
    phi = 1.0
    if busy.sum() >= 8:
        phi = max(1.0, float(np.mean(residual[busy] ** 2 / (n[busy] * variance))))
    days, inverse = np.unique(index // 4, return_inverse=True)
    day_n, day_sum = np.bincount(inverse, weights=n), np.bincount(inverse, weights=residual)
    full = day_n >= 5
    tau2 = 0.0
    if full.sum() >= 5 and len(days) >= 5:
        means_of_days = day_sum[full] / day_n[full]
        tau2 = max(0.0, float(np.var(means_of_days, ddof=1) - phi * variance * np.mean(1 / day_n[full])))
    return _Channel(name, values, float(np.sqrt(variance)), phi, tau2, means, np.maximum(cell_n, 1.0))


@dataclass(frozen=True, slots=True)
class _Sweep:
    """One channel in one window at every moment that is judged; `z` and `effect` are NaN where there are too few values."""

    channel: str
    window: str
    n: Array
    z: Array
    effect: Array
    alarm: npt.NDArray[np.bool_]

    def at(self, index: int) -> Finding:
        """The finding at one moment."""
        z, effect = float(self.z[index]), float(self.effect[index])
        known = z == z
        return Finding(
            self.channel,
            self.window,
            int(self.n[index]),
            z if known else None,
            effect if known else None,
            bool(self.alarm[index]),
        )


def _sweep(
    blocks: Blocks, channels: Sequence[_Channel], ranks: Array, reference_counts: Array, first: int, ends: Sequence[int]
) -> list[_Sweep]:
    """Compare every window that ends at one of `ends` with the reference, by sums up to each block."""
    stops = np.asarray(ends, dtype=np.int64) - blocks.index[0]
    shapes = np.stack([_shape_bins(row, ranks) for row in np.eye(len(ranks))])
    found: list[_Sweep] = []
    for window, length in WINDOWS.items():
        starts = np.maximum(stops - length, first - blocks.index[0])
        found.extend(_compare(channel, window, blocks, starts, stops) for channel in channels)
        if length >= WINDOWS["1d"]:
            counts = _between(blocks.counts @ shapes, starts, stops)
            found.append(_shape(window, counts, _shape_bins(reference_counts.sum(axis=0), ranks), channels[0].phi))
    return found


def _between(rows: Array, starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]) -> Array:
    """Sums of rows over half-open ranges."""
    sums = np.concatenate([np.zeros((1, *rows.shape[1:])), np.cumsum(rows, axis=0)])
    return np.asarray(sums[stops] - sums[starts], dtype=np.float64)


def _compare(
    channel: _Channel, window: str, blocks: Blocks, starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]
) -> _Sweep:
    per_block = blocks.counts.sum(axis=1)
    cells = _cells(blocks.index)
    by_cell = np.zeros((len(per_block), 8))
    by_cell[np.arange(len(per_block)), cells] = per_block
    in_cells = _between(by_cell, starts, stops)
    n = in_cells.sum(axis=1)
    total = _between((blocks.counts @ channel.values) - per_block * channel.cell_means[cells], starts, stops)
    days = np.asarray(
        [
            len(np.unique(blocks.index[start:stop][per_block[start:stop] > 0] // 4))
            for start, stop in zip(starts, stops, strict=True)
        ]
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(n >= N_WINDOW_MIN, total / n, np.nan)
        shares = in_cells / n[:, None]
        weekend = shares[:, 4:].sum(axis=1)
        variance = channel.phi * channel.deviation**2 * (1 / n + (shares**2 / channel.cell_n).sum(axis=1))
        variance += channel.tau2 * (1 / np.maximum(days, 1) + weekend**2 / 4 + (1 - weekend) ** 2 / 10)
        z, effect = mean / np.sqrt(variance), mean / channel.deviation
        alarm = (np.abs(z) >= Z_ALARM) & (np.abs(effect) >= EFFECT_MIN)
    return _Sweep(channel.name, window, n, z, effect, alarm)


def _shape(window: str, counts: Array, reference: Array, phi: float) -> _Sweep:
    from scipy import special  # a third of a second to import, which the start of a collector need not pay

    kept = reference > 0
    now, before = counts[:, kept], reference[kept]
    n = now.sum(axis=1)
    expected = (before / before.sum()) * n[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        # The reference is a sample too, which widens the difference by n / n_reference.
        chi2 = ((now - expected) ** 2 / expected).sum(axis=1) / (phi * (1 + n / before.sum()))
        p_value = np.where(n >= N_SHAPE_MIN, special.chdtrc(max(1, len(before) - 1), chi2), np.nan)
        debiased = np.where(n >= N_SHAPE_MIN, [_debiased_psi(row, before) if row.sum() else 0.0 for row in now], np.nan)
        z = -special.ndtri(np.maximum(p_value, 1e-300))
        alarm = (p_value < SHAPE_P) & (debiased > SHAPE_PSI)
    return _Sweep("shape", window, n, np.asarray(z, dtype=np.float64), debiased, alarm)


def _shape_bins(counts: Array, ranks: Array) -> Array:
    places = np.minimum((ranks * _SHAPE_BINS).astype(np.int64), _SHAPE_BINS - 1)
    return np.asarray(np.bincount(places, weights=counts, minlength=_SHAPE_BINS), dtype=np.float64)


def _debiased_psi(now: Array, before: Array) -> float:
    """Population stability index less its mean under no change, which is large for small samples."""
    p, q = (now + 0.5) / (now + 0.5).sum(), (before + 0.5) / (before + 0.5).sum()
    raw = float(((p - q) * np.log(p / q)).sum())
    return max(0.0, raw - (len(now) - 1) * float(1 / now.sum() + 1 / before.sum()))


def _psi(blocks: Blocks, ranks: Array, reference: Array, first: int, end: int) -> tuple[float | None, int]:
    chosen = (blocks.index >= max(first, end - WINDOWS["7d"])) & (blocks.index < end)
    counts = blocks.counts[chosen].sum(axis=0)
    n = int(counts.sum())
    # Below 200 values the index says more about the sample than about the change.
    if n < 200:
        return None, n
    return _debiased_psi(_shape_bins(counts, ranks), _shape_bins(reference.sum(axis=0), ranks)), n


def _episode_start(sweeps: Sequence[_Sweep], ends: Sequence[int]) -> datetime | None:
    """When the running episode began: it starts with an alarm and ends when no channel is past |z| = 2 in 1 d and 3 d."""
    start: int | None = None
    for index, end in enumerate(ends):
        alarms = [WINDOWS[sweep.window] for sweep in sweeps if sweep.alarm[index]]
        if alarms:
            start = end - min(alarms) if start is None else start
        elif start is not None and not any(abs(sweep.z[index]) >= 2 for sweep in sweeps if sweep.window in ("1d", "3d")):
            start = None
    return None if start is None else datetime.fromtimestamp(start * BLOCK_S, UTC)


def _moved_words(since: datetime, findings: Sequence[Finding]) -> str:
    alarms = [finding for finding in findings if finding.alarm and finding.z is not None] or [
        finding for finding in findings if finding.z is not None
    ]
    if not alarms:
        return f"Moved since {since:%Y-%m-%d}."
    worst = max(alarms, key=lambda finding: (finding.channel != "shape", abs(finding.z or 0)))
    if worst.channel == "shape":
        words = f"its shape changed (PSI {worst.effect:.2f}"
    elif worst.channel == "location":
        words = f"{'higher' if (worst.z or 0) > 0 else 'lower'} than the reference ({worst.effect:+.2f} sd"
    else:
        words = f"its {worst.channel} {'grew' if (worst.z or 0) > 0 else 'shrank'} ({worst.effect:+.2f} sd"
    return f"Moved since {since:%Y-%m-%d}: {words}, z = {worst.z:+.1f}, {worst.window} window, n = {worst.n:,})."
