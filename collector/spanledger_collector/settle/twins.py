"""Twins: two spans of one provider call, seen by two instrumentations. Pure.

Twins come from different instrumentation scopes, have the same counts, and overlap or are at most a second apart. An equal
response id is then proof, and counts need not agree where one is inexact or the client's own. Without an id on one side they
must overlap, and share a trace or the application and the model, one of them being seen from where no trace reaches: by a
provider's client itself, or by a framework's callbacks. Counts that leave cached tokens out are
equal to a client's own less those that it counted. Where one's counts are an estimate, they need not agree with what a
client itself, or another span of the trace, knows, if both are of one model and lie in each other for the most part. A
response id alone never merges (some servers repeat them within minutes), nor do equal counts alone (a busy classifier repeats
them within a second). Each span pairs with at most one of another scope.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from spanledger_collector.settle.tree import ELSEWHERE, GENERATIONS, TWIN, USAGE_ABOVE, WRAPPER, Node
from spanledger_schema.spans import SpanRow
from spanledger_schema.tokens import UsageQuality

GAP_NS: Final = 1_000_000_000
CLIENTS_OWN: Final = ("com.anthropic.sdk.", "mistralai_sdk_tracer")
"""Beginnings of the scopes in which provider clients trace themselves, beside whatever instruments them."""
_CALLBACKS: Final = ("langchain", "langsmith", "langfuse")
"""In the scopes of what sees calls through a framework's callbacks: nothing below such a span knows that it is there."""
_ESTIMATES_NEAR_MAX: Final = 50
"""With how many earlier ones an estimate is compared: a trace may hold thousands of calls."""
_KNOWLEDGE: Final = {
    str(UsageQuality.EXACT): True,
    str(UsageQuality.PARTIAL): True,
    str(UsageQuality.ESTIMATED): False,
    str(UsageQuality.MISSING): False,
}

Counts = tuple[int | None, int | None, str]


class Elsewhere(NamedTuple):
    """What twins in other traces mean for a trace.

    `lost` are the spans whose call is counted there; `gains` is what the twins know of calls that count here, by span id.

    """

    lost: frozenset[str]
    gains: Mapping[str, tuple[SpanRow, ...]]


NOWHERE: Final = Elsewhere(frozenset(), MappingProxyType({}))
"""No call of the trace has a twin in another."""


def is_clients_own(row: SpanRow) -> bool:
    """Whether a provider's client wrote the span itself."""
    return row.scope.startswith(CLIENTS_OWN)


def vantage(scope: str) -> int:
    """Whence a scope sees calls: 1 from the provider's client, 2 from a framework's callbacks, 0 from within their trace."""
    if scope.startswith(CLIENTS_OWN):
        return 1
    return 2 if any(word in scope for word in _CALLBACKS) else 0


def is_guess(row: SpanRow) -> bool:
    """Whether a call that went well does not know its counts."""
    return _KNOWLEDGE.get(row.usage_quality) is False and not row.error_class


def counts_of(row: SpanRow) -> Counts | None:
    """What twins have in common besides ids: input and output, or the class of their failure; None when there is nothing."""
    if row.input_tokens is not None or row.output_tokens is not None:
        return row.input_tokens, row.output_tokens, ""
    return (None, None, row.error_class) if row.error_class else None


def bare_counts_of(row: SpanRow) -> Counts | None:
    """The counts of a client's own span as seen by who leaves cached tokens out; None where that is no other number."""
    cached = (row.cache_read_tokens or 0) + (row.cache_write_tokens or 0)
    if not cached or row.input_tokens is None or cached > row.input_tokens or not is_clients_own(row):
        return None
    return row.input_tokens - cached, row.output_tokens, ""


