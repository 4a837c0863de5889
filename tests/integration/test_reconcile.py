"""`spanledger reconcile` and its route against a real collector: bills as providers write them, over calls that were sent."""

import csv
import io
import json
import shlex
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from live import LiveCollector
from otlp_kit import S, chat, request

from spanledger import cli
from spanledger.cli._show import CONSOLE
from spanledger.client import Client

Run = Callable[..., tuple[int, str, str]]
DATA = Path(__file__).parents[1] / "data" / "bills"
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
DAY = 86_400
CACHED = {"gen_ai.usage.cache_read.input_tokens": 5_760}


def claude(given: int, produced: int, **more: Any) -> dict[str, Any]:
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "claude-sonnet-4-5",
        "gen_ai.response.model": "claude-sonnet-4-5-20250929",
        "gen_ai.usage.input_tokens": given,
        "gen_ai.usage.output_tokens": produced,
        **more,
    }


def send(collector: LiveCollector, project: str, calls: Sequence[dict[str, Any]], at: float = NOON, first: int = 1) -> None:
    spans = [S(first + n, trace=first + n, attrs=attrs, start=n * 0.01, end=n * 0.01 + 1) for n, attrs in enumerate(calls)]
    response = collector.send(request(*spans, at=at), project)
    assert response.status_code == 200
    collector.settled()


def ask(collector: LiveCollector, project: str, *texts: str, **options: Any) -> dict[str, Any]:
    collector.settled()
    body = {"files": [{"name": f"{n}.csv", "text": text} for n, text in enumerate(texts)], **options}
    response = collector.http.post("/api/v1/costs/reconcile", json=body, headers={"x-spanledger-project": project})
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    adds_up(found)
    return found


def adds_up(found: dict[str, Any]) -> None:
    """The law of every answer: parts add up in the whole, and rows, days and models to the whole."""
    difference = Decimal(found["difference_usd"])
    assert difference == Decimal(found["bill_usd"]) - Decimal(found["ours_usd"])
    assert sum(Decimal(reason["usd"]) for reason in found["reasons"]) == difference
    for rows in (found["models"], found["days"], found["rows"]):
        for row in rows:
            assert sum(map(Decimal, row["parts"].values())) == Decimal(row["difference_usd"])
        for side in ("bill_usd", "ours_usd"):
            assert sum(Decimal(row[side]) for row in rows) == Decimal(found[side])


def file(name: str) -> str:
    return (DATA / name).read_text("utf-8")


@pytest.fixture
def run(collector: LiveCollector, project: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("SPANLEDGER_ENDPOINT", collector.url)
    monkeypatch.setenv("SPANLEDGER_PROJECT", project)
    monkeypatch.setattr(CONSOLE, "_width", 240)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(("reconcile", *arguments))
        out, err = capsys.readouterr()
        return code, out, err

    return call


def the_calls_of_the_openai_bill() -> list[dict[str, Any]]:
    """Ten calls that add up to what `openai_usage` counts on the first day."""
    each = [chat("gpt-4o-2024-08-06", 5_920, 1_064, **{"gen_ai.usage.cache_read.input_tokens": 576}) for _ in range(9)]
    return [*each, chat("gpt-4o-2024-08-06", 5_920, 1_070, **{"gen_ai.usage.cache_read.input_tokens": 576})]


def test_usage_and_costs_agree_to_the_last_digit(collector: LiveCollector, project: str) -> None:
    send(collector, project, the_calls_of_the_openai_bill())
    found = ask(collector, project, file("openai_usage.tsv"), file("openai_costs.json"), start="2026-11-20", end="2026-11-21")
    gpt = next(row for row in found["models"] if row["model"] == "gpt-4o")
    assert (gpt["bill_usd"], gpt["ours_usd"], gpt["parts"]) == ("0.24726", "0.24726", {})
    assert (gpt["bill_requests"], gpt["our_calls"]) == (10, 10)
    assert gpt["bill_tokens"] == gpt["our_tokens"] == {"input": 53_440, "cache_read": 5_760, "cache_write": 0, "output": 10_646}


def test_a_whole_bill_is_explained_in_parts(collector: LiveCollector, project: str) -> None:
    send(collector, project, the_calls_of_the_openai_bill()[:8])
    found = ask(collector, project, file("openai_usage.csv"), file("openai_costs.tsv"))
    reasons = {reason["reason"]: Decimal(reason["usd"]) for reason in found["reasons"]}
    assert found["start"] == "2026-11-20"
    assert reasons["fees"] == Decimal("0.25")
    assert reasons["credits"] == Decimal("-1.5")
    assert "unexplained" not in reasons
    assert found["found_share"] == pytest.approx((8 * (5_920 + 1_064)) / (69_846 + 8_500 + 1_100))
    mini = next(row for row in found["models"] if row["model"] == "gpt-4o-mini")
    assert mini["parts"] == {"missing_spans": "0.0006"}
    idle = next(row for row in found["days"] if row["day"] == "2026-11-21")
    assert (idle["bill_usd"], idle["ours_usd"]) == ("0", "0")


def test_our_own_totals_as_a_bill_reconcile_to_nothing(collector: LiveCollector, project: str) -> None:
    send(collector, project, [chat("gpt-4o", 1_234, 567, **CACHED), chat("gpt-4o-mini", 50_001, 7), claude(9_999, 333)])
    send(collector, project, [chat("gpt-4o", 70, 3), claude(5, 5)], at=NOON + DAY, first=10)
    measures = ["cost_usd", "input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "generations"]
    rows = collector.ask(measures, project, dimensions=["provider", "model"], granularity="day")
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]))
    table.writeheader()
    table.writerows(rows)
    for exported in (text.getvalue(), "\n".join([text.getvalue().splitlines()[0], *reversed(text.getvalue().splitlines()[1:])])):
        found = ask(collector, project, exported)
        assert (found["difference_usd"], found["reasons"], found["overrides"]) == ("0", [], [])
        assert Decimal(found["bill_usd"]) == Decimal(collector.value("cost_usd", project))
        assert found["found_share"] == 1.0


