"""The costs page: sums that say what they rest on, each section over the routes that it asks, and only those."""

import json
from decimal import Decimal

import pytest
from tests.unit.dashboard.test_pages import figures, words

from spanledger_dashboard import format as fmt
from spanledger_dashboard import sums
from spanledger_dashboard.spending.whatif import named, parsed

ROUTES = {
    "Overview": {"distribution", "month"},
    "Breakdown": {"month"},
    "What changed": {"changes", "month"},
    "Interactions": {"month"},
    "Waste and caching": {"waste", "caching", "month"},
    "Another model": {"month"},
}


def charts(app):
    return [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]


def asked(world, about):
    return [body for _, path, body in world.seen if path == f"/api/v1/costs/{about}"]


def row(app, table, **where):
    frame = next(d.value for d in app.dataframe if set(table) <= set(d.value.columns))
    for name, value in where.items():
        frame = frame[frame[name] == value]
    return frame.iloc[0]


@pytest.mark.parametrize(
    ("cost", "estimated", "unpriced", "written"),
    [
        ("12.5", None, 0, "$12.50"),
        ("12.5", "0.5", 0, "~$12.50"),
        ("12.5", None, 3, "≥ $12.50"),
        ("12.5", "0.5", 3, "≥ ~$12.50"),
        (None, None, 3, "–"),
    ],
)
def test_a_sum_says_whether_it_is_exact(cost, estimated, unpriced, written):
    found = sums.of({"cost_usd": cost, "estimated_cost_usd": estimated, "unpriced_generations": unpriced})
    assert found.text() == written


def test_the_exact_part_of_a_sum_has_no_estimate_in_it():
    found = sums.of({"cost_usd": Decimal("2"), "estimated_cost_usd": Decimal("0.5"), "unpriced_generations": 2})
    assert found.exact == Decimal("1.5")
    assert found.words == "≥ 2 unpriced, ~ $0.50 estimated"
    assert sums.of({"cost_usd": Decimal("2")}).words == "exact"


def test_spend_is_shown_priced_estimated_and_unpriced_apart(open_page, world):
    for r in world.rows[-40:-20]:
        r |= {"estimated": 1, "cost_usd": Decimal("0.25")}
    app = open_page("costs")
    assert figures(app)["Cost"].startswith("≥ ~$")
    said = words(app)
    assert "Estimated $5.00" in said
    assert "of 1 model (local-llama)" in said
    assert "the total is understated" in said
    assert "Exact $" in said


def test_an_exact_sum_has_no_mark(open_page, world):
    world.rows = [r for r in world.rows if not r["unpriced_generations"]]
    app = open_page("costs")
    assert figures(app)["Cost"].startswith("$")
    assert "Unpriced" not in words(app)


@pytest.mark.parametrize(("section", "routes"), list(ROUTES.items()))
def test_each_section_asks_only_for_itself(open_page, world, section, routes):
    app = open_page("costs", c_view=section, range="7d")
    assert not app.exception
    assert not app.error
    assert {path.rsplit("/", 1)[1] for _, path, _ in world.seen if path.startswith("/api/v1/costs/")} == routes
    assert len(app.metric) >= 6


def test_the_filters_of_the_bar_reach_every_question_about_costs(open_page, world):
    for section in ROUTES:
        open_page("costs", c_view=section, range="7d", feature="doc-search", tag="tier=pro", c_model="sonnet-5 · anthropic")
    bodies = [body for _, path, body in world.seen if path.startswith("/api/v1/costs/")]
    assert len({path for _, path, _ in world.seen if path.startswith("/api/v1/costs/")}) == 6
    for body in bodies:
        assert {f["dimension"]: f["values"] for f in body["filters"]} == {"feature": ["doc-search"], "tag:tier": ["pro"]}


