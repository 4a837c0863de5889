"""Foreign attributes become facts here: one module per dialect, one line per dialect below.

A dialect says how it is recognised (`recognises`), and where each fact is and which way it counts (`read`). The first that
recognises a span reads it, so the more specific ones come first (`../shared`-free summary in `docs/concepts/dialects.md`).
"""

from collections.abc import Callable
from typing import Final

from spanledger_collector.ingest.decoded import Attributes, DecodedSpan
from spanledger_collector.ingest.dialects import genai, langfuse, logfire, openinference, openlit, traceloop
from spanledger_collector.ingest.dialects.facts import Facts

Recognise = Callable[[str, Attributes], bool]
Read = Callable[[DecodedSpan, str, Facts], None]

DIALECTS: Final[tuple[tuple[str, Recognise, Read], ...]] = (
    ("langfuse", langfuse.recognises, langfuse.read),
    ("openinference", openinference.recognises, openinference.read),
    ("logfire", logfire.recognises, logfire.read),
    ("openlit", openlit.recognises, openlit.read),
    ("traceloop", traceloop.recognises, traceloop.read),
    ("genai", genai.recognises, genai.read),
)


def read_facts(span: DecodedSpan, scope: str) -> Facts:
    """Read a span with the first dialect that recognises it; a plain span has no facts but its own.

    Attributes may hold anything under any name. What trips a dialect up is kept as a plain span of the dialect `unreadable`.
    """
    facts = Facts()
    try:
        _read(span, scope, facts)
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        return Facts(dialect="unreadable")
    return facts


def _read(span: DecodedSpan, scope: str, facts: Facts) -> None:
    if scope == "spanledger":
        facts.dialect = "genai"
        genai.read(span, scope, facts)
        return
    attributes = span.attributes
    for name, recognises, read in DIALECTS:
        if recognises(scope, attributes):
            facts.dialect = name
            read(span, scope, facts)
            return
