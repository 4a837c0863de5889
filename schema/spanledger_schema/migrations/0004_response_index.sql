-- Twins in other traces are found by the response id that the provider gave (docs/adr/0009), whatever day they came.

ALTER TABLE spans/*@local*/ /*@on_cluster*/ ADD INDEX IF NOT EXISTS by_response response_id TYPE bloom_filter(0.01) GRANULARITY 4;