def test_a_bill_in_cents_with_display_names(collector: LiveCollector, project: str) -> None:
    cache = {"gen_ai.usage.cache_read.input_tokens": 50_000, "gen_ai.usage.cache_creation.input_tokens": 3_000}
    attrs = claude(153_000, 8_000, **cache, **{"spanledger.usage.cache_write_1h_tokens": 1_000})
    send(collector, project, [attrs])
    exact = ask(collector, project, file("anthropic_usage.json"), file("anthropic_cost.json"))
    assert {reason["reason"] for reason in exact["reasons"]} == {"fees"}
    assert exact["reasons"][0]["usd"] == "0.03"
    console = ask(collector, project, file("anthropic_usage.csv"), file("anthropic_cost.csv"), end="2026-11-21")
    reasons = {reason["reason"]: Decimal(reason["usd"]) for reason in console["reasons"]}
    assert set(reasons) == {"fees", "discount", "rounding"}
    assert reasons["discount"] == Decimal("-0.02"), "output at 10 of 12 cents"
    assert abs(reasons["rounding"]) < Decimal("0.02")


def test_the_price_that_a_bill_implies_ends_the_difference(
    collector: LiveCollector, project: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = {"gen_ai__provider__name": "vllm", "gen_ai__request__model": "house-7b", "gen_ai__response__model": "house-7b"}
    send(collector, project, [chat("gpt-4o", 100_000, 1_000), chat("x", 1_000_000, 500_000, **house)])
    bill = tmp_path / "bill.csv"
    bill.write_text(
        "day,provider,model,kind,input_tokens,output_tokens,cost\n"
        "2026-11-20,openai,gpt-4o,,100000,1000,\n2026-11-20,openai,gpt-4o,input,,,0.205\n2026-11-20,openai,gpt-4o,output,,,0.0082\n"
        "2026-11-20,vllm,house-7b,,1000000,500000,\n2026-11-20,vllm,house-7b,input,,,0.2\n2026-11-20,vllm,house-7b,output,,,0.3\n"
    )
    code, out, _ = run(str(bill), "--json")
    found = json.loads(out)
    adds_up(found)
    assert code == 0, "all of it is explained"
    assert {reason["reason"]: reason["usd"] for reason in found["reasons"]} == {"unpriced": "0.5", "discount": "-0.0468"}
    prices = [override["price"] for override in found["overrides"]]
    assert {price["model"]: price.get("multiplier") or price["prices"] for price in prices} == {
        "house-7b": {"input": "0.2", "output": "0.6"},
        "gpt-4o": "0.82",
    }
    for override in found["overrides"]:
        assert cli.main(shlex.split(override["command"])[1:]) == 0
    assert cli.main(["reprice"]) == 0
    collector.settled()
    code, out, _ = run(str(bill))
    assert code == 0
    assert "They agree." in out


def test_days_of_another_time_zone_are_noticed(collector: LiveCollector, project: str) -> None:
    for day in range(3):
        late = NOON + day * DAY + 9 * 3_600
        send(collector, project, [chat("gpt-4o", 1_000 * (day + 1), 100)], at=late, first=10 * day + 1)
    rows = [f"2026-11-{21 + day},gpt-4o,{1_000 * (day + 1)},100,{0.0025 * (day + 1) + 0.001}" for day in range(3)]
    text = "\n".join(["day,model,input_tokens,output_tokens,cost", "2026-11-20,gpt-4o,0,0,0", *rows])
    found = ask(collector, project, text)
    assert "day_edge" in {reason["reason"] for reason in found["reasons"]}
    assert found["better_timezone"] == "Etc/GMT-3"
    assert any("Etc/GMT-3" in warning for warning in found["warnings"])
    again = ask(collector, project, text, timezone=found["better_timezone"])
    assert (again["difference_usd"], again["reasons"], again["better_timezone"]) == ("0", [], None)


def test_other_providers_are_left_out_and_said(collector: LiveCollector, project: str) -> None:
    send(collector, project, [chat("gpt-4o", 1_000, 0), claude(1_000_000, 0)])
    found = ask(collector, project, "day,model,cost_usd\n2026-11-20,gpt-4o,0.0025", provider="openai")
    assert found["difference_usd"] == "0"
    assert found["left_out"] == {"calls": 1, "cost_usd": "3", "providers": ["anthropic"]}


def test_batch_that_is_not_marked_here_is_said(collector: LiveCollector, project: str) -> None:
    send(collector, project, [chat("gpt-4o-mini", 8_000, 500)])
    found = ask(collector, project, file("openai_usage.csv"), only={"project_id": "proj_b"})
    assert any("batch tokens of gpt-4o-mini" in warning for warning in found["warnings"])
    assert found["money"] == "valued"


def test_filters_and_other_projects(collector: LiveCollector, project: str) -> None:
    send(collector, project, [chat("gpt-4o", 1_000, 0)])
    text = "day,model,cost_usd\n2026-11-20,gpt-4o,0.0025"
    assert ask(collector, project, text)["difference_usd"] == "0"
    filters = [{"dimension": "model", "op": "in", "values": ["other"]}]
    assert ask(collector, project, text, filters=filters)["ours_usd"] == "0"
    assert ask(collector, f"{project}-other", text)["ours_usd"] == "0"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "files is a list"),
        ({"files": []}, "files is a list"),
        ({"files": [{"text": 5}]}, "is a text"),
        ({"text": "a,b\n1,2"}, "The file has: a, b."),
        ({"text": "day,cost\n2026-11-20,1", "wide": 1}, "unknown field 'wide'"),
        ({"text": "day,cost,currency\n2026-11-20,1,EUR"}, "EUR=1.08"),
        ({"text": "day,cost,currency\n2026-11-20,1,EUR", "rates": {"EUR": "x"}}, "the rate of EUR"),
        ({"text": "day,cost\n2026-11-20,1", "columns": []}, "columns is an object"),
        ({"text": "day,cost\n2026-11-20,1", "timezone": "Mars"}, "Mars"),
        ({"text": "day,cost\n2026-11-20,1", "end": "2026-01-01T00:00:00Z"}, "no day in this range"),
        ({"text": "day,cost\n2026-11-20,1\n2024-11-20,1"}, "more than 400 days"),
        ({"files": [{"text": "day,cost\n2026-11-20,1"}, {"text": "day,cost\n2026-11-20,1\n"}]}, "twice"),
        ({"text": "day,cost\n2026-11-20,1", "start": "2026-13-01"}, "which is no day"),
        ({"text": "day,cost\n2026-11-20,1", "filters": [{"dimension": "session", "op": "in", "values": ["a"]}, 3]}, ""),
    ],
)
def test_what_is_wrong_is_said(collector: LiveCollector, body: dict[str, Any], says: str) -> None:
    response = collector.http.post("/api/v1/costs/reconcile", json=body)
    assert response.status_code == 422
    assert says in response.json()["detail"]


