"""Spanledger: the ledger of every AI interaction.

    import spanledger

    spanledger.init(app="support-bot")
    with spanledger.interaction("answer", feature="search", user="u1") as it:
        with spanledger.generation("gpt-4o", "openai", input=messages) as g:
            g.record_response(client.chat.completions.create(...))
    spanledger.feedback(it.id, "helpful", True)

Everything works without `init`; it then does nothing. Nothing here raises into, blocks or slows the program, except
that `init` and `observe` raise ValueError for an argument that cannot be used.
"""

from spanledger._calls import Generation, Retrieval, Tool, generation, retrieval, tool
from spanledger._context import propagate
from spanledger._counters import Stats, stats
from spanledger._feedback import feedback
from spanledger._interaction import Interaction, interaction
from spanledger._observe import observe
from spanledger._runtime import flush, init, shutdown

__all__ = [
    "Generation",
    "Interaction",
    "Retrieval",
    "Stats",
    "Tool",
    "feedback",
    "flush",
    "generation",
    "init",
    "interaction",
    "observe",
    "propagate",
    "retrieval",
    "shutdown",
    "stats",
    "tool",
]
