"""Laminar: `lmnr.*` beside the conventions' usage names; messages come in the provider's own shape, and say the finish reason."""

from typing import Final

from spanledger_collector.ingest.decoded import DecodedSpan
from spanledger_collector.ingest.dialects import genai
from spanledger_collector.ingest.dialects.facts import Facts, as_list, first_text, pico_usd, text, to_json

NAME: Final = "lmnr"
SCOPES: Final = ("lmnr.",)
MARKS: Final = ("lmnr.span.type",)
_KIND: Final = {"LLM": "model", "TOOL": "tool", "EVALUATOR": "evaluator", "HUMAN_EVALUATOR": "evaluator"}
_PROPERTIES: Final = "lmnr.association.properties."


def read(span: DecodedSpan, scope: str, facts: Facts) -> None:
    """Read a Laminar span."""
    attributes = span.attributes
    get = attributes.get
    genai.read(span, scope, facts)
    kind = _KIND.get(text(get("lmnr.span.type")), "chain")
    if kind == "model":
        is_embedding = facts.kind == "embedding" or "embedding" in span.name.lower()
        facts.kind, operation = ("embedding", "embeddings") if is_embedding else ("model", "chat")
        facts.operation = facts.operation or operation
        if is_embedding and facts.input_tokens is not None and facts.output_tokens is None:
            facts.output_tokens = 0
    elif facts.kind != "tool":
        facts.kind = kind
        facts.operation = facts.operation or ("execute_tool" if kind == "tool" else "")
    facts.reported_cost_usd = pico_usd(get("gen_ai.usage.cost")) or None
    facts.input = facts.input or to_json(get("lmnr.span.input") or "")
    facts.output = facts.output or to_json(get("lmnr.span.output") or "")
    facts.user = text(get(_PROPERTIES + "user_id"))
    facts.session = first_text(attributes, (_PROPERTIES + "session_id", _PROPERTIES + "thread_id")) or facts.session
    facts.tags = {tag: "true" for tag in as_list(get(_PROPERTIES + "tags")) if isinstance(tag, str)}
    for key, value in attributes.items():
        if key.startswith(_PROPERTIES + "metadata."):
            facts.tags[key[len(_PROPERTIES) + 9 :]] = text(value)
