"""ClickHouse over HTTP in processes of their own: genuine nodes from the library that `libchdb` fetches, and the front over chDB.

A node is ClickHouse in local mode: queries, users, Distributed tables, merges and mutations are the real ones; ON CLUSTER and
replication between nodes are not in it. They end when their standard input closes, so they do not outlive their test.
"""

import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import libchdb
import pytest
from live import free_port

from spanledger_collector.store.server import ServerStore

CLUSTER = "ledger"
DATABASE = "spanledger"
_SHARD = (
    "<shard><internal_replication>true</internal_replication><replica><host>127.0.0.1</host><port>{}</port></replica></shard>"
)


class Server:
    """A server on a folder and a port of its own, for all its lives."""

    def __init__(self, folder: Path, http: int, command: Sequence[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.http = http
        self._log = folder / "log"
        self._command = [sys.executable, "-P", *command]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.http}"

    @property
    def url(self) -> str:
        return f"{self.address}/{DATABASE}"

    def ask(self, sql: str, **settings: str) -> str:
        """Run a statement without the product's driver."""
        answer = httpx.post(self.address, content=sql, params={"database": "default", **settings}, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.text

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.address}/ping", timeout=5).text.strip() == "Ok.":
                    return
            assert self._process.poll() is None, self._log.read_text()[-2_000:]
            assert time.monotonic() < deadline, "the node does not answer"
            time.sleep(0.02)

    def kill(self) -> None:
        """End it as a power cut of the process would."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """It keeps its connections and answers nothing, until `thaw`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(5)
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process = None


class Node(Server):
    """A genuine node, one shard of a cluster where there is one."""

    def __init__(self, folder: Path, http: int, tcp: int, cluster: Sequence[int] = ()) -> None:
        arguments = [str(folder / "data"), str(folder / "config.xml"), str(http), str(tcp)]
        super().__init__(folder, http, [libchdb.__file__, *arguments])
        shards = "".join(_SHARD.format(port) for port in cluster)
        servers = f"<remote_servers><{CLUSTER}>{shards}</{CLUSTER}></remote_servers>" if cluster else ""
        (folder / "config.xml").write_text(f"<clickhouse><logger><level>none</level></logger>{servers}</clickhouse>")


class Front(Server):
    """chDB behind ClickHouse's HTTP protocol; everywhere."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        super().__init__(folder, port, [str(Path(__file__).with_name("front.py")), str(folder / "data"), str(port)])


class Servers:
    """Where a store can be: `front`, `node`, or `shards`, two nodes that are one cluster."""

    def __init__(self, kind: str) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="spanledger-servers-"))
        ports = [(free_port(), free_port()) for _ in range({"front": 0, "node": 1, "shards": 2}[kind])]
        cluster = [tcp for _, tcp in ports] if len(ports) > 1 else []
        nodes = [Node(self._folder / str(at), http, tcp, cluster) for at, (http, tcp) in enumerate(ports)]
        self.all: list[Server] = [*nodes] if kind != "front" else [Front(self._folder / "front")]
        for server in self.all:
            server.start()

    def __getitem__(self, at: int) -> Server:
        return self.all[at]

    def settings(self, database: str = DATABASE, port: int | None = None) -> dict[str, str]:
        """The collector's settings that mean them; `port` is another way to the first."""
        urls = [f"{server.address}/{database}" for server in self.all]
        if port is not None:
            urls[0] = f"http://127.0.0.1:{port}/{database}"
        shards = {"clickhouse_cluster": CLUSTER, "clickhouse_shards": ",".join(urls)} if len(urls) > 1 else {}
        return {"clickhouse_url": urls[0], **shards}

    def connect(self, database: str = DATABASE) -> ServerStore:
        """A store on them, in a database of its own."""
        urls = [f"{server.address}/{database}" for server in self.all]
        cluster = {"cluster": CLUSTER, "shards": urls} if len(urls) > 1 else {}
        return ServerStore.connect(urls[0], read_handles=2, **cluster)

    def stop(self) -> None:
        for server in self.all:
            server.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


def skip_without(kind: str) -> None:
    """Skip the test, with the reason, where there is no such server."""
    if kind in ("node", "shards") and (reason := libchdb.why_not()) is not None:
        pytest.skip(reason)
