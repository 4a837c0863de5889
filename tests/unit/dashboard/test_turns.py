# ruff: noqa: E501 - a table of made-up spans
"""Who said what, whoever recorded it: each message once, tools with their arguments, and what only wrappers hold kept apart."""

import pytest

from spanledger_dashboard.steps import is_twin, quality, speaker, used
from spanledger_dashboard.turns import gist, plan, preview, tool_names

START = "2026-11-24T10:00:00Z"


def span(id, kind="model", parent=None, at=0.0, **over):
    base = {
        "span_id": id, "parent_span_id": parent, "kind": kind, "name": id, "offset_s": at, "duration_s": 1.0, "status": "ok", "start": START,
        "not_billed_reason": None, "model": "m", "scope": "a", "dialect": "genai", "response_id": None, "cost_status": "priced", "cost_usd": "1",
        "usage_quality": "exact", "usage": {"input_tokens": 10, "output_tokens": 5},
    }  # fmt: skip
    return base | over


def says(role, text):
    return {"role": role, "parts": [{"type": "text", "text": text}]}


def held(given=(), gave=(), **more):
    return {"input": list(given), "output": list(gave), "tools": [], "documents": [], "raw": {}} | more


def texts(turns):
    return [part.get("text") for turn in turns for message in turn.messages for part in message["parts"]]


def test_a_repeated_conversation_is_told_once_and_in_order():
    spans = [span("agent", "agent"), span("one", parent="agent", at=1), span("two", parent="agent", at=2)]
    first = [says("system", "Be terse."), says("user", "Weather?")]
    content = {
        "agent": held(first, [says("assistant", "Sunny.")]),
        "one": held(first, [says("assistant", "Let me look.")]),
        "two": held([*first, says("assistant", "Let me look."), says("tool", "21C")], [says("assistant", "Sunny.")]),
    }
    turns, rest = plan(spans, content)
    assert texts(turns) == ["Be terse.", "Weather?", "Let me look.", "21C", "Sunny."]
    assert rest == []
    assert [turn.agent for turn in turns] == ["agent", "agent"]


def test_a_user_who_says_the_same_twice_is_heard_twice():
    history = [says("user", "yes"), says("assistant", "Sure?"), says("user", "yes")]
    turns, _ = plan([span("one")], {"one": held(history, [says("assistant", "Done.")])})
    assert texts(turns) == ["yes", "Sure?", "yes", "Done."]


def test_two_calls_that_answer_the_same_are_both_shown_and_a_twin_is_not():
    content = {name: held([says("user", "Capital?")], [says("assistant", "Paris.")]) for name in ("one", "two", "twin")}
    twin = span("twin", at=3, not_billed_reason="another instrumentation saw the same call, which is counted once")
    turns, _ = plan([span("one"), span("two", at=1), twin], content)
    assert texts(turns) == ["Capital?", "Paris.", "Paris."]


def test_what_only_the_spans_around_the_calls_hold_is_kept_apart():
    content = {
        "chain": held([{"role": "user", "parts": [{"type": "other", "text": '{"type": "human", "data": {"content": "Hi"}}'}]}]),
        "one": held([says("user", "Hi")], [says("assistant", "Hello.")]),
    }
    turns, rest = plan([span("chain", "chain"), span("one", parent="chain")], content)
    assert texts(turns) == ["Hi", "Hello."]
    assert [turn.span["span_id"] for turn in rest] == ["chain"]


def test_where_no_call_has_content_the_spans_around_them_are_the_conversation():
    content = {"agent": held([says("user", "Hi")], [says("assistant", "Hello.")])}
    turns, rest = plan([span("agent", "agent"), span("one", parent="agent")], content)
    assert texts(turns) == ["Hi", "Hello."]
    assert rest == []


def test_a_search_for_the_words_of_the_user_does_not_take_them_out_of_the_conversation():
    spans = [span("search", "retrieval"), span("one", at=1)]
    content = {
        "search": held([says("user", "Refunds?")]),
        "one": held([says("user", "Refunds?")], [says("assistant", "30 days.")]),
    }
    turns, _ = plan(spans, content)
    assert texts([turn for turn in turns if turn.kind == "model"]) == ["Refunds?", "30 days."]


def test_a_failed_call_without_content_has_its_place_in_the_conversation():
    turns, _ = plan([span("one", status="error")], {})
    assert [turn.span["span_id"] for turn in turns] == ["one"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ('{"city": "Lyon", "unit": "celsius"}', "city=Lyon, unit=celsius"),
        ({"args": [], "sanitize": True, "kwargs": {"city": "Lyon"}}, "city=Lyon"),
        ({"to": "a", "text": "hello"}, "to=a, text=hello"),
        ("plain words", "plain words"),
        ("{not json", "{not json"),
        (None, ""),
        ({}, ""),
    ],
)
def test_arguments_are_told_whole_in_one_line(value, said):
    assert preview(value) == said


@pytest.mark.parametrize(
    "value",
    [
        "21C",
        '{"content": "21C", "type": "tool", "id": null}',
        {"type": "tool", "data": {"content": "21C"}},
        {"toolResult": {"toolUseId": "x", "status": "success", "content": [{"text": "21C"}]}},
        [{"type": "text", "text": "21C"}],
    ],
)
def test_a_result_is_told_without_its_envelope(value):
    assert gist(value) == "21C"


def test_tools_are_named_in_every_form():
    tools = [{"type": "function", "function": {"name": "a"}}, {"name": "b"}, '{"name": "c"}', "d"]
    assert tool_names(tools) == ["a", "b", "c", "d"]


def test_who_said_the_counts_and_how_sure_they_are_is_put_in_words():
    assert speaker(span("x", scope="openinference.instrumentation.openai", dialect="openinference")) == (
        "openinference.instrumentation.openai (OpenInference)"
    )
    assert speaker(span("x", scope="langsmith", dialect="langsmith")) == "langsmith"
    assert quality(span("x", usage_quality="estimated")) == "estimated from the text"
    assert quality(span("x", usage_quality=None, usage={})) == "missing: not said"
    assert quality(span("x", kind="tool", usage_quality=None)) == ""


def test_a_call_of_unknown_usage_is_listed_and_a_tool_that_cost_nothing_is_not():
    nothing = {"usage": {"input_tokens": None}, "cost_usd": None}
    assert used(span("x", **nothing))
    assert not used(span("x", kind="tool", **nothing))
    assert used(span("x", kind="agent", not_billed_reason="the model call below it is counted", **nothing))


def test_a_twin_is_another_view_of_the_same_call_and_nothing_else():
    mine = span("x", cost_status=None, not_billed_reason="… in another trace, where it is counted", response_id="r1")
    assert is_twin(mine, span("y", scope="b", response_id="r1"))
    assert is_twin(mine, span("y", scope="b"))
    assert not is_twin(mine, span("y", scope="a", response_id="r1")), "the same instrumentation sees a call once"
    assert not is_twin(mine, span("y", scope="b", response_id="r2"))
    assert not is_twin(mine, span("y", scope="b", usage={"input_tokens": 11, "output_tokens": 5}))
    assert not is_twin(mine, span("y", scope="b", start="2026-11-24T10:05:00Z"))
    assert not is_twin(mine, span("y", scope="b", not_billed_reason="the model call below it is counted"))
