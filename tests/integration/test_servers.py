"""A collector whose store is elsewhere says what one says whose store is inside, and loses nothing on a bad way to it."""

import itertools
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from live import LiveCollector
from otlp_kit import S, chat, request
from proxy import Mode, Proxy
from servers import Servers, skip_without
from story import tell

ELSEWHERE = ("front", "node", "shards")
DATABASES = itertools.count(1)
EVERY = 16
"""Of the recorded instrumentations the story tells every sixteenth; `make score` tells all."""


@pytest.fixture(scope="module")
def at() -> float:
    return float(int(time.time()) // 3_600 * 3_600 - 7_200)


@pytest.fixture(scope="module")
def embedded_says(at: float) -> dict[str, Any]:
    collector = LiveCollector()
    try:
        return tell(collector.url, at, EVERY)
    finally:
        collector.stop()


@pytest.fixture(scope="module", params=ELSEWHERE)
def servers(request: pytest.FixtureRequest) -> Iterator[Servers]:
    skip_without(request.param)
    found = Servers(request.param)
    yield found
    found.stop()


def collector_on(servers: Servers, **more: Any) -> LiveCollector:
    return LiveCollector(**{**servers.settings(f"d{next(DATABASES)}"), **more})


def test_the_story_is_the_same_wherever_the_store_is(servers: Servers, embedded_says: dict[str, Any], at: float) -> None:
    collector = collector_on(servers)
    try:
        told = tell(collector.url, at, EVERY)
    finally:
        collector.stop()
    assert told.keys() == embedded_says.keys()
    for name, answer in embedded_says.items():
        assert told[name] == answer, name


class Client(threading.Thread):
    """Sends traces with two calls each for as long as it is told; whatever is not taken it sends again, as exporters do."""

    def __init__(self, url: str, project: str) -> None:
        super().__init__(daemon=True)
        self._http = httpx.Client(base_url=url, timeout=30, headers={"x-spanledger-project": project})
        self._stopping = threading.Event()
        self.traces = 0
        self.answers: set[int] = set()

    def run(self) -> None:
        while not self._stopping.is_set():
            self.traces += 1
            root = S(1, trace=self.traces, attrs={"spanledger.interaction": "job"})
            calls = [S(number, 1, trace=self.traces, attrs=chat(given=number)) for number in (10, 100)]
            body = request(root, *calls)
            while not self._post(body):
                time.sleep(0.1)
            time.sleep(0.01)

    def _post(self, body: bytes) -> bool:
        answer = self._http.post("/v1/traces", content=body, headers={"content-type": "application/x-protobuf"})
        self.answers.add(answer.status_code)
        return answer.status_code == 200

    def end(self) -> int:
        self._stopping.set()
        self.join(60)
        assert not self.is_alive()
        return self.traces


def counted(live: LiveCollector, project: str, traces: int, within_s: float = 40) -> None:
    """In the end exactly that is counted, in the account and in the totals."""
    deadline = time.monotonic() + within_s
    wanted = [traces, 2 * traces, 110 * traces]
    ask = {"measures": ["interactions", "generations", "input_tokens"]}
    found: Any = None
    while found != wanted:
        assert time.monotonic() < deadline, (found, wanted, live.http.get("/api/v1/status").json())
        time.sleep(0.2)
        answer = live.http.post("/api/v1/query", json=ask, headers={"x-spanledger-project": project})
        assert answer.status_code in (200, 503), answer.text
        found = answer.json()["rows"][0] if answer.status_code == 200 else answer.json()["detail"]
    text = live.http.get("/metrics").text
    rows = dict(re.findall(rf'spanledger_spans\{{project="{project}",state="(\w+)"\}} (\d+)', text))
    assert {name: int(value) for name, value in rows.items()} == {
        "accepted": 3 * traces,
        "stored": 3 * traces,
        "pending": 0,
        "quarantined": 0,
    }


@pytest.fixture(params=["front", "node"])
def one(request: pytest.FixtureRequest) -> Iterator[Servers]:
    skip_without(request.param)
    found = Servers(request.param)
    yield found
    found.stop()


def test_a_bad_way_to_the_store_loses_and_doubles_nothing(one: Servers) -> None:
    proxy = Proxy(one[0].http)
    live = collector_on(one, **one.settings("behind", port=proxy.port))
    client = Client(live.url, "p")
    client.start()
    try:
        modes: list[Mode] = ["refused", "cut answers", "lost answers", "slow"]
        for mode in modes:
            time.sleep(0.5)
            before = proxy.spoiled
            proxy.become(mode)
            time.sleep(1.5)
            proxy.become("open")
            assert proxy.spoiled > before, mode
        counted(live, "p", client.end())
        assert client.answers <= {200, 503}
    finally:
        live.stop()
        proxy.stop()


def test_a_killed_server_comes_back_and_everything_is_there(one: Servers) -> None:
    live = collector_on(one)
    client = Client(live.url, "p")
    client.start()
    try:
        time.sleep(0.7)
        one[0].kill()
        time.sleep(1.0)
        away = live.http.post("/api/v1/query", json={"measures": ["cost_usd"]})
        assert away.status_code == 503
        assert away.headers["retry-after"]
        assert live.http.get("/readyz").status_code == 503
        one[0].start()
        counted(live, "p", client.end())
        assert live.http.get("/readyz").status_code == 200
    finally:
        live.stop()


def test_a_collector_starts_while_its_store_is_away(one: Servers) -> None:
    live = collector_on(one)
    one[0].kill()
    live.restart()
    try:
        ready = live.http.get("/readyz")
        assert ready.status_code == 503
        assert "store" in ready.json()["reason"].lower()
        client = Client(live.url, "p")
        client.start()
        time.sleep(0.5)
        one[0].start()
        counted(live, "p", client.end())
        assert client.answers == {200}, "what comes meanwhile waits on disk; who may send is remembered"
        assert live.http.get("/readyz").status_code == 200
    finally:
        live.stop()


def test_nobody_comes_in_before_the_keys_of_a_store_were_ever_read(one: Servers) -> None:
    one[0].kill()
    live = collector_on(one)
    try:
        body = request(S(1, attrs=chat()))
        early = live.send(body, "p")
        assert early.status_code == 503
        assert "keys cannot be read" in early.json()["message"]
        one[0].start()
        deadline = time.monotonic() + 20
        while live.send(body, "p").status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        live.stop()


def test_without_one_shard_there_is_no_total_and_with_it_again_it_is_whole() -> None:
    skip_without("shards")
    servers = Servers("shards")
    live = collector_on(servers)
    client = Client(live.url, "p")
    client.start()
    try:
        time.sleep(1.0)
        servers[1].kill()
        time.sleep(0.5)
        for _ in range(5):
            away = live.http.post("/api/v1/query", json={"measures": ["cost_usd"]}, headers={"x-spanledger-project": "p"})
            assert away.status_code == 503, away.text
            time.sleep(0.2)
        servers[1].start()
        traces = client.end()
        counted(live, "p", traces)
        shares = [int(one.ask("SELECT count() FROM spans_local FINAL", database=live_database(live))) for one in servers.all]
        assert sum(shares) == 3 * traces
        assert min(shares) > 0, "both shards hold a part"
    finally:
        live.stop()
        servers.stop()


def live_database(live: LiveCollector) -> str:
    url = live.parts.settings.clickhouse_url
    assert url is not None
    return url.get_secret_value().rpartition("/")[2]
