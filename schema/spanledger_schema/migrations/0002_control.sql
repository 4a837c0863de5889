-- Control data: small, append-only versions, so that history is free. One copy everywhere on a cluster.

CREATE TABLE IF NOT EXISTS feedback /*@on_cluster*/
(
    project        LowCardinality(String),
    feedback_id    String,
    trace_id       String,
    span_id        String,
    interaction_id String,
    name           LowCardinality(String),
    source         LowCardinality(String),
    value          String,
    positive       Int8,
    score          Nullable(Float64),
    comment        String,
    user           String,
    created_at     DateTime64(6, 'UTC'),
    version        UInt64,
    INDEX by_trace trace_id TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = /*@replicated_all*/ReplacingMergeTree(version)
ORDER BY (project, trace_id, feedback_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1,
         min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, max_suspicious_broken_parts = 0, index_granularity = 1024;

-- Every version of a rule is kept; the newest per rule_id counts. `body` is the rule as JSON.
CREATE TABLE IF NOT EXISTS alert_rules /*@on_cluster*/
(
    project    LowCardinality(String),
    rule_id    String,
    body       String,
    is_deleted UInt8,
    changed_at DateTime64(6, 'UTC'),
    version    UInt64
)
ENGINE = /*@replicated_all*/MergeTree()
ORDER BY (project, rule_id, version)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1,
         min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, max_suspicious_broken_parts = 0;

-- One row per change of state of a rule (and of one group of it): fired, resolved.
CREATE TABLE IF NOT EXISTS alert_events /*@on_cluster*/
(
    project      LowCardinality(String),
    event_id     String,
    rule_id      String,
    rule_name    String,
    group_key    String,
    kind         LowCardinality(String),
    value        Nullable(Float64),
    threshold    Float64,
    window_start DateTime64(6, 'UTC'),
    window_end   DateTime64(6, 'UTC'),
    at           DateTime64(6, 'UTC'),
    summary      String,
    delivery     String,
    version      UInt64
)
ENGINE = /*@replicated_all*/ReplacingMergeTree(version)
ORDER BY (project, rule_id, at, event_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1,
         min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, max_suspicious_broken_parts = 0;

-- How far each collector has settled: whatever it received before this time is counted. Read at start, written about once a second.
CREATE TABLE IF NOT EXISTS settle_marks /*@on_cluster*/
(
    collector       String,
    settled_through DateTime64(9, 'UTC'),
    version         UInt64
)
ENGINE = /*@replicated_all*/ReplacingMergeTree(version)
ORDER BY collector
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1,
         min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, max_suspicious_broken_parts = 0;
