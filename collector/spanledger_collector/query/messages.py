"""Whatever shape a source keeps prompts and answers in becomes one message model. Pure, and never raises on content.

A message is `{"role", "parts"}`; a part has a `type` (text, reasoning, tool_call, tool_result, image, audio, file, refusal or
other) and `text`, or `name`, `id`, `arguments`, or `id`, `result`. Read shapes: OpenTelemetry's parts, OpenAI chat and
responses, Anthropic blocks, Gemini contents, plain text. Everything here is text that models and users wrote.
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson

Part = dict[str, Any]
Message = dict[str, Any]

_MESSAGES_MAX: Final = 2_000
_DEPTH_MAX: Final = 60
"""Deeper nesting is shown as the text that it came as."""
_TEXT_TYPES: Final = frozenset({"text", "input_text", "output_text", "summary_text"})
_MEDIA: Final = {
    "image": "image",
    "image_url": "image",
    "input_image": "image",
    "audio": "audio",
    "input_audio": "audio",
    "file": "file",
    "input_file": "file",
    "document": "file",
    "video": "file",
}
_ROLES: Final = {
    "model": "assistant",
    "human": "user",
    "ai": "assistant",
    "AIMessageChunk": "assistant",
    "system": "system",
    "tool": "tool",
    "developer": "system",
    "function": "tool",
}
_LISTS: Final = ("messages", "choices", "candidates", "output", "contents", "input")
_WRAPPING: Final = frozenset({"input", "inputs", "output", "outputs", "kwargs", "tags", "metadata", "data", "type"})
_BLOCKS: Final = frozenset({"text", "toolUse", "toolResult", "reasoningContent", "cachePoint", "image", "document"})
_BLOCK_TYPES: Final = _TEXT_TYPES | _MEDIA.keys() | {"tool_use", "tool_result", "thinking", "redacted_thinking", "refusal"}


def to_messages(raw: str, role: str) -> list[Message]:
    """Read stored content.

    Args:
        raw: JSON or plain text, as the source sent it.
        role: Whose it is where the content does not say.
    """
    if not raw:
        return []
    if raw[0] not in '[{"':
        return [_of_text(role, raw)]
    value = structure(raw)
    return [_of_text(role, raw)] if value is None else _read(value, role)


def structure(raw: str) -> Any:
    """JSON of a depth that people and answers can cope with, else None."""
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    level = [value]
    for _ in range(_DEPTH_MAX):
        inner = [item for item in level if isinstance(item, dict | list)]
        if not inner:
            return value
        level = [child for item in inner for child in (item.values() if isinstance(item, dict) else item)]
    return None


def first_text(messages: list[Message], role: str, chars: int = 200) -> str | None:
    """The beginning of the last thing that `role` said, on one line, or None."""
    for message in reversed(messages):
        if message["role"] == role:
            words = " ".join(part["text"] for part in message["parts"] if part["type"] == "text" and part.get("text"))
            line = " ".join(words.split())
            if line:
                return line if len(line) <= chars else line[: chars - 1] + "…"
    return None


def _of_text(role: str, words: str) -> Message:
    return {"role": role, "parts": [{"type": "text", "text": words}]}


def _read(value: Any, role: str) -> list[Message]:
    if isinstance(value, str):
        return [_of_text(role, value)] if value else []
    if isinstance(value, list):
        if value and all(isinstance(item, list) for item in value):
            return [message for item in value[:_MESSAGES_MAX] for message in _read(item, role)]
        if value and not any(_is_message(item) for item in value):
            parts = [part for item in value[:_MESSAGES_MAX] for part in _parts(item)]
            return [{"role": role, "parts": parts}] if parts else []
        return [message for item in value[:_MESSAGES_MAX] for message in _message(item, role)]
    if isinstance(value, Mapping):
        for key in _LISTS:
            inner = value.get(key)
            if isinstance(inner, list):
                system = value.get("system") or value.get("instructions")
                head = [{"role": "system", "parts": _parts(system)}] if system else []
                return head + _read(inner, role)
        if _is_message(value):
            return _message(value, role)
        return _read_loose(value, role)
    return [] if value is None else [_of_text(role, str(value))]


def _read_loose(value: Mapping[str, Any], role: str) -> list[Message]:
    """What is no message by itself: LangChain's wrappings, the arguments of a function, a prompt beside parameters."""
    if isinstance(generations := value.get("generations"), list):
        return [message for item in generations for message in _read(item, role)]
    for key in ("kwargs", "data", "output", "outputs", "input", "inputs"):
        inner = value.get(key)
        if isinstance(inner, Mapping) and (set(value) <= _WRAPPING or "lc" in value or _kind(value) in _ROLES):
            return _read(inner, _ROLES.get(_kind(value), role))
    if value and set(value) <= {"args", "kwargs"}:
        named = value.get("kwargs")
        given = [*_items(value.get("args")), *(named.values() if isinstance(named, Mapping) else ())]
        return [message for item in given for message in _read(item, role)]
    for key in ("prompt", "inputText", "output", "outputs", "input", "inputs"):
        if isinstance(words := value.get(key), str) and words:
            system = value.get("system") or value.get("instructions")
            head = [{"role": "system", "parts": _parts(system)}] if system else []
            return [*head, _of_text(role, words)]
    return [{"role": role, "parts": [_part(value)]}]


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_message(item: Any) -> bool:
    if not isinstance(item, Mapping):
        return False
    if item.get("lc") == 1 and isinstance(inner := item.get("kwargs"), Mapping):
        return "content" in inner
    if isinstance(item.get("message"), Mapping) or "role" in item or "parts" in item or item.get("object") == "response":
        return True
    kind = item.get("type")
    if "content" in item:
        return not isinstance(kind, str) or kind in _ROLES or kind in ("message", "reasoning")
    return kind in ("message", "function_call", "function_call_output", "reasoning") or _is_wrapped(item)


