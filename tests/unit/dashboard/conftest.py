"""A fake collector for each test, and the dashboard's own script over it."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest
from tests.unit.dashboard.fake_collector import World, busy_world, serving

import spanledger_dashboard

APP = Path(spanledger_dashboard.__file__).parent / "app.py"
NOW = datetime.now(UTC)
_BUSY = busy_world(NOW, per_day=40)


@pytest.fixture
def world() -> World:
    """Two months of traffic; a copy, so that a test may change it."""
    return World(
        rows=[dict(row) for row in _BUSY.rows],
        rules=[dict(rule) for rule in _BUSY.rules],
        events=list(_BUSY.events),
        drift=_BUSY.drift,
        status=dict(_BUSY.status),
    )


@pytest.fixture
def open_page(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., AppTest]]:
    """Opens a page of the dashboard over `world`, with URL parameters."""
    with serving(world) as url:
        monkeypatch.setenv("SPANLEDGER_ENDPOINT", url)
        monkeypatch.delenv("SPANLEDGER_API_KEY", raising=False)
        st.cache_data.clear()
        st.cache_resource.clear()

        def opened(page: str = "overview", **params: str) -> AppTest:
            app = AppTest.from_file(str(APP), default_timeout=30)
            for name, value in ({"range": "30d"} | params).items():
                app.query_params[name] = value
            app.run()
            if page != "overview":
                app.switch_page(f"views/{page}.py").run()
            return app

        yield opened
