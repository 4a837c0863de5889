"""Kinds of tokens, and what is inside what.

In storage the kinds are disjoint: each has its own price and their sum is the call's total. In public measures
OpenTelemetry's meaning holds: `input_tokens` contains cached tokens, `output_tokens` contains reasoning tokens.
"""

from dataclasses import dataclass
from enum import StrEnum


class TokenKind(StrEnum):
    """A disjoint kind of tokens with a price of its own."""

    INPUT = "input"
    CACHE_READ = "cache_read"
    CACHE_WRITE_5M = "cache_write_5m"
    CACHE_WRITE_1H = "cache_write_1h"
    OUTPUT = "output"
    REASONING = "reasoning"
    INPUT_AUDIO = "input_audio"
    OUTPUT_AUDIO = "output_audio"
    INPUT_IMAGE = "input_image"
    OUTPUT_IMAGE = "output_image"


class UsageQuality(StrEnum):
    """How far a call's token counts can be trusted."""

    EXACT = "exact"
    ESTIMATED = "estimated"
    PARTIAL = "partial"
    MISSING = "missing"


class CostStatus(StrEnum):
    """Why a call has the cost that it has. NULL cost is unknown, 0 is free; they are never confused."""

    REPORTED = "reported"
    PRICED = "priced"
    ESTIMATED = "estimated"
    UNPRICED = "unpriced"
    FREE = "free"
    NOT_BILLABLE = "not_billable"


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one call in OpenTelemetry's meaning; None is unknown, never 0.

    `input_tokens` includes cache reads and writes; `output_tokens` includes reasoning; `cache_write_tokens` is all
    writes, `cache_write_1h_tokens` the part of them with the one-hour lifetime.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    reasoning_tokens: int | None = None
