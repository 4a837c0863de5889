"""Signing in, in a real browser: with a key, and with a real OpenID round trip to a provider on loopback."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fake_openid import CLIENT_ID, CLIENT_SECRET, Provider, serving
from joserfc.jwk import RSAKey
from tests.browser.conftest import _await, _free_port
from tests.browser.look import settle
from tests.browser.traffic import interaction, requests

from spanledger.client import Client

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ADMIN = "sl-the-first-key"
WORDS = "a prompt for few eyes"
SHOTS = os.environ.get("SPANLEDGER_SHOTS")
PEOPLE = {
    "Vera": {"sub": "u1", "email": "vera@example.com", "email_verified": True},
    "Ada": {"sub": "u2", "email": "ada@example.com", "email_verified": True},
    "Rita": {"sub": "u3", "email": "rita@partner.org", "email_verified": True, "groups": ["ml-review"]},
    "Eve": {"sub": "u4", "email": "eve@elsewhere.org", "email_verified": True},
    "Mallory": {"sub": "u5", "email": "ada@example.com", "email_verified": False},
}
SIGN_IN = """
[auth]
redirect_uri = "{dashboard}/oauth2callback"
cookie_secret = "a-cookie-secret-of-enough-characters"
client_id = "{client}"
client_secret = "{secret}"
server_metadata_url = "{issuer}/.well-known/openid-configuration"
[roles.viewer]
domains = ["example.com"]
[roles.reviewer]
groups = ["ml-review"]
[roles.admin]
emails = ["ada@example.com"]
"""


@dataclass(frozen=True)
class House:
    """A collector with keys, with an interaction in it."""

    collector: str
    environment: dict[str, str]
    trace: str

    def admin(self) -> Client:
        return Client(self.collector, api_key=ADMIN)

    def key(self, *scopes: str) -> dict[str, Any]:
        with self.admin() as client:
            made: dict[str, Any] = client.call("POST", "/api/v1/keys", body={"name": "desk", "scopes": list(scopes)})
            return made

    def audit(self, action: str) -> list[str]:
        with self.admin() as client:
            entries = client.call("GET", "/api/v1/audit")["entries"]
        return [entry["actor"] for entry in entries if entry["action"] == action]


@contextmanager
def _running(command: list[str], url: str, environment: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, *command], env=environment, stdout=subprocess.DEVNULL)
    try:
        _await(url, process)
        yield
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def house(browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SPANLEDGER_", "OTEL_"))}
    environment["HOME"] = str(tmp_path_factory.mktemp("home"))
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    data = tmp_path_factory.mktemp("store") / "data"
    command = ["-m", "spanledger_collector", "serve", "--port", str(port), "--data-dir", str(data)]
    with _running(command, f"{url}/readyz", {**environment, "SPANLEDGER_BOOTSTRAP_KEY": ADMIN}):
        rng, now = random.Random(3), datetime.now(UTC)
        spans = [span for n in range(30) for span in interaction(rng, now - timedelta(hours=n), "search", answer=WORDS)]
        headers = {"content-type": "application/x-protobuf", "authorization": f"Bearer {ADMIN}"}
        for body in requests(spans, "v1"):
            httpx.post(f"{url}/v1/traces", content=body, headers=headers).raise_for_status()
        with Client(url, api_key=ADMIN) as client:
            for _ in range(100):
                if client.query({"measures": ["interactions"]}).frame["interactions"][0] == 30:
                    break
                time.sleep(0.1)
        yield House(url, environment, spans[0].trace_id.hex())


@contextmanager
def _dashboard(house: House, port: int, *options: str, **settings: str) -> Iterator[str]:
    url = f"http://127.0.0.1:{port}"
    command = ["-m", "spanledger_dashboard", "--port", str(port), "--collector", house.collector, *options]
    with _running(command, f"{url}/_stcore/health", {**house.environment, **settings}):
        yield url


@contextmanager
def _page(browser, **look: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1440, "height": 1000}, timezone_id="UTC", **look)
    opened = context.new_page()
    opened.set_default_timeout(20_000)
    try:
        yield opened
    finally:
        context.close()


@pytest.fixture(scope="module")
def keyed(house: House) -> Iterator[str]:
    with _dashboard(house, _free_port()) as url:
        yield url


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with serving(PEOPLE) as found:
        yield found


@pytest.fixture(scope="module")
def signed(house: House, provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = _free_port()
    file = tmp_path_factory.mktemp("sign") / "sign-in.toml"
    file.write_text(
        SIGN_IN.format(dashboard=f"http://127.0.0.1:{port}", client=CLIENT_ID, secret=CLIENT_SECRET, issuer=provider.issuer)
    )
    key = house.key("admin", "act_for")["key"]
    with _dashboard(house, port, "--sign-in", str(file), SPANLEDGER_API_KEY=key) as url:
        yield url


def shoot(page, name: str) -> None:
    if SHOTS:
        page.screenshot(path=str(Path(SHOTS) / f"{name}.png"))


def give(page, key: str) -> None:
    page.locator(".st-key-given_key input").fill(key)
    page.get_by_role("button", name="Sign in", exact=True).click()


def sign_in_as(page, dashboard: str, who: str) -> None:
    page.goto(dashboard)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_selector("text=Who are you?")
    page.get_by_text(who, exact=True).click()
    page.wait_for_url(f"{dashboard.partition('?')[0]}**")


def nav(page, name: str) -> None:
    page.locator("[data-testid=stSidebarNav]").get_by_text(name, exact=True).click()
    page.wait_for_selector(f"h1:has-text('{name}')")
    settle(page)


def test_a_key_opens_the_page_of_the_link_and_is_remembered_until_the_reader_signs_out(browser, house, keyed):
    viewer = house.key("read")
    with _page(browser) as page:
        page.goto(f"{keyed}/costs?range=7d")
        page.wait_for_selector("text=Sign in with your key")
        assert page.locator("[data-testid=stSidebarNav]").count() == 0
        give(page, "sl_wrong")
        page.wait_for_selector("text=This key is not valid")
        shoot(page, "sign-in-wrong")
        give(page, viewer["key"])
        page.wait_for_selector("h1:has-text('Costs')")
        settle(page)
        assert "range=7d" in page.url, "the link that led to the door is kept"
        assert viewer["key"] not in page.url
        assert viewer["key"] not in page.content()
        page.wait_for_selector("text=Signed in as desk")
        shoot(page, "signed-in-with-key")
        nav(page, "Alerts")
        page.wait_for_selector("text=you need the scope admin")
        assert page.get_by_role("button", name="New rule").count() == 0
        nav(page, "Prices")
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_selector("text=Sign in with your key")
        page.go_back()
        page.wait_for_selector("text=Sign in with your key")


def test_a_visit_survives_loading_the_page_anew_and_ends_with_signing_out(browser, house, keyed):
    viewer = house.key("read")
    with _page(browser) as page:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{keyed}/costs?range=7d")
        before = _visit(page)
        give(page, viewer["key"])
        page.wait_for_selector("h1:has-text('Costs')")
        page.wait_for_function("() => document.querySelector('.st-key-ticket img')?.complete")
        kept = _visit(page)
        assert kept["value"] != before["value"], "what somebody may have known before is worth nothing"
        assert (kept["httpOnly"], kept["sameSite"], kept["expires"]) == (True, "Strict", -1)
        assert viewer["key"] not in str(page.context.storage_state()) + "".join(asked)
        page.reload()
        page.wait_for_selector("text=Signed in as desk")
        page.wait_for_selector("h1:has-text('Costs')")
        assert "range=7d" in page.url
        (ticket,) = {url for url in asked if "ticket=" in url}

        with _page(browser) as stranger:
            stranger.goto(keyed)
            stranger.wait_for_selector("text=Sign in with your key")
            assert stranger.request.get(ticket).status == 403, "a ticket counts once, in its own browser"
            stranger.context.add_cookies([before])
            stranger.reload()
            stranger.wait_for_selector("text=Sign in with your key")

        other = page.context.new_page()
        other.set_default_timeout(20_000)
        other.goto(keyed)
        other.wait_for_selector("text=Signed in as desk")
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_selector("text=Sign in with your key")
        page.reload()
        page.wait_for_selector("text=Sign in with your key")
        other.locator("[data-testid=stSidebarNav]").get_by_text("Prices", exact=True).click()
        other.wait_for_selector("text=Sign in with your key")


def _visit(page) -> dict[str, Any]:
    (found,) = [cookie for cookie in page.context.cookies() if cookie["name"] == "spanledger_visit"]
    return found


def test_what_a_key_may_not_read_is_said_in_its_place_and_reads_carry_its_id(browser, house, keyed):
    blind, seeing = house.key("read"), house.key("read", "read_content")
    with _page(browser) as page:
        page.goto(f"{keyed}/interactions?trace={house.trace}")
        give(page, blind["key"])
        page.wait_for_selector("text=you need the scope read_content")
        assert WORDS not in page.content()
        shoot(page, "interaction-without-content")
    with _page(browser) as page:
        page.goto(f"{keyed}/interactions?trace={house.trace}")
        give(page, seeing["key"])
        page.wait_for_selector(f"text={WORDS}")
    readers = house.audit("read content")
    assert f"key:{seeing['id']}" in readers
    assert f"key:{blind['id']}" not in readers


def test_a_key_that_is_revoked_while_its_reader_is_there_ends_the_visit(browser, house, keyed):
    key = house.key("read")
    with _page(browser) as page:
        page.goto(keyed)
        give(page, key["key"])
        page.wait_for_selector("h1:has-text('Overview')")
        settle(page)
        page.wait_for_function("() => document.querySelector('.st-key-ticket img')?.complete")
        with house.admin() as client:
            client.call("DELETE", f"/api/v1/keys/{key['id']}")
        other = page.context.new_page()
        other.goto(keyed)
        other.wait_for_selector("text=Your key is no longer valid")
        other.close()
        page.wait_for_selector("text=You are signed out", timeout=40_000)
        shoot(page, "sign-in-revoked")
        give(page, key["key"])
        page.wait_for_selector("text=This key is not valid")


def test_a_viewer_signs_in_with_the_provider_and_sees_numbers_only(browser, house, signed):
    with _page(browser) as page:
        page.goto(signed)
        page.wait_for_selector("text=With the account of your organisation")
        shoot(page, "sign-in-openid")
        sign_in_as(page, signed, "Vera")
        page.wait_for_selector("text=Signed in as vera")
        settle(page)
        page.goto(f"{signed}/interactions?trace={house.trace}")  # loaded anew: the cookie says who it is
        page.wait_for_selector("text=you need the scope read_content")
        assert WORDS not in page.content()
        nav(page, "Alerts")
        assert page.get_by_role("button", name="New rule").count() == 0
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_selector("text=With the account of your organisation")
        page.reload()
        page.wait_for_selector("text=With the account of your organisation")
    assert not [actor for actor in house.audit("read content") if actor.startswith("vera")]


def test_an_admin_reads_and_changes_and_the_audit_log_names_them(browser, house, signed):
    with _page(browser) as page:
        sign_in_as(page, signed, "Ada")
        page.wait_for_selector("text=Signed in as ada")
        page.goto(f"{signed}/interactions?trace={house.trace}")
        page.wait_for_selector(f"text={WORDS}")
        nav(page, "Alerts")
        page.get_by_role("button", name="New rule").click()
        page.get_by_label("Name", exact=True).first.fill("spend")
        page.keyboard.press("Tab")
        threshold = page.get_by_label("Threshold").first
        threshold.fill("5")
        page.keyboard.press("Tab")
        # While the page draws itself anew, what was there before is there too.
        page.wait_for_function("() => document.querySelectorAll('.st-key-rule_save button').length === 1")
        page.locator(".st-key-rule_save button:not([disabled])").click()
        page.wait_for_selector("text=Signing secret of the new rule")
    assert any(actor.startswith("ada@example.com by key:") for actor in house.audit("read content"))
    assert house.audit("POST admin")[0].startswith("ada@example.com by key:")


def test_a_group_of_the_provider_gives_a_role_and_the_link_that_led_to_the_door_is_kept(browser, house, signed):
    with _page(browser) as page:
        sign_in_as(page, f"{signed}/interactions?trace={house.trace}&range=7d", "Rita")
        page.wait_for_selector("text=Signed in as rita")
        page.wait_for_selector(f"text={WORDS}")
        assert f"trace={house.trace}" in page.url
        assert "range=7d" in page.url
        nav(page, "Alerts")
        assert page.get_by_role("button", name="New rule").count() == 0


@pytest.mark.parametrize(("who", "words"), [("Eve", "No role names this address"), ("Mallory", "does not say that this address")])
def test_who_has_no_role_gets_in_nowhere_and_is_told_so(browser, signed, who, words):
    with _page(browser) as page:
        sign_in_as(page, signed, who)
        page.wait_for_selector("text=No access")
        page.wait_for_selector(f"text={words}")
        shoot(page, f"no-access-{who}")
        page.goto(f"{signed}/alerts")
        page.wait_for_selector("text=No access")
        assert page.locator("h1").count() == 0
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_selector("text=With the account of your organisation")


def test_a_sign_in_that_is_too_old_or_forged_is_none(browser, signed, provider, monkeypatch):
    with _page(browser) as page, monkeypatch.context() as patched:
        patched.setattr(provider, "age_s", 13 * 3_600)
        sign_in_as(page, signed, "Ada")
        page.wait_for_selector("text=Your sign-in is over")
    with _page(browser) as page, monkeypatch.context() as patched:
        patched.setattr(provider, "signer", RSAKey.generate_key(2048, {"kid": "1"}))
        sign_in_as(page, signed, "Ada")
        page.wait_for_selector("text=With the account of your organisation")
        assert "Signed in as" not in page.content()
    with _page(browser) as page:
        page.context.add_cookies([{"name": "_streamlit_user", "value": '{"email":"ada@example.com"}', "url": signed}])
        page.goto(signed)
        page.wait_for_selector("text=With the account of your organisation")


def test_the_door_looks_like_the_house_in_the_dark_and_on_a_phone(browser, keyed):
    with _page(browser, color_scheme="dark") as page:
        page.goto(keyed)
        page.wait_for_selector("text=Sign in with your key")
        page.wait_for_timeout(600)
        shoot(page, "sign-in-dark")
    context = browser.new_context(viewport={"width": 420, "height": 800})
    page = context.new_page()
    page.goto(keyed)
    page.wait_for_selector("text=Sign in with your key")
    page.wait_for_timeout(600)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    shoot(page, "sign-in-phone")
    context.close()
