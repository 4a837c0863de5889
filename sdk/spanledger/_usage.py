"""Usage, outcome and output read from a provider's response object, by shape and not by type.

The providers count differently; what leaves here always follows OpenTelemetry: input tokens contain cached ones,
output tokens contain reasoning. Anthropic excludes cached tokens from its input count and Gemini excludes thoughts
from its output count, so both are added here. A response of unknown shape yields nothing, never an error.
"""

from dataclasses import dataclass, field
from typing import Any, Final

from spanledger._messages import Message, to_messages
from spanledger._values import as_count, is_list, read_field, read_path
from spanledger_schema import semconv

_ANTHROPIC_FINISH: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
}
_GEMINI_FINISH: Final = {"max_tokens": "length", "safety": "content_filter", "recitation": "content_filter"}
_RESPONSES_FINISH: Final = {"max_output_tokens": "length", "content_filter": "content_filter"}


@dataclass(slots=True)
class Reading:
    """What a response says.

    Attributes:
        counts: Token counts and the like by attribute name; a key is missing where the response is silent.
        texts: Response model, response id, service tier by attribute name.
        finish_reasons: One word per choice, mapped to OpenTelemetry's where there is one.
        output: The output messages, or None; read lazily by the caller because it may not want content.
    """

    counts: dict[str, int] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    finish_reasons: list[str] = field(default_factory=list)
    output: object = None

    def count(self, name: str, value: object) -> None:
        """Keep a count if it is one."""
        number = as_count(value)
        if number is not None:
            self.counts[name] = number

    def text(self, name: str, value: object) -> None:
        """Keep a text if it is one."""
        if isinstance(value, str) and value:
            self.texts[name] = value


def read_response(response: object) -> Reading:
    """Read an OpenAI (chat, completions, responses, embeddings), Anthropic or Gemini response, object or dictionary."""
    reading = Reading()
    reading.text(semconv.RESPONSE_ID, read_field(response, "id"))
    reading.text(semconv.RESPONSE_MODEL, read_field(response, "model"))
    reading.text(semconv.SERVICE_TIER, read_field(response, "service_tier"))
    usage = read_field(response, "usage")
    if (gemini := _first(response, "usage_metadata", "usageMetadata")) is not None:
        _read_gemini(reading, response, gemini)
    elif _is_anthropic(response):
        _read_anthropic(reading, response, usage)
    elif is_list(read_field(response, "output")) or read_path(usage, "input_tokens_details") is not None:
        _read_responses(reading, response, usage)
    else:
        _read_chat(reading, response, usage)
    return reading


def output_messages(reading: Reading) -> list[Message] | None:
    """The output in OpenTelemetry's form, or None if the response has none."""
    messages = to_messages(reading.output, "assistant") if reading.output is not None else []
    if not messages:
        return None
    # The pieces of one answer (text, tool calls, reasoning) are one message, however many items the provider sent.
    if all(message["role"] == "assistant" for message in messages) and not reading.finish_reasons[1:]:
        parts = [part for message in messages for part in message["parts"]]
        return [{"role": "assistant", "parts": parts}] if parts else None
    return messages


def _is_anthropic(response: object) -> bool:
    return read_field(response, "type") == "message" and is_list(read_field(response, "content"))


def _read_chat(reading: Reading, response: object, usage: object) -> None:
    reading.count(semconv.INPUT_TOKENS, read_field(usage, "prompt_tokens"))
    reading.count(semconv.OUTPUT_TOKENS, read_field(usage, "completion_tokens"))
    reading.count(semconv.CACHE_READ_TOKENS, read_path(usage, "prompt_tokens_details", "cached_tokens"))
    reading.count(semconv.CACHE_WRITE_TOKENS, read_path(usage, "prompt_tokens_details", "cache_write_tokens"))
    reading.count(semconv.INPUT_AUDIO_TOKENS, read_path(usage, "prompt_tokens_details", "audio_tokens"))
    reading.count(semconv.OUTPUT_AUDIO_TOKENS, read_path(usage, "completion_tokens_details", "audio_tokens"))
    reading.count(semconv.REASONING_TOKENS, read_path(usage, "completion_tokens_details", "reasoning_tokens"))
    choices = read_field(response, "choices")
    choices = choices if is_list(choices) else ()
    _finish(reading, [read_field(choice, "finish_reason") for choice in choices], {})
    messages = [read_field(choice, "message") or read_field(choice, "text") for choice in choices]
    reading.output = [message for message in messages if message is not None] or None


