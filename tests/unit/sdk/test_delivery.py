"""Delivery to a real HTTP server: what is sent, what is tried again, what is lost and counted, and that nobody waits."""

import logging
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

import spanledger
from spanledger import _pipeline

Collector = Any  # of conftest.py, which cannot be imported here


def record(*models: str) -> None:
    for model in models:
        with spanledger.generation(model):
            pass


def check_law() -> None:
    s = spanledger.stats()
    assert s.spans_accepted == s.spans_sent + sum(s.spans_dropped.values()) + s.spans_pending
    assert s.feedback_accepted == s.feedback_sent + sum(s.feedback_dropped.values()) + s.feedback_pending


def test_spans_and_feedback_arrive_with_who_they_are_from(collector: Collector, provider: TracerProvider) -> None:
    spanledger.init(
        app="shop",
        endpoint=f"{collector.url}/base/v1/traces",
        api_key="sl_key",
        project="lab",
        environment="staging",
        release="1.2",
        tracer_provider=provider,
    )
    with spanledger.interaction("answer") as it:
        record("m")
    spanledger.feedback(it.id, "helpful", True)
    assert spanledger.flush()

    assert sorted(collector.names()) == ["answer", "chat m"]
    attributes = {a.key: a.value.string_value for a in collector.exports()[0].resource_spans[0].resource.attributes}
    assert attributes["service.name"] == "shop"
    assert attributes["deployment.environment.name"] == "staging"
    assert attributes["service.version"] == "1.2"
    assert collector.feedback()[0]["interaction_id"] == it.id
    assert {path for path, _, _ in collector.requests} == {"/base/v1/traces", "/base/api/v1/feedback"}
    for _, headers, _ in collector.requests:
        assert headers["authorization"] == "Bearer sl_key"
        assert headers["x-spanledger-project"] == "lab"
    s = spanledger.stats()
    assert (s.spans_accepted, s.spans_sent, s.spans_pending, s.feedback_sent) == (2, 2, 0, 1)


def test_environment_variables_set_everything(
    collector: Collector, provider: TracerProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPANLEDGER_APP", "from-env")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20abc")
    spanledger.init(tracer_provider=provider)
    record("m")
    assert spanledger.flush()
    assert collector.requests[0][1]["authorization"] == "Bearer abc"
    spanledger.init(enabled=False)
    record("n")
    assert collector.names() == ["chat m"]


def test_the_hosts_own_resource_is_kept_unless_it_is_overridden(collector: Collector) -> None:
    host = TracerProvider(resource=Resource({"service.name": "host", "k8s.pod.name": "p"}), shutdown_on_exit=False)
    spanledger.init(endpoint=collector.url, environment="prod", tracer_provider=host)
    record("m")
    assert spanledger.flush()
    attributes = {a.key: a.value.string_value for a in collector.exports()[0].resource_spans[0].resource.attributes}
    assert attributes["service.name"] == "host"
    assert attributes["k8s.pod.name"] == "p"
    assert attributes["deployment.environment.name"] == "prod"


@pytest.mark.parametrize(
    "bad", [{"endpoint": "ftp://x"}, {"capture": "some"}, {"api_key": "a\nb"}, {"tracer_provider": object()}]
)
def test_a_wrong_argument_is_told_at_once(bad: Any) -> None:
    with pytest.raises(ValueError, match="must be"):
        spanledger.init(**bad)


