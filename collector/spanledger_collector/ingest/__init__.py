"""From OTLP bytes to durable rows: decode, read the dialect, normalise, classify, build Arrow, commit in groups."""
