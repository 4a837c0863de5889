"""The public surface, what importing costs, and instrumentations of other makers."""

import json
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

import spanledger
from spanledger import _instrument
from spanledger.testing import capture

HEAVY = [
    "httpx",
    "polars",
    "pyarrow",
    "pydantic",
    "google.protobuf",
    "typer",
    "rich",
    "requests",
    "numpy",
    "opentelemetry.sdk",
    "asyncio",
]


def test_the_public_names() -> None:
    assert spanledger.__all__ == sorted(spanledger.__all__)
    public = {n for n in vars(spanledger) if not n.startswith("_")} - {"client", "cli", "testing", "demo"}
    assert public == set(spanledger.__all__)
    assert spanledger.__all__ == [
        "Generation",
        "Interaction",
        "Retrieval",
        "Stats",
        "Tool",
        "feedback",
        "flush",
        "generation",
        "init",
        "interaction",
        "observe",
        "propagate",
        "retrieval",
        "shutdown",
        "stats",
        "tool",
    ]


def loaded_after(code: str) -> set[str]:
    program = f"import sys, json; {code}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_it_loads_nothing_heavy() -> None:
    assert loaded_after("import spanledger").isdisjoint(HEAVY)


def test_recording_loads_no_client_library() -> None:
    code = (
        "import spanledger; spanledger.init(endpoint='http://127.0.0.1:9'); "
        "spanledger.generation('m').__enter__().__exit__(None, None, None)"
    )
    assert loaded_after(code).isdisjoint(["httpx", "polars", "pyarrow", "pydantic", "typer", "rich", "requests", "numpy"])


class FakeEntry:
    def __init__(self, dist: str, instrumentor: Any) -> None:
        self.dist = SimpleNamespace(name=dist)
        self._instrumentor = instrumentor

    def load(self) -> Any:
        return self._instrumentor


class Instrumentor:
    is_instrumented_by_opentelemetry = False

    def __init__(self) -> None:
        self.given: Any = None

    def __call__(self) -> "Instrumentor":
        return self

    def instrument(self, **kwargs: Any) -> None:
        self.given = kwargs


class Broken(Instrumentor):
    def instrument(self, **kwargs: Any) -> None:
        raise RuntimeError("needs what is not installed")


def test_one_instrumentation_per_client_and_none_that_is_not_about_ai(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "NO_CONTENT")
    made = {
        name: Instrumentor()
        for name in (
            "opentelemetry-instrumentation-openai",
            "opentelemetry_instrumentation_genai_openai",
            "openinference-instrumentation-openai",
            "opentelemetry-instrumentation-anthropic",
            "openinference-instrumentation-langchain",
            "opentelemetry-instrumentation-django",
            "opentelemetry-instrumentation-redis",
        )
    }
    made["openinference-instrumentation-groq"] = Broken()
    entries = [FakeEntry(name, instrumentor) for name, instrumentor in made.items()]
    monkeypatch.setattr(_instrument, "entry_points", lambda group: entries)
    on = _instrument.instrument_installed("provider", captures_content=True)
    assert sorted(on) == [
        "openinference-instrumentation-langchain",
        "opentelemetry-instrumentation-anthropic",
        "opentelemetry-instrumentation-genai-openai",
    ]
    assert made["opentelemetry_instrumentation_genai_openai"].given["tracer_provider"] == "provider"
    assert made["opentelemetry-instrumentation-django"].given is None


def test_an_installed_instrumentation_records_below_the_interaction() -> None:
    openai = pytest.importorskip("openai")
    httpx = pytest.importorskip("httpx")
    pytest.importorskip("opentelemetry.instrumentation.genai.openai")
    body = {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-2024-08-06",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hi"}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
    }
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json=body))
    with capture() as captured:
        on = _instrument.instrument_installed(captured.tracer_provider, captures_content=True)
        try:
            assert "opentelemetry-instrumentation-genai-openai" in on
            client = openai.OpenAI(api_key="k", base_url="http://127.0.0.1:1", http_client=httpx.Client(transport=transport))
            with spanledger.interaction("answer", feature="search", session="s1"):
                client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Hello"}])
        finally:
            from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

            OpenAIInstrumentor().uninstrument()
    span = captured.one("chat gpt-4o")
    assert span.scope != "spanledger"
    assert span.parent == captured.one("answer")
    assert span.attributes["spanledger.feature"] == "search"
    assert span.attributes["session.id"] == "s1"
    assert span.attributes["gen_ai.usage.input_tokens"] == 3
    assert "Hello" in span.attributes["gen_ai.input.messages"]
