"""A bill that is uploaded in a real browser: it is compared, hostile names are letters, and nothing leaves the machine."""

from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.browser.look import figures, settle
from tests.browser.traffic import BEACON, HOSTILE

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_an_uploaded_bill_is_compared_and_its_hostile_names_do_nothing(page, stack, tmp_path: Path) -> None:
    own = urlsplit(stack.dashboard).netloc
    hosts: set[str] = set()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    bill = tmp_path / "bill.csv"
    bill.write_text(f'day,model,cost\n{datetime.now(UTC):%Y-%m-%d},"{HOSTILE}",5\n')
    page.goto(f"{stack.dashboard}/reconcile")
    page.wait_for_selector("text=A bill against the ledger")
    page.locator("input[type=file]").set_input_files(str(bill))
    page.wait_for_selector("text=Why they differ")
    settle(page)
    assert figures(page)["On the bill"] == "$5.00"
    assert page.locator(f"img[src*='{BEACON}']").count() == 0
    assert page.locator(f"a[href*='{BEACON}']").count() == 0
    assert hosts <= {"", own}


def test_a_file_that_is_no_bill_is_told_what_is_looked_for(page, stack, tmp_path: Path) -> None:
    bill = tmp_path / "bill.csv"
    bill.write_text("When,Sum\n2026-11-20,5\n")
    page.goto(f"{stack.dashboard}/reconcile")
    page.wait_for_selector("text=A bill against the ledger")
    page.locator("input[type=file]").set_input_files(str(bill))
    page.wait_for_selector("text=none of the exports that can be read")
