"""The dashboard in a real browser over a real collector: the numbers on the page, and what the browser is made to fetch."""

import csv
import io
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from tests.browser.traffic import interaction, requests

from spanledger.client import Client
from spanledger_dashboard import format as fmt

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PATHS = ("/", "/costs", "/prices", "/failures", "/confidence", "/feedback", "/interactions", "/alerts")
BEACON = "beacon.invalid"
HOSTILE = f"![x](http://{BEACON}/a.png) <img src='http://{BEACON}/b.png'> [click](http://{BEACON}) # big"
FORMULA = "=HYPERLINK(1)"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@dataclass(frozen=True)
class Stack:
    """A running collector and dashboard with traffic in them."""

    collector: str
    dashboard: str
    hostile_trace: str


def _chromium() -> str | None:
    found = (
        os.environ.get("CHROMIUM")
        or shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    return found if found and Path(found).exists() else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert process.poll() is None, f"the server of {url} ended"
        try:
            if httpx.get(url, timeout=1).is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"{url} did not answer")


def _send(url: str) -> str:
    rng, now = random.Random(11), datetime.now(UTC)
    spans = []
    for i in range(400):
        feature = rng.choice(("search", "search", "support", FORMULA))
        at = now - timedelta(days=14) * (1 - i / 400) - timedelta(minutes=5)
        spans += interaction(rng, at, feature, failed=rng.random() < 0.1)
    bad = interaction(rng, now - timedelta(hours=2), HOSTILE, answer=HOSTILE)
    spans += bad
    with httpx.Client(base_url=url, timeout=60) as client:
        for body in requests(spans, "v142"):
            client.post("/v1/traces", content=body, headers={"content-type": "application/x-protobuf"}).raise_for_status()
        judged = [
            {"trace_id": s.trace_id.hex(), "name": "helpful", "value": rng.random() < 0.8, "source": "user"}
            for s in spans
            if not s.parent_span_id
        ]
        judged.append({"trace_id": bad[0].trace_id.hex(), "name": HOSTILE, "value": False, "source": "user", "comment": HOSTILE})
        client.post("/api/v1/feedback", json=judged).raise_for_status()
    with Client(url) as client:
        for _ in range(150):
            if client.query({"measures": ["interactions"]}).frame["interactions"][0] == 401:
                return bad[0].trace_id.hex()
            time.sleep(0.1)
    raise AssertionError("the traffic was not counted")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    if _chromium() is None:
        pytest.skip("there is no Chromium on this machine")
    ports = _free_port(), _free_port()
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    data = tmp_path_factory.mktemp("store") / "data"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SPANLEDGER_", "OTEL_"))}
    commands = [
        ["-m", "spanledger_collector", "serve", "--port", str(ports[0]), "--data-dir", str(data)],
        ["-m", "spanledger_dashboard", "--port", str(ports[1]), "--collector", urls[0]],
    ]
    running = [subprocess.Popen([sys.executable, *command], env=environment, stdout=subprocess.DEVNULL) for command in commands]
    try:
        _await(f"{urls[0]}/readyz", running[0])
        _await(f"{urls[1]}/_stcore/health", running[1])
        yield Stack(urls[0], urls[1], _send(urls[0]))
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(30)


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    path = _chromium()
    if path is None:
        pytest.skip("there is no Chromium on this machine")
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture
def page(browser, stack) -> Iterator["playwright.Page"]:
    context = browser.new_context(viewport={"width": 1440, "height": 1000}, timezone_id="UTC")
    opened = context.new_page()
    opened.set_default_timeout(20_000)
    yield opened
    context.close()


def _settle(page) -> None:
    page.wait_for_selector("h1")
    page.wait_for_function(
        "() => !document.querySelector('[data-testid=stStatusWidget]') && !document.querySelector('[data-stale=true]')"
    )
    page.wait_for_timeout(700)


def _figures(page) -> dict[str, str]:
    page.wait_for_selector("[data-testid=stMetric]")
    _settle(page)
    found = {}
    for metric in page.locator("[data-testid=stMetric]").all():
        label = metric.locator("[data-testid=stMetricLabel]").inner_text().strip()
        found[label] = metric.locator("[data-testid=stMetricValue]").inner_text().strip()
    return found


