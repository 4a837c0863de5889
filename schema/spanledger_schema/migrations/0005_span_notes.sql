-- What log records say of a span and the span itself does not: who asked, in which session, and why the answer ended.

CREATE TABLE IF NOT EXISTS span_notes/*@local*/ /*@on_cluster*/
(
    project       LowCardinality(String),
    trace_id      String,
    span_id       String,
    time          DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    user          String,
    session       String,
    finish_reason LowCardinality(String),
    finish_reason_raw LowCardinality(String),
    received_at   DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    version       UInt64,
    INDEX by_received received_at TYPE minmax GRANULARITY 1
)
ENGINE = /*@replicated*/ReplacingMergeTree(version)
PARTITION BY toDate(time)
ORDER BY (project, trace_id, span_id)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1,
         min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, max_suspicious_broken_parts = 0,
         default_compression_codec = 'ZSTD(1)';
/*@distributed span_notes sipHash64(project, trace_id)*/
