"""What leaves the process: redacted, cut to the data rules, and nothing of it when a hook fails. Seen by the collector."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import StatusCode
from words import CUT, KEPT, NAME, STRIPPED, recorded_with

import spanledger
from spanledger import _hooks, _pipeline

Collector = Any  # of conftest.py, which cannot be imported here
KEY = "sk-proj-a7QabcdefghijklmnopQRSTUV123"
MAIL = "ada@example.com"


def attributes(span: Any) -> dict[str, Any]:
    return {item.key: item.value.string_value or item.value.int_value or item.value.double_value for item in span.attributes}


def one(collector: Collector, name: str) -> Any:
    (found,) = [span for span in collector.spans() if span.name == name]
    return found


@pytest.fixture
def start(collector: Collector, provider: TracerProvider) -> Any:
    def init(**arguments: Any) -> Collector:
        spanledger.init(app="shop", endpoint=collector.url, tracer_provider=provider, **arguments)
        return collector

    return init


def record(**arguments: Any) -> None:
    with spanledger.interaction("answer", user=MAIL, input=f"I am {MAIL}, {KEY}", **arguments) as it:
        with spanledger.generation("gpt-4o-2024-08-06", input=[{"role": "user", "content": f"key: {KEY}"}]) as call:
            call.record(output=f"Write to {MAIL}", input_tokens=411111111111, output_tokens=64, cost_usd="0.4111111111111111")
        with spanledger.tool("send", arguments={"to": [MAIL], "n": 3}):
            pass
        it.tag("contact", MAIL)
    spanledger.feedback(it.id, "helpful", True, comment=f"from {MAIL}", user=MAIL)
    assert spanledger.flush()


def test_secrets_do_not_leave_and_numbers_and_ids_do(start: Any) -> None:
    collector = start()
    record()
    sent = b"".join(body for _, _, body in collector.requests)
    assert KEY.encode() not in sent
    call = attributes(one(collector, "chat gpt-4o-2024-08-06"))
    assert json.loads(call["gen_ai.input.messages"])[0]["parts"][0]["content"] == "key: [redacted:api_key]"
    assert (call["gen_ai.usage.input_tokens"], call["gen_ai.usage.output_tokens"]) == (411111111111, 64)
    assert call["spanledger.cost_usd"] == "0.4111111111111111"
    assert json.loads(attributes(one(collector, "execute_tool send"))["gen_ai.tool.call.arguments"]) == {
        "to": ["[redacted:email]"],
        "n": 3,
    }
    answer = attributes(one(collector, "answer"))
    assert answer["spanledger.tag.contact"] == "[redacted:email]"
    assert answer["user.id"] == MAIL, "an id must stay the same everywhere, or nobody could be erased"
    assert (collector.feedback()[0]["comment"], collector.feedback()[0]["user"]) == ("from [redacted:email]", MAIL)


def test_spans_of_others_are_redacted_wherever_text_can_stand(collector: Collector) -> None:
    host = TracerProvider(resource=Resource({"process.command_args": ("run", KEY)}), shutdown_on_exit=False)
    spanledger.init(endpoint=collector.url, tracer_provider=host)
    with host.get_tracer("other").start_as_current_span(f"GET /users/{MAIL}") as span:
        span.set_attributes({"input.value": MAIL, "their.own": [KEY, "fine"], "raw": KEY.encode(), "http.route": f"/{MAIL}"})
        span.add_event("note", {"body": MAIL})
        span.record_exception(KeyError(KEY))
        span.set_status(StatusCode.ERROR, KEY)
    assert spanledger.flush()
    sent = collector.exports()[0].SerializeToString()
    assert KEY.encode() not in sent
    assert MAIL.encode() not in sent
    assert b"fine" in sent


def test_redaction_can_be_narrowed_or_switched_off(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    collector = start(redact=["api_key"])
    record()
    assert MAIL.encode() in collector.requests[0][2] + collector.requests[1][2]
    start(redact=False)
    record()
    assert KEY.encode() in b"".join(body for _, _, body in collector.requests)
    monkeypatch.setenv("SPANLEDGER_REDACT", "cards")
    collector.requests.clear()
    start()
    record()
    assert KEY.encode() not in b"".join(body for _, _, body in collector.requests), "a mistake in the environment fails closed"


def test_hooks_see_content_after_the_patterns_and_may_remove_it(start: Any) -> None:
    seen: list[str] = []

    def hook(text: str) -> str | None:
        seen.append(text)
        return None if "Write to" in text else text.replace("I am", "I was")

    collector = start(redact=[hook, str.upper])
    record()
    assert json.loads(attributes(one(collector, "answer"))["gen_ai.input.messages"].lower())[0]["parts"][0]["content"] == (
        "i was [redacted:email], [redacted:api_key]"
    )
    assert "gen_ai.output.messages" in attributes(one(collector, "chat gpt-4o-2024-08-06"))
    assert attributes(one(collector, "chat gpt-4o-2024-08-06"))["gen_ai.output.messages"] == 0
    assert all(KEY not in text and MAIL not in text for text in seen)
    assert "gpt-4o-2024-08-06" not in seen, "names are not content"
    assert spanledger.stats().content_dropped == 0


def wrong(text: str) -> Any:
    return 7


def exits(text: str) -> Any:
    raise SystemExit(1)


def fails(text: str) -> Any:
    raise RuntimeError(text)


@pytest.mark.parametrize("hook", [fails, wrong, exits])
def test_a_hook_that_fails_costs_the_content_and_not_the_span(
    start: Any, hook: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_hooks, "BATCH_S", 1.0)
    collector = start(redact=lambda text: hook(text) if "Write" in text or "from" in text else text)
    record()
    call = attributes(one(collector, "chat gpt-4o-2024-08-06"))
    assert call["spanledger.content_dropped"] == "redaction"
    assert not [key for key in call if "messages" in key]
    assert call["gen_ai.usage.output_tokens"] == 64
    assert spanledger.stats().spans_sent == 3
    assert "comment" not in collector.feedback()[0]
    assert spanledger.stats().content_dropped >= 2
    assert MAIL not in caplog.text
    assert "redaction hook" in caplog.text or hook is exits


def test_a_slow_hook_costs_the_content_and_not_the_delivery(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_hooks, "TEXT_S", 0.1)
    collector = start(redact=lambda text: time.sleep(0.3 if "Write" in text else 0) or text)
    record()
    assert "gen_ai.output.messages" not in attributes(one(collector, "chat gpt-4o-2024-08-06"))
    assert "gen_ai.input.messages" in attributes(one(collector, "answer"))


def test_a_hook_that_hangs_costs_the_content_until_it_comes_back(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_hooks, "BATCH_S", 0.2)
    hangs = {"s": 1.5}
    collector = start(redact=lambda text: time.sleep(hangs.pop("s", 0)) or text)
    for _ in range(3):
        with spanledger.interaction("a", input="hello"):
            pass
        assert spanledger.flush(1.0), "delivery goes on"
    assert len(collector.names()) == 3
    assert not [span for span in collector.spans() if "gen_ai.input.messages" in attributes(span)]
    time.sleep(1.5)
    with spanledger.interaction("b", input="hello"):
        pass
    assert spanledger.flush()
    assert "hello" in attributes(one(collector, "b"))["gen_ai.input.messages"]


def test_a_hook_is_never_called_in_the_hosts_call(start: Any) -> None:
    import threading

    callers: set[str] = set()
    start(redact=lambda text: callers.add(threading.current_thread().name) or text)
    record()
    assert callers == {"spanledger-redact"}


def test_data_rules_deny_strip_and_mask(start: Any) -> None:
    collector = start(data_rules={"secret": "deny", "restricted": "strip", "internal": "mask", "purpose:training": "deny"})
    for data_class, purpose in (
        ("secret", None),
        ("restricted", "support"),
        ("internal", None),
        ("public", None),
        ("public", "training"),
    ):
        with spanledger.interaction(f"{data_class} {purpose}", data_class=data_class, purpose=purpose, input="hush"):
            with spanledger.generation(f"m-{data_class}-{purpose}", input="hush") as call:
                call.record(output="hush", input_tokens=5)
            with pytest.raises(ValueError), spanledger.tool("t", arguments={"a": ["hush", 7, True]}):
                raise ValueError("hush")
    with spanledger.generation("own", data_class="restricted", input="hush"):
        pass
    assert spanledger.flush()
    by_name = {span.name: attributes(span) for span in collector.spans()}
    assert spanledger.stats().spans_dropped == {"denied": 6}
    assert not [name for name in by_name if "secret" in name or "training" in name]
    restricted = by_name["chat m-restricted-support"]
    assert restricted["spanledger.content_dropped"] == "data_rule"
    assert (restricted["gen_ai.usage.input_tokens"], restricted["spanledger.data_class"]) == (5, "restricted")
    assert restricted["spanledger.purpose"] == "support"
    assert "hush" in by_name["chat m-public-None"]["gen_ai.input.messages"]
    assert json.loads(by_name["chat m-internal-None"]["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": "[masked]"}]}
    ]
    of_tools = [attributes(span) for span in collector.spans() if span.name == "execute_tool t"]
    assert sorted(json.dumps(tool.get("gen_ai.tool.call.arguments")) for tool in of_tools) == [
        '"{\\"a\\":[\\"[masked]\\",\\"[masked]\\",true]}"',
        '"{\\"a\\":[\\"hush\\",7,true]}"',
        "null",
    ]
    assert sum(span.status.message == "hush" for span in collector.spans()) == 1
    assert "gen_ai.input.messages" not in by_name["chat own"]


def test_data_classes_reach_spans_of_others(start: Any, provider: TracerProvider) -> None:
    collector = start(data_rules={"restricted": "strip"})
    with spanledger.interaction("a", data_class="restricted"), provider.get_tracer("other").start_as_current_span("llm") as span:
        span.set_attribute("input.value", "hush")
    assert spanledger.flush()
    assert b"hush" not in collector.exports()[0].SerializeToString()


@pytest.mark.parametrize("action", ["strip", "mask"])
def test_what_somebody_may_have_written_goes_and_names_and_numbers_stay(
    start: Any, provider: TracerProvider, action: str
) -> None:
    collector = start(data_rules={"restricted": action})
    before = recorded_with({**KEPT, **{key: value for key, (value, _) in CUT.items()}, **STRIPPED})
    with provider.get_tracer("other").start_as_current_span(NAME[0], attributes=before) as span:
        span.add_event("said", {"note": "WORDS", "count": 3})
        span.set_status(StatusCode.ERROR, "WORDS")
    assert spanledger.flush()
    (sent,) = collector.spans()
    assert "WORDS" not in str(sent), [item for item in sent.attributes if "WORDS" in str(item)]
    assert sent.name == NAME[1]
    left = attributes(sent)
    for key, value in KEPT.items():
        if key not in STRIPPED and not isinstance(value, list):
            assert left[key] == value, key
    for key, (_, cut) in CUT.items():
        assert left[key] == (cut if action == "strip" else f"{cut}?[masked]"), key
    assert [item.key for item in sent.events[0].attributes if item.key == "count"] == ["count"]


def test_wrong_rules_are_told_at_once_or_fail_closed(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="deny"):
        start(data_rules={"restricted": "burn"})
    with pytest.raises(ValueError, match="redact must be"):
        start(redact="cards")
    monkeypatch.setenv("SPANLEDGER_DATA_RULES", "restricted=burn, internal=mask")
    collector = start()
    record(data_class="restricted")
    assert collector.spans() == []


def test_what_waits_on_disk_is_redacted(start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pipeline, "RETRY_FOR_S", 0.0)
    collector = start(spool=tmp_path, redact=lambda text: text.replace("Write", "Wrote"))
    collector.decide = lambda path, body: (503, {}, b"")
    record()
    assert spanledger.stats().spans_spooled == 3
    on_disk = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert KEY.encode() not in on_disk
    assert b"Write to" not in on_disk
