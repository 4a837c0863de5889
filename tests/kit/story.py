"""One story, told to any collector over HTTP: what it answers must not depend on where its store is.

Recorded payloads of every instrumentation and made traffic with prices, judgements, twins and late parts; then every kind of
question. `tell` gives the answers without what differs from run to run (ids that the collector draws, times of arrival).
"""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import httpx
from otlp_kit import DATA, S, request, span_hex, trace_hex

PROJECT = "shop"
DAY = 86_400
USERS = ("ann", "ben", "cleo")
PROTOBUF = {"content-type": "application/x-protobuf"}
MEASURES = ["interactions", "spans", "generations", "cost_usd", "input_tokens", "output_tokens", "failures", "feedback_count"]
QUESTIONS: list[dict[str, Any]] = [
    {"measures": MEASURES},
    {"measures": MEASURES, "dimensions": ["model"]},
    {"measures": MEASURES, "dimensions": ["user"], "granularity": "day"},
    {"measures": ["interactions", "cost_usd", "input_tokens"], "dimensions": ["provider", "operation"]},
    {"measures": ["interactions", "cost_usd", "cost_p95_usd"], "dimensions": ["kind", "feature"], "granularity": "hour"},
    {"measures": ["cost_usd", "priced_share", "unpriced_generations"], "dimensions": ["app", "model"]},
    {"measures": ["interactions", "cost_usd"], "dimensions": ["tag:tier", "failure_mode"]},
    {"measures": ["confidence_mean", "confidence_p10"], "dimensions": ["confidence_source"]},
    {"measures": ["spans"], "dimensions": ["span_kind"]},
    {"measures": ["interactions", "cost_usd"], "filters": [{"dimension": "model", "op": "in", "values": ["gpt-4o"]}]},
    {"measures": ["interactions", "input_tokens"], "filters": [{"dimension": "provider", "op": "in", "values": ["openai"]}]},
    {"measures": ["interactions", "feedback_positive_rate"], "dimensions": ["feedback_name", "feedback_source"]},
]
DRAWN = {"at", "changed_at", "created_at", "erased_at", "hash", "id", "previous"}
ARRIVED = re.compile(r"@\d{4}-\d\d-\d\dT[\d:.]+Z")
"""In the version of a price: when it was set."""


def chat(user: str, number: int, model: str) -> dict[str, Any]:
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": model,
        "gen_ai.response.id": f"resp-{number}",
        "gen_ai.usage.input_tokens": 1_000 + number,
        "gen_ai.usage.output_tokens": 100,
        "gen_ai.input.messages": f'[{{"role":"user","parts":[{{"type":"text","content":"from {user}, it\'s \\u00fc"}}]}}]',
        "user.id": user,
        "spanledger.tag.tier": ("free", "pro")[number % 2],
    }


def traffic(at: float) -> tuple[list[tuple[str, bytes]], list[tuple[str, bytes]]]:
    """Requests of forty traces over three days, with retries, failures, twins, and children that come before their parents."""
    bodies: list[tuple[str, bytes]] = []
    late: list[tuple[str, bytes]] = []
    for day in range(3):
        for first in (1 + day, 19 + day):
            numbers = range(first, min(first + 18, 41), 3)
            spans = [span for number in numbers for span in steps(number)]
            bodies.append(("/v1/traces", request(*spans, at=at - day * DAY)))
            late.append(("/v1/traces", request(*map(root, numbers), at=at - day * DAY)))
    return [*bodies, bodies[0], bodies[-1]], late


def root(number: int) -> S:
    """What the forty traces begin with, and what comes last."""
    attrs = {"spanledger.interaction": "answer", "user.id": USERS[number % 3]}
    return S(1, trace=number, name="answer", attrs=attrs, start=number, end=number + 1.0)


def steps(number: int) -> list[S]:
    """What happens in one of them."""
    user, model = USERS[number % 3], ("gpt-4o", "gpt-4o-mini", "no-such-model")[number % 7 % 3]
    attrs = chat(user, number, model)
    spans = [S(2, 1, trace=number, name="chat", attrs=attrs, start=number + 0.1, end=number + 0.9)]
    if number % 5 == 0:
        failed = {**attrs, "error.type": "429", "http.response.status_code": 429}
        spans.append(S(3, 1, trace=number, name="chat", attrs=failed, status=2, start=number, end=number + 0.05))
    if number % 8 == 0:
        again = {"trace": number, "name": "chat", "scope": "another.client", "start": number, "end": number + 0.95}
        spans.append(S(4, 1, attrs=attrs, **again))
    return spans


def recorded(every: int) -> list[tuple[str, bytes]]:
    """Of every so-manieth instrumentation one payload, with its log records where it has them."""
    found = []
    for folder in sorted(DATA.iterdir())[::every]:
        first = sorted(path for path in folder.glob("*.pb") if not path.name.endswith(".logs.pb"))[0]
        found.append(("/v1/traces", first.read_bytes()))
        if (logs := first.with_suffix(".logs.pb")).exists():
            found.append(("/v1/logs", logs.read_bytes()))
    return found


