"""Drift and calibration on data whose truth is known: quiet stays quiet, shifts are found and dated, small samples say so."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanledger_collector.drift import scan
from spanledger_collector.drift.calibration import calibrate
from spanledger_schema.intervals import wilson

DAY = 4
BASE = 20_000 * DAY
REFERENCE = (BASE, BASE + 14 * DAY)


def verdict(
    seed: int,
    *,
    shift: float = 0.0,
    day: int = 25,
    days: int = 35,
    rate: float = 40,
    spread: float = 1.0,
    judged_blocks: int | None = None,
) -> scan.Verdict:
    """Beta-distributed confidences, about `rate` per 6 h, moved down by `shift` (or stretched by `spread`) from `day` on."""
    generator = np.random.default_rng(seed)
    values = []
    for block in range(days * DAY):
        drawn = generator.beta(8, 2, size=generator.poisson(rate))
        if block >= day * DAY:
            drawn = np.clip(0.8 + (drawn - 0.8) * spread - shift, 0, 1)
        values.append(drawn)
    reference = np.concatenate(values[: 14 * DAY])
    edges = np.unique(np.quantile(reference, (np.arange(60) + 0.5) / 60)) if len(reference) else np.array([0.5])
    counts = np.zeros((len(values), 2 * len(edges) + 1))
    for block, drawn in enumerate(values):
        places = np.searchsorted(edges, drawn, "left") + np.searchsorted(edges, drawn, "right")
        counts[block] = np.bincount(places, minlength=counts.shape[1])
    index = np.arange(BASE, BASE + len(values), dtype=np.int64)
    until = BASE + len(values) if judged_blocks is None else REFERENCE[1] + judged_blocks
    return scan.judge(scan.Blocks(index, counts), REFERENCE, until)


def test_quiet_series_stay_quiet() -> None:
    moved = sum(verdict(seed).state == "moved" for seed in range(80))
    assert moved <= 3, "three weeks each: at most a handful of false alarms in 1,600 days"


@pytest.mark.parametrize("seed", range(5))
def test_a_shift_is_found_and_dated(seed: int) -> None:
    found = verdict(seed, shift=0.05)
    assert found.state == "moved"
    assert found.moved_since is not None
    assert abs(found.moved_since.timestamp() / 86_400 - (20_000 + 25)) <= 2
    assert "lower than the reference" in found.message


def test_a_change_of_spread_alone_is_found() -> None:
    assert verdict(1, spread=1.8).state == "moved"


def test_small_samples_are_not_judged() -> None:
    learning = verdict(1, rate=1)
    assert (learning.state, learning.moved_since) == ("learning", None)
    assert "are needed" in learning.message
    sparse = verdict(1, days=15, rate=7, judged_blocks=2)
    assert sparse.state == "too_few"
    empty = scan.judge(scan.Blocks(np.arange(BASE, BASE + 80), np.zeros((80, 5))), REFERENCE, BASE + 80)
    assert empty.state == "no_data"


def test_what_recovers_is_not_moved_any_more() -> None:
    generator = np.random.default_rng(3)
    counts = np.zeros((60 * DAY, 3))
    for block in range(len(counts)):
        low = 0.8 if 20 * DAY <= block < 23 * DAY else 0.3
        counts[block, 0] = generator.binomial(60, low)
        counts[block, 2] = 60 - counts[block, 0]
    whole = scan.Blocks(np.arange(BASE, BASE + len(counts), dtype=np.int64), counts)
    assert scan.judge(whole, REFERENCE, BASE + 23 * DAY).state == "moved"
    assert scan.judge(whole, REFERENCE, BASE + 45 * DAY).state == "ok"


def test_calibration_tells_overconfidence_from_chance() -> None:
    generator = np.random.default_rng(5)
    stated = generator.beta(8, 2, 1_000)
    fair = calibrate(stated, (generator.random(1_000) < stated).astype(float))
    assert fair is not None
    assert fair.ece <= fair.ece_null_p95 * 1.3
    assert fair.gap_low < 0 < fair.gap_high
    bold = calibrate(stated, (generator.random(1_000) < stated * 0.8).astype(float))
    assert bold is not None
    assert bold.ece > 2 * bold.ece_null_p95
    assert bold.gap_low > 0
    assert sum(entry.n for entry in bold.bins) == bold.n == 1_000
    assert calibrate(stated[:30], stated[:30]) is None


def test_equal_confidences_stay_in_one_bin() -> None:
    stated = np.array([0.9] * 150 + [0.95] * 150)
    found = calibrate(stated, np.ones(300))
    assert found is not None
    assert [entry.n for entry in found.bins] == [150, 150]


@given(st.integers(0, 500), st.integers(0, 500))
def test_wilson_stays_inside_and_around_the_rate(hits: int, misses: int) -> None:
    low, high = wilson(hits, hits + misses)
    assert 0 <= low <= high <= 1
    if hits + misses:
        assert low <= hits / (hits + misses) + 1e-12
        assert high >= hits / (hits + misses) - 1e-12
