"""The conversation of one interaction: messages, tool calls with their arguments, documents, and where it went wrong.

Everything that a model or a user wrote is drawn with `st.text` or `st.code`, or escaped as a label.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import streamlit as st

from spanledger_dashboard import format as fmt
from spanledger_dashboard.cards import allowed, empty
from spanledger_dashboard.turns import Turn, gist, plan, preview, tool_names, unpacked
from spanledger_dashboard.untrusted import badge_label, label, shorten

AVATARS: Final = {
    "user": ":material/person:",
    "assistant": ":material/smart_toy:",
    "system": ":material/settings:",
    "tool": ":material/build:",
}
_TEXT_MAX: Final = 20_000
_LABEL_MAX: Final = 110
_LONG: Final = 1_500
_HEAD: Final = 600
_LOOKUPS: Final = {"retrieval": "Search", "embedding": "Embedding", "rerank": "Reranking", "guardrail": "Check"}


def draw(spans: Sequence[Mapping[str, Any]], content: Mapping[str, Any]) -> None:
    """Draw what was said, step by step."""
    turns, rest = plan(spans, content)
    several = sum(turn.kind == "model" for turn in turns) > 1
    for turn in turns:
        _turn(turn, content.get(turn.span["span_id"]) or {}, several=several)
    if allowed("read_content", "read what people and models wrote") and not turns and not rest:
        empty("No content is stored for this interaction: it was not captured, or is past its retention.")
    if rest:
        title = f"Also recorded by {fmt.plural(len(rest), 'span')} around the calls"
        with st.expander(label(title), type="compact", icon=":material/account_tree:"):
            for turn in rest:
                st.text(f"{shorten(turn.span['name'], 60)} · {turn.kind}")
                for message in turn.messages:
                    _flat(message)


def _turn(turn: Turn, held: Mapping[str, Any], *, several: bool) -> None:
    if turn.kind == "tool":
        _tool(turn, held)
    elif turn.kind in _LOOKUPS:
        _lookup(turn, held)
    else:
        if several:
            said = [turn.agent, turn.span["name"], turn.span["model"]]
            names = dict.fromkeys(shorten(name, 40) for name in said if name)
            st.caption(label(f"{' › '.join(names)} · {fmt.duration(turn.span['duration_s'])}", _LABEL_MAX))
        if turn.tools:
            names = dict.fromkeys(tool_names(turn.tools))
            title = f"{fmt.plural(len(turn.tools), 'tool')} offered: {fmt.listing(list(names), 4)}"
            with st.expander(label(title, _LABEL_MAX), type="compact", icon=":material/handyman:"):
                verbatim(turn.tools)
        for message in turn.messages:
            _message(message)
        _unread(turn, held)
        _documents(held.get("documents") or ())
    if turn.span["status"] == "error":
        _failure(turn.span)


def _failure(span: Mapping[str, Any]) -> None:
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        word = str(span["error_class"] or "failed").replace("_", " ")
        st.badge(badge_label(word), icon=":material/error:", color="red")
        said = span["status_message"] or span["error_type"] or "The span says no more."
        st.text(shorten(said, 300), width="content")


def _unread(turn: Turn, held: Mapping[str, Any]) -> None:
    raw = held.get("raw") or {}
    for side in ("input", "output"):
        if raw.get(side) and not held.get(side):
            title = f"{shorten(turn.span['name'], 40)}: {side} as it came"
            with st.expander(label(title), type="compact", icon=":material/data_object:"):
                verbatim(raw[side])


def _values(held: Mapping[str, Any], side: str) -> list[Any]:
    parts = [part for message in held.get(side, ()) for part in message.get("parts") or ()]
    found = [part.get("text") or part.get("arguments") or part.get("result") or part for part in parts]
    return found or [value for value in ((held.get("raw") or {}).get(side),) if value]


def _tool(turn: Turn, held: Mapping[str, Any]) -> None:
    given, gave = _values(held, "input"), _values(held, "output")
    said = f"{shorten(turn.span['name'], 40)}({preview(given[0]) if given else ''})"
    if gave:
        said += f" → {gist(gave[0])}"
    if turn.span["status"] == "error":
        said += " ✕"
    with st.expander(label(f"Tool: {said}", _LABEL_MAX), type="compact", icon=":material/build:"):
        for title, values in (("Arguments", given), ("Result", gave)):
            if values:
                st.caption(label(title))
            for value in values:
                verbatim(value)
        if not given and not gave:
            st.caption("Neither arguments nor result were recorded.")


def _lookup(turn: Turn, held: Mapping[str, Any]) -> None:
    asked, gave = _values(held, "input"), _values(held, "output")
    documents = held.get("documents") or ()
    said = f"{_LOOKUPS[turn.kind]}: {shorten(turn.span['name'], 40)}"
    if asked:
        said += f" · {gist(asked[0])}" if len(asked) == 1 else f" · {fmt.plural(len(asked), 'text')}"
    if documents:
        said += f" → {fmt.plural(len(documents), 'document')}"
    with st.expander(label(said, _LABEL_MAX), type="compact", icon=":material/search:"):
        for title, values in (("Asked", asked), ("Answered", [] if documents else gave)):
            if values:
                st.caption(label(title))
            for value in values:
                verbatim(value)
        _each(documents)


def _documents(documents: Sequence[Mapping[str, Any]]) -> None:
    if documents:
        with st.expander(label(fmt.plural(len(documents), "document")), type="compact", icon=":material/search:"):
            _each(documents)


def _each(documents: Sequence[Mapping[str, Any]]) -> None:
    for document in documents:
        score = document.get("score")
        st.text(f"{shorten(str(document.get('id') or ''))}{'' if score is None else f'  score {float(score):.3f}'}")
        verbatim(document.get("content"))


def _message(message: Mapping[str, Any]) -> None:
    role = str(message.get("role") or "")
    with st.chat_message(role if role in AVATARS else "other", avatar=AVATARS.get(role, ":material/chat:")):
        if role not in ("user", "assistant"):
            st.caption(label(role))
        for part in message.get("parts") or ():
            _part(part)


def _flat(message: Mapping[str, Any]) -> None:
    """A message inside an expander, which can hold no other: its role, and each part as it is."""
    st.caption(label(str(message.get("role") or "no role")))
    for part in message.get("parts") or ():
        value = part.get("text") or part.get("arguments") or part.get("result")
        verbatim(value if value is not None else part)


def _part(part: Mapping[str, Any]) -> None:
    kind = str(part.get("type") or "other")
    match kind:
        case "text" | "refusal":
            if kind == "refusal":
                st.badge("refusal", color="orange")
            _text(clipped(part.get("text")) or "(empty)")
        case "reasoning":
            with st.expander("Reasoning", type="compact", icon=":material/psychology:"):
                st.text(clipped(part.get("text")))
        case "other" if isinstance(call := unpacked(part.get("text")), dict) and {"name", "arguments"} <= set(call):
            # Some instrumentations write a call as text of its own.
            _part({"type": "tool_call", "name": str(call["name"]), "arguments": call["arguments"]})
        case "tool_call":
            said = f"Calls {shorten(part.get('name'), 40)}({preview(part.get('arguments'))})"
            with st.expander(label(said, _LABEL_MAX), type="compact", icon=":material/build:"):
                verbatim(part.get("arguments"))
        case "tool_result":
            said = f"{shorten(part['name'], 40)} gave" if part.get("name") else "Result"
            with st.expander(label(f"{said}: {gist(part.get('result'))}", _LABEL_MAX), type="compact", icon=":material/output:"):
                verbatim(part.get("result"))
        case "other":
            value = part.get("text") or {key: item for key, item in part.items() if key != "type"}
            with st.expander(label(f"Data: {gist(value)}", _LABEL_MAX), type="compact", icon=":material/data_object:"):
                verbatim(value)
        case _:
            with st.expander(label(f"{kind}, not shown"), type="compact", icon=":material/attachment:"):
                verbatim({key: value for key, value in part.items() if key != "type"})


def _text(text: str) -> None:
    """A text; of a long one the beginning, and all of it on demand: a system prompt can fill ten screens."""
    if len(text) <= _LONG:
        st.text(text)
        return
    st.text(f"{text[:_HEAD].rstrip()}…")
    with st.expander(label(f"All {len(text):,} characters"), type="compact", icon=":material/unfold_more:"):
        st.text(text)


def clipped(value: Any) -> str:
    """A value as text of a length that a browser can draw."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _TEXT_MAX else f"{text[:_TEXT_MAX]}… ({len(text) - _TEXT_MAX:,} more characters)"


def verbatim(value: Any) -> None:
    """A value letter for letter; what is JSON with its lines indented."""
    found = unpacked(value if value is not None else "")
    text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False, indent=2, default=str)
    st.code(clipped(text), language=None, wrap_lines=True)