class Teller:
    """Speaks to one collector."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=60, headers={"x-spanledger-project": PROJECT})

    def send(self, path: str, body: bytes) -> None:
        sent = self.http.post(path, content=body, headers=PROTOBUF)
        assert sent.status_code == 200, sent.text

    def call(self, method: str, path: str, **more: Any) -> Any:
        answer = self.http.request(method, path, **more)
        assert answer.status_code in (200, 201), (path, answer.text)
        return answer.json()

    def ask(self, query: dict[str, Any]) -> list[list[Any]]:
        rows = self.call("POST", "/api/v1/query", json=query)["rows"]
        return sorted(rows, key=str)

    def settled(self, within_s: float = 30) -> None:
        """Wait until nothing is on its way, and the totals stand still."""
        deadline, before = time.monotonic() + within_s, None
        while True:
            said = self.call("GET", "/api/v1/status")
            now = self.ask({"measures": MEASURES}) if not said["pending_traces"] and not said["waiting_spans"] else None
            if now is not None and now == before:
                return
            before = now
            assert time.monotonic() < deadline, said
            time.sleep(0.4)


def plain(value: Any, *more: str) -> Any:
    """An answer without what differs from run to run, and without `more`."""
    if isinstance(value, dict):
        return {key: plain(item, *more) for key, item in sorted(value.items()) if key not in DRAWN and key not in more}
    if isinstance(value, list):
        return [plain(item, *more) for item in value]
    return ARRIVED.sub("", value) if isinstance(value, str) else value


def tell(url: str, at: float, every: int = 1) -> dict[str, Any]:
    """The whole story; every answer by name. Of the recorded instrumentations it tells `every` so-manieth."""
    teller = Teller(url)
    call = teller.call
    answers: dict[str, Any] = {}
    price = {"provider": "openai", "model": "no-such-model", "prices": {"input": "1.5", "output": "3"}}
    call("POST", "/api/v1/prices", json=price)
    bodies, late = traffic(at)
    for part in (recorded(every), bodies, late):
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda sent: teller.send(*sent), part))
    judged = [
        {"id": f"j{n}", "trace_id": trace_hex(n), "name": "helpful", "value": n % 4 != 0, "user": USERS[n % 3]}
        for n in range(1, 31)
    ]
    call(
        "POST",
        "/api/v1/feedback",
        json=[*judged, {"id": "k2", "trace_id": trace_hex(2), "span_id": span_hex(2), "name": "ok", "value": True}],
    )
    teller.settled()
    answers["totals"] = [teller.ask(question) for question in QUESTIONS]
    answers["pages"] = pages(teller)
    for number in (5, 8, 10):
        detail = call("GET", f"/api/v1/interactions/{trace_hex(number)}")
        answers[f"judged {number}"] = plain(detail.pop("feedback"), "time")
        answers[f"detail {number}"] = plain(detail)
    window = {"start": iso(at - 1.5 * DAY), "end": iso(at + DAY)}
    for name in ("changes", "distribution", "waste", "caching", "month"):
        answers[name] = plain(call("POST", f"/api/v1/costs/{name}", json=window))
    preview = {"measure": "cost_usd", "window": "1h", "threshold": "0.001", "start": iso(at - DAY), "end": iso(at + 3_600)}
    answers["preview"] = plain(call("POST", "/api/v1/alerts/preview", json=preview))
    for path in ("dimensions/model/values", "dimensions/user/values", "tags", "projects", "drift", "prices", "prices/history"):
        answers[path] = plain(call("GET", f"/api/v1/{path}"))
    answers["erased"] = plain(call("POST", "/api/v1/erasures", json={"user": "ben"}))
    teller.settled()
    answers["left"] = [teller.ask(question) for question in QUESTIONS[:4]]
    answers["kept"] = call("PUT", f"/api/v1/projects/{PROJECT}", json={"numbers_days": 100, "content_days": 7})
    answers["audit"] = plain(call("GET", "/api/v1/audit")["entries"], "time")
    answers["chain"] = call("GET", "/api/v1/audit/verify")
    answers["keys"] = keys(teller)
    teller.http.close()
    return answers


def pages(teller: Teller) -> list[Any]:
    """All interactions, page by page."""
    items: list[Any] = []
    cursor = None
    while True:
        asked = {"limit": 50, "order": "-cost_usd"} | ({"cursor": cursor} if cursor else {})
        page = teller.call("GET", "/api/v1/interactions", params=asked)
        items += [{"id": item["id"], **plain(item)} for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            return items


def keys(teller: Teller) -> list[Any]:
    """Keys are made, used, replaced and ended; the last thing that is told, since nobody comes in without one any more."""
    made = teller.call("POST", "/api/v1/keys", json={"scopes": ["admin"], "name": "me"})
    assert teller.http.get("/api/v1/status").status_code == 401
    teller.http.headers["authorization"] = f"Bearer {made['key']}"
    other = teller.call("POST", "/api/v1/keys", json={"scopes": ["read"], "name": "page"})
    teller.call("POST", f"/api/v1/keys/{other['id']}/rotate", json={})
    assert teller.http.delete(f"/api/v1/keys/{other['id']}").status_code in (200, 204)
    return [[key["name"], key["scopes"], key["state"]] for key in teller.call("GET", "/api/v1/keys")["keys"]]


def iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
