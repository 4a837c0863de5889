"""Who said what, in order, from the spans of one interaction. Pure.

Calls to models repeat the conversation so far, and the agents and chains around them repeat it once more, in forms of their own.
Each message is kept once, where it was said first; what only the spans around the calls hold is kept apart.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from spanledger_dashboard.untrusted import shorten

CALLS: Final = ("model", "embedding", "rerank", "tool", "retrieval", "guardrail")
"""Kinds of spans that did something themselves; others are around them."""
_PREVIEW: Final = 70
_ENVELOPES: Final = ("toolResult", "data", "content", "output", "text")


@dataclass(slots=True)
class Turn:
    """What one span adds to the conversation."""

    span: Mapping[str, Any]
    agent: str | None
    messages: list[Mapping[str, Any]] = field(default_factory=list)
    tools: list[Any] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """The kind of its span."""
        return str(self.span["kind"])


def plan(spans: Sequence[Mapping[str, Any]], content: Mapping[str, Any]) -> tuple[list[Turn], list[Turn]]:
    """The turns of the conversation in the order of time, and what only the spans around the calls hold.

    Where no call to a model has content, the spans around them are the conversation.
    """
    by_id = {span["span_id"]: span for span in spans}
    held = [span for span in spans if content.get(span["span_id"]) or span["status"] == "error"]
    held.sort(key=lambda span: span["offset_s"] or 0.0)
    calls = [span for span in held if span["kind"] in CALLS]
    around = [span for span in held if span["kind"] not in CALLS]
    speaks = any(span["kind"] == "model" and _messages(content.get(span["span_id"])) for span in calls)
    shown: Counter[str] = Counter()
    offered: set[str] = set()
    turns = [_turn(span, by_id, content, shown, offered) for span in (calls if speaks else held)]
    rest = [_turn(span, by_id, content, shown, offered) for span in around] if speaks else []
    return [turn for turn in turns if _says(turn, content)], [turn for turn in rest if turn.messages]


def _messages(held: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    return [] if held is None else [*held.get("input", ()), *held.get("output", ())]


def _says(turn: Turn, content: Mapping[str, Any]) -> bool:
    held = content.get(turn.span["span_id"]) or {}
    raw = held.get("raw") or {}
    unread = any(raw.get(side) and not held.get(side) for side in ("input", "output"))
    failed = turn.span["status"] == "error" and turn.kind in CALLS
    return bool(turn.messages or turn.tools or held.get("documents") or unread or failed or turn.kind == "tool")


def _turn(
    span: Mapping[str, Any],
    by_id: Mapping[str, Mapping[str, Any]],
    content: Mapping[str, Any],
    shown: Counter[str],
    offered: set[str],
) -> Turn:
    held = content.get(span["span_id"]) or {}
    turn = Turn(span, _agent(span, by_id))
    if span["kind"] in CALLS and span["kind"] != "model":
        # What a search was asked and a tool was given is its own, and no turn of the conversation.
        turn.messages = _messages(held)
        return turn
    here: Counter[str] = Counter()
    # A call that counts said its answer itself, be it the same words as another's; a repetition did not.
    counts = span["kind"] == "model" and not span["not_billed_reason"]
    for side in ("input", "output"):
        for message in held.get(side, ()):
            mark = _mark(message)
            here[mark] += 1
            if here[mark] > shown[mark] or (counts and side == "output"):
                shown[mark] += 1
                turn.messages.append(message)
    tools = held.get("tools") or []
    if tools and (mark := json.dumps(tools, sort_keys=True, default=str)) not in offered:
        offered.add(mark)
        turn.tools = list(tools)
    return turn


def _mark(message: Mapping[str, Any]) -> str:
    """The same for the same thing said, whoever recorded it."""
    parts = []
    for part in message.get("parts") or ():
        value = part.get("text") or part.get("arguments") or part.get("result")
        parts.append((part.get("type"), part.get("name") or "", _json(unpacked(value)) if value is not None else _json(part)))
    return _json([message.get("role"), parts])


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)


def _agent(span: Mapping[str, Any], by_id: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The name of the nearest agent around a span."""
    seen: set[str] = set()
    current = by_id.get(span["parent_span_id"] or "")
    while current is not None and current["span_id"] not in seen:
        if current["kind"] == "agent":
            return str(current["name"])
        seen.add(current["span_id"])
        current = by_id.get(current["parent_span_id"] or "")
    return None


def unpacked(value: Any) -> Any:
    """A value out of its JSON text; any other text as it is."""
    if not isinstance(value, str) or value[:1] not in ("{", "["):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def preview(value: Any, limit: int = _PREVIEW) -> str:
    """A value in one line: arguments as `city=Lyon, unit=celsius`."""
    found = unpacked(value)
    if isinstance(found, Mapping) and {"args", "kwargs"} <= set(found) and not found["args"]:
        found = unpacked(found["kwargs"])
    if isinstance(found, Mapping):
        return shorten(", ".join(f"{key}={_plain(item)}" for key, item in found.items()), limit) if found else ""
    if isinstance(found, list):
        return shorten(", ".join(gist(item, limit) for item in found), limit) if found else ""
    return "" if found in (None, "") else shorten(str(found), limit)


def gist(value: Any, limit: int = _PREVIEW) -> str:
    """A result in one line, out of the envelope that a framework puts around it."""
    return preview(_core(unpacked(value)), limit)


def _core(value: Any, depth: int = 4) -> Any:
    if isinstance(value, Mapping) and depth:
        for key in _ENVELOPES:
            if inner := unpacked(value.get(key)):
                return _core(inner, depth - 1)
    return value


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def tool_names(tools: Sequence[Any]) -> list[str]:
    """The names of tools that were offered to a model, in whichever form."""
    names = []
    for tool in tools:
        found = unpacked(tool)
        if isinstance(found, Mapping):
            inner = found.get("function")
            inner = inner if isinstance(inner, Mapping) else found
            names.append(str(inner.get("name") or found.get("name") or "unnamed"))
        else:
            names.append(str(found))
    return names
