-- When a judgement came, which may be long after it was given: settling finds by it what it has not counted yet.

ALTER TABLE feedback /*@on_cluster*/ ADD COLUMN IF NOT EXISTS received_at DateTime64(9, 'UTC') DEFAULT now64(9);
