"""Bills are read as their providers write them: exports of consoles, pages of APIs, and any other table."""

import contextlib
from collections import defaultdict
from datetime import date
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanledger_collector.costs.bills.lines import Bill, What
from spanledger_collector.costs.bills.models import Model, known_as
from spanledger_collector.costs.bills.openai import parse_line_item
from spanledger_collector.costs.bills.read import FORMATS, Options, read_bill
from spanledger_collector.errors import InvalidQuestion

DATA = Path(__file__).parents[2] / "data" / "bills"
DAY = date(2026, 11, 20)


def read(name: str, options: Options | None = None) -> Bill:
    return read_bill((DATA / name).read_text("utf-8"), options or Options())


def tokens(bill: Bill, day: date = DAY) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = defaultdict(int)
    for line in bill.lines:
        for kind, number in (line.tokens or {}).items():
            if line.day == day and number:
                found[line.model, kind] += number
    return dict(found)


def money(bill: Bill) -> dict[tuple[str, str, str], Decimal]:
    found: dict[tuple[str, str, str], Decimal] = defaultdict(Decimal)
    for line in bill.lines:
        if line.amount is not None:
            found[line.model, line.kind, line.what] += line.amount
    return dict(found)


@pytest.mark.parametrize("name", ["openai_usage.csv", "openai_usage.tsv"])
def test_openai_usage_with_numbers_like_ten_point_zero_and_idle_days(name: str) -> None:
    bill = read(name)
    assert bill.format == "openai-usage"
    assert bill.days == {DAY, date(2026, 11, 21), date(2026, 11, 22)}, "an idle day is a day of the bill"
    assert tokens(bill) == {
        ("gpt-4o-2024-08-06", "input"): 53_440,
        ("gpt-4o-2024-08-06", "cache_read"): 5_760,
        ("gpt-4o-2024-08-06", "output"): 10_646,
        ("gpt-4o-mini-2024-07-18", "input"): 8_000,
        ("gpt-4o-mini-2024-07-18", "output"): 500,
    }
    assert [(line.requests, line.mode) for line in bill.lines] == [(10, ""), (2, "batch"), (1, "flex")]
    assert (bill.has_tokens, bill.has_money) == (True, False)


def test_openai_costs_by_line_item() -> None:
    bill = read("openai_costs.tsv")
    assert bill.format == "openai-costs"
    assert len(bill.days) == 3
    assert money(bill) == {
        ("gpt-4o-2024-08-06", "input", "usage"): Decimal("0.1336"),
        ("gpt-4o-2024-08-06", "cache_read", "usage"): Decimal("0.0072"),
        ("gpt-4o-2024-08-06", "output", "usage"): Decimal("0.10646"),
        ("gpt-4o-mini-2024-07-18", "input", "usage"): Decimal("0.0006"),
        ("", "", "fee"): Decimal("0.25"),
        ("gpt-4o-2024-08-06", "input", "credit"): Decimal("-1.5"),
    }
    assert [line.mode for line in bill.lines if line.mode] == ["batch"]


def test_the_pages_of_the_api_say_what_the_tables_say() -> None:
    costs, usage = read("openai_costs.json"), read("openai_usage.json")
    assert (costs.format, usage.format) == ("openai-costs", "openai-usage")
    table = money(read("openai_costs.tsv"))
    assert all(table[key] == amount for key, amount in money(costs).items())
    assert tokens(costs) == tokens(usage), "quantities are tokens"
    assert len(costs.days) == 2
    assert costs.notes == []
    assert "there is more" in usage.notes[0]


def test_pages_one_after_the_other_and_in_a_list() -> None:
    first = (DATA / "openai_usage.json").read_text()
    last = first.replace('"has_more": true', '"has_more": false').replace("1795132800", "1795219200").replace("1795219200, 1", "")
    for text in (f"{first}\n{last}", f"[{first},{last}]"):
        bill = read_bill(text, Options())
        assert len(bill.lines) == 2
        assert bill.notes == []


def test_anthropic_usage_and_costs() -> None:
    console, api = read("anthropic_usage.csv"), read("anthropic_usage.json")
    assert (console.format, api.format) == ("anthropic-usage", "anthropic-usage-report")
    assert tokens(console) == tokens(api)
    assert tokens(api)["claude-sonnet-4-5-20250929", "cache_write"] == 3_000
    assert [line.mode for line in console.lines] == ["", "batch"]
    dollars, cents = read("anthropic_cost.csv"), read("anthropic_cost.json")
    assert (dollars.format, cents.format) == ("anthropic-cost", "anthropic-cost-report")
    assert money(cents)["claude-sonnet-4-5-20250929", "input", "usage"] == Decimal("0.3"), "the report is in cents"
    assert money(cents)["claude-sonnet-4-5-20250929", "cache_write", "usage"] == Decimal("0.0135")
    assert money(cents)["", "", "fee"] == Decimal("0.03")
    assert money(dollars)["Claude Sonnet 4.5", "", "fee"] == Decimal("0.03")
    assert [line.list_amount for line in dollars.lines if line.kind == "output"] == [Decimal("0.12")]
    assert float(dollars.half_digit) == 0.005, "the console rounds to cents"


