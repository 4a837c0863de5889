"""Google's Agent Development Kit: usage on `generate_content` spans only, content in log records or in `gcp.vertex.agent.*`."""

from typing import Final

from spanledger_collector.ingest.decoded import DecodedSpan
from spanledger_collector.ingest.dialects import genai
from spanledger_collector.ingest.dialects.facts import Facts, as_mapping, first_text, text, to_json
from spanledger_collector.ingest.dialects.replies import read_reply

NAME: Final = "google_adk"
SCOPES: Final = ("gcp.vertex.agent",)
MARKS: Final = ("gcp.vertex.agent.invocation_id", "gcp.vertex.agent.llm_request")
_OWN: Final = "gcp.vertex.agent."


def read(span: DecodedSpan, scope: str, facts: Facts) -> None:
    """Read a span of the kit."""
    attributes = span.attributes
    get = attributes.get
    genai.read(span, scope, facts)
    if text(facts.provider).startswith("gcp.vertex.agent"):
        facts.provider = ""
    if not facts.operation and span.name.startswith("call_llm"):
        facts.kind, facts.operation = "model", "generate_content"
    facts.session = facts.session or text(get(_OWN + "session_id"))
    request, response = as_mapping(get(_OWN + "llm_request")), as_mapping(get(_OWN + "llm_response"))
    if facts.kind == "model":
        facts.request_model = facts.request_model or text(request.get("model"))
        read_reply(response, facts)
        facts.input = facts.input or (to_json(request.get("contents")) if request.get("contents") else "")
        facts.output = facts.output or (to_json([response["content"]]) if response.get("content") else "")
    elif facts.kind == "tool":
        facts.input = facts.input or first_text(attributes, (_OWN + "tool_call_args",))
        facts.output = facts.output or first_text(attributes, (_OWN + "tool_response",))