def _asked(stack: Stack, *measures: str, **filters: str) -> dict:
    start = (datetime.now(UTC) - timedelta(days=30)).replace(hour=0, minute=0, second=0, microsecond=0)
    with Client(stack.collector) as client:
        query = {
            "measures": list(measures), "start": start, "end": datetime.now(UTC),
            "filters": [{"dimension": name, "op": "in", "values": [value]} for name, value in filters.items()],
        }  # fmt: skip
        return client.query(query).frame.row(0, named=True)


def test_the_overview_shows_what_the_query_api_answers(page, stack):
    page.goto(f"{stack.dashboard}/?range=30d")
    _settle(page)
    truth = _asked(stack, "cost_usd", "failure_rate", "feedback_positive_rate", "duration_p95_s", "interactions")
    shown = _figures(page)
    assert truth["interactions"] == 401
    for label, name in (
        ("Cost", "cost_usd"),
        ("Failure rate", "failure_rate"),
        ("Positive feedback", "feedback_positive_rate"),
        ("Duration, p95", "duration_p95_s"),
    ):
        assert shown[label] == fmt.measure(name, truth[name], compact=True)
    assert page.locator(".js-plotly-plot").count() >= 1


def test_a_filter_in_the_link_filters_the_numbers_and_stays_from_page_to_page(page, stack):
    page.goto(f"{stack.dashboard}/costs?range=30d&feature=support")
    _settle(page)
    truth = _asked(stack, "cost_usd", "cost_p95_usd", "failure_rate", feature="support")
    assert _figures(page)["Cost"] == fmt.measure("cost_usd", truth["cost_usd"], compact=True)
    assert _figures(page)["Interaction, p95"] == fmt.measure("cost_p95_usd", truth["cost_p95_usd"], compact=True)
    page.locator("[data-testid=stSidebarNav]").get_by_text("Failures").click()
    page.wait_for_selector("text=Failure rate over time")
    _settle(page)
    assert "feature=support" in page.url
    assert _figures(page)["Failure rate"] == fmt.measure("failure_rate", truth["failure_rate"])
    page.go_back()
    page.wait_for_selector("text=Cost of one interaction over time")
    assert "feature=support" in page.url


def test_a_row_of_the_list_opens_the_interaction_and_its_link_works_alone(page, stack):
    page.goto(f"{stack.dashboard}/interactions?range=30d")
    _settle(page)
    table = page.locator("[data-testid=stDataFrame]").first.bounding_box()
    page.mouse.click(table["x"] + 18, table["y"] + 55)
    page.wait_for_selector("text=Timeline")
    trace = re.search(r"trace=([0-9a-f-]+)", page.url)
    assert trace
    page.goto(f"{stack.dashboard}/interactions?trace={trace[1]}")
    page.wait_for_selector("text=Usage and cost by step")


def _menu(page):
    page.locator(".st-key-export button").first.click()
    page.wait_for_selector("[data-testid=stPopoverBody] code")
    return page.locator("[data-testid=stPopoverBody]")


def _saved(page, title: str) -> list[list[str]]:
    with page.expect_download() as download:
        _menu(page).get_by_role("button", name=title, exact=True).click()
    assert download.value.suggested_filename.startswith("spanledger_")
    return list(csv.reader(io.StringIO(Path(download.value.path()).read_text())))


def test_a_tag_is_offered_chosen_and_filters_every_page(page, stack):
    page.goto(f"{stack.dashboard}/costs?range=30d")
    _settle(page)
    page.locator(".st-key-filters_toggle button").click()
    page.wait_for_selector(".st-key-tag input", state="visible")
    _settle(page)
    page.locator(".st-key-tag input").click()
    page.get_by_role("option", name="tier=pro").click()
    page.keyboard.press("Escape")
    page.wait_for_selector("text=Tag: tier=pro")
    _settle(page)
    assert "tag=tier%3Dpro" in page.url
    truth = _asked(stack, "cost_usd", "failure_rate", **{"tag:tier": "pro"})
    assert truth["cost_usd"] != _asked(stack, "cost_usd")["cost_usd"]
    assert _figures(page)["Cost"] == fmt.measure("cost_usd", truth["cost_usd"], compact=True)
    page.locator("[data-testid=stSidebarNav]").get_by_text("Failures").click()
    page.wait_for_selector("text=Failure rate over time")
    assert _figures(page)["Failure rate"] == fmt.measure("failure_rate", truth["failure_rate"])
    page.locator("[data-testid=stSidebarNav]").get_by_text("Interactions").click()
    page.wait_for_selector("text=1 to 50")
    _settle(page)
    tiers = {row[-2] for row in _saved(page, "Interactions")[1:]}
    assert tiers == {"tier=pro"}


