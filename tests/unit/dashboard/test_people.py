"""Who comes in with what role: the sign-in file, claims, and the door's pages over a collector that asks for keys."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from spanledger_dashboard import people, sign_in_file, way_back
from spanledger_dashboard.cli import openness, sign_in_problem
from spanledger_dashboard.people import Person, SignInError, Stranger, admit, is_over, read_sign_in
from spanledger_dashboard.server import allowed_hosts
from spanledger_dashboard.visits import Door, Visits

FILE = """
[auth]
redirect_uri = "https://ledger.example.com/oauth2callback"
cookie_secret = "0123456789abcdef0123456789abcdef"
client_id = "spanledger"
client_secret = "hush-hush"
server_metadata_url = "https://id.example.com/.well-known/openid-configuration"
[sign_in]
groups_claim = "realm_access.roles"
[roles.viewer]
domains = ["Example.com"]
[roles.admin]
emails = ["Ada@example.com"]
[roles.auditor]
scopes = ["read", "read_content"]
groups = ["compliance"]
"""


def config(text: str = FILE) -> people.SignIn:
    return read_sign_in(tomllib.loads(text))


def claims(email: str | None = "eve@example.com", **more: Any) -> dict[str, Any]:
    return {"sub": "u-1", "email_verified": True, **({"email": email} if email else {}), **more}


def test_roles_come_from_address_domain_and_group_and_add_up() -> None:
    assert admit(config(), claims()) == Person("eve@example.com", ("viewer",), frozenset({"read"}))
    ada = admit(config(), claims("ADA@Example.com"))
    assert ada == Person("ada@example.com", ("viewer", "admin"), frozenset(people.SCOPES))
    auditor = admit(config(), claims("bob@elsewhere.org", realm_access={"roles": ["compliance", 7]}))
    assert auditor == Person("bob@elsewhere.org", ("auditor",), frozenset({"read", "read_content"}))
    flat = FILE.replace("realm_access.roles", "https://example.com/groups")
    assert isinstance(admit(config(flat), claims("b@c.d", **{"https://example.com/groups": "compliance"})), Person)


@pytest.mark.parametrize(
    "given",
    [
        claims("eve@elsewhere.org"),
        claims("eve@notexample.com"),
        claims("eve@sub.example.com"),
        claims("eve@example.com@elsewhere.org"),
        claims("eve@example.com", email_verified=False),
        {"sub": "u-1", "email": "ada@example.com"},
        claims(None),
        {},
        claims("a b@example.com"),
        claims("ada@example.com\n", sub=None, email_verified=0),
        claims(None, realm_access={"roles": "Compliance"}),
        claims(None, realm_access=["compliance"]),
        claims(None, groups=["compliance"]),
    ],
)
def test_who_is_not_named_gets_in_nowhere(given: dict[str, Any]) -> None:
    found = admit(config(), given)
    assert isinstance(found, Stranger)
    assert found.reason


def test_an_address_that_nobody_verified_is_a_name_for_nothing() -> None:
    trusting = config(FILE.replace("[sign_in]", "[sign_in]\ntrust_unverified_email = true"))
    assert isinstance(admit(trusting, {"email": "ada@example.com"}), Person), "where the provider never says, and is trusted"
    assert isinstance(admit(trusting, claims("ada@example.com", email_verified=False)), Stranger), "where it says no"
    by_group = admit(config(), {"sub": "u-7", "email": "ada@example.com", "realm_access": {"roles": ["compliance"]}})
    assert isinstance(by_group, Person)
    assert by_group.name == "sub:u-7", "the audit log must not name somebody else"


def test_a_letter_that_looks_like_another_is_another() -> None:
    mike = config(FILE.replace('emails = ["', 'emails = ["mike@elsewhere.org", "'))
    assert isinstance(admit(mike, claims("Mike@Elsewhere.ORG")), Person)
    assert isinstance(admit(mike, claims("mi\u212ae@elsewhere.org")), Stranger), "the Kelvin sign is a k in small letters"


def test_a_sign_in_ends() -> None:
    assert not is_over(config(), {"iat": 1_000}, 1_000 + 12 * 3_600)
    assert is_over(config(), {"iat": 1_000}, 1_001 + 12 * 3_600)
    for unknown in ({}, {"iat": "1000"}, {"iat": True}):
        assert is_over(config(), unknown, 1_000.0)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[roles.auditor]\nscopes", "[roles.auditor]\n# ", "says its scopes"),
        ('"read_content"]', '"everything"]', "no scope 'everything'"),
        ('"read_content"]', '"act_for"]', "no scope 'act_for'"),
        ("/oauth2callback", "/", "redirect_uri"),
        ("0123456789abcdef0123456789abcdef", "short", "cookie_secret"),
        ("client_secret", "secret", "client_secret"),
        ("Example.com", "*.example.com", "without wildcards"),
        ("Ada@example.com", "Ada", "no e-mail address"),
        ("[sign_in]", "[sign_in]\nhours = 3", "no 'hours'"),
        ("[sign_in]", "[sign_in]\nsession_hours = 0", "session_hours"),
        ('groups = ["compliance"]', 'groups = "compliance"', "list of texts"),
        ("[roles.viewer]", "[rolls.viewer]", "no 'rolls'"),
        ("[roles.auditor]", "[roles.auditor]\npeople = []", "no 'people'"),
        ("[auth]", "[auth]\nexpose_tokens = 'id'", "expose_tokens"),
        ("client_id", "[auth.my_idp]\nclient_id", "no underscore"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused_with_the_reason(old: str, new: str, words: str) -> None:
    assert old in FILE
    text = FILE.replace(old, new, 1)
    if words == "says its scopes":
        text = text.replace('#  = ["read", "read_content"]', "")
    with pytest.raises(SignInError, match=words):
        config(text)
    with pytest.raises(SignInError, match="names anybody"):
        config(FILE.split("[roles.viewer]")[0] + "[roles.viewer]")


def test_secrets_of_the_file_are_in_no_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "hush" not in repr(config())
    broken = tmp_path / "sign-in.toml"
    broken.write_text(FILE.replace('"hush-hush"', "hush-hush"))
    monkeypatch.setenv("SPANLEDGER_API_KEY", "sl_x")
    said = sign_in_problem(broken)
    assert said is not None
    assert "hush" not in said
    assert "is no TOML" in said
    monkeypatch.delenv("SPANLEDGER_API_KEY")
    assert "act_for" in str(sign_in_problem(broken)), "without a key nobody can be acted for"
    with pytest.raises(SignInError, match="cannot be read"):
        sign_in_file.load(tmp_path / "none.toml")


def test_the_dashboard_does_not_start_with_a_file_that_cannot_be_used(tmp_path: Path) -> None:
    import typer

    from spanledger_dashboard.cli import dashboard

    app = typer.Typer()
    app.command()(dashboard)
    (tmp_path / "s.toml").write_text("[auth]")
    result = CliRunner().invoke(app, ["--port", "18599", "--sign-in", str(tmp_path / "s.toml")], env={"SPANLEDGER_API_KEY": "x"})
    assert result.exit_code == 1
    assert "redirect_uri" in result.output or "[roles]" in result.output


def test_a_dashboard_that_others_reach_says_who_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPANLEDGER_API_KEY", "sl_secret")
    assert openness("127.0.0.1", 8501) is None
    assert "with the key in SPANLEDGER_API_KEY" in str(openness("0.0.0.0", 8501))
    assert "secret" not in str(openness("0.0.0.0", 8501))
    monkeypatch.delenv("SPANLEDGER_API_KEY")
    assert "unless the collector has keys" in str(openness("0.0.0.0", 8501))


def test_a_proxy_s_name_is_allowed_beside_the_machine_s_own() -> None:
    assert allowed_hosts("127.0.0.1", people.hosts(config())) == ["127.0.0.1", "localhost", "[::1]", "ledger.example.com"]
    assert allowed_hosts("0.0.0.0", ["ledger.example.com"]) == []


@pytest.mark.parametrize(
    ("path", "query", "found"),
    [
        ("/costs", "range=7d&tag=tier%3Dpro", "/costs?range=7d&tag=tier%3Dpro"),
        ("/", "project=shop", "/?project=shop"),
        ("/", "", None),
        ("//evil.example", "", None),
        ("/\\evil.example", "", None),
        ("/costs/../..", "", None),
        ("/costs", "a b", None),
        ("/costs", "a\r\nset-cookie: x=y", None),
        ("/costs", "x" * 3_000, None),
        ("/_stcore/stream", "", None),
        ("https://evil.example", "", None),
    ],
)
def test_the_way_back_leads_to_our_own_pages_only(path: str, query: str, found: str | None) -> None:
    assert way_back.address(path, query) == found
    given = way_back._cookie(f"{path}?{query}" if query else path, 9).decode().split(";")[0]
    assert way_back.wanted(f"other=1; {given}") == found
    assert way_back.wanted("spanledger_way_back=https%3A%2F%2Fevil.example") is None
    assert way_back.wanted("") is None


def texts(app: Any) -> str:
    kinds = ("text", "caption", "subheader", "error", "badge", "title", "code")
    return "\n".join(str(element.value) for kind in kinds for element in app.get(kind)).replace("\\", "")


def submit(app: Any, key: str) -> None:
    app.text_input(key="given_key").set_value(key)
    app.button[0].click().run()


def test_where_nobody_is_asked_nobody_sees_a_door(open_page: Any) -> None:
    app = open_page()
    assert app.title[0].value == "Overview"
    assert "Signed in" not in texts(app)


def test_a_key_opens_the_door_hides_what_it_may_not_and_closes_behind_it(open_page: Any, world: Any) -> None:
    world.keys = {"sl_viewer": ("read",), "sl_writer": ("ingest",), "sl_admin": ("admin", "read", "read_content")}
    app = open_page()
    assert "Sign in with your key" in texts(app)
    assert not app.title, "nothing of a page is shown"
    assert {path for _, path, _ in world.seen} == {"/api/v1/me"}, "nor asked for"
    for wrong, words in (("sl_wrong", "not valid"), ("  ", "Paste a key"), ("ключ", "only ASCII")):
        submit(app, wrong)
        assert words in texts(app)
    submit(app, "sl_writer")
    assert "may not read here" in texts(app)
    app.button(key="sign_out").click().run()
    submit(app, " sl_viewer ")
    assert app.title[0].value == "Overview"
    assert "Signed in as the key" in texts(app)
    app.switch_page("views/alerts.py").run()
    assert "To make or change rules you need the scope admin" in texts(app)
    assert not [button for button in app.button if button.key == "rule_new"]
    app.switch_page("views/prices.py").run()
    app.button(key="sign_out").click().run()
    assert "Sign in with your key" in texts(app)
    submit(app, "sl_admin")
    app.switch_page("views/alerts.py").run()
    assert [button for button in app.button if button.key == "rule_new"]
    assert not app.exception


def test_a_key_that_ends_while_its_reader_is_there_sends_them_to_the_door(open_page: Any, world: Any) -> None:
    import streamlit as st

    world.keys = {"sl_viewer": ("read",)}
    app = open_page()
    submit(app, "sl_viewer")
    assert app.title[0].value == "Overview"
    world.keys = {}
    app.run()
    assert "no longer valid" in texts(app), "the foot of the sidebar asks each time"
    st.cache_data.clear()
    app.run()
    assert "Sign in with your key" in texts(app)
    assert not app.exception


def test_what_one_reader_saw_is_not_shown_to_the_next(open_page: Any, world: Any) -> None:
    world.keys = {"sl_one": ("read",), "sl_two": ("read",)}
    app = open_page()
    submit(app, "sl_one")
    asked = len(world.seen)
    app.button(key="sign_out").click().run()
    submit(app, "sl_two")
    assert len([path for _, path, _ in world.seen[asked:] if path == "/api/v1/query"]) > 0, "asked anew with the other key"


def test_a_dashboard_whose_own_key_is_wrong_says_so(open_page: Any, world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world.keys = {"sl_right": ("read",)}
    monkeypatch.setenv("SPANLEDGER_API_KEY", "sl_wrong")
    assert "SPANLEDGER_API_KEY to one that is" in texts(open_page())
    monkeypatch.setenv("SPANLEDGER_API_KEY", "sl_right")
    app = open_page()
    assert app.title[0].value == "Overview"
    assert "Signed in" not in texts(app)


def test_a_visit_is_had_for_its_ticket_once_and_ends_after_twelve_idle_hours() -> None:
    visits = Visits()
    visit, ticket = visits.begin("before", "sl_key", 0.0)
    assert visits.is_waiting(ticket, 59.0)
    assert visits.redeem(ticket, "somebody else", 1.0) is None
    assert visits.redeem("no ticket", "before", 1.0) is None
    assert visits.redeem(ticket, "before", 1.0) == visit
    assert visits.redeem(ticket, "before", 1.0) is None
    late = visits.begin("before", "sl_key", 0.0)[1]
    assert visits.redeem(late, "before", 61.0) is None
    for hours in (11, 22, 33):
        assert visits.key(visit, hours * 3_600.0) == "sl_key", "whoever looks stays"
    assert visits.key(visit, 45 * 3_600.0) is None
    other, _ = visits.begin("before", "sl_other", 0.0)
    visits.end(other)
    assert visits.key(other, 1.0) is None
    assert "sl_" not in repr(visits.__dict__)


def test_an_id_is_given_to_pages_only_and_secure_where_the_page_is() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    client = TestClient(Door(app, Visits()), base_url="https://ledger.example")
    assert "set-cookie" not in client.get("/static/logo.png", headers={"accept": "image/*"}).headers
    given = client.get("/costs", headers={"accept": "text/html"}).headers["set-cookie"]
    assert given.endswith("; Path=/; HttpOnly; SameSite=Strict; Secure")
    assert "set-cookie" not in client.get("/costs", headers={"accept": "text/html"}).headers, "it has one"
    assert client.get("/door?ticket=made-up").status_code == 403
    client.cookies.clear()
    forged = client.get("/", headers={"accept": "text/html", "cookie": "spanledger_visit=short"})
    assert len(forged.cookies["spanledger_visit"]) == 43
    plain = TestClient(Door(app, Visits()), base_url="http://ledger.example")
    assert "Secure" not in plain.get("/", headers={"accept": "text/html"}).headers["set-cookie"]
