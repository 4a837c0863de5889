"""From the spans of a trace to what is counted: which calls are billed, what they cost, how the interaction ended."""
