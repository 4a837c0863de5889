"""How a step came to its cost, in a sentence."""

from collections.abc import Mapping
from typing import Any, Final

from spanledger_schema.tokens import CostStatus

_UNPRICED: Final = {
    "unknown_model": "unknown model",
    "no_model": "the call names no model",
    "opaque_name": "the name is a deployment's own and says no model",
    "no_price": "no price was known for its time",
    "no_token_price": "the model has no price for these tokens",
    "implausible_usage": "its token counts are implausible",
    "impossible_usage": "its token counts contradict each other",
    "unknown_service_tier": "its service tier is not known",
    "no_usage": "its token counts are unknown",
    "failed_without_usage": "it failed and its token counts are unknown",
}
_KIND_PREFIX: Final = "no_price_for_"
_SOURCES: Final = {
    "user": "your own price",
    "corrections": "a corrected list price",
    "spanledger": "a corrected list price",
    "genai-prices": "the list price",
}


def sentence(step: Mapping[str, Any]) -> str:
    """Why a step of `GET /api/v1/interactions/{id}` costs what it costs; empty for a step that no model took part in."""
    if step["not_billed_reason"]:
        return f"not billed: {step['not_billed_reason']}"
    match step["cost_status"]:
        case CostStatus.NOT_BILLABLE:
            return "not billed: the provider refused it" if step["cost_source"] == "refused" else "not billed"
        case CostStatus.UNPRICED:
            return f"not priced: {unpriced(step['unpriced_reason'])}"
        case CostStatus.REPORTED:
            return "reported by the application or its provider"
        case CostStatus.FREE:
            return f"free by {_price(step)}"
        case CostStatus.ESTIMATED:
            return f"estimated: token counts or rate are an estimate, by {_price(step)}"
        case CostStatus.PRICED:
            return f"priced by {_price(step)}"
    return ""


def unpriced(reason: str | None) -> str:
    """Why a call has no price, in words."""
    if not reason:
        return "no price is known"
    if reason.startswith(_KIND_PREFIX):
        return f"no price for {reason.removeprefix(_KIND_PREFIX).replace('_', ' ')} tokens"
    return _UNPRICED.get(reason, reason.replace("_", " "))


def _price(step: Mapping[str, Any]) -> str:
    return price_source(step["cost_source"], step["price_version"])


def price_source(source: str | None, version: str | None) -> str:
    """Who says a price, with the version of what was said."""
    named = _SOURCES.get(source or "", source or "a price of unknown source")
    return f"{named} ({version.replace('/', ' ')})" if version else named
