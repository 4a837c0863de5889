"""Microsoft's Agent Framework: the conventions, with full usage on the agent's span as well as on its calls.

Nothing is read differently; settling sees that the agent repeats what its calls say. It has a name of its own so that people
find it.
"""

from typing import Final

from spanledger_collector.ingest.decoded import DecodedSpan
from spanledger_collector.ingest.dialects import genai
from spanledger_collector.ingest.dialects.facts import Facts

NAME: Final = "agent_framework"
SCOPES: Final = ("agent_framework", "Experimental.Microsoft.Agents.AI", "Microsoft.Agents.AI")
MARKS: Final[tuple[str, ...]] = ()


def read(span: DecodedSpan, scope: str, facts: Facts) -> None:
    """Read a span of the framework."""
    genai.read(span, scope, facts)
