"""The page on which a bill is compared with the ledger, over a real collector: sums, reasons, tables, and hostile bills."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from live import LiveCollector
from otlp_kit import S, chat, request
from streamlit.testing.v1 import AppTest

import spanledger_dashboard
from spanledger_dashboard.views.reconcile import TITLES, pairs_of

APP = Path(spanledger_dashboard.__file__).parent / "app.py"
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
HOSTILE = "![x](http://beacon.invalid/a.png) <img src=x> :red[big] $x$"
Opened = Callable[..., AppTest]


@pytest.fixture
def page(collector: LiveCollector, project: str, monkeypatch: pytest.MonkeyPatch) -> Opened:
    """The page after files were uploaded to it."""
    monkeypatch.setenv("SPANLEDGER_ENDPOINT", collector.url)
    monkeypatch.delenv("SPANLEDGER_API_KEY", raising=False)
    st.cache_data.clear()
    st.cache_resource.clear()
    spans = [S(1, attrs=chat("gpt-4o", 2_000, 100)), S(2, trace=2, start=3, end=4, attrs=chat("gpt-4o-mini", 1_000, 0))]
    assert collector.send(request(*spans, at=NOON), project).status_code == 200
    collector.settled()

    def opened(*texts: str, **fields: str) -> AppTest:
        app = AppTest.from_file(str(APP), default_timeout=30)
        app.query_params["project"] = project
        app.run()
        app.switch_page("views/reconcile.py").run()
        for key, value in fields.items():
            app.text_input(key=f"r_{key}").set_value(value)
        if texts:
            app.file_uploader(key="r_files").set_value([(f"{n}.csv", text.encode(), "text/csv") for n, text in enumerate(texts)])
        return app.run()

    return opened


def metrics(app: AppTest) -> dict[str, str]:
    return {metric.label: metric.value.replace("\\", "") for metric in app.metric}


def table(app: AppTest, *columns: str) -> Any:
    return next(found.value for found in app.dataframe if set(columns) <= set(found.value.columns))


USAGE = "day,model,input_tokens,output_tokens\n2026-11-20,gpt-4o,4000,100\n"
COSTS = "day,model,cost\n2026-11-20,gpt-4o,0.011\n"


def test_without_a_file_it_says_what_to_upload(page: Opened) -> None:
    app = page()
    assert not app.exception
    assert any("Upload OpenAI" in caption.value for caption in app.caption)
    assert not app.metric


def test_sums_reasons_and_tables(page: Opened) -> None:
    app = page(USAGE, COSTS, provider="openai")
    assert not app.exception
    found = metrics(app)
    assert (found["On the bill"], found["Here"], found["Unexplained"]) == ("$0.011", "$0.0062", "$0")
    reasons = table(app, "why", "usd")
    assert list(reasons["why"]) == ["Missing spans", "Counted more here"]
    assert [text.strip() for text in reasons["usd"]] == ["$0.0050", "-$0.00015"]
    rows = table(app, "model", "bill_usd")
    assert list(rows["model"]) == ["gpt-4o", "gpt-4o-mini"]
    app.segmented_control(key="r_view").set_value("By day").run()
    assert list(table(app, "day", "bill_usd")["day"]) == ["2026-11-20"]


def test_a_bill_that_agrees(page: Opened) -> None:
    app = page("day,cost\n2026-11-20,0.00615\n")
    assert any("They agree" in caption.value for caption in app.caption)


def test_a_bill_of_idle_days_without_calls(page: Opened) -> None:
    app = page("start_time,end_time,amount_value,line_item\n1794700800,1794787200,,\n")
    assert not app.exception
    assert metrics(app)["Difference"] == "$0"
    assert any("Neither side has anything" in caption.value for caption in app.caption)


def test_the_prices_that_a_bill_implies_are_commands(page: Opened) -> None:
    usage = "day,model,input_tokens,output_tokens\n2026-11-20,gpt-4o,2000,100\n2026-11-20,gpt-4o-mini,1000,0\n"
    app = page(usage, "day,model,cost\n2026-11-20,gpt-4o,0.0030\n2026-11-20,gpt-4o-mini,0.00015\n")
    commands = "spanledger prices set gpt-4o -p openai --multiplier 0.5 --from 2026-11-20 --note 'from the bill'"
    assert commands in [code.value for code in app.code]


def test_another_table_is_read_by_the_columns_that_are_typed(page: Opened) -> None:
    bill = "When;SKU;Sum;Cur\n2026-11-20;gpt-4o;0.01;EUR\n"
    app = page(bill)
    assert "none of the exports" in app.error[0].value
    app = page(bill, columns="day=When, model=SKU, cost=Sum, currency=Cur", rates="EUR=1.10")
    assert metrics(app)["On the bill"] == "$0.011"


def test_a_file_that_is_no_text_is_said(page: Opened) -> None:
    app = page()
    app.file_uploader(key="r_files").set_value([("bill.csv", b"PK\x03\x04\xff\xfe\x00", "text/csv")]).run()
    assert not app.exception
    assert "no text" in app.error[0].value


def test_hostile_bills_are_letters(page: Opened) -> None:
    app = page(f'day,model,cost\n2026-11-20,"{HOSTILE}",5\n')
    assert not app.exception
    assert HOSTILE.lower() in list(table(app, "model", "bill_usd")["model"])
    app = page(f'"{HOSTILE}",cost\n1,2\n')
    for element in [*app.markdown, *app.caption, *app.error, *app.warning, *app.metric]:
        assert "![x](http" not in str(element.value)


def test_pairs() -> None:
    assert pairs_of("day=Date, cost = Amount,, x") == {"day": "Date", "cost": "Amount"}
    assert pairs_of("") == {}


def test_every_reason_has_a_title() -> None:
    from spanledger_collector.costs.reasons import Reason

    assert set(TITLES) == {str(reason) for reason in Reason}
