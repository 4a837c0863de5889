from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanledger_dashboard.rules import BLANK, lines, look_back, parse_threshold, problems, sentence, show_threshold, window_length
from spanledger_schema.units import Unit


def test_a_rule_reads_as_a_sentence():
    rule = BLANK | {
        "measure": "failure_rate", "threshold": "0.06", "window": "1h", "for_windows": 2, "min_interactions": 30,
        "filters": [{"dimension": "feature", "op": "in", "values": ["search", None]}], "group_by": ["model"],
    }  # fmt: skip
    assert sentence(rule) == (
        "Failure rate is above 6.0% over 1h, 2 windows in a row, where feature is search or not set, for each model, "
        "with at least 30 interactions"
    )


@given(st.decimals("-1000", "1000000", places=4), st.sampled_from(list(Unit)))
def test_a_threshold_survives_being_edited(value, unit):
    assert parse_threshold(show_threshold(f"{value:f}", unit), unit) == value


@pytest.mark.parametrize(
    ("typed", "unit", "value"),
    [("6", Unit.RATIO, Decimal("0.06")), ("6 %", Unit.RATIO, Decimal("0.06")), ("$1,250.50", Unit.USD, Decimal("1250.50"))],
)
def test_thresholds_are_read_as_people_write_them(typed, unit, value):
    assert parse_threshold(typed, unit) == value


@pytest.mark.parametrize("typed", ["", "many", "NaN", "Infinity", "1 2"])
def test_what_is_no_number_is_no_threshold(typed):
    assert parse_threshold(typed, Unit.USD) is None


def test_windows():
    assert window_length("15m") == timedelta(minutes=15)
    assert [window_length(text) for text in ("0h", "1w", "h", "", "1.5h")] == [None] * 5
    assert look_back(timedelta(hours=1)) == timedelta(days=14)


def test_an_unfinished_rule_says_what_is_missing():
    found = problems(BLANK | {"window": "soon", "filters": [{"dimension": "feature", "op": "in", "values": []}]})
    assert len(found) == 4
    assert not problems(BLANK | {"name": "Spend", "threshold": "5"})


def test_blank_and_repeated_lines_are_left_out():
    assert lines(" a \n\nb\na\n") == ["a", "b"]
