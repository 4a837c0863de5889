"""How well a collector understands instrumentations: recorded payloads in through HTTP, answers compared with the truth files.

`python tests/score/score.py` (or `make score`) starts a collector of its own, sends every payload (one project per
instrumentor) and prints a table; `tests/integration/test_score.py` holds the floor. Folder: `--folder`, else the recordings
beside the checkout, else `tests/data/otlp`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).parent.parent / "score"))
from truth import COUNTS, Payload, read_payloads

TESTS = Path(__file__).parent.parent
RECORDINGS = TESTS.parent.parent / "shared" / "otlp"

FACTS = (
    "totals",
    "five counts",
    "estimated",
    "model",
    "finish",
    "not billed twice",
    "error",
    "error class",
    "prompt",
    "output",
    "user",
    "session",
    "honest",
)


@dataclass
class Verdict:
    """One payload: each fact that applies to it, and whether it came out right; `why` says what was seen instead."""

    payload: Payload
    facts: dict[str, bool] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)

    def say(self, fact: str, is_right: bool, why: Any = "") -> None:
        """Note a fact."""
        self.facts[fact] = is_right
        if not is_right:
            self.why[fact] = str(why)


def send(http: httpx.Client, payloads: Iterable[Payload]) -> None:
    """Post all payloads, logs before and after traces by turns: the order must not matter."""
    for number, payload in enumerate(payloads):
        headers = {"content-type": "application/x-protobuf", "x-spanledger-project": payload.instrumentor}
        requests = [("/v1/traces", payload.traces)]
        if payload.logs:
            requests.insert(number % 2, ("/v1/logs", payload.logs))
        for path, body in requests:
            response = http.post(path, content=body, headers=headers)
            if response.status_code != 200:
                raise SystemExit(f"{payload.instrumentor}/{payload.scenario}: {path} answered {response.status_code}")


def judge(http: httpx.Client, payload: Payload) -> Verdict:
    """Compare what the API says with the truth."""
    verdict = Verdict(payload)
    headers = {"x-spanledger-project": payload.instrumentor}
    details = [
        response.json()
        for trace_id in payload.trace_ids
        if (response := http.get(f"/api/v1/interactions/{trace_id}", headers=headers)).status_code == 200
    ]
    counted = _counted(http, payload, headers)
    spans = [span for detail in details for span in detail["spans"]]
    calls = [span for span in spans if span["cost_status"] is not None and span["kind"] in ("model", "embedding", "rerank")]
    _judge_counts(verdict, counted, calls)
    _judge_outcome(verdict, spans, calls)
    _judge_content(verdict, details)
    return verdict


def _counted(http: httpx.Client, payload: Payload, headers: dict[str, str]) -> dict[str, Any]:
    question = {
        "measures": [*COUNTS, "generations"],
        "filters": [{"dimension": "trace_id", "op": "in", "values": list(payload.trace_ids)}],
        "start": "2026-01-01T00:00:00Z",
    }
    response = http.post("/api/v1/query", json=question, headers=headers)
    if response.status_code != 200:
        raise SystemExit(response.text)
    answer = response.json()
    return dict(zip([column["name"] for column in answer["columns"]], answer["rows"][0], strict=True))


def _judge_counts(verdict: Verdict, counted: dict[str, Any], calls: list[dict[str, Any]]) -> None:
    payload, truth = verdict.payload, verdict.payload.counts()
    is_marked = any(call["usage_quality"] in ("estimated", "partial", "missing") for call in calls)
    seen = {name: counted[name] for name in COUNTS}
    if payload.is_plain and payload.has_counts:
        pair = ("input_tokens", "output_tokens")
        verdict.say("totals", all((seen[name] or 0) == truth.get(name, 0) for name in pair), f"{seen} true {truth}")
    if payload.is_plain and payload.has_five_counts:
        verdict.say("five counts", all((seen[name] or 0) == truth.get(name, 0) for name in COUNTS), f"{seen} true {truth}")
    if payload.is_plain and payload.has_counts:
        verdict.say("estimated", not any(call["usage_quality"] == "estimated" for call in calls), "marked estimated")
    if not truth and not payload.is_plain:
        verdict.say("not billed twice", not (seen["input_tokens"] or seen["output_tokens"]) or is_marked, seen)
    else:
        above = any((seen[name] or 0) > truth.get(name, 0) for name in ("input_tokens", "output_tokens"))
        verdict.say("not billed twice", not above or is_marked, f"{seen} true {truth}")
    if not payload.has_counts and counted["generations"] >= payload.truth["llm_calls"]:
        exact = [call for call in calls if call["usage_quality"] == "exact"]
        is_wrong = any((seen[name] or 0) != truth.get(name, 0) for name in ("input_tokens", "output_tokens"))
        verdict.say("honest", not (exact and is_wrong and not is_marked), f"exact {seen} true {truth}")


def _judge_outcome(verdict: Verdict, spans: list[dict[str, Any]], calls: list[dict[str, Any]]) -> None:
    payload, truth = verdict.payload, verdict.payload.truth
    last = calls[-1] if calls else {}
    if payload.is_plain and payload.has_counts:
        names = {truth["response_model"], truth["request_model"]} - {None}
        if payload.holds(truth["response_model"]) or payload.holds(truth["request_model"]):
            verdict.say("model", last.get("model") in names, f"{last.get('model')} of {names}")
        if payload.finish and payload.has_finish:
            verdict.say(
                "finish", last.get("finish_reason") == payload.finish, f"{last.get('finish_reason')} for {payload.finish}"
            )
    failed = [span for span in calls or spans if span["status"] == "error" or span["error_class"]]
    verdict.say("error", bool(failed) == truth["is_error"], [span["name"] for span in failed] or "no error seen")
    if truth["is_error"]:
        classes = {span["error_class"] for span in failed}
        verdict.say("error class", payload.error_class in classes, f"{classes} for {payload.error_class}")


def _judge_content(verdict: Verdict, details: list[dict[str, Any]]) -> None:
    payload, truth = verdict.payload, verdict.payload.truth
    given, produced = [], []
    for detail in details:
        for content in detail["content"].values():
            given += _texts(content["input"])
            produced += _texts(content["output"])
    for fact, words, found in (("prompt", truth["user_prompt"], given), ("output", truth["assistant_text"], produced)):
        if payload.holds(words):
            verdict.say(fact, any(words in text for text in found), f"{words[:60]!r} not in {[text[:60] for text in found]}")
    for fact, key in (("user", "user_id"), ("session", "session_id")):
        if payload.holds(truth[key]):
            seen = {detail["interaction"][fact] for detail in details}
            verdict.say(fact, truth[key] in seen, f"{seen} for {truth[key]}")


def _texts(messages: list[dict[str, Any]]) -> list[str]:
    parts = [part for message in messages for part in message["parts"]]
    return [part["text"] for part in parts if part["type"] in ("text", "refusal") and isinstance(part.get("text"), str)]


def shares(verdicts: Iterable[Verdict]) -> dict[str, tuple[int, int]]:
    """Right and applicable payloads by fact."""
    right: dict[str, int] = defaultdict(int)
    of: dict[str, int] = defaultdict(int)
    for verdict in verdicts:
        for fact, is_right in verdict.facts.items():
            of[fact] += 1
            right[fact] += is_right
    return {fact: (right[fact], of[fact]) for fact in FACTS if of[fact]}


def show(verdicts: list[Verdict], is_verbose: bool) -> None:
    """Print the table, and with `is_verbose` every miss."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=220)
    table = Table(title="Right of applicable, by instrumentor", show_lines=False)
    table.add_column("instrumentor")
    for fact in FACTS:
        table.add_column(fact, justify="right")
    by_name: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        by_name[verdict.payload.instrumentor].append(verdict)
    for name, group in [*sorted(by_name.items()), ("all", verdicts)]:
        row = shares(group)
        cells = [_cell(row.get(fact)) for fact in FACTS]
        table.add_row(name, *cells, end_section=name != "all" and name == max(by_name))
    console.print(table)
    if is_verbose:
        for verdict in verdicts:
            for fact, why in verdict.why.items():
                console.print(
                    f"{verdict.payload.instrumentor}/{verdict.payload.scenario}: {fact}: {why}", markup=False, soft_wrap=True
                )


