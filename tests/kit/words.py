"""Attributes that hold what somebody wrote, and such that do not: what `strip` leaves of them, in SDK and collector alike."""

from typing import Any

STRIPPED: dict[str, Any] = {
    "url.query": "q=WORDS",
    "url.fragment": "WORDS",
    "db.query.text": "SELECT 'WORDS'",
    "db.statement": "SELECT 'WORDS'",
    "db.query.parameter.name": "WORDS",
    "exception.message": "WORDS",
    "exception.stacktrace": "File WORDS",
    "error.message": "WORDS",
    "otel.status_description": "WORDS",
    "http.error_message": "WORDS",
    "http.request.body": "WORDS",
    "http.request.header.cookie": ["WORDS"],
    "http.response.header.location": ["/?q=WORDS"],
    "gen_ai.tool.call.arguments": '{"q": "WORDS"}',
    "gen_ai.tool.call.result": "WORDS",
    "process.command_line": "ask WORDS",
    "spanledger.tag.note": "WORDS of somebody",
    "spanledger.escalation.reason": "they said WORDS",
    "customer.wish": "WORDS in a name of their own",
    "customer.wishes": ["one", "WORDS and more"],
    "customer.said": "这里是某人写的一整句话WORDS",
    "langfuse.trace.metadata.note": "WORDS of the application",
    "metadata.note": '{"said":"WORDS"}',
}
CUT: dict[str, tuple[str, str]] = {
    "url.full": ("https://shop.example/search?q=WORDS", "https://shop.example/search"),
    "http.url": ("https://shop.example/search#WORDS and more", "https://shop.example/search"),
    "http.target": ("/search?q=WORDS", "/search"),
    "page.address": ("/a?WORDS", "/a"),
}
KEPT: dict[str, Any] = {
    "url.path": "/search",
    "http.route": "/search/{what}",
    "http.response.status_code": 200,
    "db.system.name": "postgresql",
    "db.collection.name": "orders",
    "gen_ai.request.model": "accounts/f/models/m#accounts/f/deployments/d",
    "gen_ai.tool.name": "look up",
    "gen_ai.usage.input_tokens": 7,
    "spanledger.tag.tier": "gold",
    "spanledger.escalation.reason": "policy",
    "customer.plan": "premium",
    "langfuse.trace.metadata.tier": "gold",
    "customer.visits": 12,
    "customer.rates": [1.5, 2.5],
    "user.id": "u 1",
    "error.type": "ValueError",
}
NAME = ("GET /search?q=WORDS", "GET /search")


def recorded_with(what: dict[str, Any]) -> dict[str, Any]:
    """As an instrumentation would record them, next to a few that stay."""
    return {"spanledger.data_class": "restricted", "http.request.method": "GET", **what}