def test_unexplained_money_ends_with_1_above_the_tolerance(
    collector: LiveCollector, project: str, run: Run, tmp_path: Path
) -> None:
    send(collector, project, [chat("gpt-4o", 1_000, 0)])
    bill = tmp_path / "bill.csv"
    bill.write_text("day,model,cost_usd\n2026-11-20,gpt-4o,1.0025\n")
    code, out, _ = run(str(bill))
    assert code == 1
    assert "unexplained" in out
    assert "+$1" in out
    assert run(str(bill), "--tolerance", "1")[0] == 0
    for by in ("day", "row"):
        assert "2026-11-20" in run(str(bill), "--by", by)[1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--by", "week"), "--by is model"),
        (("--tolerance", "much"), "amount in USD"),
        (("--column", "day"), "NAME=VALUE"),
        (("--column", "cost=Nothing"), "no column 'Nothing'"),
    ],
)
def test_the_command_says_what_is_wrong(run: Run, tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    bill = tmp_path / "bill.csv"
    bill.write_text("day,model,cost_usd\n2026-11-20,gpt-4o,1\n")
    code, _, err = run(str(bill), *arguments)
    assert code in (1, 2)
    assert says in " ".join(err.split())


def test_hostile_names_do_nothing_to_a_terminal(collector: LiveCollector, project: str, run: Run, tmp_path: Path) -> None:
    bill = tmp_path / "bill.csv"
    bill.write_text('day,model,cost_usd\n2026-11-20,"\x1b[2J[red]x[/red]\n=1+1",1\n')
    _, out, err = run(str(bill))
    assert "\x1b[2J" not in out + err
    assert "[red]x[/red]" in out


def test_the_client_reads_what_spreadsheets_save(collector: LiveCollector, project: str, tmp_path: Path) -> None:
    text = "day\tmodel\tcost_usd\n2026-11-20\tgpt-4o\t1\n"
    for encoding in ("utf-16", "utf-8-sig"):
        saved = tmp_path / encoding
        saved.write_text(text, encoding)
        with Client(collector.url, project=project) as client:
            assert client.reconcile(saved, provider="openai")["bill_usd"] == "1"
    (tmp_path / "bill.xlsx").write_bytes(b"PK\x03\x04\xff\xfe\x00")
    with Client(collector.url) as client, pytest.raises(ValueError, match="no text"):
        client.reconcile(tmp_path / "bill.xlsx")
