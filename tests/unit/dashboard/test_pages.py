"""Every page through its public door: the app's own script over a collector that answers, is empty, fails, or lies."""

import ast
import random
import re
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.unit.dashboard.fake_collector import detail, row, rule

import spanledger_dashboard
from spanledger_dashboard import format as fmt
from spanledger_dashboard.server import policy, report

PAGES = ("overview", "costs", "prices", "failures", "confidence", "feedback", "interactions", "alerts")
PACKAGE = Path(spanledger_dashboard.__file__).parent
HOSTILE = (
    "![x](http://evil.invalid/beacon.png) <img src=http://evil.invalid/b> :red[hi] $x^2$ %{y} **b** [l](http://evil.invalid)"
)


def figures(app):
    return {metric.label.replace("\\", ""): metric.value.replace("\\", "") for metric in app.metric}


def words(app):
    kinds = ("text", "caption", "markdown", "badge", "warning", "error", "info", "code", "subheader")
    return "\n".join(str(getattr(element, "value", "")) for kind in kinds for element in app.get(kind)).replace("\\", "")


def rows_in(world, app_range_days=30):
    from tests.unit.dashboard.conftest import NOW

    return [r for r in world.rows if (NOW - r["time"]).days < app_range_days]


@pytest.mark.parametrize("page", PAGES)
def test_every_page_draws_without_an_exception(open_page, page):
    app = open_page(page)
    assert not app.exception
    assert not app.error
    assert app.title[0].value in (
        "Overview",
        "Costs",
        "Prices",
        "Failures",
        "Confidence & drift",
        "Feedback",
        "Interactions",
        "Alerts",
    )


@pytest.mark.parametrize("page", [p for p in PAGES if p != "interactions"])
def test_pages_show_charts_or_tables(open_page, page):
    app = open_page(page)
    assert app.get("plotly_chart") or app.dataframe


def test_the_overview_states_what_the_query_api_answers(open_page, world):
    app = open_page("overview", range="7d")
    sent = [
        body for _, path, body in world.seen if path == "/api/v1/query" and not body["dimensions"] and not body["granularity"]
    ]
    start = max(body["start"] for body in sent)
    inside = [r for r in world.rows if r["time"].isoformat().replace("+00:00", "Z") >= start]
    total = sum((r["cost_usd"] for r in inside if r["cost_usd"] is not None), Decimal(0))
    assert figures(app)["Cost"] == f"≥ {fmt.money(total, compact=True)}", "some calls have no price"
    failed = sum(r["failure_mode"] is not None for r in inside)
    assert figures(app)["Failure rate"] == fmt.percent(failed / len(inside))


def test_what_needs_attention_is_said_and_linked(open_page):
    app = open_page("overview")
    said = words(app)
    assert "Alert is firing: Failure rate of support (warning)" in said
    assert "Confidence (verbalized) has moved since" in said
    assert "generations (local-llama): the total is understated" in said
    assert len(app.get("page_link")) >= 3


def test_what_sdks_lost_is_said_by_service_with_the_reasons(open_page, world):
    from tests.unit.dashboard.conftest import NOW

    world.rules, world.drift = [], None
    world.losses = [
        {"time": NOW - timedelta(hours=5), "app": "bot", "loss_reason": "queue_full", "sdk_dropped_spans": 1_000},
        {"time": NOW - timedelta(hours=2), "app": "bot", "loss_reason": "queue_full", "sdk_dropped_spans": 204},
        {"time": NOW - timedelta(hours=2), "app": "bot", "loss_reason": "newly_invented", "sdk_dropped_spans": 3},
        {"time": NOW - timedelta(hours=3), "app": HOSTILE, "loss_reason": "unreachable", "sdk_dropped_spans": 1},
        {"time": NOW - timedelta(hours=3), "app": "shy", "loss_reason": "denied", "sdk_dropped_spans": 99},
    ]
    said = words(open_page("overview", feature="doc-search"))
    assert f"The SDK of bot dropped 1,207 spans since {fmt.moment(NOW - timedelta(hours=5), 'UTC')}: more came" in said
    assert "newly invented" in said
    assert "dropped 1 span since" in said
    assert "shy" not in said, "what an application drops on purpose is no loss"
    assert "evil" not in "".join(element.value for element in open_page("overview").markdown)
    assert "of bot" not in words(open_page("overview", app="helpdesk"))


