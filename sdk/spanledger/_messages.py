"""Messages in the form of OpenTelemetry, as a JSON string.

That is `[{"role": ..., "parts": [{"type": "text", "content": ...}]}]`.
Accepted are a plain string, a list of strings, and the message shapes of OpenAI (chat and responses), Anthropic and
Gemini, as dictionaries or as the client libraries' objects. Binary content is named, not carried.
"""

from typing import Any, Final

from spanledger._values import (
    CONTENT_CHARS_MAX,
    clip,
    is_list,
    quote,
    read_field,
    read_path,
    simplify,
    to_json,
    to_text,
)

_MESSAGES_MAX: Final = 1_000
_TEXT_TYPES: Final = frozenset({"text", "input_text", "output_text", "summary_text"})
_BINARY_TYPES: Final = {
    "image": "image",
    "image_url": "image",
    "input_image": "image",
    "input_audio": "audio",
    "audio": "audio",
    "file": "file",
    "input_file": "file",
    "document": "file",
}
_SPEC_TYPES: Final = frozenset({"tool_call", "tool_call_response", "reasoning", "blob", "uri"})

Part = dict[str, Any]
Message = dict[str, Any]


def encode_messages(value: object, role: str) -> str:
    """Encode prompts or outputs.

    Args:
        value: See the module docstring; anything else is taken as text.
        role: The role of what does not say its own: `user` for inputs, `assistant` for outputs.

    Returns:
        JSON text of at most about `CONTENT_CHARS_MAX` characters.
    """
    if type(value) is str:
        text = quote(clip(value, CONTENT_CHARS_MAX))
        return f'[{{"role":"{role}","parts":[{{"type":"text","content":{text}}}]}}]'
    return to_json(to_messages(value, role))


def encode_instructions(value: object) -> str:
    """System instructions: a JSON list of parts."""
    return to_json(_parts(value))


def to_messages(value: object, role: str) -> list[Message]:
    """The same as `encode_messages`, as data."""
    wrapped = read_field(value, "messages") if isinstance(value, dict) and "role" not in value else None
    if is_list(wrapped):
        value = wrapped
    items = list(value)[:_MESSAGES_MAX] if is_list(value) else [value]
    messages: list[Message] = []
    loose: list[Part] = []
    for item in items:
        if _is_message(item):
            messages.append(_message(item, role))
        else:
            loose.extend(_parts(item))
    if loose:
        messages.append({"role": role, "parts": loose})
    return messages


def _is_message(item: object) -> bool:
    return isinstance(read_field(item, "role"), str) or read_field(item, "type") in (
        "function_call",
        "function_call_output",
        "message",
    )


def _message(item: object, default_role: str) -> Message:
    kind = read_field(item, "type")
    if kind == "function_call":
        return {"role": "assistant", "parts": [_part(item)]}
    if kind == "function_call_output":
        return {"role": "tool", "parts": [_part(item)]}
    role = to_text(read_field(item, "role") or default_role)
    content = read_field(item, "content")
    if role in ("tool", "function"):
        call_id = read_field(item, "tool_call_id")
        if call_id is not None:
            return {"role": "tool", "parts": [_answer(call_id, content)]}
    parts = _parts(content)
    spec_parts = read_field(item, "parts")
    if content is None and is_list(spec_parts):
        parts = _parts(spec_parts)
    if isinstance(reasoning := read_field(item, "reasoning_content"), str):
        parts.insert(0, {"type": "reasoning", "content": clip(reasoning, CONTENT_CHARS_MAX)})
    if isinstance(refusal := read_field(item, "refusal"), str):
        parts.append({"type": "refusal", "content": clip(refusal, CONTENT_CHARS_MAX)})
    calls = read_field(item, "tool_calls")
    parts.extend(_part(call) for call in (calls if is_list(calls) else ()))
    message: Message = {"role": role, "parts": parts}
    if isinstance(name := read_field(item, "name"), str):
        message["name"] = clip(name)
    return message


def _parts(content: object) -> list[Part]:
    if content is None:
        return []
    if is_list(content):
        return [_part(item) for item in list(content)[:_MESSAGES_MAX]]
    return [_part(content)]


