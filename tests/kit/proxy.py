"""A way to a server that can be bad: connections are refused, wait, end within an answer, or after what was asked."""

import contextlib
import socket
import threading
import time
from typing import Literal

from live import free_port

Mode = Literal["open", "refused", "slow", "cut answers", "lost answers"]
SLOW_S = 1.5
CUT_BYTES = 60
"""Into an answer: after the first line, before its end."""


class Proxy:
    """Listens on a port of its own and passes on to another, as `mode` says; changes reach open connections too."""

    def __init__(self, to: int) -> None:
        self.port = free_port()
        self.mode: Mode = "open"
        self.spoiled = 0
        """Connections that got what the mode says."""
        self._to = to
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._listen, daemon=True).start()

    def become(self, mode: Mode) -> None:
        """From now on; where nobody is to come through, connections that are open end."""
        self.mode = mode
        if mode == "refused":
            with self._lock:
                for one in self._open:
                    with contextlib.suppress(OSError):
                        one.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        self._listener.close()
        self.become("refused")

    def _listen(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.mode == "refused":
                self.spoiled += 1
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._to), timeout=60)
            except OSError:
                client.close()
                continue
            with self._lock:
                self._open |= {client, server}
            for way in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pump, args=way, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if is_answer and self.mode != "open":
                    self.spoiled += 1
                    if self.mode == "slow":
                        time.sleep(SLOW_S)
                    if self.mode == "cut answers":
                        target.sendall(data[:CUT_BYTES])
                    if self.mode in ("cut answers", "lost answers"):
                        break
                target.sendall(data)
        with self._lock:
            self._open -= {source, target}
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
                one.close()
