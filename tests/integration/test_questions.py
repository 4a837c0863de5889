"""The read side over HTTP: every measure against plain Python over the same facts, breakdowns that add up, clear refusals."""

import io
import statistics
import time
from decimal import Decimal
from typing import Any

import httpx
import pyarrow as pa
import pytest
from live import LiveCollector
from otlp_kit import S, chat, request, span_hex, trace_hex

from spanledger_collector.query.compile import FEW_VALUED
from spanledger_schema.catalogue import MEASURES
from spanledger_schema.dimensions import DIMENSIONS

PROJECT = "shop"
AT = (time.time() // 3_600 - 3) * 3_600
MODELS = ("gpt-4o", "gpt-4o-mini")


class Fact:
    """One generated interaction, as the test knows it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.feature = ("search", "answer", "")[number % 3]
        self.model = MODELS[number % 2]
        self.given, self.produced = 100 + number, 10 + number % 7
        self.cached = self.given // 2 if number % 4 == 0 else None
        self.fails = number % 10 == 0
        self.seconds = 1 + number % 5
        self.confidence = round(0.5 + (number % 40) / 100, 2)
        self.liked = {0: True, 1: False}.get(number % 5)

    @property
    def cost(self) -> Decimal:
        rates = {"gpt-4o": ("2.5", "1.25", "10"), "gpt-4o-mini": ("0.15", "0.075", "0.6")}[self.model]
        fresh, cached, out = (Decimal(rate) for rate in rates)
        read = self.cached or 0
        return ((self.given - read) * fresh + read * cached + self.produced * out) / 1_000_000

    @property
    def is_failure(self) -> bool:
        return self.fails or self.liked is False

    def spans(self) -> list[S]:
        root = {
            "spanledger.interaction": "ask",
            "spanledger.confidence.verbalized": self.confidence,
            "user.id": f"u{self.number % 4}",
            "spanledger.tag.tier": "pro" if self.number % 2 else "free",
        }
        if self.feature:
            root["spanledger.feature"] = self.feature
        call = chat(self.model, self.given, self.produced, gen_ai__response__time_to_first_chunk=0.25)
        if self.cached is not None:
            call["gen_ai.usage.cache_read.input_tokens"] = self.cached
        if self.fails:
            call["gen_ai.response.finish_reasons"] = ["length"]
        start = self.number * 20.0
        return [
            S(1, trace=self.number, attrs=root, start=start, end=start + self.seconds),
            S(2, 1, trace=self.number, attrs=call, start=start, end=start + 0.9),
        ]


FACTS = [Fact(number) for number in range(1, 121)]


@pytest.fixture(scope="module")
def shop(collector: LiveCollector) -> LiveCollector:
    for start in range(0, len(FACTS), 30):
        spans = [span for fact in FACTS[start : start + 30] for span in fact.spans()]
        assert collector.send(request(*spans, at=AT), PROJECT).status_code == 200
    liked = [
        {
            "interaction_id": f"{trace_hex(fact.number)}-{span_hex(1)}",
            "name": "helpful",
            "value": fact.liked,
            "id": f"f{fact.number}",
        }
        for fact in FACTS
        if fact.liked is not None
    ]
    for _ in range(2):
        response = collector.http.post("/api/v1/feedback", json=liked, headers={"x-spanledger-project": PROJECT})
        assert response.json()["accepted"] == len(liked)
    return collector


def expected(facts: list[Fact]) -> dict[str, Any]:
    """What each measure must be, in plain Python."""
    costs = sorted(fact.cost for fact in facts)
    liked = [fact.liked for fact in facts if fact.liked is not None]
    stated = [fact for fact in facts if fact.cached is not None]
    savings = {"gpt-4o": Decimal("1.25"), "gpt-4o-mini": Decimal("0.075")}
    return {
        "interactions": len(facts),
        "spans": 2 * len(facts),
        "generations": len(facts),
        "cost_usd": sum(costs),
        "cost_per_interaction_usd": float(sum(costs)) / len(facts),
        "input_tokens": sum(fact.given for fact in facts),
        "output_tokens": sum(fact.produced for fact in facts),
        "cache_read_tokens": sum(fact.cached or 0 for fact in facts) or None,
        "cache_hit_rate": sum(fact.cached or 0 for fact in stated) / sum(fact.given for fact in stated) if stated else None,
        "cache_savings_usd": sum((savings[fact.model] * (fact.cached or 0) for fact in facts), Decimal(0)) / 1_000_000,
        "failures": sum(fact.is_failure for fact in facts),
        "failure_rate": sum(fact.is_failure for fact in facts) / len(facts),
        "wasted_cost_usd": sum((fact.cost for fact in facts if fact.is_failure), Decimal(0)),
        "confidence_mean": statistics.fmean(fact.confidence for fact in facts),
        "confidence_count": len(facts),
        "feedback_count": len(liked),
        "feedback_judged": len(liked),
        "feedback_coverage": len(liked) / len(facts),
        "feedback_positive_rate": sum(liked) / len(liked) if liked else None,
        "priced_share": 1.0,
        "unpriced_generations": 0,
        "retry_rate": 0.0,
        "ttft_p50_s": 0.25,
    }


def check(row: dict[str, Any], facts: list[Fact]) -> None:
    for measure, value in expected(facts).items():
        found = row[measure]
        if isinstance(value, Decimal):
            assert Decimal(found) == value, measure
        elif isinstance(value, float):
            assert found == pytest.approx(value, rel=1e-9), measure
        else:
            assert found == value, measure


def test_every_measure_is_what_plain_python_says(shop: LiveCollector) -> None:
    (row,) = shop.ask(list(MEASURES), PROJECT)
    check(row, FACTS)
    durations = sorted(fact.seconds for fact in FACTS)
    assert row["duration_p50_s"] in durations[58:62]
    assert Decimal(row["cost_p95_usd"]) in sorted(fact.cost for fact in FACTS)[112:117]


@pytest.mark.parametrize(
    ("dimension", "key"),
    [
        ("feature", lambda fact: fact.feature or None),
        ("model", lambda fact: fact.model),
        ("user", lambda fact: f"u{fact.number % 4}"),
        ("tag:tier", lambda fact: "pro" if fact.number % 2 else "free"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_breakdowns_are_exact_and_add_up(shop: LiveCollector, dimension: str, key: Any) -> None:
    rows = shop.ask(list(expected(FACTS)), PROJECT, dimensions=[dimension])
    assert {row[dimension] for row in rows} == {key(fact) for fact in FACTS}
    for row in rows:
        check(row, [fact for fact in FACTS if key(fact) == row[dimension]])
    arrived = [name for name, measure in MEASURES.items() if measure.additive and measure.losses is None]
    (whole,) = shop.ask(arrived, PROJECT)
    for name, total in whole.items():
        parts = shop.ask(name, PROJECT, dimensions=[dimension])
        assert sum(Decimal(str(row[name] or 0)) for row in parts) == Decimal(str(total or 0)), name


def test_filters_restrict_calls_and_interactions_alike(shop: LiveCollector) -> None:
    filters = [
        {"dimension": "model", "op": "in", "values": ["gpt-4o"]},
        {"dimension": "feature", "op": "not_in", "values": [None]},
    ]
    (row,) = shop.ask(list(expected(FACTS)), PROJECT, filters=filters)
    check(row, [fact for fact in FACTS if fact.model == "gpt-4o" and fact.feature])


def test_time_buckets_follow_the_zone_and_the_row_s_own_start(shop: LiveCollector) -> None:
    rows = shop.ask(["interactions", "cost_usd"], PROJECT, granularity="hour", timezone="Asia/Kolkata")
    assert sum(row["interactions"] for row in rows) == len(FACTS)
    assert {row["time"][14:16] for row in rows} == {"30"}, "hours of a zone that is half an hour off"
    day = shop.ask("interactions", PROJECT, granularity="day", timezone="America/New_York")
    assert all(row["time"][11:13] in ("04", "05") for row in day)


def test_json_and_arrow_agree(shop: LiveCollector) -> None:
    query = {"measures": ["cost_usd", "interactions", "failure_rate"], "dimensions": ["feature"], "granularity": "hour"}
    headers = {"x-spanledger-project": PROJECT}
    plain = shop.http.post("/api/v1/query", json=query, headers=headers).json()
    stream = shop.http.post("/api/v1/query", json=query, headers={**headers, "accept": "application/vnd.apache.arrow.stream"})
    table = pa.ipc.open_stream(io.BytesIO(stream.content)).read_all()
    assert table.num_rows == len(plain["rows"])
    assert [format(value.normalize(), "f") for value in table.column("cost_usd").to_pylist()] == [row[2] for row in plain["rows"]]
    assert table.schema.field("cost_usd").metadata == {b"unit": b"USD"}
    assert [column["type"] for column in plain["columns"]] == ["time", "string", "decimal", "integer", "number"]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"measures": ["cost"]}, "unknown measure"),
        ({"measures": ["cost_usd"], "dimensions": ["colour"]}, "unknown dimension"),
        ({"measures": ["cost_usd"], "filters": [{"dimension": "model", "op": "like", "values": ["x"]}]}, "unknown operator"),
        ({"measures": []}, "measures is empty"),
        ({"measures": ["cost_usd"], "start": "2026-11-01"}, "needs an offset"),
        ({"measures": ["cost_usd"], "limit": 0}, "limit is a number"),
        ({"measures": ["cost_usd"], "colour": 1}, "unknown field"),
        ({"measures": ["ttft_p50_s"], "dimensions": ["confidence_source"]}, "measured on calls"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_questions_that_cannot_be_answered_say_what_exists(shop: LiveCollector, query: dict[str, Any], words: str) -> None:
    response = shop.http.post("/api/v1/query", json=query)
    assert (response.status_code, response.headers["content-type"]) == (422, "application/problem+json")
    assert words in response.json()["detail"]


HOSTILE = ["' OR 1=1 --", "x'; DROP TABLE spans; --", "\\", "{project:String}", "\x00", "%", "日本語", "a" * 5_000]


@pytest.mark.parametrize("value", HOSTILE)
def test_values_are_bound_never_sql(shop: LiveCollector, value: str) -> None:
    for dimension in ("feature", f"tag:{value}", "model"):
        for operator in ("in", "contains", "starts_with"):
            filters = [{"dimension": dimension, "op": operator, "values": [value]}]
            assert shop.value("interactions", PROJECT, filters=filters) == 0
    assert shop.value("interactions", value.replace("\x00", "")[:50] if value.isascii() and value.isprintable() else "p") == 0
    assert shop.value("interactions", PROJECT) == len(FACTS)


def test_an_unknown_project_reads_as_empty(shop: LiveCollector) -> None:
    row = shop.ask(["interactions", "cost_usd", "failure_rate"], "nobody")[0]
    assert row == {"interactions": 0, "cost_usd": None, "failure_rate": None}


def test_mixed_confidence_sources_are_null_with_a_warning(shop: LiveCollector) -> None:
    spans = [
        S(1, trace=trace, attrs={"spanledger.interaction": "x", f"spanledger.confidence.{source}": 0.5})
        for trace, source in ((1, "judge"), (2, "verbalized"))
    ]
    shop.send(request(*spans), "mixed")
    shop.settled()
    query: dict[str, Any] = {"measures": ["confidence_mean"]}
    answer = shop.http.post("/api/v1/query", json=query, headers={"x-spanledger-project": "mixed"}).json()
    assert answer["rows"] == [[None]]
    assert "several sources" in answer["warnings"][0]
    assert shop.value("confidence_mean", "mixed", filters=[{"dimension": "confidence_source", "values": ["judge"]}]) == 0.5


def test_interactions_page_through_in_every_order(shop: LiveCollector) -> None:
    for order in ("-time", "time", "-cost_usd", "-duration_s", "confidence"):
        seen: list[str] = []
        cursor = None
        for _ in range(10):
            parameters = {"order": order, "limit": 50} | ({"cursor": cursor} if cursor else {})
            page = shop.get("/api/v1/interactions", PROJECT, **parameters)
            seen += [item["id"] for item in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert len(seen) == len(set(seen)) == len(FACTS), order


def test_interactions_filter_like_the_page_does(shop: LiveCollector) -> None:
    def count(**parameters: Any) -> int:
        return len(shop.get("/api/v1/interactions", PROJECT, limit=500, **parameters)["items"])

    assert count(failed=True) == sum(fact.is_failure for fact in FACTS)
    assert count(feature=["search", ""]) == sum(fact.feature in ("search", "") for fact in FACTS)
    assert count(model="gpt-4o") == 60
    assert count(user="u1") == 30
    assert count(tag="tier=pro") == 60
    assert count(tag=["tier=pro", "tier=free"]) == 120
    assert count(tag=["tier=pro", "region="]) == 60
    assert count(tag=["tier=pro", "region=eu"]) == 0
    assert shop.http.get("/api/v1/interactions?tag=tier").status_code in (400, 422)
    assert count(feedback="negative") == sum(fact.liked is False for fact in FACTS)
    assert count(failure_mode="truncated") == sum(fact.fails for fact in FACTS)
    assert count(max_confidence=0.55) == sum(fact.confidence <= 0.55 for fact in FACTS)
    limit = sorted(fact.cost for fact in FACTS)[100]
    assert count(min_cost_usd=str(limit)) == sum(fact.cost >= limit for fact in FACTS)


def test_one_interaction_shows_its_steps_and_their_cost(shop: LiveCollector) -> None:
    fact = FACTS[3]
    identity = f"{trace_hex(fact.number)}-{span_hex(1)}"
    detail = shop.get(f"/api/v1/interactions/{identity}", PROJECT)
    by_trace = shop.get(f"/api/v1/interactions/{trace_hex(fact.number)}", PROJECT)
    assert by_trace["interaction"]["id"] == identity
    assert Decimal(detail["interaction"]["cost_usd"]) == fact.cost
    root, call = detail["spans"]
    assert (root["kind"], call["parent_span_id"], call["cost_status"]) == ("interaction", root["span_id"], "priced")
    assert sum(Decimal(part) for part in call["cost"].values() if part) == Decimal(call["cost_usd"])


@pytest.mark.parametrize("identity", ["0" * 32, "nonsense", "f" * 32 + "-" + "0" * 16, "..%2f..%2fetc"])
def test_an_interaction_that_is_not_there_is_a_404(shop: LiveCollector, identity: str) -> None:
    response: httpx.Response = shop.http.get(f"/api/v1/interactions/{identity}")
    assert (response.status_code, response.headers["content-type"]) == (404, "application/problem+json")


def test_the_catalogue_lists_all_that_can_be_asked(shop: LiveCollector) -> None:
    catalogue = shop.http.get("/api/v1/catalogue").json()
    assert {measure["name"] for measure in catalogue["measures"]} == set(MEASURES)
    assert {dimension["name"] for dimension in catalogue["dimensions"]} == set(DIMENSIONS)
    assert shop.get("/api/v1/dimensions/model/values", PROJECT)["values"] == ["gpt-4o", "gpt-4o-mini"]
    assert shop.get("/api/v1/dimensions/tag:tier/values", PROJECT)["values"] == ["free", "pro"]
    assert shop.get("/api/v1/tags", PROJECT)["tags"] == [{"key": "tier", "values": ["free", "pro"]}]
    assert shop.get("/api/v1/tags", PROJECT, each=1)["tags"] == [{"key": "tier", "values": ["free"]}]
    (entry,) = [row for row in shop.get("/api/v1/projects")["projects"] if row["name"] == PROJECT]
    assert entry["spans"] == 240


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"name": "x", "value": True}, "interaction_id"),
        ({"trace_id": "0" * 31, "name": "x", "value": True}, "32 hex"),
        ({"trace_id": trace_hex(1), "value": True}, "needs a name"),
        ({"trace_id": trace_hex(1), "name": "x", "value": None}, "value is"),
        ({"trace_id": trace_hex(1), "name": "x", "value": True, "source": "robot"}, "source is one of"),
        ({"trace_id": trace_hex(1), "name": "x", "value": True, "stars": 5}, "no field"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_unusable_feedback_is_refused_in_words(shop: LiveCollector, item: dict[str, Any], words: str) -> None:
    response = shop.http.post("/api/v1/feedback", json=item)
    assert response.status_code == 422
    assert words in response.json()["detail"]


def test_feedback_may_come_before_its_interaction(shop: LiveCollector, project: str) -> None:
    headers = {"x-spanledger-project": project}
    shop.http.post("/api/v1/feedback", json={"trace_id": trace_hex(77), "name": "helpful", "value": False}, headers=headers)
    shop.settled()
    shop.send(request(S(1, trace=77, attrs=chat())), project)
    (row,) = shop.ask(["feedback_count", "failures"], project)
    assert row == {"feedback_count": 1, "failures": 1}


def test_docs_show_every_route(shop: LiveCollector) -> None:
    document = shop.http.get("/openapi.json").json()
    for path in ("/v1/traces", "/v1/logs", "/api/v1/query", "/api/v1/interactions", "/api/v1/feedback", "/api/v1/alerts/rules"):
        assert path in document["paths"]
    assert shop.http.get("/docs").status_code == 200


@pytest.mark.parametrize("dimension", [*DIMENSIONS, "tag:tier"])
def test_every_measure_alone_is_answered_or_refused_by_every_dimension(shop: LiveCollector, dimension: str) -> None:
    for name in MEASURES:
        for extra in ({"dimensions": [dimension]}, {"filters": [{"dimension": dimension, "op": "not_in", "values": ["x"]}]}):
            query = {"measures": [name], "granularity": "day", **extra}
            response = shop.http.post("/api/v1/query", json=query, headers={"x-spanledger-project": PROJECT})
            reasons = ("measured on calls", "of what never arrived", "which only losses of SDKs have")
            is_explained = response.status_code == 200 or any(reason in response.json()["detail"] for reason in reasons)
            assert is_explained, (name, extra, response.text)


def test_both_ways_to_ask_by_model_agree(shop: LiveCollector, project: str) -> None:
    spans = []
    for trace in range(1, 41):
        spans.append(S(1, trace=trace, attrs={"spanledger.interaction": "x"}, end=trace / 10 + 1))
        for number in range(2, 2 + trace % 4):
            model = ("gpt-4o", "gpt-4o-mini", "made-up")[(trace + number) % 3]
            spans.append(S(number, 1, trace=trace, attrs=chat(model, 100 * number, 7), end=0.5))
        if trace % 5 == 0:
            tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "t"}
            spans.append(S(9, 1, trace=trace, attrs=tool, status=2 if trace % 10 == 0 else 0, start=0.6, end=0.9))
    shop.send(request(*spans), project)
    measures = ["interactions", "failures", "failure_rate", "cost_per_interaction_usd", "cost_p50_usd", "duration_p95_s"]
    own = shop.ask(measures, project, dimensions=["model"])
    # A second dimension of calls, of one value, takes the way over the calls themselves.
    pinned = {"filters": [{"dimension": "usage_quality", "op": "not_in", "values": ["never"]}]}
    assert shop.ask(measures, project, dimensions=["model"], **pinned) == own
    by_model = [{"dimension": "model", "op": "in", "values": ["gpt-4o", "made-up"]}]
    assert shop.ask(measures, project, filters=by_model) == shop.ask(measures, project, filters=[*by_model, *pinned["filters"]])


def test_the_model_that_cost_most_leads(shop: LiveCollector, project: str) -> None:
    embedding = {**chat("text-embedding-3-small", 10, 0), "gen_ai.operation.name": "embeddings"}
    spans = [S(1, attrs={"spanledger.interaction": "ask"}), S(2, 1, attrs=embedding), S(3, 1, attrs=chat("gpt-4o"), start=0.2)]
    assert shop.send(request(*spans), project).status_code == 200
    assert shop.get("/api/v1/interactions", project)["items"][0]["models"] == ["gpt-4o", "text-embedding-3-small"]


def test_the_preview_is_what_the_user_asked_not_what_was_searched(shop: LiveCollector, project: str) -> None:
    search = {"gen_ai.operation.name": "retrieval", "gen_ai.retrieval.query.text": "parcel"}
    asked = '[{"role":"user","parts":[{"type":"text","content":"Where is my parcel?"}]}]'
    spans = [
        S(1, attrs={"spanledger.interaction": "answer"}),
        S(2, 1, attrs=search, end=0.2),
        S(3, 1, attrs=chat(gen_ai__input__messages=asked), start=0.2, end=0.9),
    ]
    shop.send(request(*spans), project)
    (item,) = shop.get("/api/v1/interactions", project)["items"]
    assert item["preview"] == "Where is my parcel?"
    assert shop.get(f"/api/v1/interactions/{item['id']}", project)["interaction"]["preview"] == "Where is my parcel?"


def test_dimensions_that_are_grouped_by_their_hash_have_few_values(collector: LiveCollector) -> None:
    """Sixty-four bits tell a dictionary's values apart, not the ids of everything that ever was."""
    sql = "SELECT table, name, type FROM system.columns WHERE database = currentDatabase() AND table IN ('calls', 'interactions')"
    types = {(row["table"], row["name"]): row["type"] for row in collector.parts.store.read(sql).to_pylist()}
    plural = {"confidence_source": "confidence_sources", "feedback_source": "feedback_sources", "feedback_name": "feedback_names"}
    for name in FEW_VALUED:
        dimension = DIMENSIONS[name]
        for table, column in (("calls", dimension.calls), ("interactions", dimension.interactions)):
            column = {**plural, "span_kind": "span_kinds"}.get(column or "", column)
            assert column is None or "LowCardinality" in types[table, column], (table, column)
