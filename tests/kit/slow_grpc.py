"""A gRPC sender of its own making, which sends a part of its message and then waits: a stub would send all that it is allowed."""

import asyncio
import struct
from typing import Final

_SERVICE: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_DATA, _HEADERS, _SETTINGS, _PING, _WINDOW = 0, 1, 4, 6, 8
_FRAME_BYTES: Final = 16_384


class SlowSender:
    """One connection with one call, whose message says `stated` bytes and of which `sent` have gone."""

    def __init__(self, stated: int, **metadata: str) -> None:
        self.sent = 0
        self.is_answered = False
        self._stated = stated
        self._metadata = metadata
        self._windows = {0: 65_535, 1: 65_535}
        self._open = asyncio.Event()

    async def send(self, port: int, count: int, wait_s: float) -> None:
        """Send so many bytes of the message, as the server lets it, and wait for so long; the connection stays open."""
        reader, self._writer = await asyncio.open_connection("127.0.0.1", port)
        self._reading = asyncio.create_task(self._read(reader))
        self._writer.write(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(_SETTINGS, 0, 0, b"") + _frame(_HEADERS, 4, 1, self._head())
        )
        rest = b"\0" + struct.pack(">I", self._stated) + b"\0" * (count - 5)
        try:
            async with asyncio.timeout(wait_s):
                while self.sent < len(rest) and not self.is_answered:
                    size = min(_FRAME_BYTES, len(rest) - self.sent, *self._windows.values())
                    if size <= 0:
                        self._open.clear()
                        await self._open.wait()
                        continue
                    self._writer.write(_frame(_DATA, 0, 1, rest[self.sent : self.sent + size]))
                    self.sent += size
                    self._windows = {stream: window - size for stream, window in self._windows.items()}
                    await self._writer.drain()
        except (TimeoutError, ConnectionError):
            return

    def close(self) -> None:
        """Hang up."""
        self._reading.cancel()
        self._writer.close()

    def _head(self) -> bytes:
        fields = {
            ":method": "POST",
            ":scheme": "http",
            ":path": _SERVICE,
            ":authority": "localhost",
            "te": "trailers",
            "content-type": "application/grpc",
            **self._metadata,
        }
        return b"".join(b"\0" + _text(name) + _text(value) for name, value in fields.items())

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                head = await reader.readexactly(9)
                kind, flags, stream = head[3], head[4], int.from_bytes(head[5:9], "big")
                body = await reader.readexactly(int.from_bytes(head[:3], "big"))
                if kind == _SETTINGS and not flags & 1:
                    self._settle(body)
                elif kind == _PING and not flags & 1:
                    self._writer.write(_frame(_PING, 1, 0, body))
                elif kind == _WINDOW:
                    self._windows[stream] = self._windows.get(stream, 0) + int.from_bytes(body, "big")
                elif stream:
                    self.is_answered = True
                self._open.set()
        except (asyncio.IncompleteReadError, ConnectionError):
            self.is_answered = True
            self._open.set()

    def _settle(self, body: bytes) -> None:
        for name, value in struct.iter_unpack(">HI", body):
            if name == 4:
                self._windows[1] += value - 65_535
        self._writer.write(_frame(_SETTINGS, 1, 0, b""))


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return struct.pack(">I", len(body))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + body


def _text(text: str) -> bytes:
    raw = text.encode()
    assert len(raw) < 127
    return bytes([len(raw)]) + raw
