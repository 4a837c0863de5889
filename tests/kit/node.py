"""Genuine ClickHouse nodes over HTTP and TCP, from the library that `libchdb` fetches.

It is ClickHouse in local mode: queries, users, Distributed tables, merges and mutations are the real ones; ON CLUSTER and
replication between nodes are not in it. It ends when its standard input closes, so it does not outlive its test.
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
from live import free_port

CLUSTER = "ledger"
DATABASE = "spanledger"
_SHARD = (
    "<shard><internal_replication>true</internal_replication><replica><host>127.0.0.1</host><port>{}</port></replica></shard>"
)


class Node:
    """One node on a folder and ports of its own, for all its lives."""

    def __init__(self, folder: Path, http: int, tcp: int, cluster: Sequence[int]) -> None:
        self._folder, self.http, self.tcp = folder, http, tcp
        folder.mkdir(parents=True, exist_ok=True)
        shards = "".join(_SHARD.format(port) for port in cluster)
        servers = f"<remote_servers><{CLUSTER}>{shards}</{CLUSTER}></remote_servers>" if cluster else ""
        logs = "<logger><level>none</level></logger>"
        (folder / "config.xml").write_text(f"<clickhouse>{logs}{servers}</clickhouse>")
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
        arguments = [str(self._folder / "data"), str(self._folder / "config.xml"), str(self.http), str(self.tcp)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", libchdb.__file__, *arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.address}/ping", timeout=5).text.strip() == "Ok.":
                    return
            assert self._process.poll() is None, (self._folder / "log").read_text()[-2_000:]
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


class Nodes:
    """Some nodes, each a shard of one cluster where there are several."""

    def __init__(self, number: int) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="spanledger-nodes-"))
        ports = [(free_port(), free_port()) for _ in range(number)]
        cluster = [tcp for _, tcp in ports] if number > 1 else []
        self.all = [Node(self._folder / str(at), http, tcp, cluster) for at, (http, tcp) in enumerate(ports)]
        for node in self.all:
            node.start()

    def __getitem__(self, at: int) -> Node:
        return self.all[at]

    @property
    def environment(self) -> dict[str, str]:
        """The collector's settings that mean them."""
        found = {"SPANLEDGER_CLICKHOUSE_URL": self.all[0].url}
        if len(self.all) > 1:
            found["SPANLEDGER_CLICKHOUSE_CLUSTER"] = CLUSTER
            found["SPANLEDGER_CLICKHOUSE_SHARDS"] = ",".join(node.url for node in self.all)
        return found

    def stop(self) -> None:
        for node in self.all:
            node.stop()
        shutil.rmtree(self._folder, ignore_errors=True)