def test_nothing_is_said_when_nothing_needs_attention(open_page, world):
    world.rules, world.drift = [], None
    world.rows = [r | {"unpriced_generations": 0, "failure_mode": None, "cost_usd": Decimal("0.01")} for r in world.rows]
    app = open_page("overview")
    assert "attention" not in words(app)


def test_a_filter_in_the_url_reaches_every_question(open_page, world):
    open_page("failures", feature="doc-search", env="prod")
    # What never arrived has no feature.
    asked = [body for _, path, body in world.seen if path == "/api/v1/query" and body["measures"] != ["sdk_dropped_spans"]]
    assert asked
    for body in asked:
        chosen = {f["dimension"]: f["values"] for f in body["filters"]}
        assert chosen.get("feature") == ["doc-search"]
        assert chosen.get("environment") == ["prod"]


@pytest.mark.parametrize("page", [p for p in PAGES if p not in ("alerts", "prices")])
def test_a_tag_in_the_url_reaches_every_question_of_every_page(open_page, world, page):
    app = open_page(page, tag="tier=pro")
    assert not app.exception
    # What never arrived has no tags.
    asked = [body for _, path, body in world.seen if path == "/api/v1/query" and body["measures"] != ["sdk_dropped_spans"]]
    assert all({"dimension": "tag:tier", "op": "in", "values": ["pro"]} in body["filters"] for body in asked)
    listed = [query for _, path, query in world.lists if path == "/api/v1/interactions"]
    assert asked or listed
    assert all(query["tag"] == ["tier=pro"] for query in listed)
    assert "Tag: tier=pro" in [b.label.replace("\\", "").replace("\u2060", "") for b in app.button]


def test_tags_are_offered_from_the_data(open_page):
    assert open_page().multiselect(key="tag").options == ["tier==cmd()", "tier=free", "tier=pro"]


def test_the_baseline_is_the_one_chosen_and_nothing_is_compared_when_the_reader_says_so(open_page, world):
    assert "vs 1 wk ago" in str(
        [m.proto.delta_description for m in open_page("overview", range="24h", cmp="same weekdays before").metric]
    )
    starts = sorted({b["start"] for _, path, b in world.seen if path == "/api/v1/query" and not b["granularity"]})
    first, last = (datetime.fromisoformat(starts[0]), datetime.fromisoformat(starts[-1]))
    assert last - first == timedelta(days=7)
    app = open_page("overview", range="24h", cmp="nothing")
    assert not any(m.delta for m in app.metric)
    assert "Nothing is compared" in words(app)
    modes = next(d.value for d in open_page("failures", range="7d", cmp="nothing").dataframe if "meaning" in d.value.columns)
    assert not any(len(state) for state in modes["state"])


@pytest.mark.parametrize("page", PAGES)
def test_every_page_can_be_saved_and_linked_to(open_page, world, page):
    app = open_page(page, tag="tier=pro", range="7d", cmp="a year before")
    link = next(c.value for c in app.code if "range=7d" in c.value)
    assert parse_qs(urlsplit(link).query)["tag"] == ["tier=pro"]
    assert parse_qs(urlsplit(link).query)["cmp"] == ["a year before"]
    assert any("range=custom" in c.value for c in app.code)
    assert app.get("download_button")


def long_interaction(world, n):
    r = world.rows[-1]
    found = detail(world, r["id"])
    base = found["spans"][-1]
    spans = [
        base
        | {
            "span_id": f"{i:016x}",
            "parent_span_id": None,
            "name": f"step {i}",
            "offset_s": float(i),
            "status": "ok",
            "cost_usd": "0.001",
        }
        for i in range(n)
    ]
    spans[n - 1] |= {"status": "error"}
    spans[n - 2] |= {"cost_usd": "9.5"}
    world.details[r["id"]] = found | {"spans": spans, "content": {}}
    return r["id"]


