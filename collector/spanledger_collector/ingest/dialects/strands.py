"""Strands Agents: the conventions with every name twice, content in span events in Bedrock's shape, and times in milliseconds.

`gen_ai.system` names the framework, so the provider comes from the model. The agent's span repeats the sum of its calls.
"""

from typing import Final

from spanledger_collector.ingest.decoded import DecodedSpan
from spanledger_collector.ingest.dialects import genai
from spanledger_collector.ingest.dialects.facts import Facts

NAME: Final = "strands"
SCOPES: Final = ("strands.", "strands-agents")
MARKS: Final = ("event_loop.cycle_id",)


def read(span: DecodedSpan, scope: str, facts: Facts) -> None:
    """Read a span of the framework."""
    genai.read(span, scope, facts)
    milliseconds = span.attributes.get("gen_ai.server.time_to_first_token")
    if isinstance(milliseconds, int | float) and 0 <= milliseconds < 1e9:
        facts.ttft_ns = int(milliseconds * 1e6)
