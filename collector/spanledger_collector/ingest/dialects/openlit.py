"""OpenLIT: the conventions, with exceptions that change money.

Anthropic's input excludes cached tokens, Gemini's output excludes thoughts; streams without provider usage are estimated with
no mark that says so, and a cost of 0 means that no price was found.
"""

from typing import Final

from spanledger_collector.ingest.decoded import DecodedSpan
from spanledger_collector.ingest.dialects import genai
from spanledger_collector.ingest.dialects.facts import Facts, pico_usd, text

NAME: Final = "openlit"
SCOPES: Final = ("openlit",)
MARKS: Final = ("gen_ai.sdk.version", "gen_ai.client.token.usage")
_SLIPS: Final = frozenset({"AttributeError", "KeyError", "IndexError", "TypeError", "ValueError", "UnboundLocalError"})
"""What its own reading of an answer that it does not expect fails with, after the answer came."""


def read(span: DecodedSpan, scope: str, facts: Facts) -> None:
    """Read an OpenLIT span."""
    attributes = span.attributes
    genai.read(span, scope, facts)
    provider = text(facts.provider).lower()
    facts.is_input_exclusive = "anthropic" in provider
    facts.is_output_exclusive = "gemini" in provider or "google" in provider or "vertex" in provider
    streams = attributes.get("gen_ai.request.is_stream", attributes.get("gen_ai.request.stream"))
    is_stream = str(streams).lower() == "true"
    facts.is_estimated = is_stream and facts.cache_read_tokens is None and "openai" in provider
    facts.reported_cost_usd = pico_usd(attributes.get("gen_ai.usage.cost")) or None
    facts.finish_reason = facts.finish_reason.removeprefix("FinishReason.")
    seconds = attributes.get("gen_ai.server.time_to_first_token")
    # It is set for calls that do not stream too, where it is the latency.
    if is_stream and facts.ttft_ns is None and isinstance(seconds, int | float) and 0 <= seconds < 1e6:
        facts.ttft_ns = int(seconds * 1e9)
    slip = text(attributes.get("error.type"))
    facts.is_answered = bool(facts.response_id and facts.finish_reason) and slip in _SLIPS
    facts.environment = text(attributes.get("gen_ai.environment"))
