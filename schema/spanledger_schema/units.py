"""Units of measures. How a value of each unit is written is decided once, in the dashboard's `format`."""

from enum import StrEnum


class Unit(StrEnum):
    """The unit of a measure, as the catalogue and every API answer state it."""

    USD = "USD"
    TOKENS = "tokens"
    SECONDS = "s"
    RATIO = "ratio"
    COUNT = "1"
    TOKENS_PER_SECOND = "tokens/s"
    PROBABILITY = "probability"