def test_a_wrong_environment_variable_only_logs_and_captures_nothing(
    sdk: Collector, provider: TracerProvider, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SPANLEDGER_CAPTURE", "ful")
    spanledger.init(endpoint=sdk.url, tracer_provider=provider)
    with spanledger.interaction("a", user="u", input="secret"):
        pass
    spanledger.flush()
    assert "SPANLEDGER_CAPTURE" in caplog.text
    assert b"secret" not in sdk.requests[0][2]


def test_init_again_is_nothing_and_with_other_arguments_replaces(sdk: Collector, provider: TracerProvider) -> None:
    spanledger.init(app="shop", endpoint=sdk.url, tracer_provider=provider)
    record("one")
    spanledger.init(app="other", endpoint=sdk.url, tracer_provider=provider)
    record("two")
    assert spanledger.flush()
    deadline = time.monotonic() + 5
    while len(sdk.names()) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    by_app = {
        r.resource.attributes[[a.key for a in r.resource.attributes].index("service.name")].value.string_value: [
            s.name for scope in r.scope_spans for s in scope.spans
        ]
        for e in sdk.exports()
        for r in e.resource_spans
    }
    assert by_app == {"shop": ["chat one"], "other": ["chat two"]}
    check_law()


def test_capture_modes_hold_for_spans_of_other_instrumentations(collector: Collector, provider: TracerProvider) -> None:
    tracer = provider.get_tracer("openinference.instrumentation.openai")
    for mode in ("full", "metadata", "none"):
        spanledger.init(endpoint=collector.url, capture=mode, tracer_provider=provider)
        attributes = {
            "input.value": "secret",
            "llm.input_messages.0.message.content": "secret",
            "user.id": "u",
            "gen_ai.conversation.id": "c",
            "llm.token_count.prompt": 3,
        }
        with pytest.raises(KeyError), tracer.start_as_current_span("llm", attributes=attributes):
            raise KeyError("secret")
        assert spanledger.flush()
    full, metadata, none = (repr(span) for span in collector.spans())
    assert "secret" in full
    assert "secret" not in metadata + none
    assert "user.id" in metadata
    assert "user.id" not in none
    assert "gen_ai.conversation.id" in metadata
    assert "gen_ai.conversation.id" not in none
    assert "llm.token_count.prompt" in none


def test_trouble_that_passes_is_waited_out(sdk: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pipeline, "_BACKOFF_FIRST_S", 0.05)
    sdk.replies = [(503, {}, b""), (429, {}, b""), (502, {}, b"")]
    record("m")
    assert spanledger.flush(10)
    assert len(sdk.requests) == 4
    s = spanledger.stats()
    assert (s.spans_sent, s.retries, s.spans_dropped) == (1, 3, {})


def test_the_collectors_wish_to_wait_is_granted(sdk: Collector) -> None:
    sdk.replies = [(503, {"retry-after": "1"}, b"")]
    record("m")
    assert spanledger.flush(10)
    assert sdk.arrived_at[1] - sdk.arrived_at[0] >= 1.0


def test_a_batch_that_is_too_large_is_halved_until_it_fits(sdk: Collector) -> None:
    sdk.decide = lambda path, body: (413, {}, b"") if b"huge" in body or len(body) > 1500 else None
    record(*(f"m{n}" for n in range(40)), "huge", *(f"n{n}" for n in range(40)))
    assert spanledger.flush(20)
    s = spanledger.stats()
    assert (s.spans_sent, s.spans_dropped) == (80, {"too_large": 1})


def test_what_the_collector_refuses_is_counted(sdk: Collector) -> None:
    sdk.refuse(2)
    record("a", "b", "c")
    assert spanledger.flush()
    assert (spanledger.stats().spans_sent, spanledger.stats().spans_dropped) == (1, {"rejected": 2})
    for status, reason in ((400, "rejected"), (401, "unauthorized"), (500, "rejected")):
        before = spanledger.stats().spans_dropped.get(reason, 0)
        sdk.replies = [(status, {}, b"")]
        record("d")
        assert spanledger.flush()
        assert spanledger.stats().spans_dropped[reason] == before + 1
    check_law()


def test_one_refused_judgement_does_not_cost_the_others(sdk: Collector) -> None:
    sdk.decide = lambda path, body: (422, {}, b"") if path.endswith("feedback") and b"wrong" in body else None
    # No word of hexadecimal letters: the random idempotency key beside it would spell "bad" once in a hundred runs.
    for name in ("one", "wrong", "two", "three"):
        spanledger.feedback("0" * 32, name, True)
    assert spanledger.flush()
    assert (spanledger.stats().feedback_sent, spanledger.stats().feedback_dropped) == (3, {"rejected": 1})


def test_a_span_that_cannot_be_encoded_costs_only_itself(sdk: Collector, provider: TracerProvider) -> None:
    with provider.get_tracer("foreign").start_as_current_span("\ud800"):
        pass
    record("good")
    assert spanledger.flush()
    assert sdk.names() == ["chat good"]
    assert spanledger.stats().spans_dropped == {"unencodable": 1}


def test_text_that_is_no_unicode_is_sent_with_replacements(sdk: Collector) -> None:
    with spanledger.interaction("a", input="caf\u00e9 \ud800", tags={"k\ud800": "\udfff"}) as it:
        it.record(output=["\ud800"])
    spanledger.feedback(it.id, "helpful", "\ud800", comment="\ud800")
    assert spanledger.flush()
    assert spanledger.stats().spans_dropped == spanledger.stats().feedback_dropped == {}
    assert "caf\u00e9 ?".encode() in sdk.exports()[0].SerializeToString()
    assert sdk.feedback()[0]["value"] == "?"


def test_an_idle_connection_that_the_server_closed_is_not_a_failure(sdk: Collector) -> None:
    sdk.replies = [(200, {"connection": "close"}, b"")]
    record("a")
    assert spanledger.flush()
    record("b")
    assert spanledger.flush()
    assert spanledger.stats().spans_sent == 2
    assert spanledger.stats().retries == 0


def test_a_full_queue_drops_the_oldest_and_bounds_memory(sdk: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    sdk.delay_s = 0.3
    record("first")
    time.sleep(0)
    record(*(f"m{n}" for n in range(10_000)))
    s = spanledger.stats()
    assert s.spans_pending <= _pipeline.SPANS_MAX + _pipeline.BATCH_SPANS_MAX + 1
    assert s.spans_dropped["queue_full"] > 0
    check_law()
    sdk.delay_s = 0
    assert spanledger.flush(20)
    assert "chat m9999" in sdk.names()
    check_law()


def test_many_threads_lose_and_double_nothing(sdk: Collector) -> None:
    def work(t: int) -> None:
        for n in range(100):
            with spanledger.interaction(f"{t}.{n}") as it:
                pass
            spanledger.feedback(it.id, "helpful", True)

    threads = [threading.Thread(target=work, args=(t,)) for t in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert spanledger.flush(20)
    assert sorted(sdk.names()) == sorted(f"{t}.{n}" for t in range(8) for n in range(100))
    assert len({item["id"] for item in sdk.feedback()}) == 800
    assert spanledger.stats().spans_sent == spanledger.stats().feedback_sent == 800


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("spans"), st.integers(1, 40)),
            st.tuples(st.just("feedback"), st.integers(1, 5)),
            st.tuples(st.just("reply"), st.sampled_from([200, 400, 401, 413, 500])),
            st.tuples(st.just("partial"), st.integers(0, 50)),
            st.tuples(st.just("flush"), st.just(0)),
            st.tuples(st.just("init"), st.integers(0, 1)),
            st.tuples(st.just("shutdown"), st.just(0)),
        ),
        max_size=12,
    )
)
def test_accepted_is_sent_plus_dropped_plus_pending(
    collector: Collector, provider: TracerProvider, steps: list[tuple[str, int]]
) -> None:
    collector.replies = []
    spanledger.init(app="0", endpoint=collector.url, tracer_provider=provider)
    for step, n in steps:
        if step == "spans":
            record(*(["m"] * n))
        elif step == "feedback":
            for _ in range(n):
                spanledger.feedback("0" * 32, "x", 1)
        elif step == "reply":
            collector.replies.append((n, {}, b""))
        elif step == "partial":
            collector.refuse(n)
        elif step == "flush":
            assert spanledger.flush(10)
            assert spanledger.stats().spans_pending == 0 or any(s == "init" for s, _ in steps)
        elif step == "init":
            spanledger.init(app=str(n), endpoint=collector.url, tracer_provider=provider)
        else:
            spanledger.shutdown(2)
        check_law()
    spanledger.shutdown(2)
    check_law()


