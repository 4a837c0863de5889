"""What `init` sets up and everything else reads: one configuration per process, replaced as a whole."""

import atexit
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import trace

from spanledger._config import Config, resolve_config
from spanledger._counters import COUNTERS
from spanledger._encode import SCOPE
from spanledger._guard import LOGGER, Guard
from spanledger._rules import RedactArgument
from spanledger._values import CONTENT_CHARS_MAX, TEXT_CHARS_MAX

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from spanledger._processor import Delivery, LedgerProcessor

EXIT_S: Final = 2.0
_ATTRIBUTES_MAX: Final = 512


@dataclass(frozen=True, slots=True)
class State:
    """A running SDK.

    Attributes:
        tracer: Makes our spans.
        processor: Takes them, and those of everybody else who uses the same provider.
        captures_content: Whether prompts, outputs, arguments, documents and messages of errors may be recorded.
        captures_identity: Whether user and session may be recorded.
        content_chars_max: Longest content attribute; the host's own provider may have a lower limit than ours, and
            would log a warning for each longer one.
        text_chars_max: Longest plain attribute.
    """

    config: Config
    provider: Any
    tracer: trace.Tracer
    processor: "LedgerProcessor"
    delivery: "Delivery"
    captures_content: bool
    captures_identity: bool
    content_chars_max: int
    text_chars_max: int


state: State | None = None
_lock = threading.RLock()
_processors: "list[tuple[Any, LedgerProcessor]]" = []
_retired: "deque[Delivery]" = deque(maxlen=8)
_own_provider: "TracerProvider | None" = None
_is_told_to_multiprocessing = False


def init(
    app: str | None = None,
    *,
    endpoint: str | None = None,
    api_key: str | None = None,
    project: str | None = None,
    environment: str | None = None,
    release: str | None = None,
    capture: str | None = None,
    enabled: bool | None = None,
    instrument: bool | None = None,
    spool: str | os.PathLike[str] | bool | None = None,
    redact: RedactArgument | None = None,
    data_rules: Mapping[str, str] | None = None,
    tracer_provider: Any = None,
) -> None:
    """Start recording. The same call again does nothing; with other arguments it replaces the earlier one.

    Each argument falls back to `SPANLEDGER_<NAME>`, then to OpenTelemetry's own variable where there is one
    (`OTEL_SERVICE_NAME`, `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_RESOURCE_ATTRIBUTES`,
    `OTEL_SDK_DISABLED`).

    Args:
        app: Name of the application (`service.name`).
        endpoint: Address of the collector; default `http://127.0.0.1:4318`.
        api_key: Sent as `Authorization: Bearer`.
        project: Sent as a header, for a collector without keys or with an admin key.
        environment: Such as `production`.
        release: Version of the application.
        capture: `full` (default) records prompts, outputs, documents, arguments and messages of errors; `metadata`
            none of these; `none` neither these nor user and session. It holds for spans of other instrumentations too.
        enabled: False makes everything a no-op.
        instrument: Switch on the GenAI instrumentations for OpenTelemetry that are installed.
        spool: Folder in which to keep, within bounds, what cannot be delivered, until the collector is back; the next
            process sends it, if need be. Default: `spanledger/spool` in the user's folder for state. False: none, what cannot be
            delivered within half a minute is dropped and counted.
        redact: What is replaced in texts before they leave the process. Default: all built-in kinds, which are `private_key`,
            `api_key` (tokens and passwords too), `email`, `iban`, `card`, `phone`, `ip`. False: nothing. One or more functions
            from a text to a text, or to None for none at all: they see content after the built-in kinds. Names of kinds: only
            these. A function that fails or takes too long costs the content of that span, not the span.
        data_rules: What happens to spans by their data class, or their purpose as in `purpose:training`: `deny` (not sent,
            counted), `strip` (sent without content) or `mask` (content keeps its shape, not its words).
        tracer_provider: Take part in this provider; default the global one, which is set up if nobody did.

    Raises:
        ValueError: for an argument that cannot be used. Nothing else is ever raised.
    """
    if tracer_provider is not None and not callable(getattr(tracer_provider, "add_span_processor", None)):
        raise ValueError("tracer_provider must be an OpenTelemetry SDK TracerProvider")
    config = resolve_config(
        app=app,
        endpoint=endpoint,
        api_key=api_key,
        project=project,
        environment=environment,
        release=release,
        capture=capture,
        enabled=enabled,
        instrument=instrument,
        spool=spool if spool is None or isinstance(spool, bool) else os.fspath(spool),
        redact=redact,
        data_rules=data_rules,
    )
    with Guard("init"), _lock:
        _apply(config, tracer_provider)


