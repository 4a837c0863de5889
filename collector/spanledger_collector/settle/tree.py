"""The spans of a trace as a tree, and which of them are calls that count. Pure.

Frameworks repeat a call's usage on the spans around it, and two instrumentations may see one call. So only leaves are billed:
a wrapper that repeats the usage of a model call below it is none, unless nothing below carries usage. What a wrapper knows
beats what was only estimated below it. Twins of the calls that remain are found in `twins`.
"""

from collections.abc import Iterable
from typing import Final

from spanledger_schema.spans import SpanRow
from spanledger_schema.tokens import UsageQuality

GENERATIONS: Final = frozenset({"model", "embedding", "rerank"})
STEPS: Final = frozenset({"tool", "retrieval"})

CALL: Final = ""
NO_CALL: Final = "no_call"
WRAPPER: Final = "wrapper"
WRAPPER_WITHOUT_USAGE: Final = "wrapper_without_usage"
USAGE_ABOVE: Final = "usage_above"
TWIN: Final = "twin"
ELSEWHERE: Final = "twin_elsewhere"

NOT_BILLED: Final = {
    NO_CALL: "it is no call to a model",
    WRAPPER: "its usage repeats that of the model calls below it",
    WRAPPER_WITHOUT_USAGE: "the model call below it is counted",
    USAGE_ABOVE: "its usage is known only for the span above it, which is counted",
    TWIN: "another instrumentation saw the same call, which is counted once",
    ELSEWHERE: "another instrumentation saw the same call in another trace, where it is counted",
}


class Node:
    """A span in its tree. `verdict` is empty for a call that counts, else a key of `NOT_BILLED`."""

    __slots__ = (
        "children",
        "direct_known",
        "direct_model",
        "direct_usage",
        "has_usage",
        "is_model",
        "known_below",
        "knows",
        "parent",
        "row",
        "usage_below",
        "verdict",
    )

    def __init__(self, row: SpanRow) -> None:
        """Wrap a row; `link` connects it."""
        self.row = row
        self.parent: Node | None = None
        self.children: list[Node] = []
        self.is_model = row.kind in GENERATIONS
        self.has_usage = row.input_tokens is not None or row.output_tokens is not None
        self.knows = self.has_usage and row.usage_quality != UsageQuality.ESTIMATED
        self.usage_below = False
        self.known_below = False
        self.direct_usage = False
        self.direct_known = False
        self.direct_model = False
        self.verdict = NO_CALL

    @property
    def is_failed(self) -> bool:
        """Whether the span ended in an error."""
        return self.row.status_code == 2 or self.row.error_class != ""


def grow(rows: Iterable[SpanRow]) -> list[Node]:
    """Link rows (one per span id) into trees.

    Returns:
        All nodes, parents before children; a loop of parents is cut at its earliest span.

    """
    nodes = [Node(row) for row in rows]
    if len(nodes) == 1:
        return nodes
    nodes.sort(key=lambda node: _by_start(node.row))
    by_id = {node.row.span_id: node for node in nodes}
    for node in nodes:
        parent = by_id.get(node.row.parent_span_id)
        if parent is not None and parent is not node:
            node.parent = parent
            parent.children.append(node)
    ordered: list[Node] = []
    seen: set[int] = set()
    # Roots first; what no root reaches is a loop, entered at its earliest span.
    for start in [node for node in nodes if node.parent is None] + nodes:
        if id(start) in seen:
            continue
        if start.parent is not None:
            start.parent.children.remove(start)
            start.parent = None
        stack = [start]
        while stack:
            node = stack.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            ordered.append(node)
            stack.extend(reversed(node.children))
    return ordered


def judge(nodes: list[Node]) -> list[Node]:
    """Give every node its verdict and return the calls that count, in order of their start."""
    if len(nodes) == 1:
        node = nodes[0]
        node.verdict = _verdict(node, False)
        return nodes if node.verdict == CALL else []
    for node in reversed(nodes):
        if node.parent is not None:
            _report(node, node.parent)
    calls: list[Node] = []
    covered: set[int] = set()
    for node in nodes:
        parent = node.parent
        is_covered = parent is not None and id(parent) in covered and parent.row.kind not in STEPS
        node.verdict = _verdict(node, is_covered)
        if is_covered or (node.verdict == CALL and node.has_usage):
            covered.add(id(node))
        if node.verdict == CALL:
            calls.append(node)
    calls.sort(key=lambda node: _by_start(node.row))
    return calls


def _by_start(row: SpanRow) -> tuple[int, str]:
    return row.start_time, row.span_id


def _report(node: Node, parent: Node) -> None:
    if node.has_usage or node.usage_below:
        parent.usage_below = True
        parent.known_below = parent.known_below or node.knows or node.known_below
    if node.row.kind not in STEPS:
        parent.direct_usage = parent.direct_usage or node.has_usage or node.direct_usage
        parent.direct_known = parent.direct_known or node.knows or node.direct_known
        parent.direct_model = parent.direct_model or node.is_model or node.direct_model


def _verdict(node: Node, is_covered: bool) -> str:
    if node.knows:
        repeats = node.direct_known if node.is_model else node.known_below
        return WRAPPER if repeats else CALL
    if node.has_usage:
        if is_covered:
            return USAGE_ABOVE
        repeats = node.direct_usage if node.is_model else node.usage_below
        return WRAPPER if repeats else CALL
    if node.is_model:
        if node.direct_model:
            return WRAPPER_WITHOUT_USAGE
        return USAGE_ABOVE if is_covered else CALL
    return CALL if node.row.kind in STEPS else NO_CALL