def _cell(share: tuple[int, int] | None) -> str:
    if share is None:
        return "-"
    right, of = share
    return f"{right}/{of}" if right == of else f"[red]{right}[/red]/{of}"


def run(folder: Path, http: httpx.Client, settle: Any) -> list[Verdict]:
    """Send a folder to a collector and judge what it says.

    Args:
        folder: Payloads and truths.
        http: A client of the collector.
        settle: Called without arguments; returns when all that was sent is counted.

    """
    payloads = read_payloads(folder)
    send(http, payloads)
    settle()
    return [judge(http, payload) for payload in payloads]


def main() -> int:
    """The command."""
    sys.path.insert(0, str(TESTS / "kit"))
    from live import LiveCollector, remove_engine_folder

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path, default=RECORDINGS if RECORDINGS.is_dir() else TESTS / "data" / "otlp")
    parser.add_argument("--verbose", action="store_true", help="print every miss")
    parser.add_argument("--json", action="store_true", help="shares as JSON")
    arguments = parser.parse_args()
    collector = LiveCollector()
    try:
        verdicts = run(arguments.folder, collector.http, collector.settled)
    finally:
        collector.stop()
        remove_engine_folder()
    if arguments.json:
        print(json.dumps({fact: {"right": right, "of": of} for fact, (right, of) in shares(verdicts).items()}))
    else:
        show(verdicts, arguments.verbose)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
