"""`@observe` on all kinds of functions."""

import asyncio
import functools
import gc
import json
from collections.abc import AsyncGenerator, Generator
from typing import Any

import pytest
from opentelemetry import trace

import spanledger
from spanledger.testing import Captured


def text_of(messages: Any) -> str:
    return "".join(p["content"] for m in json.loads(messages) for p in m["parts"])


def test_a_function_with_arguments_and_result(captured_spans: Captured) -> None:
    class Bot:
        @spanledger.observe(kind="interaction")
        def answer(self, question: str) -> str:
            """Doc."""
            with spanledger.generation("m"):
                return question.upper()

        @spanledger.observe
        @classmethod
        def sum(cls, a: int, *rest: int, b: int = 2) -> int:
            return a + b + sum(rest)

    assert Bot().answer("hi") == "HI"
    assert Bot.sum(1, 5, b=3) == 9
    assert Bot.answer.__doc__ == "Doc."
    root = captured_spans.one("answer")
    assert root.attributes["spanledger.interaction"] == "answer"
    assert text_of(root.attributes["gen_ai.input.messages"]) == "hi"
    assert text_of(root.attributes["gen_ai.output.messages"]) == "HI"
    assert captured_spans.one("chat m").parent == root
    plain = captured_spans.one("sum")
    assert json.loads(text_of(plain.attributes["gen_ai.input.messages"])) == {"a": 1, "args": [5], "b": 3}
    assert text_of(plain.attributes["gen_ai.output.messages"]) == "9"


def test_kinds_names_and_what_is_captured(captured_spans: Captured) -> None:
    @spanledger.observe(kind="tool", name="lookup")
    def look(id: int) -> dict[str, int]:
        return {"id": id}

    @spanledger.observe(kind="retrieval", capture_input=False)
    def kb(query: str) -> list[str]:
        return ["doc"]

    @spanledger.observe(capture_output=False, capture_input=False)
    def quiet(secret: str) -> str:
        return secret

    look(7), kb("q"), quiet("s")
    called = captured_spans.one("execute_tool lookup").attributes
    assert json.loads(called["gen_ai.tool.call.arguments"]) == {"id": 7}
    assert json.loads(called["gen_ai.tool.call.result"]) == {"id": 7}
    found = captured_spans.one("retrieval kb").attributes
    assert "gen_ai.retrieval.query.text" not in found
    assert json.loads(found["gen_ai.retrieval.documents"]) == [{"content": "doc"}]
    assert captured_spans.one("quiet").attributes == {}
    with pytest.raises(ValueError, match="kind must be"):
        spanledger.observe(kind="llm")  # type: ignore[call-overload]


def test_arguments_are_seen_but_never_printed(captured_spans: Captured) -> None:
    class Lazy:
        def __str__(self) -> str:
            raise AssertionError("printing loads the database")

        __repr__ = __str__

    @spanledger.observe
    def work(thing: Any) -> Any:
        return thing

    work(Lazy())
    assert "Lazy" in captured_spans.one("work").attributes["gen_ai.input.messages"]


def test_a_coroutine_function(captured_spans: Captured) -> None:
    @spanledger.observe
    async def outer() -> int:
        await asyncio.sleep(0)
        return await inner()

    @spanledger.observe
    async def inner() -> int:
        raise TimeoutError("too late")

    with pytest.raises(TimeoutError):
        asyncio.run(outer())
    assert captured_spans.one("inner").parent == captured_spans.one("outer")
    assert captured_spans.one("outer").attributes["error.type"] == "TimeoutError"


@spanledger.observe
def letters(n: int) -> Generator[str, str | None, int]:
    try:
        for i in range(n):
            with spanledger.tool(f"t{i}"):
                pass
            got = yield chr(97 + i)
            if got == "fail":
                raise KeyError
    except ZeroDivisionError:
        yield "caught"
    return n


def test_a_generator_is_current_only_while_it_runs(captured_spans: Captured) -> None:
    with spanledger.interaction("a"):
        for _ in letters(3):
            with spanledger.tool("consumer"):
                pass
    span = captured_spans.one("letters")
    assert span.parent == captured_spans.one("a")
    assert text_of(span.attributes["gen_ai.output.messages"]) == "abc"
    assert {captured_spans.one(f"execute_tool t{i}").parent_id for i in range(3)} == {span.span_id}
    assert {s.parent_id for s in captured_spans.named("execute_tool consumer")} == {captured_spans.one("a").span_id}


def test_a_generator_keeps_its_whole_protocol(captured_spans: Captured) -> None:
    def whole() -> Generator[str, str | None, int]:
        return (yield from letters(2))

    gen = whole()
    assert next(gen) == "a"
    assert gen.throw(ZeroDivisionError()) == "caught"
    with pytest.raises(StopIteration) as stop:
        gen.send(None)
    assert stop.value.value == 2
    gen = letters(2)
    next(gen)
    with pytest.raises(KeyError):
        gen.send("fail")
    gen = letters(2)
    next(gen)
    gen.close()
    assert [s.status for s in captured_spans.named("letters")] == ["UNSET", "ERROR", "UNSET"]


def test_an_abandoned_generator_ends_its_span(captured_spans: Captured) -> None:
    gen = letters(2)
    next(gen)
    del gen
    gc.collect()
    assert text_of(captured_spans.one("letters").attributes["gen_ai.output.messages"]) == "a"
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_an_async_generator(captured_spans: Captured, caplog: pytest.LogCaptureFixture) -> None:
    @spanledger.observe
    async def stream(n: int) -> AsyncGenerator[str, str | None]:
        for i in range(n):
            await asyncio.sleep(0)
            with spanledger.generation(f"m{i}"):
                pass
            try:
                yield str(i)
            except ZeroDivisionError:
                yield "caught"
        if n == 7:
            raise KeyError

    async def main() -> None:
        with spanledger.interaction("a"):
            assert [x async for x in stream(3)] == ["0", "1", "2"]
            async for _ in stream(5):
                break
            gen = stream(2)
            assert await gen.asend(None) == "0"
            assert await gen.athrow(ZeroDivisionError()) == "caught"
            await gen.aclose()
            with pytest.raises(KeyError):
                [x async for x in stream(7)]
            with spanledger.tool("after"):
                pass

    asyncio.run(main())
    root = captured_spans.one("a")
    spans = captured_spans.named("stream")
    assert {s.parent_id for s in spans} == {root.span_id}
    assert sorted(s.status for s in spans) == ["ERROR", "UNSET", "UNSET", "UNSET"]
    assert captured_spans.one("execute_tool after").parent == root
    assert {s.parent and s.parent.name for s in captured_spans.named("chat m0")} == {"stream"}
    assert caplog.records == []


def test_partial_objects_and_undecorated_behaviour_without_init() -> None:
    observed = spanledger.observe(functools.partial(int, base=2))
    assert observed("11") == 3
    assert list(letters(2)) == ["a", "b"]
