"""Prices in words, and the text of the form as a price of the API. Pure."""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from spanledger_dashboard import format as fmt

TOKEN_KINDS: Final = {
    "input": "Input",
    "output": "Output",
    "cache_read": "Cache read",
    "cache_write_5m": "Cache write, 5 min",
    "cache_write_1h": "Cache write, 1 h",
    "reasoning": "Reasoning",
    "input_audio": "Audio in",
    "output_audio": "Audio out",
    "input_image": "Image in",
    "output_image": "Image out",
    "input_video": "Video in",
    "output_video": "Video out",
}
"""Kinds that cost by the million tokens, and what the form calls them."""
UNITS: Final = {
    "characters": "per 1M characters",
    "audio_seconds": "per hour",
    "images": "each",
    **dict.fromkeys(("web_searches", "file_searches", "requests", "pages", "search_units"), "per 1k"),
}
"""What a quoted price of the other kinds is for."""
WAYS: Final = {
    "tokens": "Prices per million tokens",
    "multiplier": "A discount or surcharge on the list",
    "same": "The same as another model",
    "gpu": "By the GPU hour",
    "call": "By the call",
}


def unit(kind: str) -> str:
    """What a price of a kind is for."""
    return UNITS.get(kind, "per 1M tokens")


def named(kind: str) -> str:
    """What a kind of usage is called."""
    return TOKEN_KINDS.get(kind, kind.replace("_", " ").capitalize())


def amount(text: Any) -> str:
    """A price of the API in dollars, every digit of it."""
    try:
        return f"${Decimal(str(text)):f}"
    except InvalidOperation:
        return fmt.UNKNOWN


def stepped(price: Any) -> str:
    """A price, or its steps by input: `$3, above 200k input tokens $6`."""
    if price is None:
        return "no price"
    if not isinstance(price, Mapping):
        return amount(price)
    above = [
        f"above {fmt.count(step['above_input_tokens'], compact=True)} input tokens {amount(step['price'])}"
        for step in price["above"]
    ]
    return ", ".join([amount(price["price"]), *above])


def describe(price: Mapping[str, Any]) -> str:
    """What a price of one's own says."""
    said = []
    if price.get("price_as"):
        other = price["price_as"]
        provider = f" of {other['provider']}" if other.get("provider") else ""
        said.append(f"as {other['model']}{provider}")
    if price.get("multiplier") is not None:
        said.append(f"× {price['multiplier']} of {'it' if said else 'the list'}")
    prices = price.get("prices") or {}
    said += [f"{named(kind).lower()} {stepped(value)} {unit(kind)}" for kind, value in prices.items()]
    if price.get("per_call") is not None:
        said.append(f"{amount(price['per_call'])} per call")
    if price.get("gpu_hour_usd") is not None:
        gpus = price.get("gpus", "1")
        said.append(f"{amount(price['gpu_hour_usd'])} per GPU hour{f' × {gpus} GPUs' if gpus != '1' else ''}, estimated")
    return "; ".join(said)


def way_of(price: Mapping[str, Any]) -> str:
    """Which way of the form holds a price."""
    if price.get("gpu_hour_usd") is not None:
        return "gpu"
    if price.get("per_call") is not None:
        return "call"
    if price.get("price_as"):
        return "same"
    return "multiplier" if price.get("multiplier") is not None else "tokens"


def is_amount(text: str) -> bool:
    """Whether a text is an amount that is not negative."""
    try:
        value = Decimal(text.strip())
    except InvalidOperation:
        return False
    return value.is_finite() and value >= 0
