"""Fixtures that all tests share."""

from collections.abc import Iterator

import pytest
from hypothesis import settings
from live import LiveCollector, remove_engine_folder

settings.register_profile("suite", deadline=None, max_examples=60)
settings.load_profile("suite")


@pytest.fixture(scope="module")
def collector() -> Iterator[LiveCollector]:
    """A collector for one module; tests keep apart by project."""
    live = LiveCollector()
    yield live
    live.stop()


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    """A project of the test's own."""
    return str(request.node.name)[:90]


@pytest.fixture(scope="session", autouse=True)
def _engine_folder() -> Iterator[None]:
    yield
    remove_engine_folder()
