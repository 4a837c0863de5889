"""Kills and crash points: what was acknowledged is counted exactly once, to the last digit (long form: `make faults`)."""

import random
import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from crashing import POINTS
from disk import Disk, is_possible
from mortal import Load, Mortal, ask, assert_ledger, replay_quarantine

SMALL_RESERVE = {"SPANLEDGER_DISK_FREE_BYTES_MIN": str(32 << 20)}
"""For disks of a few hundred MiB."""

SHORT = (
    "after the insert of spans",
    "before settled rows are written",
    "after settled rows are written",
    "between the inserts of a day",
    "after what waited is forgotten",
    "after a span went to quarantine",
    "while the schema is migrated",
)


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Mortal]:
    collector = Mortal(tmp_path / "data")
    yield collector
    collector.stop()


def survive_kills(mortal: Mortal, kills: int, senders: int = 3, seed: int = 20_261_125) -> int:
    """Kill a collector under load again and again; how many traces were acknowledged, and each is counted once."""
    mortal.start()
    load = Load(mortal.url, senders, seed)
    chance = random.Random(seed)
    for _ in range(kills):
        time.sleep(chance.uniform(0.2, 1.5))
        mortal.kill()
        mortal.start()
    traces = load.end()
    mortal.kill()
    mortal.start()
    assert len(traces) > kills
    assert sum(sender.resent for sender in load.senders) > 0
    assert_ledger(mortal.url, traces)
    return len(traces)


def survive_crash(mortal: Mortal, point: str, nth: int) -> int:
    """Let it end at a point under load, start it again, and go on; how many traces were acknowledged."""
    is_ready = mortal.start(crash=(point, nth))
    load = Load(mortal.url, 2)
    deadline = time.monotonic() + 10
    while is_ready and not mortal.has_died and time.monotonic() < deadline:
        time.sleep(0.05)
    assert mortal.has_died, f"it did not come to the point {point!r} in ten seconds"
    mortal.start()
    time.sleep(0.5)
    traces = load.end()
    assert traces
    if POINTS[point][2] == "refusal":
        replay_quarantine(mortal.url)
    assert_ledger(mortal.url, traces)
    return len(traces)


def survive_trouble(mortal: Mortal, trouble: str, seconds: float) -> int:
    """Let it work in trouble, kill it in the middle of it, start it without; how many traces were acknowledged."""
    mortal.start(crash=(trouble, 0))
    load = Load(mortal.url, 3)
    time.sleep(seconds)
    mortal.kill()
    mortal.start()
    time.sleep(0.5)
    traces = load.end()
    assert traces
    replay_quarantine(mortal.url)
    assert_ledger(mortal.url, traces)
    return len(traces)


def survive_power_cuts(disk: Disk, mortal: Mortal, cuts: int, seed: int = 20_261_125) -> int:
    """Cut the power under load again and again; how many traces were acknowledged."""
    mortal.start()
    load = Load(mortal.url, 3, seed)
    chance = random.Random(seed)
    for _ in range(cuts):
        time.sleep(chance.uniform(0.5, 2.5))
        mortal.freeze()
        disk.photograph()
        mortal.kill()
        disk.cut()
        mortal.start()
    time.sleep(0.5)
    traces = load.end()
    assert len(traces) > cuts
    assert_ledger(mortal.url, traces)
    return len(traces)


