"""What a resource says that its SDK lost so far. Pure; nothing that cannot be a count is believed."""

import re
from typing import Final

from spanledger_collector.ingest.decoded import Attributes
from spanledger_collector.ingest.dialects.facts import text
from spanledger_collector.store.loss_book import Loss
from spanledger_schema import semconv

_COUNT_MAX: Final = 2**53
_REASONS_MAX: Final = 32
_CHARS_MAX: Final = 512
_INSTANCE: Final = re.compile(r"[0-9A-Za-z_.-]{1,64}")
_REASON: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
_SIGNALS: Final = (("spans", semconv.SDK_DROPPED_PREFIX), ("feedback", semconv.SDK_FEEDBACK_DROPPED_PREFIX))


def read_losses(resource: Attributes, project: str, received_at: int) -> list[Loss]:
    """The reports that a resource carries."""
    instance = resource.get(semconv.SDK_INSTANCE)
    if not isinstance(instance, str) or not _INSTANCE.fullmatch(instance):
        return []
    app = text(resource.get(semconv.SERVICE_NAME))[:_CHARS_MAX]
    environment = text(resource.get(semconv.ENVIRONMENT))[:_CHARS_MAX]
    release = text(resource.get(semconv.SERVICE_VERSION))[:_CHARS_MAX]
    found = []
    for key, value in resource.items():
        for signal, prefix in _SIGNALS:
            if not key.startswith(prefix) or type(value) is not int or not 0 < value <= _COUNT_MAX:
                continue
            if _REASON.fullmatch(reason := key[len(prefix) :]):
                found.append(Loss(project, instance, signal, reason, value, app, environment, release, received_at))
    return found[:_REASONS_MAX]