def _is_wrapped(item: Mapping[str, Any]) -> bool:
    """Whether it is LangChain's `{"type": "human", "data": {…}}`."""
    return _kind(item) in _ROLES and isinstance(item.get("data"), Mapping)


def _kind(item: Mapping[str, Any]) -> str:
    kind = item.get("type")
    return kind if isinstance(kind, str) else ""


def _message(item: Any, role: str) -> list[Message]:
    if not isinstance(item, Mapping):
        return [{"role": role, "parts": _parts(item)}] if item is not None else []
    if isinstance(inner := item.get("message"), Mapping):
        return _message(inner, role)
    if item.get("lc") == 1 and isinstance(inner := item.get("kwargs"), Mapping):
        return _message(inner, role)
    if isinstance(inner := item.get("content"), Mapping) and "parts" in inner:
        return _message(inner, role)
    kind = _kind(item)
    if item.get("object") == "response":
        return _read(item.get("output"), "assistant")
    if _is_wrapped(item):
        return _message(item["data"], _ROLES[kind])
    if kind in ("function_call", "reasoning"):
        return [{"role": "assistant", "parts": _parts(item)}]
    if kind == "function_call_output":
        return [{"role": "tool", "parts": _parts(item)}]
    own = str(item.get("role") or (kind if kind in _ROLES else role))
    own = _ROLES.get(own, own)
    if own == "thinking":
        return [{"role": "assistant", "parts": [{"type": "reasoning", "text": _words(item.get("content"))}]}]
    if own == "tool" and "parts" not in item:
        name = item.get("tool_call_id") or item.get("id")
        return [{"role": "tool", "parts": [_result(name, item.get("content"))]}]
    parts: list[Part] = []
    if isinstance(thought := item.get("reasoning_content") or item.get("reasoning"), str) and thought:
        parts.append({"type": "reasoning", "text": thought})
    parts += _parts(item.get("parts") if isinstance(item.get("parts"), list) else item.get("content"))
    if isinstance(refusal := item.get("refusal"), str) and refusal:
        parts.append({"type": "refusal", "text": refusal})
    if isinstance(words := item.get("message"), str) and not parts:
        # Strands and events of older conventions: a message whose content is JSON text.
        parts += _parts(_maybe_json(words))
    calls = item.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        parts += _parts(call)
    return [{"role": own, "parts": parts}]


def _parts(content: Any) -> list[Part]:
    if content is None or content == "":
        return []
    if isinstance(content, str):
        if content[0] == "[" and isinstance(blocks := structure(content), list) and _are_blocks(blocks):
            return _parts(blocks)
        return [{"type": "text", "text": content}]
    if isinstance(content, list):
        return [part for item in content[:_MESSAGES_MAX] for part in _parts(item)]
    if not isinstance(content, Mapping):
        return [{"type": "text", "text": str(content)}]
    return [_part(content)]


def _are_blocks(items: list[Any]) -> bool:
    """Whether a list that came as text is content blocks: Bedrock's, or those of others, which have a type."""
    return bool(items) and all(
        isinstance(item, Mapping) and (_kind(item) in _BLOCK_TYPES if "type" in item else item.keys() & _BLOCKS) for item in items
    )


