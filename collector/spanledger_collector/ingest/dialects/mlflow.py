"""MLflow tracing: `mlflow.*`, every value JSON-encoded, scalars too; or the OpenTelemetry conventions where it is told to.

Its usage is inclusive for every provider. Translated to the conventions, cached tokens and the finish reason are dropped, and the
request model is the response's; what the stream's chunks say is read from its events.
"""

from typing import Any, Final

from spanledger_collector.ingest.decoded import Attributes, DecodedSpan
from spanledger_collector.ingest.dialects import genai
from spanledger_collector.ingest.dialects.facts import Facts, as_mapping, count, parse_json, pico_usd, text, to_json
from spanledger_collector.ingest.dialects.replies import read_reply
from spanledger_collector.ingest.dialects.usage import fill

NAME: Final = "mlflow"
SCOPES: Final = ("mlflow",)
MARKS: Final = ("mlflow.spanType",)
_KIND: Final = {
    "CHAT_MODEL": "model",
    "LLM": "model",
    "EMBEDDING": "embedding",
    "RERANKER": "rerank",
    "TOOL": "tool",
    "RETRIEVER": "retrieval",
    "AGENT": "agent",
    "EVALUATOR": "evaluator",
    "GUARDRAIL": "guardrail",
}
_OPERATION: Final = {
    "model": "chat",
    "embedding": "embeddings",
    "rerank": "rerank",
    "tool": "execute_tool",
    "retrieval": "retrieval",
}


def read(span: DecodedSpan, scope: str, facts: Facts) -> None:
    """Read an MLflow span."""
    attributes = span.attributes
    if "mlflow.spanType" in attributes:
        _read_native(attributes, facts)
    elif genai.recognises(attributes):
        genai.read(span, scope, facts)
        asked = _value(attributes, "model")
        facts.request_model = asked if isinstance(asked, str) and asked else facts.request_model
    if facts.kind == "model":
        for name, _, details in span.events:
            if name.startswith("mlflow.chunk.item."):
                _read_chunk(as_mapping(details.get("mlflow.chunk.value")), facts)


def _read_native(attributes: Attributes, facts: Facts) -> None:
    kind = _value(attributes, "mlflow.spanType")
    facts.kind = _KIND.get(kind.upper() if isinstance(kind, str) else "", "chain")
    facts.operation = _OPERATION.get(facts.kind, "")
    facts.provider = text(_value(attributes, "mlflow.llm.provider"))
    request = as_mapping(_value(attributes, "mlflow.spanInputs"))
    facts.response_model = text(_value(attributes, "mlflow.llm.model"))
    facts.request_model = text(_value(attributes, "model")) or text(request.get("model")) or facts.response_model
    usage = as_mapping(_value(attributes, "mlflow.chat.tokenUsage"))
    facts.input_tokens = count(usage.get("input_tokens"))
    facts.output_tokens = count(usage.get("output_tokens"))
    facts.cache_read_tokens = count(usage.get("cache_read_input_tokens"))
    facts.cache_write_tokens = count(usage.get("cache_creation_input_tokens"))
    facts.reported_cost_usd = pico_usd(as_mapping(_value(attributes, "mlflow.llm.cost")).get("total_cost")) or None
    answer = _value(attributes, "mlflow.spanOutputs")
    if facts.kind in ("model", "embedding"):
        read_reply(answer, facts)
    facts.input = to_json(_value(attributes, "mlflow.spanInputs") or "")
    facts.output = to_json(answer if answer is not None else "")
    if facts.kind == "retrieval":
        facts.documents = facts.output
    if (tools := _value(attributes, "mlflow.chat.tools")) is not None:
        facts.tools = to_json(tools)
    facts.user = text(_value(attributes, "mlflow.trace.user"))
    facts.session = text(_value(attributes, "mlflow.trace.session"))


def _value(attributes: Attributes, key: str) -> Any:
    value = attributes.get(key)
    parsed = parse_json(value)
    return value if parsed is None else parsed


def _read_chunk(chunk: Any, facts: Facts) -> None:
    # OpenAI says usage in its last chunk; Anthropic's input stands in its first event, the cumulative output in its last.
    if isinstance(usage := chunk.get("usage"), dict) and "prompt_tokens" in usage:
        fill(usage, facts)
    message = chunk.get("message")
    if isinstance(message, dict) and isinstance(usage := message.get("usage"), dict) and facts.input_tokens is not None:
        fill({**usage, "output_tokens": facts.output_tokens}, facts)
    response = chunk.get("response")
    if isinstance(response, dict) and isinstance(response.get("usage"), dict):
        read_reply(response, facts)
