"""What each route needs, a line per route. One without a line needs an admin key, and fails the test that walks the routes."""

import re
from functools import lru_cache
from typing import Final, NamedTuple

OPEN: Final = "open"
"""No key: liveness and readiness, and the description of the API, which holds nothing of anybody."""
ANY: Final = "any"
"""Any valid key, whatever its scopes."""


class Rule(NamedTuple):
    """The scope that a route needs, and whether using it is a change that the audit log keeps."""

    scope: str
    is_change: bool = False


_READ: Final = Rule("read")
_CHANGE: Final = Rule("admin", is_change=True)
RULES: Final[dict[tuple[str, str], Rule]] = {
    ("POST", "/v1/traces"): Rule("ingest"),
    ("POST", "/v1/logs"): Rule("ingest"),
    ("POST", "/v1/metrics"): Rule("ingest"),
    ("POST", "/api/v1/feedback"): Rule("feedback"),
    ("POST", "/api/v1/query"): _READ,
    ("GET", "/api/v1/catalogue"): _READ,
    ("GET", "/api/v1/dimensions/{dimension}/values"): _READ,
    ("GET", "/api/v1/tags"): _READ,
    ("GET", "/api/v1/projects"): _READ,
    ("PUT", "/api/v1/projects/{name}"): _CHANGE,
    ("GET", "/api/v1/projects/{name}/data-rules"): _READ,
    ("PUT", "/api/v1/projects/{name}/data-rules"): Rule("admin"),
    ("POST", "/api/v1/erasures"): Rule("admin"),
    ("GET", "/api/v1/backups"): Rule("admin"),
    ("POST", "/api/v1/backups"): _CHANGE,
    ("GET", "/api/v1/interactions"): _READ,
    ("GET", "/api/v1/interactions/{identity}"): _READ,
    ("POST", "/api/v1/costs/changes"): _READ,
    ("POST", "/api/v1/costs/distribution"): _READ,
    ("POST", "/api/v1/costs/waste"): _READ,
    ("POST", "/api/v1/costs/caching"): _READ,
    ("POST", "/api/v1/costs/what-if"): _READ,
    ("POST", "/api/v1/costs/month"): _READ,
    ("POST", "/api/v1/costs/reconcile"): _READ,
    ("POST", "/api/v1/prices/quote"): _READ,
    ("GET", "/api/v1/prices"): _READ,
    ("PUT", "/api/v1/prices"): _CHANGE,
    ("POST", "/api/v1/prices"): _CHANGE,
    ("DELETE", "/api/v1/prices/{price_id}"): _CHANGE,
    ("GET", "/api/v1/prices/history"): _READ,
    ("GET", "/api/v1/prices/resolve"): _READ,
    ("GET", "/api/v1/prices/check"): _READ,
    ("GET", "/api/v1/prices/diff"): _READ,
    ("GET", "/api/v1/prices/models"): _READ,
    ("GET", "/api/v1/reprices"): _READ,
    ("POST", "/api/v1/reprices"): _CHANGE,
    ("GET", "/api/v1/reprices/{reprice_id}"): _READ,
    ("GET", "/api/v1/quarantine"): _READ,
    ("POST", "/api/v1/quarantine/replay"): _CHANGE,
    ("POST", "/api/v1/quarantine/drop"): _CHANGE,
    ("GET", "/api/v1/alerts/rules"): _READ,
    ("POST", "/api/v1/alerts/rules"): _CHANGE,
    ("PUT", "/api/v1/alerts/rules/{rule_id}"): _CHANGE,
    ("DELETE", "/api/v1/alerts/rules/{rule_id}"): _CHANGE,
    ("POST", "/api/v1/alerts/preview"): _READ,
    ("GET", "/api/v1/alerts/events"): _READ,
    ("GET", "/api/v1/drift"): _READ,
    ("POST", "/api/v1/store/accept-loss"): _CHANGE,
    ("GET", "/api/v1/status"): _READ,
    ("GET", "/metrics"): Rule("admin"),
    ("GET", "/api/v1/me"): Rule(ANY),
    ("GET", "/api/v1/keys"): Rule("admin"),
    ("POST", "/api/v1/keys"): _CHANGE,
    ("POST", "/api/v1/keys/{key_id}/rotate"): _CHANGE,
    ("PATCH", "/api/v1/keys/{key_id}"): _CHANGE,
    ("DELETE", "/api/v1/keys/{key_id}"): _CHANGE,
    ("GET", "/api/v1/audit"): Rule("admin"),
    ("GET", "/api/v1/audit/verify"): Rule("admin"),
    ("GET", "/healthz"): Rule(OPEN),
    ("GET", "/readyz"): Rule(OPEN),
    ("GET", "/openapi.json"): Rule(OPEN),
    ("GET", "/docs"): Rule(OPEN),
    ("GET", "/docs/oauth2-redirect"): Rule(OPEN),
}
_PATTERNS: Final = [
    (method, re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), rule) for (method, path), rule in RULES.items() if "{" in path
]
_UNKNOWN: Final = Rule("admin", is_change=True)


@lru_cache(maxsize=4_096)
def rule_of(method: str, path: str) -> Rule:
    """The rule of a request; what no line names needs an admin key."""
    method = "GET" if method == "HEAD" else method
    if (exact := RULES.get((method, path))) is not None:
        return exact
    return next((rule for verb, pattern, rule in _PATTERNS if verb == method and pattern.fullmatch(path)), _UNKNOWN)