def test_a_long_interaction_is_drawn_in_part_with_its_failures_and_dearest_steps(open_page, world):
    id = long_interaction(world, 2_000)
    app = open_page("interactions", trace=id)
    app.query_params["trace"] = id
    app.run()
    assert not app.exception
    steps = next(d.value for d in app.dataframe if "billing" in d.value.columns)
    assert len(steps) == 300
    assert {"step 0", "step 1998", "step 1999"} <= set(steps["step"])
    assert "300 of 2,000 spans are shown, in every card: the first, all 1 that failed and those that cost most." in words(app)
    app.button(key="more_spans").click().run()
    assert len(next(d.value for d in app.dataframe if "billing" in d.value.columns)) == 600
    app.query_params["shown"] = "99999"
    app.run()
    assert len(next(d.value for d in app.dataframe if "billing" in d.value.columns)) == 2_000
    assert "are shown, in every card" not in words(app)


def test_a_link_names_the_span_that_is_looked_at(open_page, world):
    r = world.rows[-1]
    app = open_page("interactions")
    app.query_params["trace"], app.query_params["span"] = r["id"], "e" * 16
    app.run()
    facts = next(d.value for d in app.dataframe if list(d.value.columns) == ["Name", "Value"])
    assert "resp_1" in list(facts["Value"])
    assert any("span=" + "e" * 16 in c.value for c in app.code)


def test_a_filter_value_that_the_collector_does_not_offer_is_not_dropped(open_page, world):
    app = open_page("overview", feature="retired-feature")
    assert "No interactions here" in [s.value for s in app.subheader]


def test_new_failure_modes_are_called_new(open_page, world):
    latest = max(r["time"] for r in world.rows)
    for r in world.rows[-30:]:
        r["failure_mode"] = "content_filter"
    app = open_page("failures", range="7d")
    table = next(d.value for d in app.dataframe if "meaning" in d.value.columns)
    first = table.iloc[0]
    assert first["mode"] == "content filter"
    assert list(first["state"]) == ["New"]
    assert first["meaning"] == "A content filter stopped the answer."
    assert latest


def test_the_interaction_page_shows_what_was_said_and_what_each_step_cost(open_page, world):
    judged = next(r for r in reversed(world.rows) if r["positive"] is False)
    app = open_page("interactions", trace=judged["id"])
    app.query_params["trace"] = judged["id"]
    app.run()
    said = [t.value for t in app.text]
    assert judged["preview"] in said
    assert "It arrives on Monday." in said
    assert "It quoted an old policy." in said
    steps = next(d.value for d in app.dataframe if "billing" in d.value.columns)
    assert "not billed: repeats the usage of a model call below it" in list(steps["billing"])
    assert len(app.chat_message) == 3
    labels = [expander.label.replace("\\", "") for expander in app.expander]
    assert "Search: kb.search → 1 document" in labels
    assert "Tool: crm.lookup(order=1) ✕" in labels
    assert "1 tool offered: crm.lookup" in labels
    assert "504 from the CRM" in said
    assert set(steps["quality"]) == {"exact", ""}
    assert set(steps["speaker"]) == {"spanledger"}
    assert "recorded by spanledger" in words(app)


def test_a_call_that_is_billed_in_another_trace_leads_there(open_page, world):
    here, there = world.rows[-1], world.rows[-2]
    there["time"] = here["time"]
    mine, other = detail(world, here["id"]), detail(world, there["id"])
    counts = {"input_tokens": 812, "output_tokens": 64}
    seen = {"start": mine["spans"][-1]["start"], "response_id": "resp_77", "usage": counts}
    reason = "another instrumentation saw the same call in another trace, where it is counted"
    mine["spans"][-1] |= seen | {"cost_status": None, "cost_usd": None, "not_billed_reason": reason, "scope": "outer"}
    other["spans"][-1] |= seen | {"cost_status": "priced", "scope": "inner"}
    world.details = {here["id"]: mine, there["id"]: other}
    app = open_page("interactions")
    app.query_params["trace"] = here["id"]
    app.run()
    span = mine["spans"][-1]["span_id"]
    assert "is counted in another trace" in words(app)
    app.button(key=f"twin_find_{span}").click().run()
    app.button(key=f"twin_open_{span}").click().run()
    assert there["id"] in app.query_params["trace"]