def test_any_table_by_a_map_of_columns() -> None:
    columns = {"day": "Date", "model": "SKU", "provider": "Vendor", "cost": "Amount", "currency": "Unit"}
    columns |= {"input_tokens": "Prompt", "cache_read_tokens": "Cached", "output_tokens": "Answers"}
    bill = read("generic.csv", Options(columns=columns))
    first, second = bill.lines
    assert (first.amount, first.currency, first.provider) == (Decimal("1234.5"), "EUR", "OpenAI")
    assert first.tokens == {"input": 800, "cache_read": 200, "cache_write": 0, "output": 50}
    assert (second.amount, second.what, second.tokens) == (Decimal("-2.25"), What.CREDIT, None)
    assert [line.day for line in read("generic.csv", Options(columns=columns, only={"Amount": "(2.25)"})).lines] == [
        date(2026, 11, 21)
    ]


def test_usual_names_need_no_map_and_days_are_of_the_zone() -> None:
    text = "time;model;cost_usd\n2026-11-20T23:30:00Z;gpt-4o;1.5\n2026-11-20 23:30:00;gpt-4o;2\n"
    assert [line.day.day for line in read_bill(text, Options()).lines] == [20, 20]
    assert [line.day.day for line in read_bill(text, Options(zone=ZoneInfo("Asia/Tokyo"))).lines] == [21, 20]


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        ("", Options(), "empty"),
        ("hello", Options(), "neither JSON nor a table"),
        ("\x00\x01,\x02\n1,2", Options(), "neither JSON nor a table"),
        ("{", Options(), "begins like JSON"),
        ("[" * 100_000, Options(), "begins like JSON"),
        ("[1, 2]", Options(), "no pages"),
        ('{"data": [1]}', Options(), "no buckets"),
        ("a,b\n1,2", Options(), "openai-usage has start_time or start_time_iso and num_model_requests and input_tokens"),
        ("a,b\n1,2", Options(), "The file has: a, b."),
        ("day,cost\n2026-11-20,1", Options(kind="openai-costs"), "This is no openai-costs file"),
        ("day,cost\n2026-11-20,1", Options(kind="invoice"), "no format 'invoice'"),
        ("day,cost\n2026-11-20,1", Options(columns={"cost": "Amount"}), "no column 'Amount'"),
        ("day,cost\n2026-11-20,1", Options(columns={"price": "cost"}), "cannot be mapped to 'price'"),
        ("day,cost\n2026-11-20,1", Options(only={"team": "x"}), "no column 'team'"),
        ("day,cost\n2026-11-20,lots", Options(), "Line 2: cost is 'lots'"),
        ("day,cost\n2026-11-20,NaN\n2026-11-21,Infinity", Options(), "Line 3: cost is 'Infinity'"),
        ("day,cost\n2026-11-20,1e999", Options(), "no amount"),
        ("day,cost\n20.11.2026,1", Options(), "days are written 2026-11-25"),
        ("day,cost\n0001-01-01T00:00:00+14:00,1", Options(), "which is no day"),
        ("day,cost\n,1", Options(), "has no day"),
        ("day,cost\n2026-11-20,1,2", Options(), "more cells"),
        ("day,output_tokens\n2026-11-20,1.5", Options(), "no count"),
        ("day,input_tokens,cached_tokens,output_tokens\n2026-11-20,1,5,1", Options(), "uncached_input_tokens"),
        ("start_time,end_time,amount_value\n1795132800,1797811200,5", Options(), "about 31 days at once"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_sentence(text: str, options: Options, says: str) -> None:
    with pytest.raises(InvalidQuestion) as refused:
        read_bill(text, options)
    assert says in str(refused.value)


@given(st.text() | st.sampled_from([known.name for known in FORMATS]).map(lambda name: name + ",x\n1,2"))
def test_no_text_brings_it_down(text: str) -> None:
    with contextlib.suppress(InvalidQuestion):
        assert read_bill(text, Options()).days


@pytest.mark.parametrize(
    ("label", "parts"),
    [
        ("gpt-4o-2024-08-06, input", ("gpt-4o-2024-08-06", "input", "")),
        ("gpt-5.5-2026-04-23, cached input", ("gpt-5.5-2026-04-23", "cache_read", "")),
        ("gpt-audio-mini-2025-12-15 audio, output", ("gpt-audio-mini-2025-12-15", "output", "")),
        ("priority | gpt-5.6-sol, output, long context", ("gpt-5.6-sol", "output", "priority")),
        ("ft-gpt-4o-2024-08-06, input", ("ft:gpt-4o-2024-08-06", "input", "")),
        ("web search tool calls", ("", "", "")),
        ("assistants api | file search, storage", ("", "", "")),
    ],
)
def test_line_items(label: str, parts: tuple[str, str, str]) -> None:
    assert parse_line_item(label) == parts


@pytest.mark.parametrize(
    ("provider", "name", "model"),
    [
        ("anthropic", "Claude Sonnet 4.5", Model("anthropic", "claude-sonnet-4-5")),
        ("anthropic", "Claude Haiku 3.5", known_as("anthropic", "claude-3-5-haiku-20241022")),
        ("anthropic", "Claude 3.5 Sonnet 2024-10-22", known_as("anthropic", "claude-3-5-sonnet-20241022")),
        ("", "GPT-4o mini", known_as("openai", "gpt-4o-mini-2024-07-18")),
        ("vllm", "House 7B", Model("vllm", "house 7b")),
    ],
)
def test_display_names_are_models(provider: str, name: str, model: Model) -> None:
    assert known_as(provider, name) == model
