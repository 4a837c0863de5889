"""The Anthropic client's own spans: it traces itself wherever a tracer provider exists, beside whatever else instruments it.

Counts are inclusive and complete, with writes to the cache by lifetime. It has no finish reasons but the raw stop reason.
"""

from typing import Final

from spanledger_collector.ingest.decoded import DecodedSpan
from spanledger_collector.ingest.dialects import genai
from spanledger_collector.ingest.dialects.facts import Facts, count, text

NAME: Final = "anthropic_sdk"
SCOPES: Final = ("com.anthropic.sdk.",)
MARKS: Final = ("anthropic.message.stop_reason",)


def read(span: DecodedSpan, scope: str, facts: Facts) -> None:
    """Read a span of the client."""
    get = span.attributes.get
    genai.read(span, scope, facts)
    facts.provider = facts.provider or "anthropic"
    facts.finish_reason = facts.finish_reason or text(get("anthropic.message.stop_reason"))
    if searches := count(get("anthropic.usage.server_tool_use.web_search_requests")):
        facts.other_usage["web_searches"] = searches
