-- What SDKs say that they lost: a process's count so far, by reason, each once with when it was first heard of. The difference to the
-- next smaller count of the process is what was lost in between, so reports add up to the highest in any order and however often.

CREATE TABLE IF NOT EXISTS sdk_losses /*@on_cluster*/
(
    project     LowCardinality(String),
    instance    String,
    signal      LowCardinality(String),
    reason      LowCardinality(String),
    count       UInt64,
    app         LowCardinality(String),
    environment LowCardinality(String),
    release     LowCardinality(String),
    seen_at     DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    version     UInt64
)
ENGINE = /*@replicated_all*/ReplacingMergeTree(version)
ORDER BY (project, instance, signal, reason, count)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1,
         min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, max_suspicious_broken_parts = 0;