def test_an_interaction_with_an_estimated_step_does_not_look_exact(open_page, world):
    r = world.rows[-1]
    found = detail(world, r["id"])
    found["spans"][-1] |= {"cost_status": "estimated", "usage_quality": "estimated"}
    world.details[r["id"]] = found
    app = open_page("interactions")
    app.query_params["trace"] = r["id"]
    app.run()
    assert f"~{fmt.money(r['cost_usd'])}" in words(app)
    assert "estimated from the text" in list(next(d.value for d in app.dataframe if "billing" in d.value.columns)["quality"])


def test_an_unknown_interaction_is_said_to_be_unknown(open_page):
    app = open_page("interactions")
    app.query_params["trace"] = "f" * 32
    app.run()
    assert not app.exception
    assert app.info


def test_interactions_page_through_with_the_cursor_and_start_anew_with_another_question(open_page, world):
    app = open_page("interactions")
    app.button(key="next").click().run()
    assert any("51 to 100" in c.value for c in app.caption)
    app.button(key="previous").click().run()
    app.button(key="next").click().run()
    app.selectbox(key="i_outcome").set_value("failed").run()
    assert any(c.value.startswith("1 to") for c in app.caption)


def test_a_reference_period_in_the_url_reaches_the_drift_question(open_page, world):
    app = open_page("confidence")
    assert "moved since" in words(app)
    assert "perfect source stays below" in words(app)


def test_too_few_labels_make_no_diagram_and_no_verdict(open_page, world):
    world.drift = world.drift | {"state": "too_few", "calibration": None, "moved_since": None}
    app = open_page("confidence")
    assert "too few to judge" in words(app)
    assert "No labels" in words(app)


def test_the_history_says_what_became_of_each_notification(open_page):
    table = next(d.value for d in open_page("alerts", range="7d").dataframe if "delivery" in d.value.columns)
    assert list(table["delivery"]) == ["oncall@example.com: delivered"]


def test_coverage_is_a_part_of_all_interactions(open_page, world):
    shown = figures(open_page("feedback", range="30d"))
    assert 0 < int(shown["Feedback coverage"].rstrip("%")) < 50
    for r in world.rows[-100:]:
        r |= {"feedback_source": "reviewer", "feedback_name": "grounded", "positive": True}
    app = open_page("feedback", range="30d", v_source="reviewers")
    assert figures(app)["Positive feedback"] == "100%"
    assert "Feedback coverage" not in figures(app)


def test_a_rule_is_tried_out_before_it_is_saved_and_its_secret_is_shown_once(open_page, world):
    app = open_page("alerts")
    app.button(key="rule_new").click().run()
    assert "Complete the rule" in words(app)
    app.text_input(key="rule_new_name").set_value("Spend").run()
    app.text_input(key="rule_new_threshold").set_value("0.05").run()
    assert "would have fired" in words(app)
    assert ("POST", "/api/v1/alerts/preview") in [(m, p) for m, p, _ in world.seen]
    app.button(key="rule_save").click().run()
    assert not app.exception
    assert world.rules[-1]["name"] == "Spend"
    assert world.rules[-1]["threshold"] == "0.05"
    assert "whsec_shown_once" in words(app)
    app.button(key="secret_done").click().run()
    assert "whsec_shown_once" not in words(app)


def test_a_rule_keeps_what_the_form_does_not_show(open_page, world):
    twice = [
        {"dimension": "feature", "op": "starts_with", "values": ["s"]},
        {"dimension": "feature", "op": "not_in", "values": [None]},
    ]
    world.rules = [rule("r1", "Kept", filters=twice, threshold="0.055")]
    app = open_page("alerts")
    app.query_params["a_rule"] = "r1"
    app.run()
    app.button(key="rule_save").click().run()
    assert not app.exception
    assert world.rules[0]["filters"] == twice
    assert world.rules[0]["threshold"] == "0.055"


def test_a_deleted_rule_is_gone(open_page, world):
    app = open_page("alerts")
    app.query_params["a_rule"] = "r1"
    app.run()
    app.button(key="rule_delete").click().run()
    assert world.rules == []