def merge_in_trace(calls: list[Node]) -> list[Node]:
    """Give twins of one trace their verdict; the calls that remain, in the order given.

    What wraps a call, or lies in it, is its twin too if it says the same, and completes it.

    """
    for node in calls:
        if node.is_model and (node.parent is not None or node.children):
            _complete_from_around(node)
    if len({node.row.scope for node in calls}) < 2:
        return calls
    for cluster in cluster_twins([node for node in calls if node.row.kind in GENERATIONS or node.has_usage]):
        winner, *losers = sorted(cluster, key=_rank)
        for loser in losers:
            loser.verdict = TWIN
            complete(winner, loser.row)
    return [node for node in calls if node.verdict != TWIN]


def _complete_from_around(node: Node) -> None:
    above = node.parent
    while above is not None and above.is_model and above.verdict == WRAPPER and not above.is_failed:
        if counts_of(above.row) != counts_of(node.row):
            break
        complete(node, above.row)
        above = above.parent
    below = [child for child in node.children if child.is_model]
    if len(below) == 1 and below[0].verdict == USAGE_ABOVE and not below[0].is_failed:
        complete(node, below[0].row)


def cluster_twins(nodes: Iterable[Node]) -> list[list[Node]]:
    """Group calls into twins; clusters of two and more only. The same nodes give the same clusters whatever their order."""
    clusters: list[list[Node]] = []
    by_key: dict[object, list[list[Node]]] = defaultdict(list)
    for node in sorted(nodes, key=lambda node: (node.row.start_time, node.row.trace_id, node.row.span_id)):
        row = node.row
        keys: list[object] = [key for key in (row.response_id, counts_of(row), bare_counts_of(row)) if key]
        near = [cluster for key in keys for cluster in by_key[key] if _fits(row, cluster)]
        knowledge = _KNOWLEDGE.get(row.usage_quality)
        if knowledge is not None and not row.error_class:
            if not near:
                # What is known is looked up among estimates, and an estimate among what is known.
                others = by_key[row.app, not knowledge]
                near = [cluster for cluster in others[-_ESTIMATES_NEAR_MAX:] if _fits(row, cluster)]
            keys.append((row.app, knowledge))
        if near:
            chosen = min(near, key=lambda cluster: _distance(cluster[0].row, row))
            chosen.append(node)
        else:
            chosen = [node]
            clusters.append(chosen)
        for key in keys:
            if not any(cluster is chosen for cluster in by_key[key]):
                by_key[key].append(chosen)
    return [cluster for cluster in clusters if len(cluster) > 1]


def weigh(calls: Iterable[Node], elsewhere: Elsewhere) -> list[Node]:
    """Take out what is counted in another trace, and complete what is counted here."""
    kept = []
    for node in calls:
        if node.row.span_id in elsewhere.lost:
            node.verdict = ELSEWHERE
            continue
        for twin in elsewhere.gains.get(node.row.span_id, ()):
            complete(node, twin)
        kept.append(node)
    return kept


def winner_of(cluster: Sequence[Node]) -> Node:
    """Which of twins in several traces is billed: one that is part of something, then the richest, then the smallest ids.

    A client's own span often stands alone in a trace that nobody marked, while its twin has the user, the feature and the
    steps around it.

    """
    return min(cluster, key=lambda node: (node.parent is None and not node.children, *_rank(node)))


def complete(winner: Node, twin: SpanRow) -> None:
    """Take over what the twin knows and the winner does not; of the same response, what the client itself counted."""
    row = winner.row
    changes: dict[str, object] = {}
    is_same_response = is_clients_own(twin) and row.response_id == twin.response_id != ""
    if _is_exact(twin) and (is_same_response or is_guess(row)):
        changes = {name: getattr(twin, name) for name in ("input_tokens", "output_tokens", "usage_quality")}
        row = row._replace(**changes)  # type: ignore[arg-type]
    if row.input_tokens == twin.input_tokens:
        for name in ("cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens"):
            if getattr(row, name) is None and getattr(twin, name) is not None:
                changes[name] = getattr(twin, name)
    if row.output_tokens == twin.output_tokens and row.reasoning_tokens is None and twin.reasoning_tokens is not None:
        changes["reasoning_tokens"] = twin.reasoning_tokens
    for name in ("response_model", "finish_reason", "http_status", "error_class"):
        if not getattr(row, name) and getattr(twin, name):
            changes[name] = getattr(twin, name)
    if row.ttft_ns is None and twin.ttft_ns is not None:
        changes["ttft_ns"] = twin.ttft_ns
    if "service_tier" in twin.signals and "service_tier" not in row.signals:
        changes["signals"] = {**row.signals, "service_tier": twin.signals["service_tier"]}
    if changes:
        winner.row = row._replace(**changes)  # type: ignore[arg-type]


