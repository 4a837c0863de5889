-- The ledger: what arrived (spans, span_content) and what is counted (interactions, calls).
--
-- Runs as it is on one node; the comment markers are filled in for a cluster (docs/adr/0003).
-- * fsync_*: an acknowledged insert survives a power cut (chDB loses it otherwise).
-- * max_suspicious_broken_parts=0: refuse to start rather than hide parts.
-- * ZSTD(1): ids do not compress with LZ4 (storage per span halves, ingest is not slower).
-- * Partition and shard are functions of the identity: the day of the row's start, and the trace.
-- * No Enum, UUID or DateTime: Arrow loses them.

CREATE TABLE IF NOT EXISTS spans/*@local*/ /*@on_cluster*/
(
    project             LowCardinality(String),
    trace_id            String,
    span_id             String,
    parent_span_id      String,
    -- What it is
    name                LowCardinality(String),
    kind                LowCardinality(String),
    dialect             LowCardinality(String),
    scope               LowCardinality(String),
    otel_kind           UInt8,
    start_time          DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    duration_ns         UInt64,
    received_at         DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    clock               LowCardinality(String),
    -- Who and where
    app                 LowCardinality(String),
    environment         LowCardinality(String),
    release             LowCardinality(String),
    feature             LowCardinality(String),
    prompt_version      LowCardinality(String),
    user                String,
    session             String,
    tags                Map(LowCardinality(String), String),
    interaction         LowCardinality(String),
    -- The call
    provider            LowCardinality(String),
    operation           LowCardinality(String),
    request_model       LowCardinality(String),
    response_model      LowCardinality(String),
    response_id         String,
    finish_reason       LowCardinality(String),
    finish_reason_raw   LowCardinality(String),
    -- Usage: OpenTelemetry's inclusive totals as normalised from the source; NULL is unknown
    input_tokens        Nullable(UInt32),
    output_tokens       Nullable(UInt32),
    cache_read_tokens   Nullable(UInt32),
    cache_write_tokens  Nullable(UInt32),
    cache_write_1h_tokens Nullable(UInt32),
    reasoning_tokens    Nullable(UInt32),
    other_usage         Map(LowCardinality(String), UInt32),
    usage_quality       LowCardinality(String),
    reported_cost_usd   Nullable(Decimal(18, 12)),
    ttft_ns             Nullable(UInt64),
    -- The outcome
    status_code         UInt8,
    status_message      String,
    error_type          LowCardinality(String),
    error_class         LowCardinality(String),
    http_status         UInt16,
    has_output          UInt8,
    signals             Map(LowCardinality(String), String),
    attributes          Map(LowCardinality(String), String),
    version             UInt64,
    INDEX by_received received_at TYPE minmax GRANULARITY 1
)
ENGINE = /*@replicated*/ReplacingMergeTree(version)
PARTITION BY toDate(start_time)
ORDER BY (project, trace_id, span_id)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1,
         min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, max_suspicious_broken_parts = 0,
         default_compression_codec = 'ZSTD(1)', merge_selector_base = 10;
/*@distributed spans sipHash64(project, trace_id)*/

CREATE TABLE IF NOT EXISTS span_content/*@local*/ /*@on_cluster*/
(
    project     LowCardinality(String),
    trace_id    String,
    span_id     String,
    source      LowCardinality(String),
    start_time  DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    input       String,
    output      String,
    reasoning   String,
    tools       String,
    documents   String,
    version     UInt64
)
ENGINE = /*@replicated*/ReplacingMergeTree(version)
PARTITION BY toDate(start_time)
ORDER BY (project, trace_id, span_id, source)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1,
         min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, max_suspicious_broken_parts = 0,
         default_compression_codec = 'ZSTD(1)', merge_selector_base = 10;
/*@distributed span_content sipHash64(project, trace_id)*/