def _apply(config: Config, tracer_provider: Any) -> None:
    if not config.enabled:
        _retire()
        return
    from spanledger._hooks import Hooks
    from spanledger._pipeline import Pipeline
    from spanledger._privacy import Privacy

    provider, is_own = _choose_provider(tracer_provider)
    if state is not None and state.config == config and state.provider is provider:
        return
    resource = config.resource_attributes() if is_own else config.explicit_resource_attributes()
    privacy = Privacy(config.capture, config.data_rules, config.redaction, Hooks(config.redaction.hooks))
    install(config, provider, Pipeline(config.endpoint, config.headers, resource, privacy, config.spool))
    if config.instrument:
        from spanledger._instrument import instrument_installed

        instrument_installed(provider, captures_content=config.capture == "full")


def install(config: Config, provider: Any, delivery: "Delivery") -> State:
    """Make `delivery` the one that takes the provider's spans, and retire the one before."""
    global state
    _retire()
    processor = _processor_of(provider)
    processor.delivery = delivery
    limit = getattr(getattr(provider, "_span_limits", None), "max_span_attribute_length", None)
    limit = limit if isinstance(limit, int) and limit > 0 else CONTENT_CHARS_MAX
    state = State(
        config=config,
        provider=provider,
        tracer=provider.get_tracer(SCOPE),
        processor=processor,
        delivery=delivery,
        captures_content=config.capture == "full",
        captures_identity=config.capture != "none",
        content_chars_max=min(limit, CONTENT_CHARS_MAX),
        text_chars_max=min(limit, TEXT_CHARS_MAX),
    )
    return state


@contextmanager
def replaced(config: Config, provider: Any, delivery: "Delivery") -> Iterator[State]:
    """Record into `delivery` inside the block, and as before after it."""
    global state
    with _lock:
        before, state = state, None
        inside = install(config, provider, delivery)
    try:
        yield inside
    finally:
        with _lock:
            inside.processor.delivery = None
            if before is not None:
                before.processor.delivery = before.delivery
            state = before


def _retire() -> None:
    global state
    before, state = state, None
    if before is not None:
        before.processor.delivery = None
        before.delivery.retire(EXIT_S)
        _retired.append(before.delivery)


def _choose_provider(given: Any) -> tuple[Any, bool]:
    """The provider to take part in, and whether it is ours."""
    provider = given if given is not None else trace.get_tracer_provider()
    if callable(getattr(provider, "add_span_processor", None)):
        return provider, provider is _own_provider
    own = _make_provider()
    if isinstance(provider, trace.ProxyTracerProvider):
        trace.set_tracer_provider(own)
    else:
        LOGGER.warning("the global tracer provider takes no processors; spanledger records its own spans only")
    return own, True


def _make_provider() -> "TracerProvider":
    global _own_provider
    if _own_provider is None:
        from opentelemetry.sdk.trace import SpanLimits, TracerProvider

        # Our own atexit handler is bounded; the provider's is not.
        limits = SpanLimits(max_span_attributes=_ATTRIBUTES_MAX)
        _own_provider = TracerProvider(span_limits=limits, shutdown_on_exit=False)
    return _own_provider


def _processor_of(provider: Any) -> "LedgerProcessor":
    for known, processor in _processors:
        if known is provider:
            return processor
    from spanledger._processor import LedgerProcessor

    processor = LedgerProcessor()
    provider.add_span_processor(processor)
    _processors.append((provider, processor))
    return processor


def flush(timeout_s: float = 5.0) -> bool:
    """Wait until all that was recorded so far is sent, or dropped and counted.

    Returns:
        False if `timeout_s` seconds ran out first.
    """
    current = state
    ends = time.monotonic() + timeout_s
    with Guard("flush"):
        # Those that an `init` with other arguments replaced may still have something.
        for delivery in [*_retired, *([current.delivery] if current is not None else [])]:
            if not delivery.flush(max(0.0, ends - time.monotonic())):
                return False
        return True
    return False


def shutdown(timeout_s: float = EXIT_S) -> bool:
    """Stop recording, and send what is left for at most `timeout_s` seconds. Happens by itself when the process exits.

    Returns:
        False if something was lost because time ran out. `init` may be called again.
    """
    global state
    with _lock:
        before, state = state, None
        if before is None:
            return True
        before.processor.delivery = None
    with Guard("shutdown"):
        return before.delivery.close(timeout_s)
    return False


def _at_exit() -> None:
    ends = time.monotonic() + EXIT_S
    shutdown(EXIT_S)
    for delivery in list(_retired):
        with Guard("shutdown"):
            delivery.close(max(0.0, ends - time.monotonic()))


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.RLock()
    _retired.clear()
    COUNTERS.reset()
    if state is not None:
        with Guard("fork"):
            state.delivery.reset_after_fork()


def _before_fork() -> None:
    """Have children of `multiprocessing` end as others do: they leave by `os._exit`, which runs nothing of `atexit`."""
    global _is_told_to_multiprocessing
    util = sys.modules.get("multiprocessing.util")
    if util is not None and state is not None and not _is_told_to_multiprocessing:
        with Guard("fork"):
            _is_told_to_multiprocessing = True
            util.register_after_fork(_at_exit, lambda at_exit: util.Finalize(None, at_exit, exitpriority=-100))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)
atexit.register(_at_exit)