def test_shutdown_sends_what_is_left_and_init_starts_again(sdk: Collector, provider: TracerProvider) -> None:
    record("a")
    assert spanledger.shutdown()
    record("ignored")
    assert sdk.names() == ["chat a"]
    spanledger.init(endpoint=sdk.url, tracer_provider=provider)
    record("b")
    assert spanledger.flush()
    assert sdk.names() == ["chat a", "chat b"]


def test_a_silent_collector_holds_up_shutdown_no_longer_than_allowed(sdk: Collector) -> None:
    sdk.delay_s = 3.0
    record("a")
    spanledger.flush(0.2)
    record("b")
    began = time.monotonic()
    assert not spanledger.shutdown(0.5)
    assert time.monotonic() - began < 1.0
    assert spanledger.stats().spans_dropped == {"shutdown": 2}
    assert spanledger.stats().spans_pending == 0


def test_losses_are_logged_once_and_without_content(sdk: Collector, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(3):
        sdk.replies = [(400, {}, b"secret")]
        with spanledger.interaction("a", input="secret"):
            pass
        spanledger.flush()
    assert [r.levelname for r in caplog.records if r.name == "spanledger"] == ["WARNING"]
    assert "secret" not in caplog.text


def run_program(code: str, **env: str) -> tuple[subprocess.CompletedProcess[str], float]:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith(("SPANLEDGER_", "PYTEST_"))},
            "SPANLEDGER_SPOOL": "off",
            **env,
        },
        cwd=Path(__file__).parent,
    )
    return done, time.monotonic() - began


PROGRAM = """
    import time, spanledger
    spanledger.init(app="shop")
    with spanledger.interaction("answer") as it:
        pass
    spanledger.feedback(it.id, "helpful", True)
    print(time.monotonic(), flush=True)
"""


def test_a_program_that_just_ends_has_sent_everything(collector: Collector) -> None:
    done, _ = run_program(PROGRAM, SPANLEDGER_ENDPOINT=collector.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert collector.names() == ["answer"]
    assert len(collector.feedback()) == 1


@pytest.mark.parametrize("kind", ["refused", "silent"])
def test_a_dead_collector_costs_at_most_two_seconds_at_exit(collector: Collector, kind: str) -> None:
    collector.delay_s = 20.0
    url = collector.url if kind == "silent" else "http://127.0.0.1:9"
    done, _ = run_program(PROGRAM, SPANLEDGER_ENDPOINT=url)
    exit_s = time.monotonic() - float(done.stdout)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert exit_s < 3.0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_sends_its_own_spans_and_none_of_its_parents(collector: Collector) -> None:
    done, _ = run_program(
        """
        import os, spanledger
        spanledger.init(app="shop")
        with spanledger.generation("before"): pass
        pid = os.fork()
        if pid == 0:
            assert spanledger.stats().spans_accepted == 0
            with spanledger.generation("child"): pass
            assert spanledger.flush(5)
            assert spanledger.stats().spans_sent == 1
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        with spanledger.generation("after"): pass
        raise SystemExit(os.waitstatus_to_exitcode(status))
        """,
        SPANLEDGER_ENDPOINT=collector.url,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(collector.names()) == ["chat after", "chat before", "chat child"]