def test_a_firing_rule_draws_its_threshold_where_its_measure_is_shown(open_page):
    charts = [chart.proto.spec for chart in open_page("failures").get("plotly_chart")]
    assert any("Failure rate of support: 6.0%" in spec for spec in charts)


@pytest.mark.parametrize("page", PAGES)
def test_a_collector_without_data_shows_how_to_send_some(open_page, world, page):
    world.rows, world.rules, world.events, world.drift, world.status = [], [], [], None, {}
    app = open_page(page)
    assert not app.exception
    assert not app.metric
    if page != "alerts":
        assert any("spanledger.init" in code.value and "http://127.0.0.1:" in code.value for code in app.code)
        assert "Waiting for the first span" in words(app)


@pytest.mark.parametrize("page", PAGES)
def test_a_range_without_interactions_is_said_to_be_empty_and_draws_no_zeros(open_page, page):
    app = open_page(page, feature="nobody-uses-this")
    assert not app.exception
    assert not any(value in ("$0", "0%") for value in figures(app).values())


def test_a_range_without_interactions_offers_the_ways_out(open_page):
    app = open_page("overview", range="7d", feature="nobody-uses-this")
    assert "with feature nobody-uses-this" in words(app)
    app.button(key="clear_filters").click().run()
    assert not app.exception
    assert app.metric


def test_a_rate_on_few_samples_is_called_so(open_page, world):
    world.rows = world.rows[-20:]
    app = open_page("overview", range="30d")
    assert any("too few" in str(metric.proto.delta_description) for metric in app.metric)


@pytest.mark.parametrize("page", PAGES)
def test_failing_reads_are_shown_in_their_cards(open_page, world, page):
    world.failing = dict.fromkeys(
        ("/api/v1/query", "/api/v1/costs", "/api/v1/prices", "/api/v1/drift", "/api/v1/alerts", "/api/v1/interactions"),
        (503, "The store is busy"),
    )
    app = open_page(page)
    assert not app.exception
    assert app.error
    assert "The store is busy" in words(app)
    assert "Traceback" not in words(app)


def test_one_failing_read_leaves_the_other_cards_alive(open_page, world):
    world.failing = {"/api/v1/costs/distribution": (503, "Busy")}
    app = open_page("costs")
    assert len(app.error) == 2, "the distribution and its tail"
    assert len(app.metric) == 6


@pytest.mark.parametrize("page", PAGES)
def test_a_collector_that_is_away_is_said_to_be_away(open_page, monkeypatch, page):
    monkeypatch.setenv("SPANLEDGER_ENDPOINT", "http://127.0.0.1:9")
    app = open_page(page)
    assert not app.exception
    assert "does not answer" in words(app)
    assert "Collector unreachable" in words(app)


def hostile(world):
    from tests.unit.dashboard.conftest import NOW

    rng = random.Random(5)
    over = dict.fromkeys(
        (
            "name",
            "app",
            "environment",
            "release",
            "feature",
            "prompt_version",
            "user",
            "session",
            "model",
            "provider",
            "preview",
            "feedback_name",
        ),
        HOSTILE,
    )
    over |= {
        "feedback_source": "user",
        "positive": False,
        "failure_mode": HOSTILE,
        "confidence_source": HOSTILE,
        "unpriced_generations": 1,
    }
    world.rows += [row(NOW, rng, "doc-search", now=NOW) | over for _ in range(60)]
    world.rules = [
        rule(
            "r1",
            HOSTILE,
            state="firing",
            group_by=["feature"],
            groups=[{"group": {"feature": HOSTILE}, "state": "firing", "value": 1.0, "since": None}],
        )
    ]
    world.events = [
        e | {"rule_name": HOSTILE, "summary": HOSTILE, "group": {"feature": HOSTILE}, "delivery": {HOSTILE: HOSTILE}}
        for e in world.events
    ]
    world.drift = world.drift | {"message": HOSTILE, "source": HOSTILE}
    return world.rows[-1]


