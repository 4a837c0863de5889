"""Langfuse SDK (v3 to v5): `langfuse.observation.*`.

Usage comes in two shapes: a provider's own object (inclusive), or Langfuse's buckets, which exclude each other. User-supplied
costs are kept as reported; the zeros it writes on errors are unknown. It records no provider, finish reason or response id.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from spanledger_collector.ingest.decoded import Attributes, DecodedSpan
from spanledger_collector.ingest.dialects.facts import (
    Facts,
    as_list,
    as_mapping,
    count,
    first_text,
    parse_json,
    pico_usd,
    text,
)
from spanledger_collector.ingest.dialects.replies import read_reply
from spanledger_collector.ingest.dialects.usage import fill

NAME: Final = "langfuse"
SCOPES: Final = ("langfuse-sdk",)
MARKS: Final = ("langfuse.observation.type", "langfuse.observation.input")
"""Its processor writes the trace's names and marks on other instrumentations' spans too, so these are none."""
_METADATA: Final = "langfuse.observation.metadata."
_KIND: Final = {
    "generation": "model",
    "embedding": "embedding",
    "agent": "agent",
    "tool": "tool",
    "retriever": "retrieval",
    "evaluator": "evaluator",
    "guardrail": "guardrail",
    "chain": "chain",
    "event": "span",
    "span": "span",
}
_OPERATION: Final = {"model": "chat", "embedding": "embeddings", "tool": "execute_tool", "retrieval": "retrieval"}
_READ_BUCKETS: Final = ("input_cache_read", "cache_read_input_tokens", "input_cached_tokens")
_WRITE_BUCKETS: Final = ("input_cache_creation", "cache_creation_input_tokens", "input_cache_write")
_REASONING_BUCKETS: Final = ("output_reasoning", "output_reasoning_tokens")


def read(span: DecodedSpan, scope: str, facts: Facts) -> None:
    """Read a Langfuse observation."""
    attributes = span.attributes
    get = attributes.get
    facts.kind = _KIND.get(text(get("langfuse.observation.type")), "chain")
    facts.operation = _OPERATION.get(facts.kind, "")
    facts.response_model = text(get("langfuse.observation.model.name"))
    facts.request_model = _metadata(attributes, "ls_model_name") or facts.response_model
    facts.provider = _metadata(attributes, "ls_provider")
    facts.response_id = _metadata(attributes, "id")
    facts.finish_reason = _metadata(attributes, "finish_reason")
    _read_usage(as_mapping(get("langfuse.observation.usage_details")), facts)
    costs = as_mapping(get("langfuse.observation.cost_details"))
    total = pico_usd(costs.get("total"))
    facts.reported_cost_usd = total or None
    facts.input = text(get("langfuse.observation.input"))
    facts.output = text(get("langfuse.observation.output"))
    if facts.kind == "retrieval":
        facts.documents = facts.output
    elif facts.kind == "model" and facts.output.startswith(("{", "[")):
        read_reply(facts.output, facts)
    # What LangChain's configuration says is propagated below chains, but stands on a lone call as it was given.
    facts.user = text(get("langfuse.user.id")) or _metadata(attributes, "langfuse_user_id")
    facts.session = text(get("langfuse.session.id")) or _metadata(attributes, "langfuse_session_id")
    facts.environment = text(get("langfuse.environment"))
    facts.release = text(get("langfuse.release"))
    facts.prompt_version = _prompt_version(attributes)
    tags = as_list(get("langfuse.trace.tags")) + as_list(get(_METADATA + "langfuse_tags"))
    facts.tags = {tag: "true" for tag in tags if isinstance(tag, str)}
    for key, value in attributes.items():
        if key.startswith("langfuse.trace.metadata."):
            facts.tags[key.removeprefix("langfuse.trace.metadata.")] = text(value)
    if text(get("langfuse.observation.level")) == "ERROR":
        facts.is_error = True
        facts.error_message = text(get("langfuse.observation.status_message"))
    _read_first_token(span, facts)


def _read_usage(usage: Mapping[str, Any], facts: Facts) -> None:
    if "input" not in usage and "output" not in usage:
        fill(usage, facts)
    else:
        facts.input_tokens = count(usage.get("input"))
        facts.output_tokens = count(usage.get("output"))
        facts.cache_read_tokens = _bucket(usage, _READ_BUCKETS)
        facts.cache_write_tokens = _bucket(usage, _WRITE_BUCKETS)
        facts.reasoning_tokens = _bucket(usage, _REASONING_BUCKETS)
        facts.is_input_exclusive = facts.is_output_exclusive = True
    if facts.kind == "embedding" and facts.input_tokens is not None and facts.output_tokens is None:
        facts.output_tokens = 0


def _metadata(attributes: Attributes, name: str) -> str:
    """A text of an observation's metadata, which comes as JSON."""
    value = attributes.get(_METADATA + name)
    if isinstance(value, str) and value.startswith('"'):
        value = parse_json(value)
    return text(value)


def _bucket(usage: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    return next((number for name in names if (number := count(usage.get(name))) is not None), None)


def _prompt_version(attributes: Attributes) -> str:
    name = text(attributes.get("langfuse.observation.prompt.name"))
    version = first_text(attributes, ("langfuse.observation.prompt.version", "langfuse.version"))
    return f"{name}@{version}" if name and version else name or version


def _read_first_token(span: DecodedSpan, facts: Facts) -> None:
    stated = span.attributes.get("langfuse.observation.completion_start_time")
    stated = parse_json(stated) if isinstance(stated, str) and stated.startswith('"') else stated
    if not isinstance(stated, str):
        return
    try:
        at = datetime.fromisoformat(stated)
    except ValueError:
        return
    if at.tzinfo is not None and (waited := int(at.timestamp() * 1e6) * 1_000 - span.start_ns) >= 0:
        facts.ttft_ns = waited
