"""Foreign attributes become facts here: one module per dialect, one line per dialect below.

A dialect's module says how it is recognised (`SCOPES`: beginnings of an instrumentation scope's name; `MARKS`: attributes
that only it writes) and, in `read`, where each fact is and which way it counts. Of several that recognise a span the first
reads it, so the more specific ones come first. `docs/concepts/dialects.md` is the summary for people.
"""

from functools import lru_cache
from typing import Final, Protocol

from spanledger_collector.ingest.decoded import DecodedSpan
from spanledger_collector.ingest.dialects import (
    agent_framework,
    agentops,
    anthropic_sdk,
    genai,
    genkit,
    google_adk,
    langfuse,
    langsmith,
    langtrace,
    litellm,
    lmnr,
    logfire,
    mistral_sdk,
    mlflow,
    openinference,
    openlit,
    pydantic_ai,
    strands,
    traceloop,
    vercel,
)
from spanledger_collector.ingest.dialects.facts import Facts, as_list
from spanledger_collector.ingest.dialects.replies import finish_of


class Dialect(Protocol):
    """What a module of a dialect exports."""

    @property
    def NAME(self) -> str:
        """What the dialect is called."""

    @property
    def SCOPES(self) -> tuple[str, ...]:
        """Beginnings of scopes."""

    @property
    def MARKS(self) -> tuple[str, ...]:
        """Attributes that only it writes."""

    def read(self, span: DecodedSpan, scope: str, facts: Facts) -> None:
        """Read a span's facts."""


DIALECTS: Final[tuple[Dialect, ...]] = (
    langfuse,
    openinference,
    mlflow,
    langsmith,
    vercel,
    lmnr,
    logfire,
    pydantic_ai,
    litellm,
    anthropic_sdk,
    mistral_sdk,
    strands,
    google_adk,
    agent_framework,
    genkit,
    agentops,
    langtrace,
    openlit,
    traceloop,
    genai,
)
_PLACE_OF_MARK: Final = {mark: place for place, dialect in reversed(list(enumerate(DIALECTS))) for mark in dialect.MARKS}
_NOWHERE: Final = len(DIALECTS)


def read_facts(span: DecodedSpan, scope: str) -> Facts:
    """Read a span with the first dialect that recognises it; a plain span has no facts but its own.

    Attributes may hold anything under any name. What trips a dialect up is kept as a plain span of the dialect `unreadable`.

    """
    facts = Facts()
    try:
        if scope == "spanledger":
            facts.dialect = genai.NAME
            genai.read(span, scope, facts)
            return facts
        place = min([_place_of_scope(scope), *[_PLACE_OF_MARK[mark] for mark in span.attributes.keys() & _PLACE_OF_MARK.keys()]])
        if place < _NOWHERE:
            dialect = DIALECTS[place]
            facts.dialect = dialect.NAME
            dialect.read(span, scope, facts)
            if facts.kind == "model" and not facts.finish_reason and facts.output:
                _read_finish(facts)
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        return Facts(dialect="unreadable")
    return facts


@lru_cache(maxsize=4_096)
def _place_of_scope(scope: str) -> int:
    return next((place for place, dialect in enumerate(DIALECTS) if scope.startswith(dialect.SCOPES)), _NOWHERE)


def _read_finish(facts: Facts) -> None:
    """Messages of an answer may say why it ended where no attribute does."""
    output = facts.output
    if '"finish_reason"' in output or '"stop_reason"' in output or '"status"' in output:
        facts.finish_reason = finish_of(as_list(output))
