from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanledger_dashboard.state import (
    CHOICES,
    COMPARE,
    CUSTOM,
    PARAMS,
    RANGES,
    Filters,
    ask,
    bucket_end,
    bucket_start,
    from_params,
    interaction_params,
    narrowed,
    query_filters,
    since,
    tags,
    to_params,
    window,
)
from spanledger_dashboard.untrusted import NOT_SET
from spanledger_schema.query import Query

NOW = datetime(2026, 11, 22, 14, 3, 22, tzinfo=UTC)
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe")

moments = st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1)).map(lambda d: d.replace(second=0, microsecond=0, tzinfo=UTC))
keys = st.text(min_size=1, max_size=9).map(lambda key: key.replace("=", "-"))
pairs = st.lists(st.tuples(keys, st.text(min_size=1, max_size=9)).map("=".join), min_size=1, max_size=4, unique=True).map(tuple)
values = st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=4, unique=True).map(tuple)


@st.composite
def filters(draw):
    chosen = draw(st.sampled_from([*RANGES, CUSTOM]))
    start = draw(moments) if chosen == CUSTOM else None
    return Filters(
        range=chosen,
        start=start,
        end=start + draw(st.timedeltas(timedelta(minutes=1), timedelta(days=900)).map(_minutes)) if start else None,
        project=draw(st.sampled_from(["default", "acme", "team-b"])),
        timezone=draw(st.sampled_from(["", *ZONES])),
        compare=draw(st.sampled_from(list(COMPARE))),
        choices=draw(st.dictionaries(st.sampled_from(list(CHOICES)), values, max_size=4))
        | draw(st.dictionaries(st.just("tag"), pairs, max_size=1)),
    )


