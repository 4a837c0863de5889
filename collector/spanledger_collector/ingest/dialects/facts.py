"""What a dialect can say of a span, and the primitives that dialects read attributes with.

Nothing here raises on content: what cannot be a count, a text or a number is unknown.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import orjson

from spanledger_collector.ingest.decoded import Attributes

COUNT_MAX: Final = 4_294_967_295
_COST_MAX: Final = Decimal(1_000_000)
_STEPS_MAX: Final = 30
ORDINARY_TIERS: Final = frozenset({"default", "standard", "auto", "on_demand", "none", "null"})
PICO: Final = Decimal(10) ** 12


class Facts:
    """Canonical facts of one span. Token counts as in OpenTelemetry: cached in input, reasoning in output; None is unknown.

    `kind` is model, embedding, rerank, tool, retrieval, agent, chain, interaction, evaluator, guardrail or span. Content is
    kept as the JSON (or plain text) that the source sent; `query/messages.py` reads it.

    `is_answered` says that what a span marks as an error happened after the answer came, within the instrumentation.

    A plain class whose defaults stand on the class: made once per span, it must cost next to nothing.

    """

    dialect: str = ""
    kind: str = "span"
    name: str = ""
    provider: str = ""
    operation: str = ""
    request_model: str = ""
    response_model: str = ""
    response_id: str = ""
    finish_reason: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    reasoning_tokens: int | None = None
    other_usage: dict[str, int]
    is_input_exclusive: bool = False
    is_output_exclusive: bool = False
    is_estimated: bool = False
    is_partial: bool = False
    reported_cost_usd: int | None = None
    ttft_ns: int | None = None
    user: str = ""
    session: str = ""
    prompt_version: str = ""
    environment: str = ""
    release: str = ""
    tags: dict[str, str]
    signals: dict[str, str]
    error_type: str = ""
    error_message: str = ""
    http_status: int = 0
    is_error: bool = False
    is_answered: bool = False
    input: str = ""
    output: str = ""
    reasoning: str = ""
    tools: str = ""
    documents: str = ""

    def __init__(self, dialect: str = "") -> None:
        """Nothing is known yet."""
        self.dialect = dialect
        self.other_usage = {}
        self.tags = {}
        self.signals = {}

    def say_tier(self, tier: str) -> None:
        """Note a service tier that is billed differently; the ordinary one goes without saying."""
        word = tier.strip().lower()
        if word and word not in ORDINARY_TIERS:
            self.signals["service_tier"] = word

    def settle_inclusion(self) -> None:
        """Make counts inclusive where the source's exclude their parts.

        Cached tokens beyond the input count prove that the input excludes them, whatever the dialect usually does.

        """
        cached = (self.cache_read_tokens or 0) + (self.cache_write_tokens or 0)
        if self.input_tokens is not None and cached and (self.is_input_exclusive or cached > self.input_tokens):
            self.input_tokens = min(self.input_tokens + cached, COUNT_MAX)
        reasoning = self.reasoning_tokens or 0
        if self.output_tokens is not None and reasoning and (self.is_output_exclusive or reasoning > self.output_tokens):
            self.output_tokens = min(self.output_tokens + reasoning, COUNT_MAX)


def count(value: Any) -> int | None:
    """A number of tokens: an integer from 0 to 2^32-1, also as text; else unknown."""
    if type(value) is int:
        return value if 0 <= value <= COUNT_MAX else None
    if isinstance(value, str) and value.isdecimal() and len(value) <= 10:
        return count(int(value))
    if isinstance(value, float) and value.is_integer() and 0 <= value <= COUNT_MAX:
        return int(value)
    return None


def first_count(attributes: Mapping[str, Any], names: Iterable[str]) -> int | None:
    """The first of `names` that holds a count."""
    for name in names:
        if name in attributes and (number := count(attributes[name])) is not None:
            return number
    return None


def text(value: Any) -> str:
    """A text; numbers and booleans as their text, anything else as empty."""
    if type(value) is str:
        return value
    return str(value) if isinstance(value, int | float) else ""


def first_text(attributes: Mapping[str, Any], names: Iterable[str]) -> str:
    """The first of `names` that holds a text that is not empty."""
    for name in names:
        if name in attributes and (found := text(attributes[name])):
            return found
    return ""


def parse_json(value: Any) -> Any:
    """A value that may be JSON text; None when it is text but no JSON."""
    if not isinstance(value, str | bytes):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return None


def as_mapping(value: Any) -> Mapping[str, Any]:
    """An object, also as JSON text; else empty."""
    parsed = parse_json(value)
    return parsed if isinstance(parsed, dict) else {}


def as_list(value: Any) -> list[Any]:
    """A list, also as JSON text; else empty."""
    parsed = parse_json(value)
    return parsed if isinstance(parsed, list) else []


def to_json(value: Any) -> str:
    """JSON text of a decoded value (text that is JSON already stays as it is)."""
    if isinstance(value, str):
        return value
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()
    except (TypeError, orjson.JSONEncodeError):
        return str(value)


def pico_usd(value: Any) -> int | None:
    """An amount in USD as integer units of 1e-12; None when it is negative, not finite or absurd."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    if not amount.is_finite() or not 0 <= amount < _COST_MAX:
        return None
    return int((amount * PICO).to_integral_value())


def unflatten(attributes: Attributes, prefix: str) -> list[Any]:
    """`prefix.0.a.b = v` as a list of nested objects; numeric steps become lists in order. Gaps close up."""
    root: dict[str, Any] = {}
    start = len(prefix) + 1
    for key, value in attributes.items():
        if not key.startswith(prefix) or key[start - 1 : start] != ".":
            continue
        steps = key[start:].split(".", _STEPS_MAX)
        node = root
        for step in steps[:-1]:
            following = node.setdefault(step, {})
            if not isinstance(following, dict):
                break
            node = following
        else:
            node[steps[-1]] = value
    folded = _fold(root)
    return folded if isinstance(folded, list) else []


def _fold(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    if node and all(key.isdecimal() and len(key) < 10 for key in node):
        return [_fold(node[key]) for key in sorted(node, key=int)]
    return {key: _fold(value) for key, value in node.items()}
