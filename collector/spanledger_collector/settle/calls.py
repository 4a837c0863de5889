"""One call that counts: its disjoint tokens, its price, and what it shares with its interaction. Pure."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from spanledger_collector.pricing.arithmetic import Priced, TokenCounts, disjoint, unpriced
from spanledger_collector.pricing.book import REPORTED, Book, believes_reported
from spanledger_collector.pricing.compile import mode_of
from spanledger_collector.settle.tree import GENERATIONS, Node
from spanledger_schema.spans import CallRow, SpanRow
from spanledger_schema.tokens import CostStatus, UsageQuality

_KNOWN: Final = frozenset({CostStatus.PRICED, CostStatus.REPORTED, CostStatus.FREE, CostStatus.NOT_BILLABLE})
_NO_COST: Final = Priced(CostStatus.NOT_BILLABLE)
_REFUSALS: Final = frozenset({"rate_limited", "auth_error", "invalid_request", "provider_error"})


class Shared(NamedTuple):
    """What all calls of an interaction have in common, so that sums over calls and over interactions agree under any filter."""

    interaction_id: str
    app: str
    environment: str
    release: str
    feature: str
    user: str
    session: str
    tags: dict[str, str]
    failure_mode: str


def call_row(node: Node, shared: Shared, fallback_models: frozenset[str], book: Book) -> CallRow:
    """The row of one call.

    Args:
        node: Its span.
        shared: What it shares with its interaction.
        fallback_models: Models that the application said it fell back to.
        book: The project's prices.
    """
    row = node.row
    kind = row.kind if row.kind in GENERATIONS or not node.has_usage else "model"
    request_model = row.request_model
    model = row.response_model or request_model
    uncached, visible, write_5m = _disjoint(row)
    signals = row.signals
    mode = mode_of(signals.get("processing", ""), signals.get("service_tier", "")) if signals else ""
    if node.is_model or node.has_usage:
        priced = _price(node, model, mode, (uncached, visible, write_5m), book)
    else:
        priced = _price_step(row, kind, book)
    status, source, version, reason, total, cost_in, cost_read, cost_write, cost_out, cost_other, reasoning, media, savings = (
        priced
    )
    interaction_id, app, environment, release, feature, user, session, tags, failure_mode = shared
    is_wasted = failure_mode != "" or node.is_failed
    attempt = signals.get("retry.attempt", "") if signals else ""
    fields = (
        row.project,
        row.trace_id,
        row.span_id,
        interaction_id,
        kind,
        row.name,
        row.start_time,
        row.duration_ns,
        row.ttft_ns,
        app,
        environment,
        release,
        feature,
        row.prompt_version or _inherited_prompt_version(node),
        user,
        session,
        tags,
        failure_mode,
        row.provider,
        model,
        request_model,
        row.operation,
        mode,
        row.finish_reason,
        row.error_class,
        row.http_status,
        1 if attempt.isdecimal() and int(attempt) > 1 else 0,
        1 if fallback_models and model and (request_model in fallback_models or model in fallback_models) else 0,
        row.usage_quality,
        uncached,
        row.cache_read_tokens,
        write_5m,
        row.cache_write_1h_tokens,
        visible,
        row.reasoning_tokens,
        row.other_usage,
        total,
        cost_in,
        cost_read,
        cost_write,
        cost_out,
        cost_other,
        reasoning,
        media,
        0 if total is not None and not is_wasted else total,
        savings,
        status,
        source,
        version,
        reason,
    )
    # What the named tuple itself would do, without its call.
    return tuple.__new__(CallRow, fields)


def _disjoint(row: SpanRow) -> tuple[int | None, int | None, int | None]:
    """Uncached input, visible output and five-minute cache writes; parts that no counting explains leave 0."""
    write_5m = row.cache_write_tokens
    if write_5m is not None:
        write_5m = max(0, write_5m - (row.cache_write_1h_tokens or 0))
    uncached, visible, others = row.input_tokens, row.output_tokens, row.other_usage
    if uncached is not None:
        uncached = disjoint(uncached, row.cache_read_tokens or 0, write_5m or 0, row.cache_write_1h_tokens or 0, others) or 0
    if visible is not None:
        visible = disjoint(visible, row.reasoning_tokens or 0, 0, 0, others, "output_") or 0
    return uncached, visible, write_5m


def _price(node: Node, model: str, mode: str, parts: tuple[int | None, int | None, int | None], book: Book) -> Priced:
    row = node.row
    uncached, visible, write_5m = parts
    if uncached is None and visible is None and not row.other_usage:
        return _price_without_counts(node, model, mode, book)
    counts = TokenCounts(
        uncached or 0,
        row.cache_read_tokens or 0,
        write_5m or 0,
        row.cache_write_1h_tokens or 0,
        visible or 0,
        row.reasoning_tokens or 0,
        row.other_usage,
    )
    return book.price(
        row.provider,
        model,
        row.start_time,
        counts,
        mode,
        reported=row.reported_cost_usd,
        dialect=row.dialect,
        is_estimated=row.usage_quality in (UsageQuality.ESTIMATED, UsageQuality.PARTIAL),
        duration_ns=row.duration_ns,
    )


def _price_without_counts(node: Node, model: str, mode: str, book: Book) -> Priced:
    """A call that says nothing of its usage: its cost may be stated, it was refused, or its price needs no counts."""
    row = node.row
    if row.reported_cost_usd is not None and believes_reported(row.provider, row.dialect):
        return Priced(CostStatus.REPORTED, REPORTED, total=row.reported_cost_usd)
    if node.is_failed and (row.http_status >= 400 or row.error_class in _REFUSALS):
        # A provider that refused has not charged.
        return Priced(CostStatus.NOT_BILLABLE, "refused", total=0)
    card = book.card(row.provider, model, row.start_time, mode) if book.user_prices else ""
    if not isinstance(card, str) and not card.prices and (card.per_call or card.per_second):
        return book.price(row.provider, model, row.start_time, TokenCounts(0), mode, duration_ns=row.duration_ns)
    return unpriced("failed_without_usage" if node.is_failed else "no_usage")


def _price_step(row: SpanRow, kind: str, book: Book) -> Priced:
    """A tool's or retrieval's call: what it stated, or what the user says that it costs; most cost nothing of their own."""
    if row.reported_cost_usd is not None and believes_reported(row.provider, row.dialect):
        return Priced(CostStatus.REPORTED, REPORTED, total=row.reported_cost_usd)
    return book.price_step(kind, row.name, row.start_time) or _NO_COST


def _inherited_prompt_version(node: Node) -> str:
    current: Node | None = node
    while current is not None:
        if current.row.prompt_version:
            return current.row.prompt_version
        current = current.parent
    return ""


class Sums:
    """What the calls of an interaction add up to. A sum is None when none of its parts is known."""

    __slots__ = (
        "cache_read_tokens",
        "cache_savings_usd",
        "cache_write_tokens",
        "cost_usd",
        "fallbacks",
        "generations",
        "input_tokens",
        "known_cost_generations",
        "models",
        "output_tokens",
        "reasoning_tokens",
        "retries",
        "unpriced_generations",
        "wasted_cost_usd",
    )

    def __init__(self, calls: Iterable[CallRow]) -> None:
        """Add up."""
        self.generations = self.unpriced_generations = self.known_cost_generations = self.retries = self.fallbacks = 0
        self.models: dict[str, int | None] = {}
        self.input_tokens: int | None = None
        self.output_tokens: int | None = None
        self.cache_read_tokens: int | None = None
        self.cache_write_tokens: int | None = None
        self.reasoning_tokens: int | None = None
        self.cost_usd: int | None = None
        self.wasted_cost_usd: int | None = None
        self.cache_savings_usd: int | None = None
        for call in calls:
            self._add(call)

    def _add(self, call: CallRow) -> None:
        if call.kind in GENERATIONS:
            self.generations += 1
            self.unpriced_generations += call.cost_status == CostStatus.UNPRICED
            self.known_cost_generations += call.cost_status in _KNOWN
        known = self.models.get(call.model)
        self.models[call.model] = call.cost_usd if known is None else known + (call.cost_usd or 0)
        self.retries += call.is_retry
        self.fallbacks += call.is_fallback
        read, write_5m, write_1h = call.cache_read_tokens, call.cache_write_5m_tokens, call.cache_write_1h_tokens
        if call.uncached_input_tokens is not None:
            whole = call.uncached_input_tokens + (read or 0) + (write_5m or 0) + (write_1h or 0)
            self.input_tokens = (self.input_tokens or 0) + whole + _others(call, "input_")
        if call.visible_output_tokens is not None:
            whole = call.visible_output_tokens + (call.reasoning_tokens or 0)
            self.output_tokens = (self.output_tokens or 0) + whole + _others(call, "output_")
        if read is not None:
            self.cache_read_tokens = (self.cache_read_tokens or 0) + read
        if write_5m is not None or write_1h is not None:
            self.cache_write_tokens = (self.cache_write_tokens or 0) + (write_5m or 0) + (write_1h or 0)
        if call.reasoning_tokens is not None:
            self.reasoning_tokens = (self.reasoning_tokens or 0) + call.reasoning_tokens
        if call.cost_usd is not None:
            self.cost_usd = (self.cost_usd or 0) + call.cost_usd
        if call.wasted_cost_usd is not None:
            self.wasted_cost_usd = (self.wasted_cost_usd or 0) + call.wasted_cost_usd
        if call.cache_savings_usd is not None:
            self.cache_savings_usd = (self.cache_savings_usd or 0) + call.cache_savings_usd


def _others(call: CallRow, prefix: str) -> int:
    return sum(number for kind, number in call.other_tokens.items() if kind.startswith(prefix)) if call.other_tokens else 0
