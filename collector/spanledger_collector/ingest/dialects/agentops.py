"""AgentOps: indexed prompts and completions, in scopes that are called as the client is (`openai`, `anthropic`).

Anthropic's input excludes cached tokens, and names none. Spans of its decorators say their kind in `agentops.span.kind`.
"""

from typing import Final

from spanledger_collector.ingest.decoded import DecodedSpan
from spanledger_collector.ingest.dialects import genai
from spanledger_collector.ingest.dialects.facts import Facts, first_text, text, to_json

NAME: Final = "agentops"
SCOPES: Final = ("agentops",)
MARKS: Final = ("agentops.span.kind", "gen_ai.request.type")
_OPERATION: Final = {"chat": "chat", "completion": "text_completion", "embedding": "embeddings"}
_KINDS: Final = ("agent", "tool")


def read(span: DecodedSpan, scope: str, facts: Facts) -> None:
    """Read an AgentOps span."""
    attributes = span.attributes
    get = attributes.get
    genai.read(span, scope, facts)
    # Some carry the name of the enumeration: `AgentOpsSpanKindValues.TOOL`.
    said = text(get("agentops.span.kind")).rpartition(".")[2].lower()
    if said in _KINDS:
        facts.kind, facts.operation = said, ""
        facts.name = first_text(attributes, ("tool.name", "agent.name", "agentops.entity.name"))
        facts.input = facts.input or to_json(get("tool.parameters", get("agentops.entity.input", "")))
        facts.output = facts.output or to_json(get("tool.result", get("agentops.entity.output", "")))
        return
    facts.operation = facts.operation or _OPERATION.get(text(get("gen_ai.request.type")), "")
    facts.kind = genai.KIND_OF_OPERATION.get(facts.operation, facts.kind)
    facts.is_input_exclusive = scope.startswith("anthropic") or "claude" in text(facts.request_model)
    if facts.kind == "embedding" and facts.input_tokens is not None:
        facts.output_tokens = facts.output_tokens or 0
    seconds = get("gen_ai.streaming.time_to_first_token")
    if isinstance(seconds, int | float) and 0 <= seconds < 1e6:
        facts.ttft_ns = int(seconds * 1e9)
