"""The rules of settling: the spans of a trace and its feedback in, its interactions and calls out. One pure function.

The same spans give the same rows whatever the order or the batches they came in (`tests/unit/collector/test_settle_laws.py`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from spanledger_collector.settle.calls import Shared, call_row, input_tokens, output_tokens, write_tokens
from spanledger_collector.settle.failure import Evidence, failure_mode
from spanledger_collector.settle.tree import CALL, GENERATIONS, Node, grow, judge
from spanledger_schema.spans import CallRow, Feedback, InteractionRow, SpanRow
from spanledger_schema.tokens import CostStatus

_KNOWN: Final = frozenset({CostStatus.PRICED, CostStatus.REPORTED, CostStatus.FREE, CostStatus.NOT_BILLABLE})


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


def settle(rows: Iterable[SpanRow], feedback: Sequence[Feedback] = ()) -> Settled:
    """Settle one trace.

    Args:
        rows: Its spans, each span id once.
        feedback: Judgements on it, each id once.
    """
    nodes = grow(rows)
    calls = judge(nodes)
    interactions: list[InteractionRow] = []
    call_rows: list[CallRow] = []
    for group in _groups(nodes, calls):
        interaction, own = _settle_group(group, feedback)
        interactions.append(interaction)
        call_rows.extend(own)
    return Settled(interactions, call_rows, {node.row.span_id: node.verdict for node in nodes if node.verdict != CALL})


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


def _settle_group(group: _Group, feedback: Sequence[Feedback]) -> tuple[InteractionRow, list[CallRow]]:
    nodes = group.nodes
    root = group.mark or next((node for node in nodes if node.parent is None), nodes[0])
    # Whoever asks the AI owns the interaction, not a gateway in front of it.
    asker = root if root.row.kind != "span" else next((node for node in nodes if node.row.kind != "span"), root)
    row = root.row
    interaction_id = f"{row.trace_id}-{row.span_id}" if group.mark is not None else row.trace_id
    start = row.start_time if group.mark is not None else min(node.row.start_time for node in nodes)
    end = max(node.row.start_time + node.row.duration_ns for node in nodes)
    is_whole = row.parent_span_id == "" or group.mark is not None
    signals = _signals(nodes)
    own_feedback = _own_feedback(group, feedback) if feedback else []
    is_interaction = any(node.row.kind != "span" for node in nodes)
    mode, reason = "", ""
    if is_interaction:
        users = [item.positive for item in own_feedback if item.source == "user"]
        is_rejected = 0 in users and 1 not in users
        mode, reason = failure_mode(Evidence(root if is_whole else None, group.calls, signals.validations, is_rejected))
    shared = Shared(
        interaction_id,
        asker.row.app,
        asker.row.environment,
        asker.row.release,
        _first(root, nodes, "feature"),
        _first(root, nodes, "user"),
        _first(root, nodes, "session"),
        _tags(root, nodes),
        mode,
    )
    calls = [call_row(node, shared, signals.fallback_models) for node in group.calls]
    if len(calls) > 1:
        calls = _mark_attempts(calls, group.calls)
    generations = [call for call in calls if call.kind in GENERATIONS]
    interaction = InteractionRow(
        project=row.project,
        interaction_id=interaction_id,
        trace_id=row.trace_id,
        root_span_id=row.span_id,
        name=(row.interaction or row.name),
        start_time=start,
        duration_ns=row.duration_ns if is_whole and row.duration_ns else max(0, end - start),
        is_interaction=1 if is_interaction else 0,
        app=shared.app,
        environment=shared.environment,
        release=shared.release,
        feature=shared.feature,
        prompt_version=_first(root, nodes, "prompt_version"),
        user=shared.user,
        session=shared.session,
        tags=shared.tags,
        span_count=len(nodes),
        span_kinds=_count_kinds(nodes),
        generations=len(generations),
        unpriced_generations=sum(call.cost_status == CostStatus.UNPRICED for call in generations),
        known_cost_generations=sum(call.cost_status in _KNOWN for call in generations),
        retries=sum(call.is_retry for call in calls),
        fallbacks=max(signals.fallbacks, sum(call.is_fallback for call in calls)),
        escalations=signals.escalations,
        validations=signals.validation_count,
        validation_failures=signals.validation_failures,
        models=tuple(dict.fromkeys(call.model for call in generations if call.model)),
        input_tokens=_total(input_tokens(call) for call in calls),
        output_tokens=_total(output_tokens(call) for call in calls),
        cache_read_tokens=_total(call.cache_read_tokens for call in calls),
        cache_write_tokens=_total(write_tokens(call) for call in calls),
        reasoning_tokens=_total(call.reasoning_tokens for call in calls),
        cost_usd=_total(call.cost_usd for call in calls),
        wasted_cost_usd=_total(call.wasted_cost_usd for call in calls),
        cache_savings_usd=_total(call.cache_savings_usd for call in calls),
        failure_mode=mode,
        failure_reason=reason,
        confidence_sources=tuple(signals.confidences),
        confidence_values=tuple(signals.confidences.values()),
        feedback_sources=tuple(item.source for item in own_feedback),
        feedback_names=tuple(item.name for item in own_feedback),
        feedback_positive=tuple(item.positive for item in own_feedback),
        settled_through=max(node.row.received_at for node in nodes),
    )
    return interaction, calls


@dataclass(slots=True)
class _Signals:
    confidences: dict[str, float]
    validations: dict[str, bool]
    validation_count: int = 0
    validation_failures: int = 0
    fallbacks: int = 0
    escalations: int = 0
    fallback_models: frozenset[str] = frozenset()


def _signals(nodes: Sequence[Node]) -> _Signals:
    found = _Signals({}, {})
    bearing = [node for node in nodes if node.row.signals]
    if not bearing:
        return found
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


def _first(root: Node, nodes: Sequence[Node], name: str) -> str:
    """The root's value, else that of the first span that has one."""
    return getattr(root.row, name) or next((value for node in nodes if (value := getattr(node.row, name))), "")


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


def _total(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


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
