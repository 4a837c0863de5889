"""Traceloop / OpenLLMetry: today's `gen_ai.*` and the indexed `gen_ai.prompt.N.*` of 2025.

Input is inclusive, for Anthropic too (it adds cached tokens itself). Gemini's output excludes thoughts and names none: the
total tells; Anthropic's streamed output is a few tokens too high. Workflow, task and agent spans carry `traceloop.*` only.
"""

from typing import Final

from spanledger_collector.ingest.decoded import Attributes, DecodedSpan
from spanledger_collector.ingest.dialects import genai
from spanledger_collector.ingest.dialects.facts import Facts, as_list, as_mapping, first_count, first_text, text, to_json

NAME: Final = "traceloop"
MARKS: Final = ("traceloop.span.kind", "traceloop.entity.name", "traceloop.workflow.name")
SCOPES: Final = (
    "opentelemetry.instrumentation.openai.v1",
    "opentelemetry.instrumentation.openai.v0",
    "opentelemetry.instrumentation.anthropic",
    "opentelemetry.instrumentation.langchain",
    "opentelemetry.instrumentation.llamaindex",
    "opentelemetry.instrumentation.google_generativeai",
    "opentelemetry.instrumentation.vertexai",
    "opentelemetry.instrumentation.bedrock",
    "opentelemetry.instrumentation.cohere",
    "opentelemetry.instrumentation.groq",
    "opentelemetry.instrumentation.mistralai",
    "opentelemetry.instrumentation.ollama",
    "opentelemetry.instrumentation.together",
    "opentelemetry.instrumentation.replicate",
    "opentelemetry.instrumentation.watsonx",
    "opentelemetry.instrumentation.crewai",
    "opentelemetry.instrumentation.haystack",
    "opentelemetry.instrumentation.agno",
    "opentelemetry.instrumentation.openai_agents",
    "opentelemetry.instrumentation.pinecone",
    "opentelemetry.instrumentation.chromadb",
    "opentelemetry.instrumentation.alephalpha",
    "opentelemetry.instrumentation.sagemaker",
    "opentelemetry.instrumentation.voyageai",
    "opentelemetry.instrumentation.transformers",
    "opentelemetry.instrumentation.writer",
    "traceloop.",
    "@traceloop/",
)
_CHUNKS: Final = ("gen_ai.content.completion.chunk", "llm.content.completion.chunk")
_ENTITY_KIND: Final = {"agent": "agent", "tool": "tool"}
_OPERATION_OF_REQUEST: Final = {"chat": "chat", "completion": "text_completion", "embedding": "embeddings", "rerank": "rerank"}


def read(span: DecodedSpan, scope: str, facts: Facts) -> None:
    """Read an OpenLLMetry span."""
    attributes = span.attributes
    get = attributes.get
    is_model_call = genai.recognises(attributes) and "traceloop.entity.output" not in attributes
    if is_model_call or "gen_ai.request.model" in attributes:
        genai.read(span, scope, facts)
        request_type = text(get("llm.request.type"))
        if not facts.operation and request_type in _OPERATION_OF_REQUEST:
            facts.operation = _OPERATION_OF_REQUEST[request_type]
            facts.kind = genai.KIND_OF_OPERATION[facts.operation]
        elif not facts.operation and facts.kind == "model" and "embedding" in span.name:
            facts.kind, facts.operation = "embedding", "embeddings"
        elif not facts.operation and facts.kind == "model":
            facts.operation = "chat"
        if facts.kind == "embedding" and facts.input_tokens is not None and facts.output_tokens is None:
            facts.output_tokens = 0
    else:
        facts.kind = _ENTITY_KIND.get(text(get("traceloop.span.kind")), "chain")
        facts.name = text(get("traceloop.entity.name"))
    _read_gemini_thoughts(attributes, facts)
    is_stream = str(get("gen_ai.is_streaming", get("llm.is_streaming"))).lower() == "true"
    # Of an Anthropic stream it adds the first event's output to the last one's, which is cumulative.
    facts.is_partial = is_stream and facts.output_tokens is not None and "anthropic" in text(facts.provider).lower()
    # In JavaScript it counts a stream's tokens itself and does not say so, and never says how many were cached.
    # A model's own answer by way of Bedrock excludes cached tokens, and only such an answer has an id.
    facts.is_partial |= scope.endswith("bedrock") and facts.cache_read_tokens is None and bool(facts.response_id)
    facts.is_partial |= scope.startswith("@") and facts.operation == "chat" and facts.cache_read_tokens is None
    if is_stream and facts.ttft_ns is None:
        facts.ttft_ns = _first_chunk(span)
    if facts.kind == "rerank":
        _read_rerank(facts)
    if not facts.input:
        facts.input = text(get("traceloop.entity.input"))
    if not facts.output:
        facts.output = text(get("traceloop.entity.output"))
    prefix = "traceloop.association.properties."
    facts.user = text(get(prefix + "user_id"))
    facts.session = first_text(attributes, (prefix + "session_id", prefix + "thread_id")) or facts.session
    for key, value in attributes.items():
        if key.startswith(prefix) and key[len(prefix) :] not in ("user_id", "session_id", "thread_id"):
            facts.tags[key[len(prefix) :]] = text(value)


def _read_rerank(facts: Facts) -> None:
    """Documents stand among the prompts as a system's messages; the query is the user's."""
    prompts = [as_mapping(prompt) for prompt in as_list(facts.input)]
    documents = [{"content": prompt.get("content")} for prompt in prompts if prompt.get("role") == "system"]
    queries = [text(prompt.get("content")) for prompt in prompts if prompt.get("role") == "user"]
    if documents and queries:
        facts.documents, facts.input = to_json(documents), queries[-1]


def _first_chunk(span: DecodedSpan) -> int | None:
    waits = [time_ns - span.start_ns for name, time_ns, _ in span.events if name in _CHUNKS]
    return min((wait for wait in waits if wait >= 0), default=None)


def _read_gemini_thoughts(attributes: Attributes, facts: Facts) -> None:
    total = first_count(attributes, ("gen_ai.usage.total_tokens", "llm.usage.total_tokens"))
    if total is None or facts.input_tokens is None or facts.output_tokens is None or facts.reasoning_tokens is not None:
        return
    hidden = total - facts.input_tokens - facts.output_tokens
    if hidden > 0 and ("gemini" in text(facts.request_model).lower() or "gemini" in text(facts.provider).lower()):
        facts.reasoning_tokens = hidden
        facts.is_output_exclusive = True
