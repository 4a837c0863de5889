"""A dashboard acts for the people who sign in to it: what they may do is decided here, and the audit log names them."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from live import LiveCollector
from otlp_kit import S, chat, request, trace_hex

from spanledger.client import Client, Unauthorized

ADMIN = "sl-first-key"
RULE = {"name": "r", "measure": "cost_usd", "window": "1h", "comparison": ">", "threshold": "1"}


@pytest.fixture(scope="module")
def live() -> Iterator[LiveCollector]:
    collector = LiveCollector(bootstrap_key=ADMIN)
    yield collector
    collector.stop()


def make(live: LiveCollector, *scopes: str, project: str = "p") -> dict[str, Any]:
    body = {"name": "the dashboard", "scopes": list(scopes), "project": project}
    response = live.http.post("/api/v1/keys", json=body, headers={"authorization": f"Bearer {ADMIN}"})
    assert response.status_code == 201, response.text
    return dict(response.json())


def ask(live: LiveCollector, method: str, path: str, key: str, **more: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}", **more.pop("headers", {})}
    return live.http.request(method, path, headers=headers, **more)


def test_whoever_has_a_key_learns_what_it_permits_and_nothing_of_others(live: LiveCollector) -> None:
    key = make(live, "read")
    assert ask(live, "GET", "/api/v1/me", key["key"]).json() == {
        "actor": f"key:{key['id']}",
        "name": "the dashboard",
        "project": "p",
        "scopes": ["read"],
        "is_keyless": False,
    }
    assert ask(live, "GET", "/api/v1/me", "sl-wrong").status_code == 401
    assert "act_for" not in ask(live, "GET", "/api/v1/me", make(live, "admin")["key"]).json()["scopes"]


def test_only_a_key_that_may_is_believed_when_it_names_a_person(live: LiveCollector) -> None:
    person = {"x-spanledger-person": "ada@example.com"}
    for scopes in (["read"], ["admin"], ["ingest", "read_content", "review"]):
        refused = ask(live, "GET", "/api/v1/me", make(live, *scopes)["key"], headers=person)
        assert (refused.status_code, "act_for" in refused.json()["detail"]) == (403, True), scopes
    key = make(live, "read", "act_for")
    assert ask(live, "GET", "/api/v1/me", key["key"], headers=person).json()["actor"] == f"ada@example.com by key:{key['id']}"
    keyless = LiveCollector()
    try:
        assert keyless.http.get("/api/v1/me", headers=person).status_code == 403
        assert keyless.http.get("/api/v1/me").json()["is_keyless"] is True
    finally:
        keyless.stop()


@pytest.mark.parametrize("name", ["", "a b", "a" * 201, "a%0ab", "%E2%80%AEb", "a%20by%20key:x", "\u00e9"])
def test_a_person_s_name_cannot_forge_an_entry(live: LiveCollector, name: str) -> None:
    key = make(live, "admin", "act_for")
    raw = quote(name, safe="%") if name.isascii() else name.encode()
    refused = ask(live, "GET", "/api/v1/me", key["key"], headers={"x-spanledger-person": raw})
    if name == "\u00e9":
        assert refused.status_code == 200
    else:
        assert refused.status_code == 400, refused.text


def test_a_person_may_do_what_both_the_person_and_the_key_may(live: LiveCollector) -> None:
    key = make(live, "admin", "act_for")["key"]

    def scopes(given: str, with_key: str = key) -> Any:
        headers = {"x-spanledger-person": "ada", "x-spanledger-person-scopes": given}
        answer = ask(live, "GET", "/api/v1/me", with_key, headers=headers)
        return answer.json().get("scopes", answer.status_code)

    assert scopes("read") == ["read"]
    nameless = ask(live, "GET", "/api/v1/me", key, headers={"x-spanledger-person-scopes": "read"})
    assert nameless.status_code == 400, "not the key itself, which may everything"
    assert scopes("read act_for") == ["read"], "nobody acts for others through somebody else"
    assert scopes("") == []
    assert scopes("read everything") == 400
    assert scopes("admin read", make(live, "read", "act_for")["key"]) == ["read"]
    viewer = {"x-spanledger-person": "ada", "x-spanledger-person-scopes": "read", "x-spanledger-project": "p"}
    refused = ask(live, "POST", "/api/v1/alerts/rules", key, json=RULE, headers=viewer)
    assert (refused.status_code, "This person" in refused.json()["detail"]) == (403, True)
    other = ask(
        live, "GET", "/api/v1/status", make(live, "read", "act_for")["key"], headers={**viewer, "x-spanledger-project": "q"}
    )
    assert other.status_code == 403, "the key's project stays the key's"


def test_the_person_is_in_the_audit_log_for_changes_and_reads_of_content(live: LiveCollector) -> None:
    key = make(live, "admin", "act_for")
    body = request(S(1, attrs=chat(gen_ai__input__messages='[{"role":"user","content":"hush"}]')))
    sent = ask(
        live,
        "POST",
        "/v1/traces",
        ADMIN,
        content=body,
        headers={"content-type": "application/x-protobuf", "x-spanledger-project": "people"},
    )
    assert sent.status_code == 200
    live.settled()
    with Client(live.url, api_key=key["key"], person="ada@example.com", person_scopes=["read", "read_content"]) as ada:
        assert "hush" in str(ada.interaction(trace_hex(1), project="people"))
        with pytest.raises(Unauthorized, match="scope admin"):
            ada.create_alert_rule(RULE, project="people")
    with Client(live.url, api_key=key["key"], person="bob@example.com", person_scopes=["admin"]) as bob:
        bob.create_alert_rule(RULE, project="people")
    with Client(live.url, api_key=key["key"], person="eve@example.com", person_scopes=["read"]) as eve:
        assert "hush" not in str(eve.interaction(trace_hex(1), project="people"))
    entries = ask(live, "GET", "/api/v1/audit?project=people", ADMIN).json()["entries"]
    by = f"by key:{key['id']}"
    assert [(entry["actor"], entry["action"]) for entry in entries] == [
        (f"bob@example.com {by}", "POST admin"),
        (f"ada@example.com {by}", "read content"),
    ]
    assert ask(live, "GET", "/api/v1/audit/verify", ADMIN).json()["is_whole"]
