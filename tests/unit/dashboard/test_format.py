# ruff: noqa: E501 - tables of cases
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanledger_dashboard import format as fmt
from spanledger_schema.units import Unit


@pytest.mark.parametrize(
    ("amount", "written"),
    [
        (None, "–"),
        (0, "$0"),
        (Decimal("0E-12"), "$0"),
        (Decimal("19900"), "$19,900"),
        (Decimal("99.999"), "$100"),
        (Decimal("12.345"), "$12.34"),
        (Decimal("0.996"), "$1.00"),
        (Decimal("0.0132"), "$0.013"),
        (Decimal("0.000000000001"), "$0.0000000000010"),
        (Decimal("-0.5"), "-$0.50"),
    ],
)
def test_money_has_as_many_digits_as_its_size_needs(amount, written):
    assert fmt.money(amount) == written


def test_compact_money_for_key_figures():
    assert fmt.money(Decimal("19912"), compact=True) == "$19.9k"
    assert fmt.money(Decimal("1990000"), compact=True) == "$2.0M"
    assert fmt.money(Decimal("9240"), compact=True) == "$9,240"
    assert fmt.money(Decimal("0.0000036"), compact=True) == "< $0.0001"


def test_a_tiny_cost_of_one_interaction_is_given_for_a_thousand():
    assert fmt.money_each(Decimal("0.00042")) == "$0.42 / 1k"
    assert fmt.measure("cost_p50_usd", 0.00042) == "$0.42 / 1k"
    assert fmt.measure("cost_usd", Decimal("0.00042")) == "$0.00042"


@given(st.lists(st.none() | st.decimals("0", "10000000", places=12), max_size=12))
def test_a_column_of_money_sorts_as_text_like_its_amounts(amounts):
    written = fmt.money_column(amounts)
    assert [None if text is None else text.strip("\u2007") for text in written] == [
        None if a is None else fmt.money(a) for a in amounts
    ]
    known = [(amount, text.replace("\u2007", " ")) for amount, text in zip(amounts, written, strict=True) if text is not None]
    known.sort(key=lambda pair: pair[0])
    texts = [text for _, text in known]
    # Amounts that differ are in order; amounts that are written alike are alike.
    assert texts == sorted(texts)


def test_amounts_that_differ_widely_have_the_digits_of_their_own_size():
    assert fmt.money_column([Decimal("1234.5"), Decimal("12.345"), Decimal("0.00000042"), None]) == ["$1,234", "\u2007\u2007\u2007$12.34", "\u2007\u2007\u2007\u2007$0.00000042", None]  # fmt: skip


@given(st.decimals("0.000000000001", "1000000", places=12))
def test_money_that_is_not_zero_is_never_written_as_zero(amount):
    assert any(digit in fmt.money(amount) for digit in "123456789")


@pytest.mark.parametrize(
    ("share", "written"),
    [
        (None, "–"),
        (0, "0%"),
        (1, "100%"),
        (0.0001, "<0.1%"),
        (0.048, "4.8%"),
        (0.87, "87%"),
        (0.9999, ">99.9%"),
        (0.995, "99.5%"),
    ],
)
def test_a_rate_is_neither_0_nor_100_percent_unless_it_is(share, written):
    assert fmt.percent(share) == written


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(None, "–"), (0, "0 s"), (0.0004, "0.4 ms"), (0.42, "420 ms"), (6.42, "6.4 s"), (59.97, "1 min"), (125, "2 min 5 s"), (3720, "1 h 2 min"), (90000, "1 d 1 h")],
)  # fmt: skip
def test_durations_use_the_largest_fitting_unit(seconds, written):
    assert fmt.duration(seconds) == written


def test_changes_are_points_for_ratios_and_percent_for_amounts():
    assert fmt.change(Unit.RATIO, 0.058, 0.049) == "+0.9 pp"
    assert fmt.change(Unit.PROBABILITY, 0.81, 0.84) == "-0.03"
    assert fmt.change(Unit.PROBABILITY, 0.811, 0.812) == "0.00"
    assert fmt.change(Unit.USD, Decimal("114.2"), Decimal("100")) == "+14%"


def test_a_change_from_nothing_or_from_unknown_has_no_percentage():
    assert fmt.change(Unit.USD, Decimal(5), Decimal(0)) is None
    assert fmt.change(Unit.USD, Decimal(5), None) is None
    assert fmt.change(Unit.COUNT, 0, 0) == "0%"


def test_words_around_numbers():
    assert fmt.plural(1, "webhook") == "1 webhook"
    assert fmt.plural(1200, "interaction") == "1,200 interactions"
    assert fmt.listing(["a", "b", "c", "d"], 2) == "a, b and 2 more"
    assert fmt.ago(timedelta(minutes=14)) == "14 min ago"


def test_an_interval_is_written_like_the_rate_it_belongs_to():
    assert (fmt.interval(0.044, 0.048), fmt.measure("failure_rate", 0.046)) == ("4.4–4.8%", "4.6%")
