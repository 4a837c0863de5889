"""The command `spanledger`, against a collector that is played by a real HTTP server."""

import ast
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import typer

from spanledger import cli
from spanledger.cli._show import CONSOLE, parse_duration, parse_filters, safe, show_value

Collector = Any  # of conftest.py, which cannot be imported here
Reply = tuple[int, dict[str, str], bytes]

HOSTILE = "\x1b[31mred\x1b[0m [bold]x[/bold]\n=HYPERLINK()"


def ok(value: Any) -> Reply:
    return 200, {}, json.dumps(value).encode()


def arrow(rows: list[dict[str, Any]], warnings: list[str]) -> Reply:
    schema = pa.schema(
        [
            pa.field("model", pa.string()),
            pa.field("cost_usd", pa.decimal128(38, 12), metadata={"unit": "USD"}),
            pa.field("failure_rate", pa.float64(), metadata={"unit": "ratio"}),
        ],
        metadata={"warnings": json.dumps(warnings)},
    )
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pylist(rows, schema=schema)
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_table(table)
    return 200, {}, bytes(sink.getvalue())


@pytest.fixture
def run(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setenv("SPANLEDGER_ENDPOINT", collector.url)
    # The console reads COLUMNS once, and test workers set it.
    monkeypatch.setattr(CONSOLE, "_width", 200)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(arguments)
        out, err = capsys.readouterr()
        return code, out, err

    return call


ROWS = [
    {"model": "gpt-4o", "cost_usd": Decimal("1234.5"), "failure_rate": 0.0125},
    {"model": HOSTILE, "cost_usd": Decimal("0.000000000001"), "failure_rate": None},
    {"model": None, "cost_usd": None, "failure_rate": 0.0},
]


def test_a_query_as_a_table(run: Any, collector: Collector) -> None:
    collector.decide = lambda path, body: arrow(ROWS, ["over several sources"])
    code, out, err = run(
        "query",
        "cost_usd",
        "failure_rate",
        "--by",
        "model",
        "--last",
        "30d",
        "--filter",
        "feature=search,",
        "-f",
        "app!=x",
        "-g",
        "day",
    )
    assert code == 0
    asked = json.loads(collector.requests[0][2])
    start, end = (datetime.fromisoformat(asked[k]) for k in ("start", "end"))
    assert round((end - start).total_seconds()) == 30 * 86400
    assert asked["filters"] == [
        {"dimension": "feature", "op": "in", "values": ["search", None]},
        {"dimension": "app", "op": "not_in", "values": ["x"]},
    ]
    assert (asked["dimensions"], asked["granularity"], asked["order_by"]) == (["model"], "day", ["time"])
    lines = out.splitlines()
    assert lines[1].split() == ["gpt-4o", "$1,234.50", "1.25", "%"]
    assert "<$0.00000001" in lines[2]
    assert "—" in lines[2]
    assert "\x1b" not in out
    assert "[bold]x[/bold]" in out
    assert lines[3].split() == ["—", "—", "0.00", "%"]
    assert err == "note: over several sources\n"


def test_a_query_for_programs(run: Any, collector: Collector) -> None:
    collector.decide = lambda path, body: arrow(ROWS, [])
    code, out, _ = run("query", "cost_usd", "--json", "--last", "all")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert rows[1] == {"model": HOSTILE, "cost_usd": "0.000000000001", "failure_rate": None}
    assert "\x1b" not in out
    asked = json.loads(collector.requests[0][2])
    assert (asked["start"], asked["end"]) == (None, None)
    code, out, _ = run("query", "cost_usd", "--csv")
    assert out.splitlines()[:2] == ["model,cost_usd,failure_rate", "gpt-4o,1234.500000000000,0.0125"]
    collector.decide = lambda path, body: arrow([{**ROWS[0], "model": "=1+1"}], [])
    assert run("query", "cost_usd", "--csv")[1].splitlines()[1].startswith("'=1+1,")


@pytest.mark.parametrize(
    "arguments",
    [
        ["nope"],
        ["query"],
        ["query", "nope"],
        ["query", "cost_usd", "--last", "7"],
        ["query", "cost_usd", "--last", "999999w"],
        ["query", "cost_usd", "--filter", "feature"],
        ["query", "cost_usd", "--by", "nope"],
        ["query", "cost_usd", "--url", "ftp://x"],
        ["alerts", "create", "x"],
        ["alerts", "preview"],
        ["tail", "--every", "0"],
    ],
)
def test_wrong_usage_is_2_and_sends_nothing(run: Any, collector: Collector, arguments: list[str]) -> None:
    code, out, err = run(*arguments)
    assert code == 2
    assert err
    assert "Traceback" not in out + err
    assert collector.requests == []


def test_an_absent_collector_is_3_and_a_refusal_is_1(run: Any, collector: Collector) -> None:
    code, _, err = run("query", "cost_usd", "--url", "http://127.0.0.1:9")
    assert code == 3
    assert "spanledger up" in err
    problem = {"title": "Bad", "detail": f"no {HOSTILE}", "code": "x"}
    collector.decide = lambda path, body: (422, {}, json.dumps(problem).encode())
    code, _, err = run("query", "cost_usd")
    assert code == 1
    assert err.count("\n") == 1
    assert "\x1b" not in err


def test_tail_shows_each_interaction_once_oldest_first(run: Any, collector: Collector) -> None:
    def item(n: int, **more: Any) -> dict[str, Any]:
        return {"id": f"i{n}", "name": f"answer{n}", "time": "2026-11-01T00:00:00Z", "models": ["m"], "duration_s": 1.5, **more}

    pages = [
        [item(3), item(2), item(1)],
        [item(3), item(2), item(1)],
        [item(5, preview=HOSTILE, failure_mode="timeout", cost_usd="0.01"), item(4), item(3)],
    ]
    collector.decide = lambda path, body: ok({"items": pages.pop(0), "next_cursor": None})
    code, out, _ = run("tail", "-n", "2", "--stop-after", "4", "--every", "0.1", "--feature", "a", "--feature", "b", "--failed")
    assert code == 0
    lines = out.splitlines()
    assert [n for n in range(1, 6) for line in lines if f"answer{n}" in line] == [2, 3, 4, 5]
    assert "timeout" in lines[3]
    assert "$0.0100" in lines[3]
    assert "\x1b" not in out
    assert "feature=a&feature=b&failed=true" in collector.requests[0][0]
    assert "start=" not in collector.requests[0][0]
    assert "start=" in collector.requests[1][0]


def healthy(path: str, body: bytes) -> Reply:
    if path == "/api/v1/status":
        return ok({"version": "0.1.0", "pending_traces": 0, "data_through": "2026-11-01T00:00:00Z"})
    return ok({"interaction": {}})


def test_doctor_finds_a_healthy_collector(run: Any, collector: Collector) -> None:
    collector.decide = healthy
    code, out, _ = run("doctor")
    assert code == 0
    assert "sent and read back" in out
    assert collector.names() == ["doctor"]
    marks = [
        item.key for span in collector.spans() for item in span.attributes if item.key.startswith(("gen_ai.", "spanledger.i"))
    ]
    assert not marks, "a check of the collector is no interaction and changes no number"
    code, out, _ = run("doctor", "--no-write", "--json")
    assert code == 0
    assert [json.loads(line)["what"] for line in out.splitlines()] == ["client", "collector", "data", "ready"]
    assert collector.names() == ["doctor"]


@pytest.mark.parametrize(
    ("broken", "reply", "says"),
    [
        ("/readyz", (503, {}, b""), "not ready"),
        ("/v1/traces", (401, {}, b""), "unauthorized"),
        ("/api/v1/interactions", (403, {}, b'{"detail": "needs the scope read"}'), "scope read"),
        ("/api/v1/status", (401, {}, b""), "SPANLEDGER_API_KEY"),
        ("/api/v1/status", (200, {}, b"<html>"), "not a Spanledger collector"),
    ],
)
def test_doctor_says_what_is_wrong(run: Any, collector: Collector, broken: str, reply: Reply, says: str) -> None:
    collector.decide = lambda path, body: reply if path.startswith(broken) else healthy(path, body)
    code, out, _ = run("doctor")
    assert code == 1
    assert says in out
    assert "FAIL" in out


def test_doctor_without_a_collector_is_3(run: Any) -> None:
    assert run("doctor", "--url", "http://127.0.0.1:9")[0] == 3


RULE = {
    "id": "r1",
    "name": HOSTILE,
    "measure": "cost_usd",
    "comparison": ">",
    "threshold": "25.00",
    "window": "1h",
    "group_by": ["feature"],
    "enabled": True,
    "state": "firing",
    "groups": [],
    "last_evaluated_at": None,
    "signing_secret": "whsec",
}


def test_alert_rules_are_listed_created_previewed_and_deleted(run: Any, collector: Collector) -> None:
    def decide(path: str, body: bytes) -> Reply:
        if path.startswith("/api/v1/alerts/preview"):
            return ok({"points": [1, 2], "fires": [{"from": "a", "to": None, "group": {"feature": HOSTILE}}]})
        if path.startswith("/api/v1/alerts/events"):
            return ok({"events": [{"at": "t", "kind": "fired", "rule_name": "x", "group": {}, "summary": "Cost over 1 h"}]})
        return ok(RULE if body else {"rules": [RULE]})

    collector.decide = decide
    code, out, _ = run("alerts", "list")
    assert code == 0
    assert "firing" in out
    assert "cost_usd > 25.00 over 1h by feature" in out
    code, out, err = run(
        "alerts", "create", "n", "-m", "cost_usd", "-t", "25", "-b", "feature", "-f", "app=x", "--webhook", "https://h.test"
    )
    assert code == 0
    assert "whsec" in err
    assert json.loads(collector.requests[-1][2]) == {
        "name": "n",
        "measure": "cost_usd",
        "comparison": ">",
        "threshold": "25",
        "window": "1h",
        "group_by": ["feature"],
        "filters": [{"dimension": "app", "op": "in", "values": ["x"]}],
        "min_interactions": 0,
        "for_windows": 1,
        "severity": "warning",
        "webhooks": ["https://h.test"],
        "emails": [],
        "enabled": True,
    }
    code, out, _ = run("alerts", "preview", "r1", "--last", "1d")
    assert code == 0
    assert "still" in out
    assert "state" not in json.loads(collector.requests[-1][2])
    assert run("alerts", "preview", "-m", "cost_usd", "-t", "1")[0] == 0
    assert run("alerts", "preview", "nope")[0] == 2
    assert "Cost over 1 h" in run("alerts", "events")[1]
    assert run("alerts", "delete", "r1")[0] == 0
    assert collector.requests[-1][0] == "/api/v1/alerts/rules/r1"
    assert "\x1b" not in out


def test_help_lists_every_command_without_importing_what_it_needs() -> None:
    code = "import sys; from spanledger.cli import main; main(['--help']); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    *help_lines, modules = done.stdout.splitlines()
    listed = {line.split()[0]: line.split(maxsplit=1)[1:] for line in help_lines if line.startswith("  ")}
    assert {"query", "tail", "doctor", "alerts", "serve", "up", "dashboard", "demo", "migrate"} <= set(listed)
    assert all(listed[name] for name in ("query", "tail", "doctor", "alerts"))
    heavy = {"typer", "rich", "httpx", "polars", "pyarrow", "fastapi", "streamlit", "chdb"}
    assert heavy.isdisjoint(ast.literal_eval(modules))


def commands(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    entries = [EntryPoint(name, value, cli.GROUP) for name, value in values.items()]
    monkeypatch.setattr(cli, "entry_points", lambda group: entries)


def test_commands_of_other_packages(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "other_commands.py").write_text(
        '''
import typer
from typing import Annotated

def greet(name: Annotated[str, typer.Option(help="Whom.")] = "you") -> None:
    """Greet somebody.

    More."""
    print(f"hello {name}")

def exits() -> None:
    raise typer.Exit(7)

def breaks() -> None:
    raise RuntimeError("the disk is\\x1b full")

class Odd(Exception):
    exit_code = 9

def odd() -> None:
    raise Odd("odd")

many = typer.Typer(help="Many things.")

@many.command()
def one() -> None:
    print("one")

@many.command()
def two() -> None:
    print("two")
'''
    )
    monkeypatch.syspath_prepend(tmp_path)
    names = ("greet", "exits", "breaks", "odd", "many")
    commands(monkeypatch, **{name: f"other_commands:{name}" for name in names}, absent="no_such_package.cli:run")

    assert cli.main([]) == 0
    out = capsys.readouterr().out
    assert "greet   Greet somebody." in out
    assert "many    Many things." in out
    assert "other_commands" not in sys.modules
    assert cli.main(["greet", "--name", "Ada"]) == 0
    assert cli.main(["many", "two"]) == 0
    assert capsys.readouterr().out == "hello Ada\ntwo\n"
    assert cli.main(["greet", "--nope"]) == 2
    assert cli.main(["exits"]) == 7
    assert cli.main(["odd"]) == 9
    capsys.readouterr()
    assert cli.main(["breaks"]) == 1
    assert capsys.readouterr().err == "spanledger: the disk is? full\n"
    assert cli.main(["absent"]) == 1
    assert "pip install 'spanledger[server]'" in capsys.readouterr().err
    assert cli.main(["--version"]) == 0


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "typer", None)
    commands(monkeypatch, query="spanledger.cli:query")
    assert cli.main(["query", "cost_usd"]) == 1
    assert "pip install 'spanledger[client]'" in capsys.readouterr().err


def test_how_values_are_shown() -> None:
    assert show_value(Decimal(0), "USD") == "$0.00"
    assert show_value(Decimal("0.00203"), "USD") == "$0.00203"
    assert show_value(Decimal("0.5"), "USD") == "$0.5000"
    assert show_value(1234567, "tokens") == "1,234,567"
    assert show_value(0.5, "s") == "0.500 s"
    assert show_value(None, "USD") == "—"
    assert show_value(datetime(2026, 11, 1, 2, 3, tzinfo=UTC), None) == "2026-11-01 02:03"
    assert safe("a\x00\u202eb\r\nc") == "a b c"
    assert len(safe("x" * 1000)) == 120
    assert parse_duration("90m").total_seconds() == 5400
    assert parse_filters(["a=b=c"]) == [{"dimension": "a", "op": "in", "values": ["b=c"]}]
    for bad in ("0d", "-1d", "1y", "d", "1.5h", "9999999d"):
        with pytest.raises(typer.BadParameter):
            parse_duration(bad)