def survive_full_disk(disk: Disk, mortal: Mortal, seconds: float) -> int:
    """Let the disk fill up under load, and the collector be killed meanwhile; how many traces were acknowledged."""
    mortal.start()
    load = Load(mortal.url, 3)
    time.sleep(1.0)
    disk.fill(20 << 20)
    time.sleep(seconds)
    refused = httpx.post(f"{mortal.url}/v1/traces", content=b"{}", headers={"content-type": "application/json"})
    assert refused.status_code == 503
    assert "nearly full" in refused.json()["message"]
    assert httpx.get(f"{mortal.url}/readyz").status_code == 503
    assert ask(mortal.url, ["spans"])[0][0] > 0, "reading goes on"
    disk.free()
    time.sleep(seconds)
    disk.fill(0)
    time.sleep(seconds)
    mortal.kill()
    assert re.search("disk is (nearly )?full", mortal.try_to_start())
    mortal.kill()
    disk.free()
    mortal.start()
    time.sleep(0.5)
    traces = load.end()
    assert traces
    assert_ledger(mortal.url, traces, within_s=20)
    return len(traces)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if not is_possible(tmp_path / "probe"):
        pytest.skip("making a disk of one's own takes root and a loop device")
    made = Disk(tmp_path / "own", mib=400)
    yield made
    made.unmount()


@pytest.fixture
def on_disk(disk: Disk) -> Iterator[Mortal]:
    collector = Mortal(disk.folder / "data", **SMALL_RESERVE)
    yield collector
    collector.stop()


def test_a_power_cut_loses_and_doubles_nothing(disk: Disk, on_disk: Mortal) -> None:
    survive_power_cuts(disk, on_disk, cuts=2)


def test_a_full_disk_loses_and_doubles_nothing(disk: Disk, on_disk: Mortal) -> None:
    survive_full_disk(disk, on_disk, seconds=2.0)


@pytest.mark.parametrize("trouble", ["outage", "refusal", "slow", "leaping"])
def test_a_collector_that_is_killed_in_trouble_loses_and_doubles_nothing(mortal: Mortal, trouble: str) -> None:
    survive_trouble(mortal, trouble, seconds=4.0)


def test_a_collector_that_is_killed_again_and_again_loses_and_doubles_nothing(mortal: Mortal) -> None:
    survive_kills(mortal, kills=3)


@pytest.mark.parametrize("point", SHORT)
def test_a_collector_that_ends_at_the_worst_moment_loses_and_doubles_nothing(mortal: Mortal, point: str) -> None:
    assert point in POINTS
    survive_crash(mortal, point, nth=3)


def test_sigterm_under_load_finishes_what_it_began(mortal: Mortal) -> None:
    mortal.start()
    load = Load(mortal.url, 3)
    time.sleep(1.0)
    mortal.stop()
    mortal.start()
    time.sleep(0.5)
    assert_ledger(mortal.url, load.end())


def live_part(folder: Path) -> Path:
    """A part that no merge has replaced or made: of one that a merge has made, the sources may still be there."""
    for place in folder.glob("clickhouse/store/*/*"):
        parts = {part: tuple(map(int, part.name.split("_")[1:3])) for part in place.glob("2*_*_*_*")}
        for part, (first, last) in parts.items():
            covered = any(other != part and low <= first and last <= high for other, (low, high) in parts.items())
            if first == last and not covered:
                return part
    raise AssertionError("there is no part")


def test_a_damaged_part_is_set_aside_and_said_aloud(mortal: Mortal) -> None:
    mortal.start()
    load = Load(mortal.url, 2)
    time.sleep(1.5)
    traces = load.end()
    assert_ledger(mortal.url, traces)
    mortal.stop()
    live_part(mortal.folder).joinpath("columns.txt").write_text("")
    reason = mortal.try_to_start()
    assert "is damaged and was set aside" in reason, reason
    for _ in range(2):
        assert ask(mortal.url, ["spans"])[0][0] > 0, "what is left is there"
        sent = httpx.post(f"{mortal.url}/v1/traces", content=b"{}", headers={"content-type": "application/json"})
        assert sent.status_code == 200, "and more is taken"
        mortal.kill()
        assert "is damaged and was set aside" in mortal.try_to_start(), "until somebody accepts the loss"
    assert httpx.post(f"{mortal.url}/api/v1/store/accept-loss").status_code == 200
    assert httpx.get(f"{mortal.url}/readyz").status_code == 200
