"""A real collector for tests: the real application on a real port, over the real engine, in this process.

The engine can be opened once per process, so collectors of one test process share its folder and differ by database.
"""

import itertools
import shutil
import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from spanledger_collector.api.services import Services
from spanledger_collector.app import create_app, start
from spanledger_collector.settings import Settings
from spanledger_collector.store.embedded import EmbeddedStore

_FOLDER: list[Path] = []
_NUMBERS = itertools.count()


def engine_folder() -> Path:
    """The one folder of this process's engine."""
    if not _FOLDER:
        _FOLDER.append(Path(tempfile.mkdtemp(prefix="spanledger-test-")))
    return _FOLDER[0]


def remove_engine_folder() -> None:
    """At the end of the session."""
    while _FOLDER:
        shutil.rmtree(_FOLDER.pop(), ignore_errors=True)


def new_store(database: str | None = None) -> EmbeddedStore:
    """A store of its own database."""
    return EmbeddedStore(engine_folder(), database=database or f"t{next(_NUMBERS)}", read_handles=2)


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class LiveCollector:
    """A collector that listens; `stop` it. `restart` keeps its database, as a new process would find it.

    With `clickhouse_url` among the settings its store is there, and its folder is its own.
    """

    def __init__(self, **settings: Any) -> None:
        self._settings = settings
        self._database = f"t{next(_NUMBERS)}"
        self._is_elsewhere = settings.get("clickhouse_url") is not None
        self._folder = Path(tempfile.mkdtemp(dir=engine_folder())) if self._is_elsewhere else engine_folder()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._start()

    def _start(self) -> None:
        quick = {"settle_every_s": 0.05, "settle_quiet_s": 0.3, "alert_every_s": 0.2, "port": self.port}
        settings = Settings(**{**quick, "data_dir": self._folder, **self._settings})
        self.parts: Services = start(settings, None if self._is_elsewhere else new_store(self._database))
        config = uvicorn.Config(create_app(settings, self.parts), log_config=None, access_log=False)
        self._server = uvicorn.Server(config)
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(128)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listener]}, daemon=True)
        self._thread.start()
        self.http = httpx.Client(base_url=self.url, timeout=30)
        for _ in range(200):
            if self._server.started:
                return
            time.sleep(0.02)
        raise RuntimeError("the collector did not start")

    def stop(self) -> None:
        self.http.close()
        self._server.should_exit = True
        self._thread.join(timeout=30)

    def restart(self) -> None:
        self.stop()
        self._start()

    # --- what a client does ---------------------------------------------------------------------------------------------

    def send(self, body: bytes, project: str = "default", **headers: str) -> httpx.Response:
        """Post OTLP traces in protobuf."""
        given = {"content-type": "application/x-protobuf", "x-spanledger-project": project, **headers}
        return self.http.post("/v1/traces", content=body, headers=given)

    def ask(self, measures: list[str] | str, project: str = "default", **query: Any) -> list[dict[str, Any]]:
        """Ask a Query and return its rows by column."""
        self.settled()
        names = [measures] if isinstance(measures, str) else measures
        response = self.http.post("/api/v1/query", json={"measures": names, **query}, headers={"x-spanledger-project": project})
        assert response.status_code == 200, response.text
        answer = response.json()
        columns = [column["name"] for column in answer["columns"]]
        return [dict(zip(columns, row, strict=True)) for row in answer["rows"]]

    def value(self, measure: str, project: str = "default", **query: Any) -> Any:
        """The value of one measure."""
        return self.ask(measure, project, **query)[0][measure]

    def get(self, path: str, project: str = "default", **parameters: Any) -> Any:
        self.settled()
        response = self.http.get(path, params=parameters, headers={"x-spanledger-project": project})
        assert response.status_code == 200, response.text
        return response.json()

    def drained(self) -> None:
        """Wait until the store is back, nothing waits on disk any more, and all is counted."""
        deadline = time.monotonic() + 20
        while not self.parts.spool.is_empty or self.parts.is_store_away:
            assert time.monotonic() < deadline, "it still waits on disk"
            time.sleep(0.05)
        self.settled()

    def settled(self) -> None:
        """Wait until everything that was acknowledged is counted."""
        assert self.parts.settler.drain(20)
