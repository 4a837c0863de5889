"""From what a caller hands over to attribute values: clipped, checked, and nothing that the capture mode forbids.

All of it works on host values, so nothing raises for a strange one; what cannot be meant is counted as invalid.
"""

from collections.abc import Mapping
from typing import Any, Final

from spanledger._counters import COUNTERS
from spanledger._messages import encode_messages
from spanledger._runtime import State
from spanledger._usage import Reading, output_messages
from spanledger._values import (
    as_count,
    as_probability,
    as_usd,
    clip,
    is_list,
    read_field,
    read_path,
    simplify,
    to_json,
    to_text,
)
from spanledger_schema import semconv

Attributes = dict[str, Any]

_KEY_CHARS_MAX: Final = 128
_DOCUMENTS_MAX: Final = 100


def put_text(attributes: Attributes, key: str, value: object, state: State) -> None:
    """Set a plain text unless it is missing or empty."""
    if value is None:
        return
    text = to_text(value, state.text_chars_max)
    if text:
        attributes[key] = text


def put_count(attributes: Attributes, key: str, value: object) -> None:
    """Set a number of tokens or the like."""
    number = as_count(value)
    if number is None:
        COUNTERS.invalid_values += 1
    else:
        attributes[key] = number


def put_probability(attributes: Attributes, source: object, value: object) -> None:
    """Set a confidence, unless it is no probability or has no source."""
    number, name = as_probability(value), key_part(source)
    if number is None or not name:
        COUNTERS.invalid_values += 1
    else:
        attributes[semconv.CONFIDENCE_PREFIX + name] = number


def put_cost(attributes: Attributes, value: object) -> None:
    """Set a cost in USD as exact text, unless it is none."""
    if value is None:
        return
    amount = as_usd(value)
    if amount is None:
        COUNTERS.invalid_values += 1
    else:
        attributes[semconv.COST_USD] = amount


def put_messages(attributes: Attributes, key: str, value: object, role: str, state: State) -> None:
    """Set prompts or outputs, if content is captured."""
    if value is not None and state.captures_content:
        text = encode_messages(value, role)
        if len(text) > state.content_chars_max:
            text = to_json(clip(text, state.content_chars_max // 2), state.content_chars_max)
        attributes[key] = text


def put_json(attributes: Attributes, key: str, value: object, state: State, *, print_objects: bool = True) -> None:
    """Set any content as JSON text, if content is captured."""
    if value is not None and state.captures_content:
        attributes[key] = to_json(value, state.content_chars_max, print_objects=print_objects)


def put_documents(attributes: Attributes, documents: object, state: State) -> None:
    """Set retrieved documents, if content is captured."""
    if documents is None or not state.captures_content:
        return
    items = list(documents)[:_DOCUMENTS_MAX] if is_list(documents) else [documents]
    attributes[semconv.RETRIEVAL_DOCUMENTS] = to_json([_document(item) for item in items], state.content_chars_max)


def put_reading(attributes: Attributes, reading: Reading, state: State) -> None:
    """Set what a provider's response says."""
    attributes.update(reading.counts)
    for key, text in reading.texts.items():
        put_text(attributes, key, text, state)
    put_finish(attributes, reading.finish_reasons, state)
    if state.captures_content:
        put_messages(attributes, semconv.OUTPUT_MESSAGES, output_messages(reading), "assistant", state)


def put_finish(attributes: Attributes, reasons: object, state: State) -> None:
    """Set one finish reason or several."""
    if type(reasons) is str:
        attributes[semconv.FINISH_REASONS] = (to_text(reasons, state.text_chars_max),)
    elif is_list(reasons):
        words = tuple([to_text(word, state.text_chars_max) for word in reasons])
        if words:
            attributes[semconv.FINISH_REASONS] = words
    else:
        attributes[semconv.FINISH_REASONS] = (to_text(reasons, state.text_chars_max),)


def identity_and_tags(
    state: State,
    *,
    feature: object,
    user: object,
    session: object,
    tags: object,
    prompt_version: object,
    release: object,
    data_class: object,
    purpose: object,
) -> dict[str, str]:
    """What an interaction says about itself and all below it."""
    found: dict[str, str] = {}
    put_text(found, semconv.FEATURE, feature, state)
    put_text(found, semconv.PROMPT_VERSION, prompt_version, state)
    put_text(found, semconv.RELEASE, release, state)
    put_text(found, semconv.DATA_CLASS, data_class, state)
    put_text(found, semconv.PURPOSE, purpose, state)
    if state.captures_identity:
        put_text(found, semconv.USER_ID, user, state)
        put_text(found, semconv.SESSION_ID, session, state)
    if isinstance(tags, Mapping):
        for key, value in list(tags.items())[:_KEY_CHARS_MAX]:
            put_tag(found, key, value, state)
    elif tags is not None:
        COUNTERS.invalid_values += 1
    return found


def put_tag(attributes: Attributes, key: object, value: object, state: State) -> None:
    """Set a tag; its value is text."""
    name = key_part(key)
    if not name:
        COUNTERS.invalid_values += 1
        return
    put_text(attributes, semconv.TAG_PREFIX + name, value, state)


def key_part(name: object) -> str:
    """A name as the last part of an attribute name."""
    return "" if name is None else to_text(name, _KEY_CHARS_MAX).strip()


def http_status(error: BaseException) -> int | None:
    """The HTTP status that an exception of a client library carries, of any of the usual ones."""
    for path in (
        ("status_code",),
        ("response", "status_code"),
        ("response", "ResponseMetadata", "HTTPStatusCode"),
        ("http_status",),
        ("code",),
        ("status",),
    ):
        status = read_path(error, *path)
        if type(status) is int and 100 <= status <= 599:
            return status
    return None


def error_type(error: BaseException) -> str:
    """The qualified name of the exception's class."""
    kind = type(error)
    module = kind.__module__
    return clip(kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}")


def _document(item: object) -> Any:
    if isinstance(item, str):
        return {"content": item}
    score = None
    if isinstance(item, tuple) and len(item) == 2:
        item, score = item
    inner = read_field(item, "node") or item
    content = next((text for name in ("content", "page_content", "text") if (text := read_field(inner, name))), None)
    if content is None:
        return simplify(item, 4_096)
    found = {"id": _first(inner, "id", "id_", "node_id"), "content": content, "score": score}
    if score is None:
        found["score"] = _first(item, "score", "relevance_score")
    return {key: value for key, value in found.items() if value is not None}


def _first(owner: object, *names: str) -> Any:
    return next((value for name in names if (value := read_field(owner, name)) is not None), None)
