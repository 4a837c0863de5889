-- How many spans and log records a minute a key may send; 0 is as many as it likes.

ALTER TABLE keys /*@on_cluster*/ ADD COLUMN IF NOT EXISTS quota_spans_per_minute UInt64 DEFAULT 0;
