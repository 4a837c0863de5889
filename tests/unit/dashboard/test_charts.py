# ruff: noqa: E501 - tables of cases
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from spanledger_dashboard import shape
from spanledger_dashboard.charts import alerts, bars, confidence, rates, series
from spanledger_dashboard.charts.waterfall import ordered, waterfall
from spanledger_dashboard.intervals import wilson
from spanledger_dashboard.theme import DARK, LIGHT, colours, on_fill
from spanledger_schema.units import Unit

HOSTILE = '<img src=x onerror=alert(1)> %{customdata} ![x](http://evil.invalid/a.png) <a href="http://evil.invalid">hi</a>'
START = datetime(2026, 11, 1, tzinfo=UTC)
DAYS = [START + timedelta(days=d) for d in range(5)]


def points(*values):
    return list(zip(DAYS, values, strict=False))


def plain(figure):
    return json.loads(figure.to_json())


def test_a_stack_draws_every_series_and_writes_its_amounts_in_words():
    found = {"sonnet": points(Decimal(3), Decimal(4)), "haiku": points(Decimal(1), Decimal("0.5"))}
    figure = series.stack(found, Unit.USD, LIGHT, zone="UTC")
    assert [trace.name for trace in figure.data] == ["sonnet", "haiku"]
    assert list(figure.data[0].y) == [3.0, 4.0]
    assert list(figure.data[1].customdata) == ["$1.00", "$0.50"]
    assert all(trace.stackgroup for trace in figure.data)


def test_the_running_bucket_gets_a_veil():
    with_veil = series.stack({"a": points(Decimal(1), Decimal(2))}, Unit.USD, LIGHT, zone="UTC", partial=(DAYS[0], DAYS[1]))
    assert len(with_veil.layout.shapes) == 1
    assert not series.stack({"a": points(Decimal(1))}, Unit.USD, LIGHT, zone="UTC").layout.shapes


def test_times_are_drawn_on_the_clock_of_the_reader():
    figure = series.stack({"a": points(Decimal(1))}, Unit.USD, LIGHT, zone="America/New_York")
    assert figure.data[0].x[0] == datetime(2026, 10, 31, 20)


def test_an_unknown_value_is_a_gap_and_not_zero():
    figure = series.lines({"p95": points(0.1, None, 0.2)}, Unit.USD, LIGHT, zone="UTC")
    assert list(figure.data[0].y) == [0.1, None, 0.2]
    assert figure.data[0].customdata[1] == "–"


def test_names_keep_their_colour_when_filters_change_who_is_shown():
    everyone = ["a", "b", "c", "d"]
    assert colours(["c", "a"], LIGHT, everyone)["c"] == colours(everyone, LIGHT, everyone)["c"] == LIGHT.series[2]
    assert len(set(colours(["x", "y", "z", "u", "v", "w"], DARK).values())) == 6


def test_text_on_a_fill_is_legible():
    assert on_fill("#1F4FBF") == "#FFFFFF"
    assert on_fill("#E69500") == "#000000"


def test_what_changed_shows_exact_differences_rising_and_falling():
    found = [
        shape.Change("up", ("up",), Decimal("2.5"), Decimal(1)),
        shape.Change("down", ("down",), Decimal(0), Decimal("0.25")),
    ]
    bar = bars.changes(found, Unit.USD, LIGHT).data[0]
    assert list(bar.text) == ["+$1.50", "-$0.25"]
    assert list(bar.marker.color) == [LIGHT.accent, LIGHT.main]


def test_small_samples_look_small():
    figure = rates.dots([("big", wilson(900, 1000)), ("small", wilson(5, 6))], LIGHT)
    lines = [trace for trace in figure.data if trace.mode == "lines"]
    assert lines[1].x[1] - lines[1].x[0] > 5 * (lines[0].x[1] - lines[0].x[0])
    assert lines[1].line.color == LIGHT.other
    assert max(lines[1].x) <= 1.0


def test_bands_mark_where_confidence_moved():
    bands = [{"time": d.isoformat(), "n": 40, "p5": 0.5, "p25": 0.6, "p50": 0.7, "p75": 0.8, "p95": 0.9} for d in DAYS]
    figure = confidence.quantiles(bands, LIGHT, zone="UTC", moved_since=DAYS[2], reference=(DAYS[0], DAYS[1]))
    assert {trace.name for trace in figure.data} >= {"median", "p25–p75", "p5–p95", "moved"}
    assert len(figure.layout.shapes) == 2


