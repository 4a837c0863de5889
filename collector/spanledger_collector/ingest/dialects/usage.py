"""A provider's own usage object, recognised by its names: OpenAI, Anthropic, Gemini, Bedrock, and what LangChain makes of them.

Each says which way it counts; `provider_usage` answers inclusive counts, and `fill` completes what a dialect's own attributes
left unknown, without overriding what they said.
"""

from collections.abc import Mapping
from typing import Any, Final

from spanledger_collector.ingest.dialects.facts import COUNT_MAX, Facts, as_mapping, count, first_count

_MODALITIES: Final = ("audio", "image")
_PARTS: Final = ("cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens", "reasoning_tokens")


def provider_usage(usage: Mapping[str, Any]) -> Facts:
    """Read a usage object.

    Returns:
        Facts with inclusive counts, and nothing else; without counts where the object is no usage.

    """
    facts = Facts()
    if "prompt_tokens" in usage or "completion_tokens" in usage:
        _read_openai_chat(usage, facts)
    elif "input_token_details" in usage or "output_token_details" in usage:
        _read_langchain(usage, facts)
    elif "cache_read_input_tokens" in usage or "cache_creation_input_tokens" in usage:
        _read_anthropic(usage, facts)
    elif "input_tokens" in usage or "output_tokens" in usage:
        facts.input_tokens, facts.output_tokens = count(usage.get("input_tokens")), count(usage.get("output_tokens"))
        _read_details(as_mapping(usage.get("input_tokens_details")), as_mapping(usage.get("output_tokens_details")), facts)
    elif "promptTokenCount" in usage or "prompt_token_count" in usage:
        _read_gemini(usage, facts)
    elif "inputTokens" in usage or "outputTokens" in usage:
        _read_bedrock(usage, facts)
    facts.settle_inclusion()
    facts.is_input_exclusive = facts.is_output_exclusive = False
    return facts


def fill(usage: Mapping[str, Any], facts: Facts) -> None:
    """Complete a span's counts from a provider's usage object.

    Totals that the span states stay. Its parts are filled in, and where the stated input is less than the provider's by exactly
    the cached tokens, the span excluded them and is corrected.

    """
    if not usage:
        return
    known = provider_usage(usage)
    if known.input_tokens is None and known.output_tokens is None:
        return
    if facts.input_tokens is None and facts.output_tokens is None:
        facts.input_tokens, facts.output_tokens = known.input_tokens, known.output_tokens
        facts.is_input_exclusive = facts.is_output_exclusive = False
    elif known.input_tokens is not None and facts.input_tokens is not None:
        if facts.input_tokens + (known.cache_read_tokens or 0) + (known.cache_write_tokens or 0) == known.input_tokens:
            facts.input_tokens = known.input_tokens
        if facts.input_tokens == known.input_tokens:
            facts.is_input_exclusive = False
        if facts.output_tokens is not None and known.output_tokens == facts.output_tokens + (known.reasoning_tokens or 0):
            facts.output_tokens = known.output_tokens
        if facts.output_tokens == known.output_tokens:
            facts.is_output_exclusive = False
    for part in _PARTS:
        if getattr(facts, part) is None:
            setattr(facts, part, getattr(known, part))
    facts.other_usage = known.other_usage | facts.other_usage


def _read_openai_chat(usage: Mapping[str, Any], facts: Facts) -> None:
    facts.input_tokens, facts.output_tokens = count(usage.get("prompt_tokens")), count(usage.get("completion_tokens"))
    details = as_mapping(usage.get("prompt_tokens_details"))
    _read_details(details, as_mapping(usage.get("completion_tokens_details")), facts)
    # LiteLLM adds Anthropic's words to OpenAI's, CrewAI and Groq have words of their own; all of them inclusive.
    if facts.cache_read_tokens is None:
        facts.cache_read_tokens = first_count(
            usage, ("cache_read_input_tokens", "cached_prompt_tokens", "prompt_cache_hit_tokens")
        )
    if facts.cache_write_tokens is None:
        facts.cache_write_tokens = first_count(usage, ("cache_creation_input_tokens", "cache_creation_tokens"))
    if facts.reasoning_tokens is None:
        facts.reasoning_tokens = count(usage.get("reasoning_tokens"))
    created = as_mapping(details.get("cache_creation_token_details"))
    facts.cache_write_1h_tokens = count(created.get("ephemeral_1h_input_tokens"))
    if facts.output_tokens is None and count(usage.get("total_tokens")) == facts.input_tokens:
        facts.output_tokens = 0


