"""The Mistral client's own spans: it traces itself wherever a tracer provider exists, beside whatever else instruments it.

Version 1 mixes the conventions' names with older ones, names no operation but its own API's, and knows nothing of a stream but
the request; version 2 follows the conventions.
"""

from typing import Final

from spanledger_collector.ingest.decoded import DecodedSpan
from spanledger_collector.ingest.dialects import genai
from spanledger_collector.ingest.dialects.facts import Facts, text

NAME: Final = "mistral_sdk"
SCOPES: Final = ("mistralai_sdk_tracer",)
MARKS: Final = ("mistral_ai.operation.id",)
_KINDS: Final = (("embeddings", "embedding"), ("chat", "model"), ("fim", "model"), ("agents_completion", "model"))


def read(span: DecodedSpan, scope: str, facts: Facts) -> None:
    """Read a span of the client."""
    genai.read(span, scope, facts)
    facts.provider = facts.provider or "mistral_ai"
    if facts.operation:
        return
    api = text(span.attributes.get("mistral_ai.operation.id")) or span.name
    facts.kind = next((kind for word, kind in _KINDS if word in api), "chain")
    facts.operation = {"embedding": "embeddings", "model": "chat"}.get(facts.kind, "")
