"""Prices through the public door: quotes, the project's own prices, and what calls then cost."""

import json
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from live import LiveCollector
from otlp_kit import S, chat, request

CASES = json.loads((Path(__file__).parents[1] / "data" / "cost" / "cases.json").read_text())["cases"]
MILLION = {"input_tokens": 1_000_000, "output_tokens": 1_000_000}


def call(collector: LiveCollector, method: str, path: str, body: Any = None, project: str = "default") -> httpx.Response:
    return collector.http.request(method, f"/api/v1/prices{path}", json=body, headers={"x-spanledger-project": project})


def quote(collector: LiveCollector, question: Any, project: str = "default") -> Any:
    response = call(collector, "POST", "/quote", question, project)
    assert response.status_code == 200, response.text
    return response.json()


def asked(case: dict[str, Any]) -> dict[str, Any]:
    return {key: case[key] for key in ("provider", "model", "timestamp", "usage", "context")}


def set_price(collector: LiveCollector, project: str, price: Any) -> list[dict[str, Any]]:
    response = call(collector, "POST", "", price, project)
    assert response.status_code == 201, response.text
    return list(response.json()["prices"])


class TestQuotes:
    @pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
    def test_every_case_is_exact(self, collector: LiveCollector, case: dict[str, Any]) -> None:
        answer = quote(collector, asked(case))
        wanted = case["expected_usd"]
        assert answer["status"] == case["status"], answer
        assert (answer["cost_usd"] is None) == (wanted is None)
        if wanted is None:
            assert answer["reason"]
            return
        assert Decimal(answer["cost_usd"]) == Decimal(wanted)
        assert "E" not in answer["cost_usd"].upper()
        assert sum(Decimal(line["usd"]) for line in answer["breakdown"].values()) == Decimal(wanted)
        assert answer["source"]
        assert answer["version"]

    @pytest.mark.parametrize("case", [case for case in CASES if "usage_as_reported" in case], ids=lambda case: case["id"])
    def test_usage_that_leaves_out_its_cached_part_is_understood(self, collector: LiveCollector, case: dict[str, Any]) -> None:
        assert quote(collector, asked(case) | {"usage": case["usage_as_reported"]})["cost_usd"] == case["expected_usd"]

    def test_a_list_is_answered_in_its_order(self, collector: LiveCollector) -> None:
        answers = quote(collector, [asked(case) for case in CASES])
        assert [answer["cost_usd"] is None for answer in answers] == [case["expected_usd"] is None for case in CASES]
        assert answers[0] == quote(collector, asked(CASES[0]))
        assert quote(collector, []) == []

    def test_what_it_says(self, collector: LiveCollector) -> None:
        question = {"provider": "openai", "model": "gpt-4o", "timestamp": "2026-08-10T12:00:00Z"}
        usage = {"input_tokens": 1200, "cache_read_tokens": 1000, "output_tokens": 300}
        assert quote(collector, question | {"usage": usage}) == {
            "status": "priced",
            "cost_usd": "0.00475",
            "breakdown": {
                "input": {"quantity": 200, "usd_per_1m": "2.5", "usd": "0.0005"},
                "cache_read": {"quantity": 1000, "usd_per_1m": "1.25", "usd": "0.00125"},
                "output": {"quantity": 300, "usd_per_1m": "10", "usd": "0.003"},
            },
            "source": "genai-prices",
            "version": "genai-prices/0.2.3",
            "reason": None,
        }

    def test_any_size_is_quoted(self, collector: LiveCollector) -> None:
        question = {"provider": "openai", "model": "gpt-4o", "usage": {"input_tokens": 10**15, "output_tokens": 1}}
        assert quote(collector, question)["cost_usd"] == "2500000000.00001"
        assert quote(collector, question | {"usage": {"input_tokens": 0, "output_tokens": 0}})["cost_usd"] == "0"

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"model": "gpt-4o-made-up"}, "unknown_model"),
            ({"model": None}, "no_model"),
            ({"usage": {}}, "no_usage"),
            ({"usage": {"input_tokens": 5, "input_audio_tokens": 5}}, "no_price_for_input_audio"),
            ({"usage": {"input_tokens": 5, "crystals": 5}}, "no_price_for_crystals"),
            ({"usage": {"input_tokens": 10, "cache_read_tokens": 8, "input_image_tokens": 8}}, "impossible_usage"),
            ({"context": {"service_tier": "scale"}}, "unknown_service_tier"),
        ],
    )
    def test_what_is_not_known_is_said(self, collector: LiveCollector, change: dict[str, Any], reason: str) -> None:
        question = {"provider": "openai", "model": "gpt-4o", "usage": {"input_tokens": 10}} | change
        answer = quote(collector, question)
        assert (answer["status"], answer["cost_usd"], answer["reason"], answer["breakdown"]) == ("unpriced", None, reason, {})

    @pytest.mark.parametrize(
        "question",
        [
            "gpt-4o",
            [1],
            {"usage": []},
            {"usage": {"input_tokens": -1}},
            {"usage": {"input_tokens": "many"}},
            {"usage": {"input_tokens": True}},
            {"usage": {"input_tokens": 1.5}},
            {"model": ["gpt-4o"]},
            {"timestamp": "yesterday"},
            {"context": "batch"},
            {"duration_s": "long"},
        ],
    )
    def test_a_question_of_the_wrong_form_is_a_422_in_words(self, collector: LiveCollector, question: Any) -> None:
        response = call(collector, "POST", "/quote", question)
        assert response.status_code == 422
        assert response.json()["code"] == "invalid_query"
        assert len(response.json()["detail"]) > 10


