"""The rules of settling: the spans of a trace and its feedback in, its interactions and calls out. One pure function.

The same spans give the same rows whatever the order or the batches they came in (`tests/unit/collector/test_settle_laws.py`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from spanledger_collector.pricing.book import SHIPPED, Book
from spanledger_collector.settle.calls import Shared, Sums, call_row
from spanledger_collector.settle.failure import Evidence, failure_mode
from spanledger_collector.settle.tree import CALL, ELSEWHERE, GENERATIONS, Node, grow, judge
from spanledger_collector.settle.twins import NOWHERE, Elsewhere, merge_in_trace, weigh
from spanledger_schema.spans import CallRow, Feedback, InteractionRow, SpanRow


@dataclass(slots=True)
class Settled:
    """The rows of one trace, and why each other span is no call (a key of `tree.NOT_BILLED`)."""

    interactions: list[InteractionRow]
    calls: list[CallRow]
    verdicts: dict[str, str]


@dataclass(slots=True)
class _Group:
    """The spans of one interaction; `mark` is its marked span, or None for what lies outside all marks."""

    mark: Node | None
    nodes: list[Node]
    calls: list[Node]


def settle(
    rows: Iterable[SpanRow], feedback: Sequence[Feedback] = (), book: Book = SHIPPED, elsewhere: Elsewhere = NOWHERE
) -> Settled:
    """Settle one trace.

    Args:
        rows: Its spans, each span id once.
        feedback: Judgements on it, each id once.
        book: The project's prices.
        elsewhere: What twins in other traces mean for it.
    """
    nodes = grow(rows)
    calls = judge(nodes)
    if len(nodes) > 1:
        calls = merge_in_trace(calls)
    if elsewhere is not NOWHERE:
        calls = weigh(calls, elsewhere)
    interactions: list[InteractionRow] = []
    call_rows: list[CallRow] = []
    for group in _groups(nodes, calls):
        interaction, own = _settle_group(group, feedback, book)
        interactions.append(interaction)
        call_rows.extend(own)
    verdicts = {node.row.span_id: node.verdict for node in nodes if node.verdict != CALL}
    for node in nodes:
        # Parents and children point at each other; cut loose, they are freed at once instead of by the cycle collector.
        node.children.clear()
    return Settled(interactions, call_rows, verdicts)


def _groups(nodes: list[Node], calls: list[Node]) -> list[_Group]:
    if not any(node.row.interaction for node in nodes):
        return [_Group(None, nodes, calls)]
    owner: dict[int, int] = {}
    groups: dict[int, _Group] = {}
    for node in nodes:
        key = owner.get(id(node.parent), 0) if node.parent is not None else 0
        if not key and node.row.interaction:
            key = id(node)
            groups[key] = _Group(node, [], [])
        owner[id(node)] = key
        groups.setdefault(key, _Group(None, [], [])).nodes.append(node)
    for call in calls:
        groups[owner[id(call)]].calls.append(call)
    return list(groups.values())


def _settle_group(group: _Group, feedback: Sequence[Feedback], book: Book) -> tuple[InteractionRow, list[CallRow]]:
    nodes, mark = group.nodes, group.mark
    root = mark or next((node for node in nodes if node.parent is None), nodes[0])
    row = root.row
    scope = _Scope(row.start_time, row.duration_ns, row.received_at) if len(nodes) == 1 else _scope(root, group)
    # Whoever asks the AI owns the interaction, not a gateway in front of it, nor a call that counts in another trace.
    asking = [node.row for node in nodes if node.row.kind != "span" and node.verdict != ELSEWHERE]
    asker = row if asking and row.kind != "span" else next(iter(asking), None)
    interaction_id = f"{row.trace_id}-{row.span_id}" if mark is not None else row.trace_id
    signals = _signals(nodes)
    own_feedback = _own_feedback(group, feedback) if feedback else []
    mode, reason = "", ""
    if asker is not None:
        whole = root if row.parent_span_id == "" or mark is not None else None
        mode, reason = failure_mode(Evidence(whole, group.calls, signals.validations, _is_rejected(own_feedback)))
    owner = asker or row
    shared = Shared(
        interaction_id,
        owner.app,
        owner.environment,
        owner.release,
        row.feature or _first(nodes, "feature"),
        row.user or _first(nodes, "user"),
        row.session or _first(nodes, "session"),
        row.tags if len(nodes) == 1 else _tags(root, nodes),
        mode,
    )
    calls = [call_row(node, shared, signals.fallback_models, book) for node in group.calls]
    if len(calls) > 1 and any(node.is_failed for node in group.calls):
        calls = _mark_attempts(calls, group.calls)
    sums = Sums(calls)
    # In the order of `InteractionRow`: by keywords this alone took a quarter of settling.
    fields = (
        row.project,
        interaction_id,
        row.trace_id,
        row.span_id,
        row.interaction or row.name,
        scope.start_time,
        scope.duration_ns,
        0 if asker is None else 1,
        shared.app,
        shared.environment,
        shared.release,
        shared.feature,
        row.prompt_version or _first(nodes, "prompt_version"),
        shared.user,
        shared.session,
        shared.tags,
        len(nodes),
        {row.kind: 1} if len(nodes) == 1 else _count_kinds(nodes),
        sums.generations,
        sums.unpriced_generations,
        sums.known_cost_generations,
        sums.retries,
        max(signals.fallbacks, sums.fallbacks),
        signals.escalations,
        signals.validation_count,
        signals.validation_failures,
        tuple(sums.models),
        tuple(sums.models.values()),
        sums.input_tokens,
        sums.output_tokens,
        sums.cache_read_tokens,
        sums.cache_write_tokens,
        sums.reasoning_tokens,
        sums.cost_usd,
        sums.wasted_cost_usd,
        sums.cache_savings_usd,
        mode,
        reason,
        tuple(signals.confidences),
        tuple(signals.confidences.values()),
        tuple([item.source for item in own_feedback]),
        tuple([item.name for item in own_feedback]),
        tuple([item.positive for item in own_feedback]),
        scope.received_at,
    )
    interaction = tuple.__new__(InteractionRow, fields)
    return interaction, calls


class _Scope(NamedTuple):
    """When an interaction began, how long it took, and when its last span came."""

    start_time: int
    duration_ns: int
    received_at: int


def _scope(root: Node, group: _Group) -> _Scope:
    row = root.row
    rows = [node.row for node in group.nodes]
    start = row.start_time if group.mark is not None else min([item.start_time for item in rows])
    end = max([item.start_time + item.duration_ns for item in rows])
    is_whole = row.parent_span_id == "" or group.mark is not None
    duration = row.duration_ns if is_whole and row.duration_ns else max(0, end - start)
    return _Scope(start, duration, max([item.received_at for item in rows]))


def _is_rejected(feedback: Sequence[Feedback]) -> bool:
    users = [item.positive for item in feedback if item.source == "user"]
    return 0 in users and 1 not in users


@dataclass(slots=True)
class _Signals:
    confidences: dict[str, float]
    validations: dict[str, bool]
    validation_count: int = 0
    validation_failures: int = 0
    fallbacks: int = 0
    escalations: int = 0
    fallback_models: frozenset[str] = frozenset()


_NO_SIGNALS: Final = _Signals({}, {})


def _signals(nodes: Sequence[Node]) -> _Signals:
    bearing = [node for node in nodes if node.row.signals]
    if not bearing:
        return _NO_SIGNALS
    found = _Signals({}, {})
    models: set[str] = set()
    # Later statements replace earlier ones, so that the last word on an interaction counts.
    for node in sorted(bearing, key=lambda node: (node.row.start_time + node.row.duration_ns, node.row.span_id)):
        for key, value in node.row.signals.items():
            head, _, name = key.partition(".")
            if head == "confidence":
                if (number := _probability(value)) is not None:
                    found.confidences[name] = number
            elif head == "validation":
                found.validations[name] = value == "true"
                found.validation_count += 1
                found.validation_failures += value != "true"
            elif key == "fallback.to":
                found.fallbacks += 1
                models.add(value)
            elif key == "escalation.to":
                found.escalations += 1
    found.fallback_models = frozenset(models)
    return found


def _probability(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if 0.0 <= number <= 1.0 else None


def _own_feedback(group: _Group, feedback: Sequence[Feedback]) -> list[Feedback]:
    """Judgements on this interaction: those that name one of its spans; those on the whole trace go to what is unmarked."""
    ids = {node.row.span_id for node in group.nodes}
    own = [item for item in feedback if item.span_id in ids or (not item.span_id and group.mark is None)]
    if group.mark is not None and group.mark.parent is None:
        own += [item for item in feedback if not item.span_id]
    return sorted(own, key=lambda item: item.feedback_id)


def _first(nodes: Sequence[Node], name: str) -> str:
    """The value of the first span that has one."""
    if len(nodes) == 1:
        return ""
    for node in nodes:
        if value := getattr(node.row, name):
            return str(value)
    return ""


def _tags(root: Node, nodes: Sequence[Node]) -> dict[str, str]:
    merged: dict[str, str] = dict(root.row.tags)
    for node in nodes:
        for key, value in node.row.tags.items():
            merged.setdefault(key, value)
    return merged


def _count_kinds(nodes: Sequence[Node]) -> dict[str, int]:
    kinds: dict[str, int] = {}
    for node in nodes:
        kinds[node.row.kind] = kinds.get(node.row.kind, 0) + 1
    return kinds


def _mark_attempts(calls: list[CallRow], nodes: Sequence[Node]) -> list[CallRow]:
    """Mark a generation that follows a failed one below the same parent: a retry for the same model, else a fallback."""
    previous: dict[tuple[int, str], int] = {}
    marked = list(calls)
    for index, (call, node) in enumerate(zip(calls, nodes, strict=True)):
        if call.kind not in GENERATIONS:
            continue
        key = (id(node.parent), call.kind)
        before = previous.get(key)
        previous[key] = index
        if before is None or not nodes[before].is_failed:
            continue
        earlier = calls[before]
        if earlier.start_time + earlier.duration_ns > call.start_time:
            continue
        if earlier.request_model == call.request_model:
            marked[index] = call._replace(is_retry=1)
        else:
            marked[index] = call._replace(is_fallback=1)
    return marked
