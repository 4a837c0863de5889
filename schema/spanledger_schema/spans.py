"""The rows of the ledger as data: fields in the order of the DDL, with the type of each.

`migrations/0001_ledger.sql` says the same to ClickHouse; a test compares the two. Types are words of this module:
`text`, `time` (integer nanoseconds since 1970, UTC), `u8 u16 u32 u64 i8`, `money` (integer units of 1e-12 USD), `f64`,
`map_text`, `map_u32`, `texts`, `f64s`, `i8s`, `moneys` (lists); a trailing `?` means that None is allowed and means unknown.
"""

from typing import Final, NamedTuple

Fields = tuple[tuple[str, str], ...]


class SpanRow(NamedTuple):
    """One span as it came, normalised. Usage is OpenTelemetry's inclusive counting; None is unknown."""

    project: str
    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    kind: str
    dialect: str
    scope: str
    otel_kind: int
    start_time: int
    duration_ns: int
    received_at: int
    clock: str
    app: str
    environment: str
    release: str
    feature: str
    prompt_version: str
    user: str
    session: str
    tags: dict[str, str]
    interaction: str
    provider: str
    operation: str
    request_model: str
    response_model: str
    response_id: str
    finish_reason: str
    finish_reason_raw: str
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    cache_write_1h_tokens: int | None
    reasoning_tokens: int | None
    other_usage: dict[str, int]
    usage_quality: str
    reported_cost_usd: int | None
    ttft_ns: int | None
    status_code: int
    status_message: str
    error_type: str
    error_class: str
    http_status: int
    has_output: int
    signals: dict[str, str]
    attributes: dict[str, str]
    version: int


SPAN_FIELDS: Final[Fields] = (
    ("project", "text"),
    ("trace_id", "text"),
    ("span_id", "text"),
    ("parent_span_id", "text"),
    ("name", "text"),
    ("kind", "text"),
    ("dialect", "text"),
    ("scope", "text"),
    ("otel_kind", "u8"),
    ("start_time", "time"),
    ("duration_ns", "u64"),
    ("received_at", "time"),
    ("clock", "text"),
    ("app", "text"),
    ("environment", "text"),
    ("release", "text"),
    ("feature", "text"),
    ("prompt_version", "text"),
    ("user", "text"),
    ("session", "text"),
    ("tags", "map_text"),
    ("interaction", "text"),
    ("provider", "text"),
    ("operation", "text"),
    ("request_model", "text"),
    ("response_model", "text"),
    ("response_id", "text"),
    ("finish_reason", "text"),
    ("finish_reason_raw", "text"),
    ("input_tokens", "u32?"),
    ("output_tokens", "u32?"),
    ("cache_read_tokens", "u32?"),
    ("cache_write_tokens", "u32?"),
    ("cache_write_1h_tokens", "u32?"),
    ("reasoning_tokens", "u32?"),
    ("other_usage", "map_u32"),
    ("usage_quality", "text"),
    ("reported_cost_usd", "money?"),
    ("ttft_ns", "u64?"),
    ("status_code", "u8"),
    ("status_message", "text"),
    ("error_type", "text"),
    ("error_class", "text"),
    ("http_status", "u16"),
    ("has_output", "u8"),
    ("signals", "map_text"),
    ("attributes", "map_text"),
    ("version", "u64"),
)

ContentRow = tuple[str, str, str, str, int, str, str, str, str, str, int]
"""What a span, or log records of it, brought as content; in the order of `CONTENT_FIELDS`."""
CONTENT_FIELDS: Final[Fields] = (
    ("project", "text"),
    ("trace_id", "text"),
    ("span_id", "text"),
    ("source", "text"),
    ("start_time", "time"),
    ("input", "text"),
    ("output", "text"),
    ("reasoning", "text"),
    ("tools", "text"),
    ("documents", "text"),
    ("version", "u64"),
)


class InteractionRow(NamedTuple):
    """One settled interaction (`is_interaction` 0: a trace without any AI span, kept so that its spans are counted)."""

    project: str
    interaction_id: str
    trace_id: str
    root_span_id: str
    name: str
    start_time: int
    duration_ns: int
    is_interaction: int
    app: str
    environment: str
    release: str
    feature: str
    prompt_version: str
    user: str
    session: str
    tags: dict[str, str]
    span_count: int
    span_kinds: dict[str, int]
    generations: int
    unpriced_generations: int
    known_cost_generations: int
    retries: int
    fallbacks: int
    escalations: int
    validations: int
    validation_failures: int
    models: tuple[str, ...]
    model_costs_usd: tuple[int | None, ...]
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None
    cost_usd: int | None
    wasted_cost_usd: int | None
    cache_savings_usd: int | None
    failure_mode: str
    failure_reason: str
    confidence_sources: tuple[str, ...]
    confidence_values: tuple[float, ...]
    feedback_sources: tuple[str, ...]
    feedback_names: tuple[str, ...]
    feedback_positive: tuple[int, ...]
    settled_through: int