def _read_responses(reading: Reading, response: object, usage: object) -> None:
    reading.count(semconv.INPUT_TOKENS, read_field(usage, "input_tokens"))
    reading.count(semconv.OUTPUT_TOKENS, read_field(usage, "output_tokens"))
    reading.count(semconv.CACHE_READ_TOKENS, read_path(usage, "input_tokens_details", "cached_tokens"))
    reading.count(semconv.CACHE_WRITE_TOKENS, read_path(usage, "input_tokens_details", "cache_write_tokens"))
    reading.count(semconv.REASONING_TOKENS, read_path(usage, "output_tokens_details", "reasoning_tokens"))
    items = read_field(response, "output")
    items = list(items) if is_list(items) else []
    reading.output = items or None
    status = read_field(response, "status")
    if status == "incomplete":
        _finish(reading, [read_path(response, "incomplete_details", "reason") or "length"], _RESPONSES_FINISH)
    elif status == "completed":
        called = any(read_field(item, "type") == "function_call" for item in items)
        reading.finish_reasons = ["tool_calls" if called else "stop"]
    elif status == "failed":
        reading.finish_reasons = ["error"]


def _read_anthropic(reading: Reading, response: object, usage: object) -> None:
    fresh = as_count(read_field(usage, "input_tokens"))
    cache_read = as_count(read_field(usage, "cache_read_input_tokens"))
    cache_write = as_count(read_field(usage, "cache_creation_input_tokens"))
    if fresh is not None:
        # Anthropic's input count leaves cached tokens out; OpenTelemetry's contains them.
        reading.count(semconv.INPUT_TOKENS, fresh + (cache_read or 0) + (cache_write or 0))
    reading.count(semconv.CACHE_READ_TOKENS, cache_read)
    reading.count(semconv.CACHE_WRITE_TOKENS, cache_write)
    reading.count(semconv.CACHE_WRITE_1H_TOKENS, read_path(usage, "cache_creation", "ephemeral_1h_input_tokens"))
    reading.count(semconv.OUTPUT_TOKENS, read_field(usage, "output_tokens"))
    reading.count(semconv.REASONING_TOKENS, read_path(usage, "output_tokens_details", "thinking_tokens"))
    reading.count(semconv.WEB_SEARCHES, read_path(usage, "server_tool_use", "web_search_requests"))
    reading.text(semconv.SERVICE_TIER, read_field(usage, "service_tier"))
    _finish(reading, [read_field(response, "stop_reason")], _ANTHROPIC_FINISH)
    reading.output = read_field(response, "content") or None


def _read_gemini(reading: Reading, response: object, usage: object) -> None:
    prompt = as_count(_first(usage, "prompt_token_count", "promptTokenCount"))
    tools = as_count(_first(usage, "tool_use_prompt_token_count", "toolUsePromptTokenCount"))
    candidates_tokens = as_count(_first(usage, "candidates_token_count", "candidatesTokenCount"))
    thoughts = as_count(_first(usage, "thoughts_token_count", "thoughtsTokenCount"))
    if prompt is not None:
        reading.count(semconv.INPUT_TOKENS, prompt + (tools or 0))
    if candidates_tokens is not None or thoughts is not None:
        # Gemini leaves thoughts out of its output count; OpenTelemetry's contains them.
        reading.count(semconv.OUTPUT_TOKENS, (candidates_tokens or 0) + (thoughts or 0))
    reading.count(semconv.CACHE_READ_TOKENS, _first(usage, "cached_content_token_count", "cachedContentTokenCount"))
    reading.count(semconv.REASONING_TOKENS, thoughts)
    reading.text(semconv.RESPONSE_MODEL, _first(response, "model_version", "modelVersion"))
    reading.text(semconv.RESPONSE_ID, _first(response, "response_id", "responseId"))
    candidates = read_field(response, "candidates")
    candidates = candidates if is_list(candidates) else ()
    words = [_first(candidate, "finish_reason", "finishReason") for candidate in candidates]
    _finish(reading, [_word(word) for word in words], _GEMINI_FINISH)
    parts = [read_path(candidate, "content", "parts") for candidate in candidates]
    reading.output = [part for group in parts if is_list(group) for part in group] or None


def _word(value: object) -> Any:
    name = value if isinstance(value, str) else read_field(value, "name")
    return name.lower() if isinstance(name, str) else None


def _first(owner: object, *names: str) -> Any:
    for name in names:
        value = read_field(owner, name)
        if value is not None:
            return value
    return None


def _finish(reading: Reading, words: list[object], mapping: dict[str, str]) -> None:
    reading.finish_reasons = [mapping.get(word, word) for word in words if isinstance(word, str) and word]