def _rank(node: Node) -> tuple[int, str, str]:
    return -_richness(node.row), node.row.trace_id, node.row.span_id


def _distance(one: SpanRow, other: SpanRow) -> int:
    started = abs(one.start_time - other.start_time)
    return started + abs(one.start_time + one.duration_ns - other.start_time - other.duration_ns)


def _fits(row: SpanRow, cluster: Sequence[Node]) -> bool:
    return all(_are_twins(row, other.row) for other in cluster)


def _are_twins(one: SpanRow, other: SpanRow) -> bool:
    if one.scope == other.scope:
        return False
    gap = max(one.start_time, other.start_time) - min(one.start_time + one.duration_ns, other.start_time + other.duration_ns)
    if gap > GAP_NS:
        return False
    counts = counts_of(one)
    if one.response_id and other.response_id:
        if one.response_id != other.response_id:
            return False
        if counts == counts_of(other) or not (_is_exact(one) and _is_exact(other)):
            return True
        # Some instrumentations add up a stream's events; the client's own span knows the sum.
        return one.input_tokens == other.input_tokens and (is_clients_own(one) or is_clients_own(other))
    if gap > 0:
        return False
    is_one_trace = one.trace_id == other.trace_id
    if not is_one_trace and (one.app != other.app or not _is_one_model(one, other)):
        return False
    if _do_differ_in_knowledge(one, other):
        is_certain = is_one_trace or is_clients_own(one) or is_clients_own(other)
        return is_certain and _is_one_model(one, other) and -gap * 2 >= max(one.duration_ns, other.duration_ns)
    if counts is None or (counts != counts_of(other) and not _is_bare_copy(one, other) and not _is_bare_copy(other, one)):
        return False
    return is_one_trace or vantage(one.scope) != vantage(other.scope)


def _do_differ_in_knowledge(one: SpanRow, other: SpanRow) -> bool:
    """Whether two calls went well, and one knows its counts while the other does not."""
    return is_guess(one) != is_guess(other) and not one.error_class and not other.error_class


def _is_bare_copy(row: SpanRow, own: SpanRow) -> bool:
    """Whether a call whose counts are incomplete has those of a client's own span without the cached tokens."""
    return row.usage_quality == UsageQuality.PARTIAL and counts_of(row) == bare_counts_of(own) is not None


def _is_one_model(one: SpanRow, other: SpanRow) -> bool:
    """Whether two calls may be of one model: names differ by vendor and date (`anthropic/claude-x`, `claude-x-20250929`)."""
    models, others = _models(one), _models(other)
    return not models or not others or any(name in known or known in name for name in models for known in others)


def _models(row: SpanRow) -> list[str]:
    return [name.rpartition("/")[2].lower() for name in (row.response_model, row.request_model) if name]


def _is_exact(row: SpanRow) -> bool:
    return row.usage_quality == UsageQuality.EXACT


def _richness(row: SpanRow) -> int:
    counts = (row.cache_read_tokens, row.cache_write_tokens, row.cache_write_1h_tokens, row.reasoning_tokens)
    texts = (row.response_model, row.response_id, row.finish_reason, row.http_status, row.ttft_ns)
    exact = 40 if _is_exact(row) else 0
    return (
        exact
        + 4 * sum(value is not None for value in counts)
        + sum(bool(value) for value in texts)
        + (4 if row.has_output else 0)
    )
