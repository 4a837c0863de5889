"""Costs and prices in a real browser over a real collector: what is shown is what the API says, and setting a price moves it."""

import random
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import httpx
import pytest
from tests.browser.look import asked, figures, settle
from tests.browser.traffic import interaction, requests

from spanledger.client import Client
from spanledger_dashboard import format as fmt

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SECTIONS = ("Overview", "Breakdown", "What changed", "Interactions", "Waste and caching", "Another model")


def _question(days: int = 30) -> dict:
    start = (datetime.now(UTC) - timedelta(days=days)).replace(hour=0, minute=0, second=0, microsecond=0)
    return {"start": start, "end": datetime.now(UTC)}


def test_the_figures_of_costs_are_those_of_the_api(page, stack):
    page.goto(f"{stack.dashboard}/costs?range=30d")
    shown = figures(page)
    truth = asked(stack, "cost_usd", "cost_p50_usd", "cost_p95_usd", "wasted_cost_usd", "interactions")
    with Client(stack.collector) as client:
        month = client.costs("month", {"timezone": "UTC"})
        distribution = client.costs("distribution", _question())
    assert shown["Cost"] == fmt.money(truth["cost_usd"], compact=True)
    assert shown["Month to date"] == fmt.money(Decimal(month["to_date_usd"]), compact=True)
    assert shown["Forecast, month"] == fmt.money(month["forecast"]["p50_usd"], compact=True)
    assert shown["Interaction, p50"] == fmt.money_each(truth["cost_p50_usd"])
    assert shown["Wasted cost"] == fmt.money(truth["wasted_cost_usd"], compact=True)
    page.wait_for_selector(f"text={distribution['interactions']} interactions")
    assert page.get_by_text("P10 to P90", exact=True).count() >= 1
    assert page.locator(".js-plotly-plot").count() == 4


def test_each_section_draws_and_stays_in_the_link(page, stack):
    page.goto(f"{stack.dashboard}/costs?range=7d")
    settle(page)
    for section in SECTIONS:
        page.get_by_role("button", name=section, exact=True).or_(
            page.get_by_role("radio", name=section, exact=True)
        ).first.click()
        settle(page)
        assert page.locator("[data-testid=stException]").count() == 0
        assert page.locator("[data-testid=stAlert]").count() == 0
    assert "c_view=Another+model" in page.url
    page.reload()
    page.wait_for_selector("text=Choose a model. All models of the price list are offered")


def test_what_changed_and_another_model_are_what_the_api_says(page, stack):
    page.goto(f"{stack.dashboard}/costs?range=7d&c_view=Another+model&c_model=gpt-4o-mini+·+openai")
    shown = figures(page)
    with Client(stack.collector) as client:
        other = client.costs("what-if", {**_question(7), "model": "gpt-4o-mini", "provider": "openai"})
    assert shown["These calls cost"] == fmt.money(Decimal(other["cost_usd"]))
    assert shown["They would have cost"] == fmt.money(Decimal(other["would_cost_usd"]))
    for caveat in other["caveats"]:
        assert page.get_by_text(caveat.split(";")[0]).count() == 1


def _unpriced(url: str, project: str) -> None:
    rng, now = random.Random(3), datetime.now(UTC)
    spans = []
    for number in range(8):
        more = {"gen_ai.request.model": "house-7b", "gen_ai.response.model": "house-7b", "gen_ai.provider.name": "vllm"}
        counts = {
            "gen_ai.usage.input_tokens": 1_000_000,
            "gen_ai.usage.output_tokens": 0,
            "gen_ai.usage.cache_read.input_tokens": 0,
        }
        spans += interaction(rng, now - timedelta(minutes=10 + number), "search", **more, **counts)
    headers = {"content-type": "application/x-protobuf", "x-spanledger-project": project}
    with httpx.Client(base_url=url, headers=headers, timeout=60) as http:
        for body in requests(spans, "v1"):
            http.post("/v1/traces", content=body).raise_for_status()
    with Client(url, project=project) as client:
        for _ in range(150):
            if client.query({"measures": ["unpriced_generations"]}).frame["unpriced_generations"][0] == 8:
                return
            time.sleep(0.1)
    raise AssertionError("the traffic was not counted")


def test_a_model_without_a_price_gets_one_and_history_is_priced_by_it(page, stack):
    project = "house"
    _unpriced(stack.collector, project)
    page.goto(f"{stack.dashboard}/costs?project={project}&range=24h")
    assert figures(page)["Cost"] == fmt.UNKNOWN
    assert page.get_by_text("Unpriced: 8 generations of 1 model (house-7b)").count() == 1
    page.get_by_role("link", name="Prices").last.click()
    page.wait_for_selector("text=Without a price")
    settle(page)
    table = page.locator("[data-testid=stDataFrame]").first.bounding_box()
    page.mouse.click(table["x"] + 18, table["y"] + 55)
    page.wait_for_selector("text=New price")
    assert page.get_by_role("textbox", name="Model").input_value() == "house-7b"
    for field, amount in (("Input, USD", "0.50"), ("Output, USD", "1"), ("Cache read, USD", "0")):
        page.get_by_label(field, exact=True).fill(amount)
        page.keyboard.press("Tab")
        settle(page)
    page.get_by_role("button", name="Save price").click()
    settle(page)
    page.goto(f"{stack.dashboard}/prices?project={project}&p_view=Price+again")
    settle(page)
    page.get_by_role("button", name="Show what would change").click()
    page.wait_for_selector("text=Calls that would change")
    assert figures(page)["Difference"] == "+$4.00"
    page.get_by_role("button", name="Price them again").click()
    page.wait_for_selector("text=Calls that changed")
    page.goto(f"{stack.dashboard}/costs?project={project}&range=24h")
    assert figures(page)["Cost"] == "$4.00"
    page.goto(f"{stack.dashboard}/prices?project={project}&p_view=What+a+model+costs&p_model=house-7b+·+vllm")
    page.wait_for_selector("text=your own price")