def _read_anthropic(usage: Mapping[str, Any], facts: Facts) -> None:
    facts.input_tokens, facts.output_tokens = count(usage.get("input_tokens")), count(usage.get("output_tokens"))
    facts.cache_read_tokens = count(usage.get("cache_read_input_tokens"))
    facts.cache_write_tokens = count(usage.get("cache_creation_input_tokens"))
    facts.cache_write_1h_tokens = count(as_mapping(usage.get("cache_creation")).get("ephemeral_1h_input_tokens"))
    facts.reasoning_tokens = count(as_mapping(usage.get("output_tokens_details")).get("thinking_tokens"))
    if searches := count(as_mapping(usage.get("server_tool_use")).get("web_search_requests")):
        facts.other_usage["web_searches"] = searches
    facts.is_input_exclusive = True


def _read_langchain(usage: Mapping[str, Any], facts: Facts) -> None:
    facts.input_tokens, facts.output_tokens = count(usage.get("input_tokens")), count(usage.get("output_tokens"))
    given = as_mapping(usage.get("input_token_details"))
    produced = as_mapping(usage.get("output_token_details"))
    facts.cache_read_tokens = count(given.get("cache_read"))
    five, hour = count(given.get("ephemeral_5m_input_tokens")), count(given.get("ephemeral_1h_input_tokens"))
    written = count(given.get("cache_creation"))
    # It says 0 writes where it names them by lifetime.
    facts.cache_write_tokens = (
        written if five is None and hour is None else max(written or 0, count((five or 0) + (hour or 0)) or 0)
    )
    facts.cache_write_1h_tokens = hour
    facts.reasoning_tokens = count(produced.get("reasoning"))
    for kind, details, name in (("input_audio", given, "audio"), ("output_audio", produced, "audio")):
        if number := count(details.get(name)):
            facts.other_usage[kind] = number


def _read_gemini(usage: Mapping[str, Any], facts: Facts) -> None:
    facts.input_tokens = first_count(usage, ("promptTokenCount", "prompt_token_count"))
    tools = first_count(usage, ("toolUsePromptTokenCount", "tool_use_prompt_token_count"))
    if facts.input_tokens is not None and tools:
        facts.input_tokens = min(facts.input_tokens + tools, COUNT_MAX)
    facts.output_tokens = first_count(usage, ("candidatesTokenCount", "candidates_token_count"))
    facts.cache_read_tokens = first_count(usage, ("cachedContentTokenCount", "cached_content_token_count"))
    facts.reasoning_tokens = first_count(usage, ("thoughtsTokenCount", "thoughts_token_count"))
    if facts.output_tokens is None and facts.reasoning_tokens is not None:
        facts.output_tokens = 0
    facts.is_output_exclusive = True


def _read_bedrock(usage: Mapping[str, Any], facts: Facts) -> None:
    facts.input_tokens, facts.output_tokens = count(usage.get("inputTokens")), count(usage.get("outputTokens"))
    facts.cache_read_tokens = first_count(usage, ("cacheReadInputTokens", "cachedInputTokens"))
    facts.cache_write_tokens = count(usage.get("cacheWriteInputTokens"))
    facts.reasoning_tokens = count(usage.get("reasoningTokens"))
    # Converse excludes cached tokens; the Vercel SDK, which uses these names too, includes them and says a total.
    total = count(usage.get("totalTokens"))
    inclusive = (facts.input_tokens or 0) + (facts.output_tokens or 0)
    cached = (facts.cache_read_tokens or 0) + (facts.cache_write_tokens or 0)
    facts.is_input_exclusive = cached > 0 and total == inclusive + cached


def _read_details(given: Mapping[str, Any], produced: Mapping[str, Any], facts: Facts) -> None:
    facts.cache_read_tokens = count(given.get("cached_tokens"))
    facts.cache_write_tokens = count(given.get("cache_write_tokens"))
    facts.reasoning_tokens = count(produced.get("reasoning_tokens"))
    for modality in _MODALITIES:
        for kind, details in ((f"input_{modality}", given), (f"output_{modality}", produced)):
            if number := count(details.get(f"{modality}_tokens")):
                facts.other_usage[kind] = number