-- One row per interaction. A trace without any AI span has one row with is_interaction = 0: its spans are counted.
CREATE TABLE IF NOT EXISTS interactions/*@local*/ /*@on_cluster*/
(
    project             LowCardinality(String),
    interaction_id      String,
    trace_id            String,
    root_span_id        String,
    name                LowCardinality(String),
    start_time          DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    duration_ns         UInt64,
    is_interaction      UInt8,
    app                 LowCardinality(String),
    environment         LowCardinality(String),
    release             LowCardinality(String),
    feature             LowCardinality(String),
    prompt_version      LowCardinality(String),
    user                String,
    session             String,
    tags                Map(LowCardinality(String), String),
    span_count          UInt32,
    span_kinds          Map(LowCardinality(String), UInt32),
    generations         UInt32,
    unpriced_generations UInt32,
    known_cost_generations UInt32,
    retries             UInt32,
    fallbacks           UInt32,
    escalations         UInt32,
    validations         UInt32,
    validation_failures UInt32,
    -- The models of its calls ('' for calls without one) and what each cost: questions by model need no join with calls
    models              Array(LowCardinality(String)),
    model_costs_usd     Array(Nullable(Decimal(18, 12))),
    input_tokens        Nullable(UInt64),
    output_tokens       Nullable(UInt64),
    cache_read_tokens   Nullable(UInt64),
    cache_write_tokens  Nullable(UInt64),
    reasoning_tokens    Nullable(UInt64),
    cost_usd            Nullable(Decimal(18, 12)),
    wasted_cost_usd     Nullable(Decimal(18, 12)),
    cache_savings_usd   Nullable(Decimal(18, 12)),
    failure_mode        LowCardinality(String),
    failure_reason      String,
    confidence_sources  Array(LowCardinality(String)),
    confidence_values   Array(Float64),
    feedback_sources    Array(LowCardinality(String)),
    feedback_names      Array(LowCardinality(String)),
    feedback_positive   Array(Int8),
    settled_through     DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    version             UInt64,
    is_deleted          UInt8,
    INDEX by_interaction interaction_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX by_trace trace_id TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = /*@replicated*/ReplacingMergeTree(version, is_deleted)
PARTITION BY toDate(start_time)
ORDER BY (project, start_time, interaction_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1,
         min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, max_suspicious_broken_parts = 0,
         default_compression_codec = 'ZSTD(1)', merge_selector_base = 10;
/*@distributed interactions sipHash64(project, trace_id)*/

-- One row per billable call to a model, an embedding or rerank model, a tool or a retrieval.
CREATE TABLE IF NOT EXISTS calls/*@local*/ /*@on_cluster*/
(
    project             LowCardinality(String),
    trace_id            String,
    span_id             String,
    interaction_id      String,
    kind                LowCardinality(String),
    name                LowCardinality(String),
    start_time          DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    duration_ns         UInt64,
    ttft_ns             Nullable(UInt64),
    app                 LowCardinality(String),
    environment         LowCardinality(String),
    release             LowCardinality(String),
    feature             LowCardinality(String),
    prompt_version      LowCardinality(String),
    user                String,
    session             String,
    tags                Map(LowCardinality(String), String),
    failure_mode        LowCardinality(String),
    provider            LowCardinality(String),
    model               LowCardinality(String),
    request_model       LowCardinality(String),
    operation           LowCardinality(String),
    finish_reason       LowCardinality(String),
    error_class         LowCardinality(String),
    http_status         UInt16,
    is_retry            UInt8,
    is_fallback         UInt8,
    usage_quality       LowCardinality(String),
    -- Disjoint token kinds; NULL is unknown
    uncached_input_tokens Nullable(UInt32),
    cache_read_tokens   Nullable(UInt32),
    cache_write_5m_tokens Nullable(UInt32),
    cache_write_1h_tokens Nullable(UInt32),
    visible_output_tokens Nullable(UInt32),
    reasoning_tokens    Nullable(UInt32),
    other_tokens        Map(LowCardinality(String), UInt32),
    -- Money: NULL is unknown, 0 is free
    cost_usd            Nullable(Decimal(18, 12)),
    cost_input_usd      Nullable(Decimal(18, 12)),
    cost_cache_read_usd Nullable(Decimal(18, 12)),
    cost_cache_write_usd Nullable(Decimal(18, 12)),
    cost_output_usd     Nullable(Decimal(18, 12)),
    wasted_cost_usd     Nullable(Decimal(18, 12)),
    cache_savings_usd   Nullable(Decimal(18, 12)),
    cost_status         LowCardinality(String),
    cost_source         LowCardinality(String),
    price_version       LowCardinality(String),
    unpriced_reason     LowCardinality(String),
    version             UInt64,
    is_deleted          UInt8,
    INDEX by_trace trace_id TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = /*@replicated*/ReplacingMergeTree(version, is_deleted)
PARTITION BY toDate(start_time)
ORDER BY (project, start_time, trace_id, span_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1,
         min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, max_suspicious_broken_parts = 0,
         default_compression_codec = 'ZSTD(1)', merge_selector_base = 10;
/*@distributed calls sipHash64(project, trace_id)*/
