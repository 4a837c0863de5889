-- Keys and projects: every version is kept, the newest counts. The audit log: a hash chain per collector, append-only.

CREATE TABLE IF NOT EXISTS keys /*@on_cluster*/
(
    key_id     String,
    project    LowCardinality(String),
    name       String,
    scopes     Array(String),
    digest     String,
    created_at DateTime64(6, 'UTC'),
    expires_at DateTime64(6, 'UTC'),
    is_revoked UInt8,
    version    UInt64
)
ENGINE = /*@replicated_all*/MergeTree()
ORDER BY (key_id, version)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1,
         min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, max_suspicious_broken_parts = 0;

-- `body` is the project's settings as JSON: for how long numbers and content are kept.
CREATE TABLE IF NOT EXISTS projects /*@on_cluster*/
(
    project    String,
    body       String,
    changed_at DateTime64(6, 'UTC'),
    version    UInt64
)
ENGINE = /*@replicated_all*/MergeTree()
ORDER BY (project, version)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1,
         min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, max_suspicious_broken_parts = 0;

CREATE TABLE IF NOT EXISTS audit_log /*@on_cluster*/
(
    collector String,
    number    UInt64,
    at        DateTime64(9, 'UTC'),
    actor     String,
    action    LowCardinality(String),
    project   LowCardinality(String),
    subject   String,
    detail    String,
    previous  String,
    hash      String
)
ENGINE = /*@replicated_all*/MergeTree()
ORDER BY (collector, number)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1,
         min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, max_suspicious_broken_parts = 0;