def _minutes(length):
    return max(timedelta(minutes=1), timedelta(minutes=length // timedelta(minutes=1)))


@given(filters())
def test_a_link_shows_its_receiver_the_same_filters(chosen):
    assert from_params(to_params(chosen)) == chosen


@given(
    st.dictionaries(
        st.sampled_from(["range", "from", "to", "project", "tz", "cmp", *PARAMS, "zz"]),
        st.lists(st.text(max_size=30), max_size=3),
    )
)
def test_any_url_is_read_without_failing_and_reads_the_same_ever_after(params):
    once = from_params(params)
    assert from_params(to_params(once)) == once


def test_defaults_leave_the_url_clean():
    assert to_params(Filters()) == {}


def test_nonsense_in_a_url_falls_back_to_defaults():
    params = {"range": ["yesterdayish"], "tz": ["Mars/Olympus"], "project": ["bad\nname"], "from": ["x"]}
    assert from_params(params) == Filters()
    assert from_params({"range": ["custom"], "from": ["2026-11-02T00:00"], "to": ["2026-11-01T00:00"]}) == Filters()


@given(filters(), st.sampled_from(ZONES))
def test_every_question_of_a_page_is_a_valid_query(chosen, zone):
    question = ask(chosen, window(chosen, NOW, zone), ["cost_usd"], ["model"], over_time=True)
    assert Query.from_dict(question.to_dict()) == question


def test_not_set_is_asked_as_null_and_as_an_empty_parameter():
    chosen = from_params({"feature": [NOT_SET, "search"]})
    assert query_filters(chosen)[0].values == (None, "search")
    assert interaction_params(chosen, window(chosen, NOW, "UTC"))["feature"] == ["", "search"]


def test_drilling_into_a_segment_replaces_only_that_filter():
    chosen = from_params({"feature": ["a", "b"], "model": ["m"]})
    assert narrowed(chosen, "feature", "c").choices == {"feature": ("c",), "model": ("m",)}
    assert narrowed(chosen, "feature", None).choices["feature"] == (NOT_SET,)
    with pytest.raises(KeyError):
        narrowed(chosen, "failure_mode", "timeout")


@pytest.mark.parametrize(
    ("name", "granularity"), [("1h", "minute"), ("24h", "hour"), ("7d", "day"), ("30d", "day"), ("90d", "day")]
)
def test_relative_ranges_begin_on_a_whole_bucket_and_include_the_present(name, granularity):
    within = window(Filters(range=name), NOW, "Europe/Berlin")
    assert within.granularity == granularity
    assert within.start == bucket_start(within.start, granularity, "Europe/Berlin")
    assert within.start <= NOW - RANGES[name] < NOW <= within.end


@given(filters())
def test_the_period_before_is_as_long_and_ends_where_this_one_begins(chosen):
    within = window(replace(chosen, compare="previous period"), NOW, "UTC")
    before = within.previous
    assert before.end == within.start
    assert before.end - before.start == within.end - within.start


@given(filters(), st.sampled_from(ZONES), st.sampled_from(["same weekdays before", "a year before"]))
def test_whole_weeks_earlier_is_the_same_weekday_and_the_same_time_by_the_wall_clock(chosen, zone, compare):
    within = window(replace(chosen, compare=compare), NOW, zone)
    before = within.previous
    for now, then in ((within.start, before.start), (within.end, before.end)):
        gap = now.astimezone(ZoneInfo(zone)).replace(tzinfo=None) - then.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        assert abs(gap - round(gap / timedelta(days=7)) * timedelta(days=7)) <= timedelta(hours=1)
        assert gap >= timedelta(days=7) - timedelta(hours=1)
    assert before.end - within.start <= timedelta(days=1, hours=2)


@pytest.mark.parametrize(
    ("name", "compare", "weeks", "said"),
    [
        ("24h", "same weekdays before", 1, "vs 1 wk ago"),
        ("7d", "same weekdays before", 1, "vs 1 wk ago"),
        ("30d", "same weekdays before", 5, "vs 5 wk ago"),
        ("30d", "a year before", 52, "vs 52 wk ago"),
    ],
)
def test_the_comparison_goes_back_as_many_weeks_as_the_range_is_long(name, compare, weeks, said):
    within = window(Filters(range=name, compare=compare), NOW, "UTC")
    assert within.start - within.previous.start == timedelta(weeks=weeks)
    assert within.baseline == said


def test_values_of_one_tag_are_alternatives_and_different_tags_must_all_match():
    chosen = from_params({"tag": ["tier=pro", "tier=not set", "region=a=b", "nonsense", "=x", "y="]})
    assert tags(chosen) == {"tier": ("pro", NOT_SET), "region": ("a=b",)}
    asked = [(f.dimension, f.values) for f in query_filters(chosen)]
    assert asked == [("tag:tier", ("pro", None)), ("tag:region", ("a=b",))]
    assert interaction_params(chosen, window(chosen, NOW, "UTC"))["tag"] == ["tier=pro", "tier=", "region=a=b"]


@given(
    st.datetimes(datetime(2024, 1, 1), datetime(2027, 1, 1)).map(lambda d: d.replace(tzinfo=UTC)),
    st.sampled_from(["minute", "hour", "day", "week", "month"]),
    st.sampled_from(ZONES),
)
def test_buckets_tile_the_clock_of_every_zone(moment, granularity, zone):
    start = bucket_start(moment, granularity, zone)
    end = bucket_end(start, granularity, zone)
    assert start <= moment
    assert end > start
    if granularity == "day":
        assert start.astimezone(ZoneInfo(zone)).hour == 0
        assert end.astimezone(ZoneInfo(zone)).date() == start.astimezone(ZoneInfo(zone)).date() + timedelta(days=1)


def test_days_of_a_clock_change_are_23_and_25_hours_long():
    spring = bucket_start(datetime(2026, 3, 29, 12, tzinfo=UTC), "day", "Europe/Berlin")
    autumn = bucket_start(datetime(2026, 10, 25, 12, tzinfo=UTC), "day", "Europe/Berlin")
    assert bucket_end(spring, "day", "Europe/Berlin") - spring == timedelta(hours=23)
    assert bucket_end(autumn, "day", "Europe/Berlin") - autumn == timedelta(hours=25)


def test_a_young_project_is_shown_in_minutes_and_an_old_one_as_asked():
    day = window(Filters(range="24h"), NOW, "UTC")
    young = since(day, NOW - timedelta(minutes=12))
    assert young.granularity == "minute"
    assert young.start == datetime(2026, 11, 22, 13, 51, tzinfo=UTC)
    assert young.end == day.end
    assert since(day, NOW - timedelta(days=40)) == day
    assert since(day, None) == day
