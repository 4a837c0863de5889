"""`spanledger prices` and `spanledger reprice`, as a person runs them, against a real collector."""

import json
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from live import LiveCollector
from otlp_kit import S, chat, request

from spanledger import cli
from spanledger.cli._show import CONSOLE

Run = Callable[..., tuple[int, str, str]]
HOUSE = {"gen_ai__request__model": "house-7b", "gen_ai__response__model": "house-7b", "gen_ai__provider__name": "vllm"}


@pytest.fixture
def run(collector: LiveCollector, project: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("SPANLEDGER_ENDPOINT", collector.url)
    monkeypatch.setenv("SPANLEDGER_PROJECT", project)
    monkeypatch.setattr(CONSOLE, "_width", 240)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(arguments)
        out, err = capsys.readouterr()
        return code, out, err

    return call


def lines(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_set_list_show_history_retire(run: Run) -> None:
    code, out, _ = run(
        "prices", "set", "gpt-4o*", "-p", "openai", "--multiplier", "0.82", "--from", "2026-07-01", "--note", "contract 17"
    )
    assert code == 0
    assert "x 0.82" in out
    assert run("prices", "set", "web", "--kind", "tool", "--per-call", "0.01")[0] == 0
    code, out, err = run("prices", "list")
    assert code == 0
    assert "2026-07-01 to …" in out
    assert "contract 17" in out
    assert "genai-prices/" in err
    held = lines(run("prices", "list", "--json")[1])
    assert [price["model"] for price in held] == ["gpt-4o*", "web"]
    code, out, _ = run("prices", "show", "gpt-4o", "-p", "openai")
    assert code == 0
    assert "user/" in out
    assert "input 2.05" in out
    assert "genai-prices/" in out
    code, out, _ = run(
        "prices", "quote", "gpt-4o", "-p", "openai", "-u", "input_tokens=1000000", "--at", "2026-08-01T00:00:00Z", "--json"
    )
    assert (code, json.loads(out)["cost_usd"]) == (0, "2.05")
    assert run("prices", "retire", held[0]["id"])[0] == 0
    history = lines(run("prices", "history", "--json")[1])
    assert [version["action"] for version in history] == ["set", "set", "retired"]
    code, _, err = run("prices", "show", "gpt-4o-made-up")
    assert code == 1
    assert "has no price" in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("set", "x", "--multiplier", "lots"), "no amount"),
        (("set", "x"), "needs one of"),
        (("set", "x", "-P", "input"), "NAME=VALUE"),
        (("retire", "nothing"), "no such price"),
        (("quote", "gpt-4o", "-u", "input_tokens=x"), "whole number"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(run: Run, arguments: tuple[str, ...], says: str) -> None:
    code, _, err = run("prices", *arguments)
    assert code in (1, 2)
    assert says in " ".join(err.split())


def test_a_file_comes_back_as_it_went(run: Run, tmp_path: Path) -> None:
    steps = {"price": "2.50", "above": [{"above_input_tokens": 200000, "price": "5"}]}
    prices = [
        {"provider": "openai", "model": "gpt-4o*", "multiplier": "0.82", "valid_from": "2026-07-01"},
        {"provider": "x", "model": "mine", "prices": {"input": steps, "output": "8.20"}},
        {"kind": "tool", "model": "web", "per_call": "0.0100"},
    ]
    file = tmp_path / "prices.yaml"
    file.write_text(yaml.safe_dump({"prices": prices}))
    code, _, err = run("prices", "import", str(file), "--dry-run")
    assert (code, "would set 3" in err) == (0, True)
    assert run("prices", "list", "--json")[1] == ""
    assert run("prices", "import", str(file))[0] == 0
    out = tmp_path / "out.yaml"
    assert run("prices", "export", str(out))[0] == 0
    assert run("prices", "diff", str(out))[0] == 0
    code, told, err = run("prices", "import", str(out), "--json")
    assert [line["change"] for line in lines(told)] == ["same"] * 3
    assert "set 0" in err
    # One price fewer, one other.
    again = yaml.safe_load(out.read_text())["prices"][:2]
    again[0]["multiplier"] = "0.5"
    file.write_text(json.dumps({"prices": again}))
    code, told, _ = run("prices", "diff", str(file), "--json")
    assert code == 1
    assert [line["change"] for line in lines(told)] == ["changed", "not in the file"]
    assert run("prices", "import", str(file), "--replace")[0] == 0
    held = lines(run("prices", "list", "--json")[1])
    assert [(price["model"], price.get("multiplier")) for price in held] == [("gpt-4o*", "0.5"), ("mine", None)]
    assert held[1]["prices"]["input"]["above"] == [{"above_input_tokens": 200000, "price": "5"}]


@pytest.mark.parametrize("text", ["{", "prices: 5", "- 1", "prices: [{model: x, multiplier: !!python/object:os.system ls}]"])
def test_a_file_that_is_none_changes_nothing(run: Run, tmp_path: Path, text: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    code, _, err = run("prices", "import", str(file))
    assert code != 0
    assert err
    assert run("prices", "list", "--json")[1] == ""


def test_check_and_diff_say_what_to_look_at(collector: LiveCollector, run: Run, project: str) -> None:
    deepseek = {
        "gen_ai__request__model": "deepseek-v4-pro",
        "gen_ai__response__model": "deepseek-v4-pro",
        "gen_ai__provider__name": "deepseek",
    }
    spans = [S(1, attrs=chat(**HOUSE), trace=1), S(2, attrs=chat(), trace=2), S(3, attrs=chat(**deepseek), trace=3)]
    collector.send(request(*spans), project)
    collector.settled()
    run("prices", "set", "never-called", "--multiplier", "0.5")
    run(
        "prices",
        "set",
        "gpt-4o",
        "--multiplier",
        "0.5",
        "--until",
        time.strftime("%Y-%m-%d", time.gmtime(time.time() + 3 * 86_400)),
    )
    code, out, _ = run("prices", "check", "--json")
    found = {finding["code"]: finding for finding in lines(out)}
    assert code == 1
    assert found["unpriced"]["model"] == "house-7b"
    assert found["unpriced"]["reason"] == "unknown_model"
    assert "never-called" in found["unused"]["subject"]
    assert "gpt-4o" in found["expires"]["subject"]
    code, out, _ = run("prices", "diff", "--json")
    differences = {(row["model"], row["kind"]): row for row in lines(out)}
    assert code == 1
    assert (differences["gpt-4o", "input"]["release"], differences["gpt-4o", "input"]["ours"]) == ("2.5", "1.25")
    assert not any(row["source"] == "genai-prices" for row in differences.values())


def test_reprice_prints_what_moved_and_keeps_it(collector: LiveCollector, run: Run, project: str) -> None:
    spans = [S(1, attrs=chat(given=1_000_000, produced=0, **HOUSE), trace=trace) for trace in range(1, 6)]
    collector.send(request(*spans), project)
    collector.settled()
    run("prices", "set", "house-*", "-P", "input=1.25", "-P", "output=2")
    code, out, err = run("reprice", "--since", "1h", "--dry-run")
    assert code == 0
    assert "house-7b" in out
    assert "would change" in err
    assert collector.value("cost_usd", project) is None
    code, out, err = run("reprice", "--model", "house*", "--json")
    assert code == 0
    told = json.loads(out)
    assert (told["difference_usd"], told["calls_changed"], told["dry_run"]) == ("6.25", 5, False)
    assert Decimal(collector.value("cost_usd", project)) == Decimal("6.25")
    records = collector.get("/api/v1/reprices", project)["reprices"]
    assert [record["dry_run"] for record in records] == [False, True]
    code, _, err = run("reprice", "--since", "gestern")
    assert code in (1, 2)
    assert err
