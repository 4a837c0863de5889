"""Langtrace: older words of the conventions, content in span events.

Operations are called as in the conventions, or as the client's method. Anthropic's input excludes cached tokens, and names none.
Streams without usage are counted by itself, with no mark that says so.
"""

from typing import Final

from spanledger_collector.ingest.decoded import DecodedSpan
from spanledger_collector.ingest.dialects import genai
from spanledger_collector.ingest.dialects.facts import Facts, text

NAME: Final = "langtrace"
SCOPES: Final = ("langtrace",)
MARKS: Final = ("langtrace.service.name",)
_OPERATION: Final = (("embed", "embeddings"), ("rerank", "rerank"), ("", "chat"))


def read(span: DecodedSpan, scope: str, facts: Facts) -> None:
    """Read a Langtrace span."""
    get = span.attributes.get
    if not genai.recognises(span.attributes):
        return
    genai.read(span, scope, facts)
    if facts.kind == "chain" and text(get("langtrace.service.type")) == "llm" and facts.request_model:
        facts.operation = next(operation for word, operation in _OPERATION if word in facts.operation)
        facts.kind = genai.KIND_OF_OPERATION[facts.operation]
    facts.response_id = facts.response_id or text(get("gen_ai.response_id"))
    facts.is_input_exclusive = "anthropic" in text(facts.provider).lower()
    is_stream = str(get("gen_ai.request.stream")).lower() == "true"
    facts.is_estimated = is_stream and facts.cache_read_tokens is None and not facts.is_input_exclusive
