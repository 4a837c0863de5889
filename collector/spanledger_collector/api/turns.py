"""Whose gRPC message may arrive now.

gRPC gives a message away only when all of it is there, so that it cannot be counted as it comes, as bodies over HTTP are;
instead it is not read before there is room for the largest that it may be. What was not asked for stays with its sender:
HTTP/2 lets it send no more than a window of 64 KiB before. For one event loop.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from spanledger_collector.errors import BadRequest, Overloaded

T = TypeVar("T")

_CALLS_MAX: Final = 512
_WAIT_S: Final = 1.0
_TURN_S: Final = 2.0
_READ_S_MAX: Final = 60.0
_LOOK_EVERY_S: Final = 0.1
_BUSY: Final = "Too much is arriving at the same time; send it again in a second."
_SLOW: Final = "The message came slowly, and others waited; send it again in a second."


class Turns:
    """Those who read, and those who wait for it, in the order in which they came."""

    def __init__(self, message_bytes_max: int, bytes_max: int, held: Callable[[], int]) -> None:
        """Nobody reads yet.

        Args:
            message_bytes_max: The largest message.
            bytes_max: As much may arrive and be worked on, together.
            held: How much is being worked on.
        """
        self._message_bytes_max = message_bytes_max
        self._bytes_max = bytes_max
        self._held = held
        self._numbers = itertools.count()
        self._reading: dict[int, None] = {}
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def read(self, message: Callable[[], Awaitable[T]]) -> T:
        """Ask for a message when it is its turn, and wait until it is there.

        Raises:
            Overloaded: there was no room for a while, or it came too slowly while others waited.
            BadRequest: it did not come within a minute.
        """
        await self._turn()
        number = next(self._numbers)
        self._reading[number] = None
        self.go_on()
        coming = asyncio.ensure_future(message())
        try:
            return await self._arrival(coming, number)
        finally:
            coming.cancel()
            del self._reading[number]
            # When the caller has counted what came.
            asyncio.get_running_loop().call_soon(self.go_on)

    def go_on(self) -> None:
        """Let the next one read if it may now; to be called when something that was worked on is done."""
        while self._waiting and self._has_room():
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def _has_room(self) -> bool:
        """Room for one more; whatever came over HTTP, one may always read, or a busy HTTP would shut gRPC out."""
        held = self._held()
        if not self._reading:
            return held <= self._bytes_max
        return held + (len(self._reading) + 1) * self._message_bytes_max <= self._bytes_max

    async def _turn(self) -> None:
        if not self._waiting and self._has_room():
            return
        if len(self._waiting) >= _CALLS_MAX:
            raise Overloaded(_BUSY)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(_WAIT_S):
                await turn
        except TimeoutError:
            raise Overloaded(_BUSY) from None
        finally:
            if turn in self._waiting:
                self._waiting.remove(turn)
            elif turn.cancelled():
                self.go_on()

    async def _arrival(self, coming: "asyncio.Future[T]", number: int) -> T:
        loop = asyncio.get_running_loop()
        began = loop.time()
        wait_s = _TURN_S
        while not (await asyncio.wait({coming}, timeout=wait_s))[0]:
            if loop.time() - began > _READ_S_MAX:
                raise BadRequest(f"The message did not arrive within {_READ_S_MAX:.0f} s.")
            if self._waiting and next(iter(self._reading)) == number:
                # A sender that stalls would else hold the place of a whole message for a minute.
                raise Overloaded(_SLOW)
            wait_s = _LOOK_EVERY_S
        return coming.result()
