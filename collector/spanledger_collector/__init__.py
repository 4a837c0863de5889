"""The collector: takes OTLP, prices, classifies and stores it, answers Queries, evaluates alerts. The only owner of the store."""
