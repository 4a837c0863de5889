-- Prices: what a call's searches, tools and machine hours cost, the parts of its tokens' cost, the user's own prices, and re-pricing.

ALTER TABLE calls/*@local*/ /*@on_cluster*/
    -- Searches, requests, tools and machine time; the four kinds of tokens and this add up to cost_usd
    ADD COLUMN IF NOT EXISTS cost_other_usd Nullable(Decimal(18, 12)) AFTER cost_output_usd,
    -- Parts of cost_output_usd (reasoning) and of input and output (audio, image and film)
    ADD COLUMN IF NOT EXISTS cost_reasoning_usd Nullable(Decimal(18, 12)) AFTER cost_other_usd,
    ADD COLUMN IF NOT EXISTS cost_media_usd Nullable(Decimal(18, 12)) AFTER cost_reasoning_usd,
    -- batch, flex, priority; empty for the listed price
    ADD COLUMN IF NOT EXISTS processing LowCardinality(String) AFTER operation;
/*@distributed calls sipHash64(project, trace_id)*/

-- Every version of a price that a user set is kept; the newest per price_id counts. `body` is the price as JSON.
CREATE TABLE IF NOT EXISTS user_prices /*@on_cluster*/
(
    project    LowCardinality(String),
    price_id   String,
    body       String,
    is_deleted UInt8,
    changed_at DateTime64(9, 'UTC'),
    version    UInt64
)
ENGINE = /*@replicated_all*/MergeTree()
ORDER BY (project, price_id, version)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1,
         min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, max_suspicious_broken_parts = 0;

-- One row per state of a re-pricing: asked, running, done. `changes` is JSON: what changed from what to what, how often and why.
CREATE TABLE IF NOT EXISTS reprices /*@on_cluster*/
(
    project       LowCardinality(String),
    reprice_id    String,
    state         LowCardinality(String),
    is_dry_run    UInt8,
    filters       String,
    started_at    DateTime64(9, 'UTC'),
    traces_total  UInt64,
    traces_done   UInt64,
    calls_changed UInt64,
    before_usd    Decimal(38, 12),
    after_usd     Decimal(38, 12),
    changes       String,
    version       UInt64
)
ENGINE = /*@replicated_all*/MergeTree()
ORDER BY (project, reprice_id, version)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1,
         min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, max_suspicious_broken_parts = 0;
