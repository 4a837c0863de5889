# ruff: noqa: E501 - tables of cases
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanledger_dashboard import shape
from spanledger_dashboard.intervals import difference_z, wilson
from spanledger_dashboard.state import Window

START = datetime(2026, 11, 1, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(days=4), "day", "UTC", "Last 4 d", current=False)
RUNNING = Window(START, START + timedelta(days=3, hours=5), "day", "UTC", "Last 3 d", current=True)
MONEY = pl.Decimal(38, 12)


def frame(rows, dimension="model"):
    return pl.DataFrame(rows, schema={"time": pl.Datetime("ms", "UTC"), dimension: pl.String, "cost_usd": MONEY}, orient="row")


def test_the_seventh_series_is_other_and_no_cent_is_lost():
    rows = [(START + timedelta(days=day), f"m{i}", Decimal(i + 1) / 10) for i in range(9) for day in range(4)]
    series = shape.stacked(frame(rows), "model", "cost_usd", WINDOW)
    assert list(series) == ["m8", "m7", "m6", "m5", "m4", "m3", shape.OTHER]
    assert [value for _, value in series[shape.OTHER]] == [Decimal("0.6")] * 4
    assert sum(v for points in series.values() for _, v in points) == sum(row[2] for row in rows)


def test_a_bucket_without_rows_is_zero_for_sums_and_unknown_for_rates():
    found = pl.DataFrame({"time": [START], "cost_usd": [Decimal(1)], "failure_rate": [0.5]}).with_columns(
        pl.col("time").dt.cast_time_unit("ns")
    )
    assert [v for _, v in shape.over_time(found, "cost_usd", WINDOW)] == [Decimal(1), 0, 0, 0]
    assert [v for _, v in shape.over_time(found, "failure_rate", WINDOW)] == [0.5, None, None, None]


def test_measures_whose_groups_overlap_are_never_added_up():
    with pytest.raises(ValueError, match="has no sum"):
        shape.stacked(frame([]), "model", "failure_rate", WINDOW)
    with pytest.raises(ValueError, match="has no sum"):
        shape.changes(frame([]), frame([]), ["model"], "cost_p95_usd")


def test_what_changed_is_exact_and_knows_new_and_gone_groups():
    now = pl.DataFrame({"feature": ["a", "new", None], "cost_usd": [Decimal("0.3"), Decimal("0.1"), None]})
    before = pl.DataFrame({"feature": ["a", "gone", None], "cost_usd": [Decimal("0.1"), Decimal("0.05"), Decimal("0.02")]})
    found = {c.label: c.difference for c in shape.changes(now, before, ["feature"], "cost_usd")}
    assert found == {"a": Decimal("0.2"), "new": Decimal("0.1"), "gone": Decimal("-0.05"), "not set": Decimal("-0.02")}


amounts = st.dictionaries(st.sampled_from(["a", "b", "c", "d", "e"]), st.decimals(0, 1000, places=6), max_size=5)


@given(amounts, amounts)
def test_the_differences_add_up_to_the_difference_of_the_totals(now, before):
    def side(found):
        return pl.DataFrame(
            {"model": list(found), "cost_usd": list(found.values())}, schema={"model": pl.String, "cost_usd": MONEY}
        )

    found = shape.changes(side(now), side(before), ["model"], "cost_usd")
    assert sum((c.difference for c in found), Decimal(0)) == sum(now.values(), Decimal(0)) - sum(before.values(), Decimal(0))


def test_the_running_bucket_is_veiled_and_left_out_of_small_charts():
    last = START + timedelta(days=3)
    assert shape.running(RUNNING) == (START + timedelta(days=2), last)
    assert shape.running(RUNNING, bars=True) == (last - timedelta(hours=12), last + timedelta(hours=12))
    assert shape.running(WINDOW) is None
    points = [(START + timedelta(days=d), 1.0 + d) for d in range(4)]
    assert shape.sparkline(points, RUNNING) == [1.0, 2.0, 3.0]


def test_two_values_make_no_line():
    assert shape.sparkline([(START, 1.0), (START + timedelta(days=1), 2.0)], WINDOW) == []


def test_positive_judgements_are_whole_again():
    found = shape.positives(pl.DataFrame({"feedback_positive_rate": [2 / 3, None], "feedback_judged": [3, 0]}))
    assert found["positive"].to_list() == [2, 0]


@pytest.mark.parametrize(
    ("hits", "n", "before", "n_before", "state"),
    [(5, 100, 0, 100, "New"), (30, 200, 5, 200, "Rising"), (5, 200, 30, 200, "Falling"), (5, 200, 6, 200, "Ongoing"), (9, 20, 1, 20, "Ongoing"), (5, 100, 0, 0, "Ongoing")],
)  # fmt: skip
def test_a_failure_mode_is_called_rising_only_beyond_chance(hits, n, before, n_before, state):
    assert shape.trend_state(hits, n, before, n_before) == state


def test_wilson_knows_its_textbook_values():
    rate = wilson(8, 10)
    assert (round(rate.low, 4), round(rate.high, 4)) == (0.4902, 0.9433)
    assert (wilson(10, 10).high, wilson(0, 10).low) == (1.0, 0.0)
    assert wilson(0, 0) is None
    assert rate.too_few


@given(st.integers(1, 5000), st.data())
def test_an_interval_holds_its_rate_and_stays_within_0_and_1(n, data):
    rate = wilson(data.draw(st.integers(0, n)), n)
    assert 0 <= rate.low <= rate.value <= rate.high <= 1


def test_differences_of_small_samples_are_not_judged():
    assert difference_z(10, 20, 1, 20) == 0.0
    assert difference_z(60, 200, 20, 200) > 3.29


def test_fires_are_counted_and_measured():
    found = [
        {"from": "2026-11-01T00:00:00Z", "to": "2026-11-01T01:00:00Z", "group": {}},
        {"from": "2026-11-03T00:00:00Z", "to": None, "group": {}},
    ]
    fires = shape.fires(found, START, START + timedelta(days=7))
    assert (fires.count, fires.per_week, fires.median, fires.longest) == (2, 2.0, timedelta(hours=1), timedelta(days=5))