RENDERS_MARKDOWN = (
    "markdown",
    "caption",
    "title",
    "header",
    "subheader",
    "error",
    "warning",
    "info",
    "success",
    "badge",
    "metric",
    "button",
    "page_link",
    "expander",
    "toggle",
    "checkbox",
)


@pytest.mark.parametrize(
    "page",
    [*PAGES, "interaction", "rule", "costs/Breakdown", "costs/What changed", "costs/Interactions", "costs/Waste and caching"],
)
def test_stored_text_never_reaches_markdown_unescaped(open_page, world, page):
    last = hostile(world)
    page, _, section = page.partition("/")
    chosen = {"c_view": section} if section else {}
    app = open_page({"interaction": "interactions", "rule": "alerts"}.get(page, page), range="7d", **chosen)
    if page == "interaction":
        app.query_params["trace"] = last["id"]
        app.run()
    if page == "rule":
        app.query_params["a_rule"] = "r1"
        app.run()
    assert not app.exception
    for kind in RENDERS_MARKDOWN:
        for element in app.get(kind):
            for part in ("value", "label", "help", "delta", "body"):
                text = re.sub(r"\\.", "", str(getattr(element, part, "") or ""))
                assert "![" not in text, (kind, part, text)
                assert "<img" not in text, (kind, part, text)
                assert "](http" not in text, (kind, part, text)
                assert ":red[" not in text, (kind, part, text)
    for chart in app.get("plotly_chart"):
        assert "<img" not in chart.proto.spec


def test_stored_text_goes_to_no_markdown_call_by_construction():
    """Calls that render markdown take literals, numbers in words, or text that passed through `label`."""
    renders = {
        "markdown",
        "caption",
        "title",
        "header",
        "subheader",
        "error",
        "warning",
        "info",
        "success",
        "badge",
        "metric",
        "write",
        "button",
        "expander",
        "page_link",
    }
    found = []
    for path in PACKAGE.rglob("*.py"):
        if path.name == "server.py":  # shows nothing but an id that it made itself
            continue
        for call in ast.walk(ast.parse(path.read_text())):
            if not (
                isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in renders and call.args
            ):
                continue
            if not (isinstance(call.func.value, ast.Name) and call.func.value.id == "st"):
                continue
            first = ast.unparse(call.args[0])
            chosen = call.args[0]
            ways = (chosen.body, chosen.orelse) if isinstance(chosen, ast.IfExp) else (chosen,)
            literal = all(isinstance(way, ast.Constant) for way in ways)
            if not literal and "label(" not in first:
                found.append((path.name, call.lineno, first))
    # The page's own title, a pill whose value passed through `label` two lines before, and words chosen from two literals.
    assert {f[2] for f in found} <= {"heading", "text", "word", "f'{len(rest)} more'", "f'{VIEWS}/{page}.py'"}


def test_nothing_is_ever_rendered_as_html_but_our_own_style():
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text()
        assert "unsafe_allow_html" not in text
        assert "components" not in text
        assert text.count("st.html(") == text.count("st.html(STYLE)") + text.count("st.html(FOLDED)")


def test_the_policy_lets_a_page_speak_to_its_own_origin_only():
    own = policy("127.0.0.1:8501")
    assert "connect-src 'self' ws://127.0.0.1:8501 wss://127.0.0.1:8501;" in own
    assert "ws: " not in own
    assert policy("evil.invalid; script-src *") == policy("")
    assert "frame-ancestors 'none'" in own


def test_a_page_that_fails_shows_an_id_and_logs_no_stored_text(caplog):
    stored = " ".join(["what", "a", "user", "wrote"])

    def fails():
        raise ValueError(stored)

    with pytest.raises(ValueError, match=stored) as caught:
        fails()
    assert report(caught.value) is True
    logged = next(record.getMessage() for record in caplog.records if record.name == "spanledger.dashboard")
    assert "ValueError" in logged
    assert "in fails" in logged
    assert stored not in logged


def test_a_reader_who_names_no_project_sees_the_one_with_data(open_page, world):
    world.project = "demo"
    app = open_page("overview")
    assert app.metric
    assert any(body is not None for _, path, body in world.seen if path == "/api/v1/query")
    assert app.selectbox(key="project").value == "demo"
