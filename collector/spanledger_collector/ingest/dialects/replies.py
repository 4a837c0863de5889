"""What a provider answered, as raw JSON: OpenAI chat and responses, Anthropic, Gemini, Bedrock, and LangChain's serialisations.

Many instrumentations keep the whole answer beside a few attributes; what the attributes leave out (finish reason, model, id,
cached and reasoning tokens, service tier) stands in it. Nothing that the span states itself is overridden.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from spanledger_collector.ingest.dialects.facts import Facts, as_mapping, count, parse_json, text
from spanledger_collector.ingest.dialects.usage import fill

_USAGE_KEYS: Final = ("usage", "usageMetadata", "usage_metadata", "token_usage")
_ID_KEYS: Final = ("id", "responseId", "response_id")
_NO_PROVIDERS_IDS: Final = ("__", "run-", "lc_run-", "lc_")
_IN_REPR: Final = re.compile(r"\b(finish_reason|prompt_tokens|completion_tokens|cached_tokens|reasoning_tokens)=('\w+'|\d+)")
_REPR_CHARS_MAX: Final = 200_000
_MODEL_KEYS: Final = ("model", "modelVersion", "model_version", "model_name")


def read_reply(value: Any, facts: Facts) -> None:
    """Fill unknown facts from a provider's answer, an object or JSON text; anything else says nothing."""
    reply = parse_json(value)
    if isinstance(reply, list):
        whole = reply[-1] if reply else None
        if isinstance(whole, Mapping) and (whole.get("object") == "response" or "choices" in whole):
            _read(whole, facts)
        facts.finish_reason = facts.finish_reason or finish_of(reply)
    elif isinstance(reply, Mapping):
        found = _unwrap(reply)
        _read(found, facts)


def read_repr(words: str, facts: Facts) -> None:
    """Fill unknown facts from the text of a client's answer object, as `repr` writes it."""
    found: dict[str, str] = {match.group(1): match.group(2) for match in _IN_REPR.finditer(words[:_REPR_CHARS_MAX])}
    facts.finish_reason = facts.finish_reason or found.get("finish_reason", "").strip("'")
    if str(facts.input_tokens) != found.get("prompt_tokens") or str(facts.output_tokens) != found.get("completion_tokens"):
        return
    for part, name in (("cache_read_tokens", "cached_tokens"), ("reasoning_tokens", "reasoning_tokens")):
        if getattr(facts, part) is None:
            setattr(facts, part, count(found.get(name)))


def finish_of(answers: Any) -> str:
    """The finish reason that a list of choices, messages or output items carries, the last one's; empty where none does."""
    for answer in reversed(answers if isinstance(answers, list) else []):
        if isinstance(answer, Mapping):
            if found := _finish(answer):
                return found
            if isinstance(message := answer.get("message"), Mapping) and (found := _finish(message)):
                return found
            # An item of the responses API says whether it is whole.
            if "type" in answer and answer.get("status") in ("completed", "incomplete", "failed"):
                return str(answer["status"])
    return ""


def _unwrap(reply: Mapping[str, Any]) -> Mapping[str, Any]:
    """The message that carries the facts, out of LangChain's wrappings."""
    generations = reply.get("generations")
    if isinstance(generations, list) and generations and isinstance(generations[-1], list) and generations[-1]:
        last = generations[-1][-1]
        if isinstance(last, Mapping):
            message = last.get("message")
            inner = _message(message) if isinstance(message, Mapping) else {}
            info = as_mapping(last.get("generation_info"))
            return {**as_mapping(reply.get("llm_output")), **info, **inner}
    for key in ("output", "data", "kwargs"):
        inner_value = reply.get(key)
        if isinstance(inner_value, Mapping) and ("response_metadata" in inner_value or "usage_metadata" in inner_value):
            return _message(inner_value)
    return _message(reply) if "response_metadata" in reply else reply


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    inner = as_mapping(message.get("kwargs")) or message
    metadata = as_mapping(inner.get("response_metadata"))
    # The message's own id is LangChain's; the provider's is in the metadata.
    found = {**metadata, "id": metadata.get("id")}
    if isinstance(usage := inner.get("usage_metadata"), Mapping):
        # LangChain's counts are inclusive for every provider, and complete.
        found = {key: value for key, value in found.items() if key not in _USAGE_KEYS}
        found["usage_metadata"] = usage
    return found


def _read(reply: Mapping[str, Any], facts: Facts) -> None:
    if not facts.response_id:
        found = _first(reply, _ID_KEYS)
        # Some frameworks write a placeholder, or the id of a run, where the provider's should be.
        facts.response_id = "" if found.startswith(_NO_PROVIDERS_IDS) else found
    if not facts.response_model:
        facts.response_model = _first(reply, _MODEL_KEYS)
    if not facts.finish_reason:
        answers = next((reply[key] for key in ("choices", "candidates") if key in reply), [reply])
        facts.finish_reason = _finish(reply) or finish_of(answers)
    for key in _USAGE_KEYS:
        if isinstance(usage := reply.get(key), Mapping):
            fill(usage, facts)
            break
    facts.say_tier(text(reply.get("service_tier")))


def _finish(answer: Mapping[str, Any]) -> str:
    for key in ("finish_reason", "stop_reason", "finishReason", "stopReason"):
        if found := text(answer.get(key)):
            return found
    if isinstance(details := answer.get("incomplete_details"), Mapping) and (found := text(details.get("reason"))):
        return found
    if answer.get("object") == "response" or "response_metadata" in answer:
        return text(answer.get("status"))
    return text(answer.get("status")) if answer.get("status") == "completed" and "model" in answer else ""


def _first(reply: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    return next((found for key in keys if isinstance(found := reply.get(key), str) and found), "")
