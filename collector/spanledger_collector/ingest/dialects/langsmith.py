"""LangSmith's OpenTelemetry export: `langsmith.*`, and LangChain's serialisations in `gen_ai.prompt` and `gen_ai.completion`.

Only spans of kind llm and embedding are calls; the chains around them repeat the usage. Counts are inclusive; cached and
reasoning tokens, finish reason, response model and id stand in the metadata and the completion only. A failed call's status
is OK.
"""

import re
from typing import Final

from spanledger_collector.ingest.decoded import DecodedSpan
from spanledger_collector.ingest.dialects.facts import Facts, as_mapping, first_count, first_text, text, to_json
from spanledger_collector.ingest.dialects.replies import read_reply
from spanledger_collector.ingest.dialects.usage import fill

NAME: Final = "langsmith"
SCOPES: Final[tuple[str, ...]] = ()
MARKS: Final = ("langsmith.span.kind", "langsmith.trace.name")
_KIND: Final = {"llm": "model", "embedding": "embedding", "tool": "tool", "retriever": "retrieval"}
_OPERATION: Final = {"model": "chat", "embedding": "embeddings", "tool": "execute_tool", "retrieval": "retrieval"}
_METADATA: Final = "langsmith.metadata."
_OWN: Final = (
    "LANGSMITH_",
    "LANGCHAIN_",
    "ls_",
    "lc_",
    "_",
    "usage_metadata",
    "user_id",
    "session_id",
    "thread_id",
    "revision_id",
)
_STEP: Final = re.compile(r"(seq|map):(step|key):")
_ERROR: Final = re.compile(r"([A-Za-z_][\w.]*)\(")


def read(span: DecodedSpan, scope: str, facts: Facts) -> None:
    """Read a LangSmith run."""
    attributes = span.attributes
    get = attributes.get
    facts.kind = _KIND.get(text(get("langsmith.span.kind")).lower(), "chain")
    facts.operation = _OPERATION.get(facts.kind, "")
    facts.provider = first_text(attributes, (_METADATA + "ls_provider", "gen_ai.system"))
    if facts.kind in ("model", "embedding"):
        facts.request_model = first_text(attributes, ("gen_ai.request.model", _METADATA + "ls_model_name"))
        facts.response_model = text(get("gen_ai.response.model"))
    else:
        facts.name = text(get("langsmith.trace.name"))
    facts.input_tokens = first_count(attributes, ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"))
    facts.output_tokens = first_count(attributes, ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"))
    fill(as_mapping(get(_METADATA + "usage_metadata")), facts)
    if facts.kind == "model":
        read_reply(get("gen_ai.completion"), facts)
    facts.user = text(get(_METADATA + "user_id"))
    facts.session = first_text(attributes, (_METADATA + "session_id", _METADATA + "thread_id", _METADATA + "conversation_id"))
    for tag in text(get("langsmith.span.tags")).split(", "):
        if tag and not _STEP.match(tag):
            facts.tags[tag] = "true"
    for key, value in attributes.items():
        if key.startswith(_METADATA) and facts.kind == "chain" and not key[len(_METADATA) :].startswith(_OWN):
            facts.tags[key[len(_METADATA) :]] = text(value)
    facts.input, facts.output = to_json(get("gen_ai.prompt") or ""), to_json(get("gen_ai.completion") or "")
    if facts.kind == "retrieval":
        facts.documents = to_json(
            as_mapping(facts.output).get("documents") or as_mapping(facts.output).get("output") or facts.output
        )
    _read_error(span, facts)


def _read_error(span: DecodedSpan, facts: Facts) -> None:
    for name, _, details in span.events:
        if name == "exception":
            facts.is_error = True
            facts.error_message = text(details.get("exception.message")).partition("Traceback (most recent call last)")[0]
            # `exception.type` is always Exception; the message begins with the real one's repr.
            if found := _ERROR.match(facts.error_message):
                facts.error_type = found.group(1)
            return
