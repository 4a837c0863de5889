"""What waited while the store was away goes in when it is back: in order of arrival, with back-off while it is not."""

import asyncio
import logging
import random
from typing import Final

from spanledger_collector.api.exports import store_feedback, store_logs, store_traces
from spanledger_collector.api.services import Services
from spanledger_collector.errors import SpanledgerError, StoreUnavailable
from spanledger_collector.store.spool import FEEDBACK, LOGS, TRACES, Waiting

_LOGGER: Final = logging.getLogger(__name__)
_LOOK_EVERY_S: Final = 0.2
_BACK_OFF_S: Final = (0.25, 15.0)
_AT_ONCE: Final = 64
_AT_ONCE_BYTES: Final = 16 * 1024 * 1024
_ROUTES: Final = {TRACES: store_traces, LOGS: store_logs, FEEDBACK: store_feedback}


async def drain_spool(parts: Services) -> None:
    """Run until cancelled."""
    parts.is_store_away = parts.is_store_away or not parts.spool.is_empty
    wait_s = _BACK_OFF_S[0]
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        try:
            while await _drain_some(parts):
                wait_s = _BACK_OFF_S[0]
        except SpanledgerError as error:
            _LOGGER.warning("what waits for the store waits on: %s", error.code)
            # Full jitter, so that several collectors do not come back at the same moment.
            await asyncio.sleep(random.uniform(0, wait_s))  # noqa: S311 - no secret
            wait_s = min(wait_s * 2, _BACK_OFF_S[1])
        except Exception:
            _LOGGER.exception("draining the spool hit a defect and is tried again")
            await asyncio.sleep(_BACK_OFF_S[1])


async def _drain_some(parts: Services) -> bool:
    """Send the oldest requests; whether there were any."""
    if parts.opening.reason is not None:
        return False
    if parts.spool.is_empty:
        parts.is_store_away = False
        return False
    if parts.room.is_short:
        # It lies safely where it is, and the store would need room for it.
        return False
    requests = await asyncio.to_thread(parts.spool.oldest, _AT_ONCE, _AT_ONCE_BYTES)
    # Together, so that they share inserts: one after the other they would come in more slowly than new ones.
    answers = await asyncio.gather(*(_store(parts, request) for request in requests), return_exceptions=True)
    pairs = list(zip(requests, answers, strict=True))
    await asyncio.to_thread(parts.spool.done, [request for request, answer in pairs if answer is None])
    for answer in answers:
        if answer is not None:
            raise answer
    return True


async def _store(parts: Services, request: Waiting) -> None:
    try:
        stored, refused = await _ROUTES[request.route](parts, request)
    except StoreUnavailable:
        raise
    except SpanledgerError as error:
        # It was read before it was accepted, so this is a newer collector that reads it otherwise.
        _LOGGER.error("a request that waited cannot be read any more: %s", error.code)
        stored, refused = 0, 0
    if request.route == TRACES:
        parts.account.move(request.project, stored, "pending", "stored")
        parts.account.move(request.project, refused, "pending", "quarantined")
        parts.account.drop_pending(request.project, request.items - stored - refused)