def _part(item: object) -> Part:
    if isinstance(item, str):
        return {"type": "text", "content": clip(item, CONTENT_CHARS_MAX)}
    kind = read_field(item, "type")
    text = read_field(item, "text")
    if isinstance(text, str) and (kind in _TEXT_TYPES or not isinstance(kind, str)):
        thought = read_field(item, "thought") is True
        return {"type": "reasoning" if thought else "text", "content": clip(text, CONTENT_CHARS_MAX)}
    if kind == "text" and isinstance(content := read_field(item, "content"), str):
        return {"type": "text", "content": clip(content, CONTENT_CHARS_MAX)}
    known = _tool_part(item, kind) or _thought_part(item, kind) or _binary_part(item, kind)
    if known is not None:
        return known
    if kind in _SPEC_TYPES and isinstance(item, dict):
        return simplify(item, CONTENT_CHARS_MAX)  # type: ignore[no-any-return]
    if isinstance(kind, str):
        return {"type": clip(kind), "content": to_json(item)}
    return {"type": "text", "content": to_json(item) if isinstance(item, dict) else to_text(item, CONTENT_CHARS_MAX)}


def _tool_part(item: object, kind: object) -> Part | None:
    function = read_field(item, "function")
    if function is not None and isinstance(name := read_field(function, "name"), str):
        return _call(read_field(item, "id"), name, read_field(function, "arguments"))
    if kind == "function_call":
        return _call(read_field(item, "call_id"), read_field(item, "name"), read_field(item, "arguments"))
    if kind == "tool_use":
        return _call(read_field(item, "id"), read_field(item, "name"), read_field(item, "input"))
    if kind == "function_call_output":
        return _answer(read_field(item, "call_id"), read_field(item, "output"))
    if kind == "tool_result":
        return _answer(read_field(item, "tool_use_id"), read_field(item, "content"))
    gemini_call, gemini_answer = read_field(item, "function_call"), read_field(item, "function_response")
    if isinstance(name := read_field(gemini_call, "name"), str):
        return _call(read_field(gemini_call, "id"), name, read_field(gemini_call, "args"))
    if isinstance(read_field(gemini_answer, "name"), str):
        return _answer(read_field(gemini_answer, "id"), read_field(gemini_answer, "response"))
    return None


def _thought_part(item: object, kind: object) -> Part | None:
    if kind == "thinking":
        return {"type": "reasoning", "content": to_text(read_field(item, "thinking"), CONTENT_CHARS_MAX)}
    if kind == "reasoning" and is_list(summary := read_field(item, "summary")):
        text = "\n".join(to_text(read_field(entry, "text"), CONTENT_CHARS_MAX) for entry in summary)
        return {"type": "reasoning", "content": text}
    if kind == "refusal":
        refusal = read_field(item, "refusal") or read_field(item, "content")
        return {"type": "refusal", "content": to_text(refusal, CONTENT_CHARS_MAX)}
    return None


def _binary_part(item: object, kind: object) -> Part | None:
    modality = _BINARY_TYPES.get(kind) if isinstance(kind, str) else None
    if modality is None:
        return None
    address = read_path(item, "image_url", "url") or read_field(item, "image_url") or read_path(item, "source", "url")
    if isinstance(address, str) and not address.startswith("data:"):
        return {"type": "uri", "modality": modality, "uri": clip(address)}
    if isinstance(file_id := read_field(item, "file_id"), str):
        return {"type": "file", "modality": modality, "file_id": clip(file_id)}
    # The bytes themselves stay here: they are large, and no reader of the ledger renders them.
    return {"type": "blob", "modality": modality}


def _call(call_id: object, name: object, arguments: object) -> Part:
    part: Part = {"type": "tool_call", "name": to_text(name), "arguments": simplify(arguments, CONTENT_CHARS_MAX)}
    if isinstance(call_id, str):
        part["id"] = clip(call_id)
    return part


def _answer(call_id: object, response: object) -> Part:
    part: Part = {"type": "tool_call_response", "response": simplify(response, CONTENT_CHARS_MAX)}
    if isinstance(call_id, str):
        part["id"] = clip(call_id)
    return part
