"""Alerts against real receivers on loopback: each change is told once, signed, and never again after a restart."""

import email
import hashlib
import hmac
import json
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from live import LiveCollector
from otlp_kit import S, chat, request


class WebhookReceiver:
    """Remembers what it got; answers with `statuses` in turn, then 200."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status = receiver.statuses.pop(0) if receiver.statuses else 200
                if status == 200:
                    receiver.got.append(({key.lower(): value for key, value in self.headers.items()}, body))
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Be quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.got]


class MailReceiver:
    """The least of SMTP that a real client accepts."""

    def __init__(self) -> None:
        self.mails: list[Any] = []
        receiver = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(b"220 test\r\n")
                while line := self.rfile.readline():
                    word = line[:4].upper().strip()
                    if word == b"DATA":
                        self.wfile.write(b"354 go on\r\n")
                        lines = []
                        while (part := self.rfile.readline()) != b".\r\n":
                            lines.append(part)
                        receiver.mails.append(email.message_from_bytes(b"".join(lines)))
                        self.wfile.write(b"250 ok\r\n")
                    elif word == b"QUIT":
                        self.wfile.write(b"221 bye\r\n")
                        return
                    else:
                        self.wfile.write(b"250 ok\r\n")

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"smtp://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def hook() -> Iterator[WebhookReceiver]:
    receiver = WebhookReceiver()
    yield receiver
    receiver.stop()


@pytest.fixture(scope="module")
def mail() -> Iterator[MailReceiver]:
    receiver = MailReceiver()
    yield receiver
    receiver.stop()


@pytest.fixture(scope="module")
def alerting(hook: WebhookReceiver, mail: MailReceiver) -> Iterator[LiveCollector]:
    live = LiveCollector(alert_webhook_allow_private=True, smtp_url=mail.url)
    yield live
    live.stop()


def until(condition: Callable[[], Any], seconds: float = 20) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def spend(live: LiveCollector, project: str, trace: int, tokens: int, ago: float = 5.0, model: str = "gpt-4o") -> None:
    live.send(request(S(1, trace=trace, attrs=chat(model, tokens, 0), end=0.5), at=time.time() - ago), project)


def make_rule(live: LiveCollector, project: str, **rule: Any) -> dict[str, Any]:
    body = {"measure": "cost_usd", "window": "1h", "threshold": "1.00", **rule}
    response = live.http.post("/api/v1/alerts/rules", json=body, headers={"x-spanledger-project": project})
    assert response.status_code == 201, response.text
    return dict(response.json())


def events(live: LiveCollector, project: str) -> list[dict[str, Any]]:
    return list(live.get("/api/v1/alerts/events", project)["events"])


def test_spending_past_the_limit_fires_once_signed_and_by_mail(
    alerting: LiveCollector, hook: WebhookReceiver, mail: MailReceiver, project: str
) -> None:
    rule = make_rule(alerting, project, name="Hourly spend", webhooks=[hook.url], emails=["oncall@example.com"])
    spend(alerting, project, 1, 300_000)
    time.sleep(1.0)
    assert events(alerting, project) == [], "0.75 USD is below the limit"
    spend(alerting, project, 2, 300_000)
    until(lambda: [message for message in hook.messages if message["project"] == project])
    until(lambda: mail.mails)
    time.sleep(1.5)
    told = [(headers, body) for headers, body in hook.got if json.loads(body)["project"] == project]
    assert len(told) == 1, "told once, however often it is evaluated"
    headers, body = told[0]
    message = json.loads(body)
    assert (message["event"], message["value"], message["threshold"]) == ("fired", 1.5, 1.0)
    assert message["summary"] == "Cost over 1h was $1.50 (limit > $1.00)"
    stamp, signature = (part.split("=")[1] for part in headers["x-spanledger-signature"].split(","))
    wanted = hmac.new(rule["signing_secret"].encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    assert hmac.compare_digest(signature, wanted)
    assert "signing_secret" not in alerting.get("/api/v1/alerts/rules", project)["rules"][0], "shown once"
    (letter,) = mail.mails
    assert (letter["To"], letter["Subject"]) == ("oncall@example.com", "[Spanledger] warning: Hourly spend fired")
    (event,) = until(lambda: [event for event in events(alerting, project) if event["delivery"]])
    assert set(event["delivery"].values()) == {"delivered"}
    assert alerting.get("/api/v1/alerts/rules", project)["rules"][0]["state"] == "firing"


def test_it_resolves_once_when_the_window_has_passed(alerting: LiveCollector, hook: WebhookReceiver, project: str) -> None:
    make_rule(alerting, project, window="1m", webhooks=[hook.url])
    spend(alerting, project, 1, 800_000, ago=55.0)
    until(lambda: len(events(alerting, project)) == 2, 25)
    assert [event["kind"] for event in events(alerting, project)] == ["resolved", "fired"]
    until(lambda: [m["event"] for m in hook.messages if m["project"] == project] == ["fired", "resolved"])


def test_groups_fire_on_their_own(alerting: LiveCollector, project: str) -> None:
    make_rule(alerting, project, group_by=["model"])
    spend(alerting, project, 1, 800_000)
    spend(alerting, project, 2, 800_000, model="gpt-4o-mini")
    until(lambda: events(alerting, project))
    time.sleep(0.8)
    (event,) = events(alerting, project)
    assert event["group"] == {"model": "gpt-4o"}
    (rule,) = alerting.get("/api/v1/alerts/rules", project)["rules"]
    assert {tuple(group["group"].values()): group["state"] for group in rule["groups"]} == {
        ("gpt-4o",): "firing",
        ("gpt-4o-mini",): "ok",
    }


def test_few_interactions_are_no_reason_to_alarm(alerting: LiveCollector, project: str) -> None:
    make_rule(alerting, project, min_interactions=2)
    spend(alerting, project, 1, 800_000)
    time.sleep(1.2)
    assert alerting.get("/api/v1/alerts/rules", project)["rules"][0]["state"] == "no_data"
    spend(alerting, project, 2, 10)
    until(lambda: events(alerting, project))


def test_a_receiver_that_is_away_for_a_moment_still_hears_it(
    alerting: LiveCollector, hook: WebhookReceiver, project: str
) -> None:
    hook.statuses[:] = [503]
    make_rule(alerting, project, webhooks=[hook.url])
    spend(alerting, project, 1, 800_000)
    until(lambda: [message for message in hook.messages if message["project"] == project])


def test_a_restart_neither_fires_again_nor_forgets(hook: WebhookReceiver) -> None:
    live = LiveCollector(alert_webhook_allow_private=True)
    try:
        make_rule(live, "restarted", webhooks=[hook.url])
        spend(live, "restarted", 1, 800_000)
        until(lambda: [message for message in hook.messages if message["project"] == "restarted"])
        until(lambda: events(live, "restarted")[0]["delivery"])
        live.restart()
        until(lambda: live.get("/api/v1/alerts/rules", "restarted")["rules"][0]["last_evaluated_at"])
        time.sleep(1.0)
        assert [event["kind"] for event in events(live, "restarted")] == ["fired"]
        assert live.get("/api/v1/alerts/rules", "restarted")["rules"][0]["state"] == "firing"
        assert len([message for message in hook.messages if message["project"] == "restarted"]) == 1
    finally:
        live.stop()


def test_private_addresses_are_refused_unless_allowed(collector: LiveCollector, hook: WebhookReceiver, project: str) -> None:
    make_rule(collector, project, webhooks=[hook.url])
    spend(collector, project, 1, 800_000)
    (event,) = until(lambda: [event for event in events(collector, project) if event["delivery"]])
    assert "private address" in event["delivery"][hook.url]
    assert not [message for message in hook.messages if message["project"] == project]


def test_the_preview_is_what_the_evaluator_would_have_done(alerting: LiveCollector, project: str) -> None:
    for trace, ago in ((1, 6_000.0), (2, 5_900.0), (3, 1_000.0)):
        spend(alerting, project, trace, 300_000, ago=ago)
    alerting.settled()
    rule = {"measure": "cost_usd", "window": "10m", "threshold": "1.00"}
    start = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 7_200))
    response = alerting.http.post(
        "/api/v1/alerts/preview", json={**rule, "start": start}, headers={"x-spanledger-project": project}
    )
    preview = response.json()
    assert len(preview["fires"]) == 1
    assert preview["fires"][0]["to"] is not None
    assert max(point["interactions"] for point in preview["points"]) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"measure": "cost"}, "unknown measure"),
        ({"window": "soon"}, "window is"),
        ({"threshold": "much"}, "threshold is a number"),
        ({"threshold": "NaN"}, "out of range"),
        ({"comparison": "~"}, "comparison is one of"),
        ({"webhooks": ["file:///etc/passwd"]}, "not an http"),
        ({"emails": ["a@b.c\nBcc: x@y.z"]}, "not an e-mail"),
        ({"group_by": ["colour"]}, "unknown dimension"),
        ({"colour": 1}, "no field"),
        ({"measure": "ttft_p50_s", "group_by": ["confidence_source"]}, "measured on calls"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_rules_that_cannot_be_meant_are_refused(alerting: LiveCollector, change: dict[str, Any], words: str) -> None:
    body = {"measure": "cost_usd", "window": "1h", "threshold": "1.00", **change}
    response = alerting.http.post("/api/v1/alerts/rules", json=body)
    assert response.status_code == 422
    assert words in response.json()["detail"]


def test_rules_can_be_changed_and_deleted(alerting: LiveCollector, project: str) -> None:
    headers = {"x-spanledger-project": project}
    rule = make_rule(alerting, project)
    address = f"/api/v1/alerts/rules/{rule['id']}"
    spend(alerting, project, 1, 800_000)
    until(lambda: events(alerting, project))
    changed = alerting.http.put(address, json={**rule, "threshold": "5"}, headers=headers)
    assert (changed.status_code, changed.json()["threshold"]) == (200, "5")
    assert [event["kind"] for event in events(alerting, project)] == ["resolved", "fired"]
    assert alerting.http.delete(address, headers=headers).status_code == 204
    assert alerting.get("/api/v1/alerts/rules", project)["rules"] == []
    assert alerting.http.delete(address, headers=headers).status_code == 404


def test_a_rule_deleted_while_it_fires_is_resolved_and_says_why(alerting: LiveCollector, project: str) -> None:
    rule = make_rule(alerting, project)
    spend(alerting, project, 1, 800_000)
    until(lambda: events(alerting, project))
    address = f"/api/v1/alerts/rules/{rule['id']}"
    assert alerting.http.delete(address, headers={"x-spanledger-project": project}).status_code == 204
    assert next((event["kind"], event["summary"]) for event in events(alerting, project)) == ("resolved", "The rule was deleted")


def test_a_preview_of_the_year_one_is_refused_in_words(alerting: LiveCollector, project: str) -> None:
    asked = {"name": "p", "measure": "cost_usd", "window": "90d", "comparison": ">", "threshold": "0"}
    asked |= {"start": "0001-01-01T00:00:00Z", "end": "0001-01-02T00:00:00Z"}
    answer = alerting.http.post("/api/v1/alerts/preview", json=asked, headers={"x-spanledger-project": project})
    assert (answer.status_code, answer.json()["detail"]) == (422, "start lies before end.")