INTERACTION_FIELDS: Final[Fields] = (
    ("project", "text"),
    ("interaction_id", "text"),
    ("trace_id", "text"),
    ("root_span_id", "text"),
    ("name", "text"),
    ("start_time", "time"),
    ("duration_ns", "u64"),
    ("is_interaction", "u8"),
    ("app", "text"),
    ("environment", "text"),
    ("release", "text"),
    ("feature", "text"),
    ("prompt_version", "text"),
    ("user", "text"),
    ("session", "text"),
    ("tags", "map_text"),
    ("span_count", "u32"),
    ("span_kinds", "map_u32"),
    ("generations", "u32"),
    ("unpriced_generations", "u32"),
    ("known_cost_generations", "u32"),
    ("retries", "u32"),
    ("fallbacks", "u32"),
    ("escalations", "u32"),
    ("validations", "u32"),
    ("validation_failures", "u32"),
    ("models", "texts"),
    ("model_costs_usd", "moneys"),
    ("input_tokens", "u64?"),
    ("output_tokens", "u64?"),
    ("cache_read_tokens", "u64?"),
    ("cache_write_tokens", "u64?"),
    ("reasoning_tokens", "u64?"),
    ("cost_usd", "money?"),
    ("wasted_cost_usd", "money?"),
    ("cache_savings_usd", "money?"),
    ("failure_mode", "text"),
    ("failure_reason", "text"),
    ("confidence_sources", "texts"),
    ("confidence_values", "f64s"),
    ("feedback_sources", "texts"),
    ("feedback_names", "texts"),
    ("feedback_positive", "i8s"),
    ("settled_through", "time"),
)


class CallRow(NamedTuple):
    """One settled call. Token kinds are disjoint; None is unknown; money is integer units of 1e-12 USD.

    `cost_usd` is the sum of input, cache_read, cache_write, output and other (searches, tools, machine time); reasoning and media
    are parts of input and output.
    """

    project: str
    trace_id: str
    span_id: str
    interaction_id: str
    kind: str
    name: str
    start_time: int
    duration_ns: int
    ttft_ns: int | None
    app: str
    environment: str
    release: str
    feature: str
    prompt_version: str
    user: str
    session: str
    tags: dict[str, str]
    failure_mode: str
    provider: str
    model: str
    request_model: str
    operation: str
    processing: str
    finish_reason: str
    error_class: str
    http_status: int
    is_retry: int
    is_fallback: int
    usage_quality: str
    uncached_input_tokens: int | None
    cache_read_tokens: int | None
    cache_write_5m_tokens: int | None
    cache_write_1h_tokens: int | None
    visible_output_tokens: int | None
    reasoning_tokens: int | None
    other_tokens: dict[str, int]
    cost_usd: int | None
    cost_input_usd: int | None
    cost_cache_read_usd: int | None
    cost_cache_write_usd: int | None
    cost_output_usd: int | None
    cost_other_usd: int | None
    cost_reasoning_usd: int | None
    cost_media_usd: int | None
    wasted_cost_usd: int | None
    cache_savings_usd: int | None
    cost_status: str
    cost_source: str
    price_version: str
    unpriced_reason: str


CALL_FIELDS: Final[Fields] = (
    ("project", "text"),
    ("trace_id", "text"),
    ("span_id", "text"),
    ("interaction_id", "text"),
    ("kind", "text"),
    ("name", "text"),
    ("start_time", "time"),
    ("duration_ns", "u64"),
    ("ttft_ns", "u64?"),
    ("app", "text"),
    ("environment", "text"),
    ("release", "text"),
    ("feature", "text"),
    ("prompt_version", "text"),
    ("user", "text"),
    ("session", "text"),
    ("tags", "map_text"),
    ("failure_mode", "text"),
    ("provider", "text"),
    ("model", "text"),
    ("request_model", "text"),
    ("operation", "text"),
    ("processing", "text"),
    ("finish_reason", "text"),
    ("error_class", "text"),
    ("http_status", "u16"),
    ("is_retry", "u8"),
    ("is_fallback", "u8"),
    ("usage_quality", "text"),
    ("uncached_input_tokens", "u32?"),
    ("cache_read_tokens", "u32?"),
    ("cache_write_5m_tokens", "u32?"),
    ("cache_write_1h_tokens", "u32?"),
    ("visible_output_tokens", "u32?"),
    ("reasoning_tokens", "u32?"),
    ("other_tokens", "map_u32"),
    ("cost_usd", "money?"),
    ("cost_input_usd", "money?"),
    ("cost_cache_read_usd", "money?"),
    ("cost_cache_write_usd", "money?"),
    ("cost_output_usd", "money?"),
    ("cost_other_usd", "money?"),
    ("cost_reasoning_usd", "money?"),
    ("cost_media_usd", "money?"),
    ("wasted_cost_usd", "money?"),
    ("cache_savings_usd", "money?"),
    ("cost_status", "text"),
    ("cost_source", "text"),
    ("price_version", "text"),
    ("unpriced_reason", "text"),
)


class Feedback(NamedTuple):
    """A judgement as settling sees it: `positive` is 1, 0 or -1 for neither; `span_id` is empty for the whole trace."""

    feedback_id: str
    span_id: str
    source: str
    name: str
    positive: int