def test_a_reliability_diagram_leaves_out_empty_bins():
    bins = [
        {"n": 0, "confidence": 0.1, "accuracy": 0.0, "low": 0.0, "high": 1.0},
        {"n": 20, "confidence": 0.9, "accuracy": 0.8, "low": 0.6, "high": 0.9},
    ]
    observed = confidence.reliability({"bins": bins}, LIGHT).data[1]
    assert list(observed.x) == [0.9]
    assert list(observed.error_y.array) == pytest.approx([0.1])


def span(id, parent, offset, duration=1.0, **over):
    return {
        "span_id": id,
        "parent_span_id": parent,
        "name": id,
        "kind": "tool",
        "offset_s": offset,
        "duration_s": duration,
        "status": "ok",
    } | over


def test_a_waterfall_goes_parent_before_child_and_siblings_by_start():
    spans = [
        span("late", "root", 2.0),
        span("root", None, 0.0),
        span("early", "root", 1.0),
        span("leaf", "early", 1.1),
        span("orphan", "gone", 3.0),
    ]
    assert [(depth, s["span_id"]) for depth, s in ordered(spans)] == [
        (0, "root"),
        (1, "early"),
        (2, "leaf"),
        (1, "late"),
        (0, "orphan"),
    ]


def test_a_waterfall_of_spans_that_point_at_each_other_still_shows_all():
    assert {s["span_id"] for _, s in ordered([span("a", "b", 0.0), span("b", "a", 0.0)])} == {"a", "b"}


def test_failed_spans_are_outlined_and_crossed():
    figure = waterfall(ordered([span("root", None, 0.0, 10.0), span("bad", "root", 1.0, 2.0, status="error")]), LIGHT)
    assert list(figure.data[0].marker.line.color) == [LIGHT.series[1], LIGHT.bad]
    assert figure.data[0].text[1] == "2.0 s ✕"


def test_a_backtest_draws_the_threshold_and_where_it_would_have_fired():
    seen = [
        {"time": d.isoformat(), "group": {}, "value": v, "breached": v > 0.06, "interactions": 90}
        for d, v in zip(DAYS, (0.05, 0.07, 0.03, 0.09, 0.02), strict=True)
    ]
    fires = [
        {"from": DAYS[1].isoformat(), "to": DAYS[2].isoformat(), "group": {}},
        {"from": DAYS[3].isoformat(), "to": None, "group": {}},
    ]
    figure = alerts.backtest(seen, fires, 0.06, Unit.RATIO, LIGHT, zone="UTC", name="Failure rate")
    marks = next(trace for trace in figure.data if trace.name == "would fire")
    assert list(marks.y) == [0.07, 0.09]
    assert figure.layout.shapes[0].y0 == 0.06


@pytest.mark.parametrize(
    "figure",
    [
        series.stack({HOSTILE: points(Decimal(1), Decimal(2))}, Unit.USD, LIGHT, zone="UTC"),
        series.lines({HOSTILE: points(1.0, 2.0)}, Unit.SECONDS, LIGHT, zone="UTC"),
        bars.changes([shape.Change(HOSTILE, (HOSTILE,), Decimal(2), Decimal(1))], Unit.USD, LIGHT),
        bars.parts([(HOSTILE, 1.0, HOSTILE)], LIGHT),
        rates.dots([(HOSTILE, wilson(5, 60))], LIGHT),
        waterfall(ordered([span("x", None, 0.0, name=HOSTILE, kind=HOSTILE)]), LIGHT),
        alerts.backtest([{"time": DAYS[0].isoformat(), "group": {"feature": HOSTILE}, "value": 1.0, "breached": True, "interactions": 1}],
                        [{"from": DAYS[0].isoformat(), "to": None, "group": {"feature": HOSTILE}}], 0.5, Unit.USD, LIGHT, zone="UTC", name=HOSTILE),
    ],
    ids=["stack", "lines", "changes", "parts", "dots", "waterfall", "backtest"],
)  # fmt: skip
def test_no_chart_lets_a_name_become_a_tag_or_a_template(figure):
    allowed = {"<br>", "<extra></extra>"}
    for text in _texts(plain(figure)):
        rest = text
        for tag in allowed:
            rest = rest.replace(tag, "")
        assert "<" not in rest, text
        assert "%{customdata}" not in text.replace("%{customdata}", "", 1) if text.startswith("%{customdata}") else True


def _texts(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            if key != "template":
                yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def test_every_tick_of_a_logarithmic_axis_has_its_unit():
    figure = series.lines({"p95": points(0.002, 0.05)}, Unit.USD, LIGHT, zone="UTC", log=True)
    assert (figure.layout.yaxis.type, figure.layout.yaxis.tickprefix, figure.layout.yaxis.tickformat) == ("log", "", "$~g")