def test_the_forecast_says_its_interval_and_how_often_it_held(open_page, world):
    app = open_page("costs")
    month = next(m for m in app.metric if m.label == "Forecast, month")
    assert "–" in month.delta
    assert "P10 to P90 held 7 of 8 past weeks" in words(app)
    assert "held 7 of 8 past weeks" in month.help.replace("\\", "")
    names = [trace["name"] for chart in charts(app) for trace in chart["data"] if trace.get("name")]
    assert {"so far", "forecast", "P10 to P90"} <= set(names)


def test_the_histogram_counts_every_interaction_of_a_known_cost_and_marks_the_tail(open_page, world):
    app = open_page("costs", range="30d")
    chart = next(c for c in charts(app) if any("p95" in a["text"] for a in c["layout"].get("annotations", ())))
    assert [a["text"].split()[0] for a in chart["layout"]["annotations"]] == ["p50", "p95", "p99"]
    colours = chart["data"][0]["marker"]["color"]
    assert len(set(colours)) == 2
    assert "of unknown cost left out" in words(app)


def test_what_changed_adds_up_on_the_page(open_page, world):
    app = open_page("costs", c_view="What changed", range="7d")
    compared = asked(world, "changes")[0]
    assert compared["compare_end"] <= compared["start"]
    chart = next(c for c in charts(app) if c["data"][0]["type"] == "waterfall")
    before, *steps, after = chart["data"][0]["y"]
    assert before + sum(steps) == pytest.approx(after)
    assert "Left out: 3 generations of unknown cost before, 3 now" in words(app)


def test_nothing_is_decomposed_where_there_is_nothing_to_compare_with(open_page, world):
    app = open_page("costs", c_view="What changed", range="7d", cmp="nothing")
    assert not asked(world, "changes")
    assert "Nothing is compared" in words(app)


@pytest.mark.parametrize(("by", "dimension"), [("Release", "release"), ("User", "user"), ("Tag tier", "tag:tier")])
def test_cost_is_broken_down_by_any_dimension(open_page, world, by, dimension):
    app = open_page("costs", c_view="Breakdown", c_by=by, range="7d")
    assert not app.exception
    questions = [body for _, path, body in world.seen if path == "/api/v1/query" and body["dimensions"] == [dimension]]
    assert any(body["granularity"] for body in questions)
    assert any("cost_output_usd" in body["measures"] for body in questions)
    assert any("cost_per_positive_interaction_usd" in body["measures"] for body in questions)


def test_a_group_says_what_its_sum_is(open_page, world):
    app = open_page("costs", c_view="Breakdown", range="30d")
    assert row(app, ["model", "basis"], model="sonnet-5")["basis"] == "exact"
    assert row(app, ["model", "basis"], model="local-llama")["basis"] == "≥ 12 unpriced"


def test_another_model_is_asked_for_and_its_caveats_are_shown(open_page, world):
    app = open_page("costs", c_view="Another model", c_model="sonnet-5 · anthropic")
    (question,) = asked(world, "what-if")
    assert (question["model"], question["provider"]) == ("sonnet-5", "anthropic")
    was, would = (
        Decimal(figures(app)[name].strip("$").replace(",", "")) for name in ("These calls cost", "They would have cost")
    )
    assert float(would) == pytest.approx(float(was) / 2, rel=0.02)
    assert "Nothing is said of the quality of the answers." in words(app)


def test_a_model_without_a_price_is_refused_in_words(open_page):
    app = open_page("costs", c_view="Another model", c_model="nobodys-model")
    assert not app.exception
    assert "has no price" in app.warning[0].value


def test_models_of_a_choice_are_read_back():
    for provider, model in (("openai", "gpt-4o"), ("", "mine"), ("aws", "a.b:0")):
        assert parsed(named(provider, model)) == (provider, model)


def test_waste_is_shown_by_cause_and_caching_says_what_an_upper_bound_is(open_page, world):
    app = open_page("costs", c_view="Waste and caching")
    assert figures(app)["Missed, at most"] == fmt.money(Decimal("2.25") * 5)
    assert "could have been read from the cache" in words(app)
    assert row(app, ["cause", "cost"])["cause"] == "failed"
