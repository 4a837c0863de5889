"""Tokens of a call that carried text and no usage, estimated from the text. Pure.

Providers' vocabularies cannot be shipped or fetched here, so bytes are counted: four bytes of UTF-8 make about one token, in
English as in Chinese. Cached and reasoning tokens cannot be told from text, so what comes out is a lower bound, and is marked
as estimated.
"""

from typing import Any, Final

from spanledger_collector.ingest.dialects.facts import Facts, parse_json
from spanledger_schema.content import MASK

_BYTES_PER_TOKEN: Final = 4
_TOKENS_PER_MESSAGE: Final = 4
_CHARS_MAX: Final = 2_000_000
_DEPTH_MAX: Final = 30
_LABELS: Final = frozenset(
    {"role", "type", "finish_reason", "stop_reason", "id", "call_id", "tool_call_id", "index", "status", "mime_type"}
)
"""Keys whose values are bookkeeping around the text, not part of it."""
_MEDIA: Final = frozenset({"data", "blob", "image_url", "image", "audio", "b64_json", "bytes", "vector"})


def estimate_usage(facts: Facts) -> None:
    """Estimate what a finished call to a model used and did not say; without an answer to go by, nothing is known."""
    if (not facts.output and not facts.reasoning) or MASK in facts.output or MASK in facts.input:
        # Words that a rule has taken away cannot be counted.
        return
    produced = _tokens(facts.output) + _tokens(facts.reasoning)
    if not produced:
        return
    facts.input_tokens = _tokens(facts.input) + _tokens(facts.tools) if facts.input else None
    facts.output_tokens = produced
    facts.is_estimated = True


def _tokens(content: str) -> int:
    if not content:
        return 0
    parsed = parse_json(content) if content[0] in '[{"' and len(content) <= _CHARS_MAX else None
    texts: list[str] = []
    _collect(content if parsed is None else parsed, texts, 0)
    if not texts:
        return 0
    messages = len(parsed) if isinstance(parsed, list) else 1
    size = sum(len(text.encode("utf-8", "ignore")) for text in texts)
    return messages * _TOKENS_PER_MESSAGE + -(-size // _BYTES_PER_TOKEN)


def _collect(node: Any, texts: list[str], depth: int) -> None:
    if isinstance(node, str):
        texts.append(node)
    elif depth > _DEPTH_MAX:
        return
    elif isinstance(node, list):
        for item in node:
            _collect(item, texts, depth + 1)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key not in _LABELS and key not in _MEDIA:
                _collect(value, texts, depth + 1)