class TestOwnPrices:
    def test_a_price_is_set_shown_quoted_retired_and_remembered(self, collector: LiveCollector, project: str) -> None:
        question = {"provider": "azure", "model": "prod-chat", "usage": MILLION, "timestamp": "2026-08-01T00:00:00Z"}
        assert quote(collector, question, project)["status"] == "unpriced"
        raw = {
            "provider": "azure*",
            "model": "prod-*",
            "price_as": {"provider": "openai", "model": "gpt-4o"},
            "multiplier": "0.8",
        }
        price = set_price(collector, project, raw)[0]
        answer = quote(collector, question, project)
        assert (answer["cost_usd"], answer["source"], answer["version"]) == ("10", "user", price["version"])
        assert quote(collector, question, "somebody-else")["status"] == "unpriced"
        again = set_price(collector, project, raw | {"multiplier": "0.5"})[0]
        assert again["id"] == price["id"]
        assert quote(collector, question, project)["cost_usd"] == "6.25"
        listed = call(collector, "GET", "", project=project).json()
        assert [entry["multiplier"] for entry in listed["prices"]] == ["0.5"]
        assert [entry["source"] for entry in listed["sources"]] == ["corrections", "genai-prices"]
        assert call(collector, "DELETE", f"/{price['id']}", project=project).status_code == 204
        assert quote(collector, question, project)["status"] == "unpriced"
        versions = call(collector, "GET", "/history", project=project).json()["versions"]
        assert [(entry["action"], entry["multiplier"]) for entry in versions] == [
            ("set", "0.8"),
            ("set", "0.5"),
            ("retired", "0.5"),
        ]
        assert call(collector, "DELETE", f"/{price['id']}", project=project).status_code == 404

    def test_all_or_none(self, collector: LiveCollector, project: str) -> None:
        good = {"model": "a", "multiplier": "1"}
        response = call(collector, "PUT", "", [good, {"model": "b", "multiplier": "lots"}], project)
        assert response.status_code == 422
        assert "multiplier" in response.json()["detail"]
        assert call(collector, "GET", "", project=project).json()["prices"] == []

    def test_the_price_of_a_model_is_explained_with_its_history(self, collector: LiveCollector, project: str) -> None:
        shown = call(collector, "GET", "/resolve?provider=deepseek&model=deepseek-v4-pro", project=project).json()
        last = shown["periods"][-1]
        assert last["is_current"]
        assert last["source"] == "corrections"
        assert last["prices"]["input"] == "0.66"
        assert [window["hours_utc"] for window in last["windows"]] == ["01:00-04:00", "06:00-10:00"]
        assert shown["periods"][0]["until"] == shown["periods"][1]["from"]
        set_price(collector, project, {"model": "deepseek-v4*", "multiplier": "0.5", "valid_from": "2026-10-01"})
        shown = call(collector, "GET", "/resolve?provider=deepseek&model=deepseek-v4-pro", project=project).json()
        assert shown["periods"][-1]["source"] == "user"
        assert shown["periods"][-1]["windows"][0]["prices"]["output"] == "1.98"
        unknown = call(collector, "GET", "/resolve?model=made-up", project=project).json()
        assert (unknown["reason"], unknown["periods"]) == ("unknown_model", [])

    def test_calls_are_priced_by_it_at_once_and_the_ledger_says_so(self, collector: LiveCollector, project: str) -> None:
        model = {"gen_ai__request__model": "house-7b", "gen_ai__response__model": "house-7b", "gen_ai__provider__name": "vllm"}
        collector.send(request(S(1, attrs=chat(**model))), project)
        assert collector.value("unpriced_generations", project) == 1
        set_price(collector, project, {"model": "house-*", "prices": {"input": "1", "output": "2"}})
        set_price(collector, project, {"kind": "tool", "model": "search", "per_call": "0.01"})
        tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search"}
        collector.send(request(S(1, attrs=chat(**model), trace=2), S(2, 1, name="search", attrs=tool, trace=2)), project)
        rows = collector.ask(["cost_usd"], project, dimensions=["cost_status"])
        assert {row["cost_status"]: row["cost_usd"] for row in rows}["priced"] == "0.01012"
        steps = {step["span_id"]: step for step in collector.get(f"/api/v1/interactions/{2:032x}", project)["spans"]}
        assert steps[f"{1:016x}"]["cost_source"] == "user"
        assert steps[f"{1:016x}"]["price_version"].startswith("user/")
        # The older call keeps what it was settled with.
        assert collector.value("unpriced_generations", project) == 1

    @pytest.mark.parametrize(
        ("more", "cost", "processing"),
        [
            ({"spanledger.processing": "batch"}, "1.25", "batch"),
            ({"spanledger.service_tier": "priority"}, "4.25", "priority"),
            ({"openai.response.service_tier": "default"}, "2.5", None),
            ({"spanledger.usage.web_searches": 2}, "2.52", None),
            ({"spanledger.usage.input_audio_tokens": 10}, None, None),
        ],
    )
    def test_what_a_span_says_of_its_processing_and_usage_is_priced(
        self, collector: LiveCollector, project: str, more: dict[str, Any], cost: str | None, processing: str | None
    ) -> None:
        collector.send(request(S(1, attrs=chat(given=1_000_000, produced=0) | more)), project)
        (step,) = collector.get(f"/api/v1/interactions/{1:032x}", project)["spans"]
        assert (step["cost_usd"], step["processing"]) == (cost, processing)
        if cost is not None:
            assert sum(Decimal(part) for part in step["cost"].values()) == Decimal(cost)


def test_prices_survive_a_restart() -> None:
    collector = LiveCollector()
    try:
        set_price(collector, "p", {"model": "mine", "prices": {"input": "3", "output": "0"}})
        collector.restart()
        answer = quote(collector, {"model": "mine", "usage": MILLION}, "p")
        assert (answer["status"], answer["cost_usd"]) == ("priced", "3")
        started = time.monotonic()
        set_price(collector, "p", {"model": "mine", "prices": {"input": "4", "output": "0"}})
        assert quote(collector, {"model": "mine", "usage": MILLION}, "p")["cost_usd"] == "4"
        assert time.monotonic() - started < 1
    finally:
        collector.stop()