def test_the_link_of_the_menu_shows_another_reader_the_same_page(browser, page, stack):
    page.goto(
        f"{stack.dashboard}/costs?range=7d&tag=tier%3Dpro&tag=tier%3Dfree&feature=support&cmp=same+weekdays+before&c_by=Release"
    )
    seen = _figures(page)
    deltas = page.locator("[data-testid=stMetricDelta]").all_inner_texts()
    links = [code.inner_text().replace("\n", "") for code in _menu(page).locator("code").all()]
    assert len(links) == 2
    for link in links:
        context = browser.new_context(viewport={"width": 1440, "height": 1000}, timezone_id="UTC")
        try:
            other = context.new_page()
            other.set_default_timeout(20_000)
            other.goto(link)
            assert _figures(other) == seen
            assert other.locator("[data-testid=stMetricDelta]").all_inner_texts() == deltas
            assert other.get_by_text("By release").count()
        finally:
            context.close()


def test_what_is_saved_holds_no_formula_and_the_tables_own_download_is_gone(page, stack):
    page.goto(f"{stack.dashboard}/?range=30d")
    _settle(page)
    saved = _saved(page, "Features")
    assert f"'{FORMULA}" in [row[0] for row in saved]
    assert FORMULA not in [cell for row in saved for cell in row]
    page.keyboard.press("Escape")
    page.locator("[data-testid=stDataFrame]").first.hover()
    page.wait_for_selector("[data-testid=stElementToolbarButton]")
    assert page.get_by_role("button", name="Download as CSV").count() == 0


def test_amounts_of_different_size_are_sorted_as_numbers_by_the_browser(page, stack):
    page.goto(f"{stack.dashboard}/")
    _settle(page)
    amounts = [Decimal(text) for text in ("1234.5", "0.00042", "99.99", "100", "0", "0.5", "7", "12345678", "0.0013")]
    written = fmt.money_column(amounts)
    texts = page.evaluate("texts => texts.sort((a, b) => a.localeCompare(b))", written)
    assert texts == [text for _, text in sorted(zip(amounts, written, strict=True))]


def test_no_page_talks_to_another_host_not_even_for_hostile_text(page, stack):
    own = urlsplit(stack.dashboard).netloc
    foreign: list[str] = []

    def note(request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.netloc != own:
            foreign.append(request.url)

    page.on("request", note)
    for path in PATHS:
        page.goto(f"{stack.dashboard}{path}?range=30d")
        _settle(page)
    page.goto(f"{stack.dashboard}/interactions?trace={stack.hostile_trace}")
    page.wait_for_selector("text=Conversation")
    _settle(page)
    for expander in page.locator("[data-testid=stExpander] summary").all():
        expander.click()
    page.wait_for_timeout(500)
    # The answer is on the page, letter for letter, as text.
    assert page.get_by_text(HOSTILE, exact=True).count() >= 1
    assert page.locator(f"img[src*='{BEACON}']").count() == 0
    assert page.locator(f"a[href*='{BEACON}']").count() == 0
    assert foreign == []


def test_the_policy_refuses_what_the_pages_never_do(page, stack):
    page.goto(f"{stack.dashboard}/")
    _settle(page)
    refused = page.evaluate(
        "host => new Promise(done => { const i = new Image(); i.onload = () => done(false); i.onerror = () => done(true);"
        " document.addEventListener('securitypolicyviolation', () => done(true)); i.src = `http://${host}/x.png`; })",
        BEACON,
    )
    assert refused
    blocked = page.evaluate("host => fetch(`http://${host}/x`).then(() => false, () => true)", BEACON)
    assert blocked


@pytest.mark.parametrize("path", PATHS)
def test_pages_fit_a_phone(browser, stack, path):
    context = browser.new_context(viewport={"width": 420, "height": 900}, timezone_id="UTC", color_scheme="dark")
    try:
        page = context.new_page()
        page.goto(f"{stack.dashboard}{path}?range=30d")
        _settle(page)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 420
        assert page.locator("[data-testid=stException]").count() == 0
    finally:
        context.close()