def _part(item: Mapping[str, Any]) -> Part:
    kind = item.get("type", item.get("kind"))
    kind = kind.replace("-", "_") if isinstance(kind, str) else None
    if isinstance(call := item.get("toolUse"), Mapping):
        return _call(call.get("toolUseId"), call.get("name"), call.get("input"))
    if isinstance(answer := item.get("toolResult"), Mapping):
        return _result(answer.get("toolUseId"), answer.get("content"))
    if isinstance(thought := item.get("reasoningContent"), Mapping):
        said = thought.get("reasoningText")
        return {"type": "reasoning", "text": _words(said.get("text") if isinstance(said, Mapping) else said)}
    if isinstance(function := item.get("function"), Mapping):
        return _call(item.get("id"), function.get("name"), function.get("arguments"))
    if kind in ("tool_call", "function_call", "tool_use") or (kind is None and "arguments" in item and "name" in item):
        arguments = next((item[key] for key in ("arguments", "input", "args") if key in item), None)
        identity = item.get("id") or item.get("call_id") or item.get("toolCallId")
        return _call(identity, item.get("name") or item.get("toolName"), arguments)
    if kind in ("tool_call_response", "function_call_output", "tool_result"):
        result = next((item[key] for key in ("response", "result", "output", "content") if key in item), None)
        identity = item.get("id") or item.get("call_id") or item.get("tool_use_id") or item.get("toolCallId")
        return _result(identity, result)
    for key, make in (("function_call", _call), ("functionCall", _call)):
        if isinstance(call := item.get(key), Mapping):
            return make(call.get("id"), call.get("name"), call.get("args"))
    for key in ("function_response", "functionResponse"):
        if isinstance(answer := item.get(key), Mapping):
            return _result(answer.get("id") or answer.get("name"), answer.get("response"))
    if kind in ("thinking", "reasoning"):
        return {"type": "reasoning", "text": _words(_first_of(item, ("thinking", "content", "summary", "text")))}
    if kind == "refusal":
        return {"type": "refusal", "text": _words(item.get("refusal") or item.get("content"))}
    if isinstance(words := item.get("text"), str) and (kind is None or kind in _TEXT_TYPES):
        return {"type": "reasoning" if item.get("thought") is True else "text", "text": words}
    if kind in _TEXT_TYPES and isinstance(words := item.get("content"), str | list):
        return {"type": "text", "text": _words(words)}
    modality = item.get("modality")
    media = _MEDIA.get(str(kind)) or (_MEDIA.get(str(modality), "file") if kind in ("blob", "uri") else None)
    if media is not None:
        return {"type": media, "text": _address(item)}
    return _other(item)


def _first_of(item: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next((item[key] for key in keys if item.get(key)), None)


def _address(item: Mapping[str, Any]) -> str | None:
    """Where a picture or file is, as text; data in line is never passed on."""
    found: Any = item
    for _ in range(4):
        if not isinstance(found, Mapping):
            break
        found = _first_of(found, ("uri", "url", "file_id", "image_url", "image", "audio", "source", "file"))
    return found[:500] if isinstance(found, str) and not found.startswith("data:") else None


def _call(identity: Any, name: Any, arguments: Any) -> Part:
    return {"type": "tool_call", "id": _name(identity), "name": _name(name), "arguments": _maybe_json(arguments)}


def _result(identity: Any, result: Any) -> Part:
    return {"type": "tool_result", "id": _name(identity), "result": _maybe_json(result)}


def _name(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _maybe_json(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in ("{", "["):
        parsed = structure(value)
        return value if parsed is None else parsed
    return value


def _words(value: Any) -> str:
    if isinstance(value, list):
        return "\n".join(_words(item.get("text") if isinstance(item, Mapping) else item) for item in value)
    return value if isinstance(value, str) else ""


def _other(item: Any) -> Part:
    return {"type": "other", "text": orjson.dumps(item, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode()}


def to_documents(raw: str) -> list[dict[str, Any]]:
    """Retrieved documents as `{"id", "content", "score"}`; what is no list of documents is one document of text."""
    if not raw:
        return []
    value = structure(raw)
    if value is None:
        return [{"id": None, "content": raw, "score": None}]
    items = value if isinstance(value, list) else [value]
    return [_document(item) for item in items[:_MESSAGES_MAX]]


def _document(item: Any) -> dict[str, Any]:
    if not isinstance(item, Mapping):
        return {"id": None, "content": item if isinstance(item, str) else orjson.dumps(item).decode(), "score": None}
    content = next((item[key] for key in ("content", "page_content", "text", "body") if isinstance(item.get(key), str)), None)
    score = item.get("score")
    return {
        "id": _name(item.get("id")) or _name(item.get("title")),
        "content": content if content is not None else orjson.dumps(dict(item), option=orjson.OPT_NON_STR_KEYS).decode(),
        "score": score if isinstance(score, int | float) and not isinstance(score, bool) else None,
    }
