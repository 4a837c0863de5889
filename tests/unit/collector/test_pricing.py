"""Prices: the cases with answers that several tables agree on, and what must never be priced."""

import json
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanledger_collector.settle.pricing import TokenCounts, price

CASES = json.loads((Path(__file__).parents[2] / "data" / "cost" / "cases.json").read_text())["cases"]
BEYOND_THE_TABLE = {"batch", "service_tier", "fees", "fine_tuned", "price_change"}
"""Categories that need more than genai-prices' rows at a time: the price book is a later issue."""
OTHERS = ("input_audio", "output_audio", "input_image", "output_image")
AT = 1_790_000_000_000_000_000


def quote(case: dict[str, Any]) -> Decimal | None:
    usage = case["usage"]
    others = {kind: usage[f"{kind}_tokens"] for kind in OTHERS if usage.get(f"{kind}_tokens")}
    cached = [usage.get(f"cache_{kind}_tokens", 0) for kind in ("read", "write", "write_1h")]
    given_others = sum(number for kind, number in others.items() if kind.startswith("input"))
    made_others = sum(number for kind, number in others.items() if kind.startswith("output"))
    reasoning = usage.get("reasoning_tokens", 0)
    counts = TokenCounts(
        usage.get("input_tokens", 0) - sum(cached) - given_others,
        *cached,
        usage.get("output_tokens", 0) - reasoning - made_others,
        reasoning,
        others,
    )
    at = int(datetime.fromisoformat(case["timestamp"]).timestamp()) * 1_000_000_000
    priced = price(case["provider"], case["model"], at, counts, reported=None, dialect="genai", is_estimated=False)
    return None if priced.total is None else Decimal(priced.total) / 10**12


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case["category"] not in BEYOND_THE_TABLE and case["model"] != "cohere.embed-english-v3"],
    ids=lambda case: case["id"],
)
def test_cases_are_exact(case: dict[str, Any]) -> None:
    assert quote(case) == (None if case["expected_usd"] is None else Decimal(case["expected_usd"]))


@pytest.mark.parametrize(
    "model",
    ["gpt-4o-internal", "claude-sonnet-4-5-foo-internal", "made-up", "", "gpt", "../gpt-4o", "gpt-4o; DROP TABLE", "ft:xyz"],
)
def test_invented_models_are_never_priced(model: str) -> None:
    counts = TokenCounts(100, 0, 0, 0, 10)
    priced = price("openai", model, AT, counts, reported=None, dialect="genai", is_estimated=False)
    assert (priced.status, priced.total) == ("unpriced", None)
    assert priced.reason


def test_a_reported_cost_is_believed_where_it_is_the_applications_own() -> None:
    counts = TokenCounts(100, 0, 0, 0, 10)
    own = price("openai", "gpt-4o", AT, counts, reported=123, dialect="genai", is_estimated=False)
    assert (own.status, own.total) == ("reported", 123)
    foreign = price("openai", "gpt-4o", AT, counts, reported=123, dialect="openlit", is_estimated=False)
    assert (foreign.status, foreign.total) == ("priced", 350_000_000)


@given(*[st.integers(0, 2_000_000)] * 4)
def test_cost_grows_with_every_kind_and_parts_sum_to_the_whole(fresh: int, read: int, write: int, out: int) -> None:
    priced = price(
        "anthropic",
        "claude-sonnet-4-5",
        AT,
        TokenCounts(fresh, read, write, 0, out),
        reported=None,
        dialect="",
        is_estimated=False,
    )
    parts = (priced.input, priced.cache_read, priced.cache_write, priced.output)
    assert priced.total == sum(part or 0 for part in parts)
    more = price(
        "anthropic",
        "claude-sonnet-4-5",
        AT,
        TokenCounts(fresh, read, write, 0, out + 1),
        reported=None,
        dialect="",
        is_estimated=False,
    )
    assert (more.total or 0) > (priced.total or 0)
