"""What a test sees of a page, and what the collector says itself."""

from datetime import UTC, datetime, timedelta
from typing import Any

from spanledger.client import Client


def settle(page: Any) -> None:
    """Wait until the page has drawn what it asked for."""
    page.wait_for_selector("h1")
    page.wait_for_function(
        "() => !document.querySelector('[data-testid=stStatusWidget]') && !document.querySelector('[data-stale=true]')"
    )
    page.wait_for_timeout(700)


def figures(page: Any) -> dict[str, str]:
    """The key figures by their labels."""
    page.wait_for_selector("[data-testid=stMetric]")
    settle(page)
    found = {}
    for metric in page.locator("[data-testid=stMetric]").all():
        label = metric.locator("[data-testid=stMetricLabel]").inner_text().strip()
        found[label] = metric.locator("[data-testid=stMetricValue]").inner_text().strip()
    return found


def asked(stack: Any, *measures: str, **filters: str) -> dict[str, Any]:
    """What the Query API answers for the last 30 days."""
    start = (datetime.now(UTC) - timedelta(days=30)).replace(hour=0, minute=0, second=0, microsecond=0)
    with Client(stack.collector) as client:
        query = {
            "measures": list(measures), "start": start, "end": datetime.now(UTC),
            "filters": [{"dimension": name, "op": "in", "values": [value]} for name, value in filters.items()],
        }  # fmt: skip
        return client.query(query).frame.row(0, named=True)
