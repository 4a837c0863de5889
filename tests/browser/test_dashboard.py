"""The dashboard in a real browser over a real collector: the numbers on the page, and what the browser is made to fetch."""

import csv
import io
import re
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.browser.look import asked, figures, settle
from tests.browser.traffic import BEACON, FORMULA, HOSTILE

from spanledger_dashboard import format as fmt

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PATHS = ("/", "/costs", "/prices", "/failures", "/confidence", "/feedback", "/interactions", "/alerts")


def test_the_overview_shows_what_the_query_api_answers(page, stack):
    page.goto(f"{stack.dashboard}/?range=30d")
    settle(page)
    truth = asked(stack, "cost_usd", "failure_rate", "feedback_positive_rate", "duration_p95_s", "interactions")
    shown = figures(page)
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
    settle(page)
    truth = asked(stack, "cost_usd", "cost_p95_usd", "failure_rate", feature="support")
    assert figures(page)["Cost"] == fmt.measure("cost_usd", truth["cost_usd"], compact=True)
    assert figures(page)["Interaction, p95"] == fmt.measure("cost_p95_usd", truth["cost_p95_usd"], compact=True)
    page.locator("[data-testid=stSidebarNav]").get_by_text("Failures").click()
    page.wait_for_selector("text=Failure rate over time")
    settle(page)
    assert "feature=support" in page.url
    assert figures(page)["Failure rate"] == fmt.measure("failure_rate", truth["failure_rate"])
    page.go_back()
    page.wait_for_selector("text=Where the tail comes from")
    assert "feature=support" in page.url


def test_a_row_of_the_list_opens_the_interaction_and_its_link_works_alone(page, stack):
    page.goto(f"{stack.dashboard}/interactions?range=30d")
    settle(page)
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
    settle(page)
    page.locator(".st-key-filters_toggle button").click()
    page.wait_for_selector(".st-key-tag input", state="visible")
    settle(page)
    page.locator(".st-key-tag input").click()
    page.get_by_role("option", name="tier=pro").click()
    page.keyboard.press("Escape")
    page.wait_for_selector("text=Tag: tier=pro")
    settle(page)
    assert "tag=tier%3Dpro" in page.url
    truth = asked(stack, "cost_usd", "failure_rate", **{"tag:tier": "pro"})
    assert truth["cost_usd"] != asked(stack, "cost_usd")["cost_usd"]
    assert figures(page)["Cost"] == fmt.measure("cost_usd", truth["cost_usd"], compact=True)
    page.locator("[data-testid=stSidebarNav]").get_by_text("Failures").click()
    page.wait_for_selector("text=Failure rate over time")
    assert figures(page)["Failure rate"] == fmt.measure("failure_rate", truth["failure_rate"])
    page.locator("[data-testid=stSidebarNav]").get_by_text("Interactions").click()
    page.wait_for_selector("text=1 to 50")
    settle(page)
    tiers = {row[-2] for row in _saved(page, "Interactions")[1:]}
    assert tiers == {"tier=pro"}


def test_the_link_of_the_menu_shows_another_reader_the_same_page(browser, page, stack):
    page.goto(
        f"{stack.dashboard}/costs?range=7d&tag=tier%3Dpro&tag=tier%3Dfree&feature=support&cmp=same+weekdays+before&c_view=Breakdown&c_by=Release"
    )
    seen = figures(page)
    deltas = page.locator("[data-testid=stMetricDelta]").all_inner_texts()
    links = [code.inner_text().replace("\n", "") for code in _menu(page).locator("code").all()]
    assert len(links) == 2
    for link in links:
        context = browser.new_context(viewport={"width": 1440, "height": 1000}, timezone_id="UTC")
        try:
            other = context.new_page()
            other.set_default_timeout(20_000)
            other.goto(link)
            assert figures(other) == seen
            assert other.locator("[data-testid=stMetricDelta]").all_inner_texts() == deltas
            assert other.get_by_text("By release").count()
        finally:
            context.close()


def test_what_is_saved_holds_no_formula_and_the_tables_own_download_is_gone(page, stack):
    page.goto(f"{stack.dashboard}/?range=30d")
    settle(page)
    saved = _saved(page, "Features")
    assert f"'{FORMULA}" in [row[0] for row in saved]
    assert FORMULA not in [cell for row in saved for cell in row]
    page.keyboard.press("Escape")
    page.locator("[data-testid=stDataFrame]").first.hover()
    page.wait_for_selector("[data-testid=stElementToolbarButton]")
    assert page.get_by_role("button", name="Download as CSV").count() == 0


def test_amounts_of_different_size_are_sorted_as_numbers_by_the_browser(page, stack):
    page.goto(f"{stack.dashboard}/")
    settle(page)
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
        settle(page)
    page.goto(f"{stack.dashboard}/interactions?trace={stack.hostile_trace}")
    page.wait_for_selector("text=Conversation")
    settle(page)
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
    settle(page)
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
        settle(page)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 420
        assert page.locator("[data-testid=stException]").count() == 0
    finally:
        context.close()
