"""Redaction by functions of the host: in a thread of their own, within a time, and closed when they fail.

A function of the host cannot be interrupted, so the sending thread waits for it only so long. What is not done by then counts
as failed; while it still hangs, everything fails at once, and delivery goes on without content.
"""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from opentelemetry import context as otel_context

from spanledger._guard import log_rarely

Hook = Callable[[str], str | None]

TEXT_S: Final = 0.25
"""Longest that the hooks may take for one text."""
BATCH_S: Final = 2.0
"""Longest that they may take for all texts of a request."""
Result = tuple[bool, str | None]
"""Whether it worked, and the text; None where a hook wants it gone."""
FAILED: Final[Result] = (False, None)


@dataclass(slots=True)
class _Job:
    texts: Sequence[str]
    results: list[Result]
    # Looked up when it is made: gevent may have replaced it since this module was imported.
    done: "queue.SimpleQueue[None]" = field(default_factory=lambda: queue.SimpleQueue())
    is_abandoned: bool = False


class Hooks:
    """Runs the hooks over texts."""

    def __init__(self, hooks: Sequence[Hook]) -> None:
        self._hooks = tuple(hooks)
        self.reset()

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._hooks)

    def reset(self) -> None:
        """Begin anew, in a forked child: the thread is the parent's."""
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._running: _Job | None = None

    def start(self) -> None:
        """Have the thread ready: at exit newer Pythons start none."""
        if not self._hooks or (self._thread is not None and self._thread.is_alive()):
            return
        self._running = None
        thread = threading.Thread(target=self._run, name="spanledger-redact", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return
        self._thread = thread

    def run(self, texts: Sequence[str], deadline: float) -> list[Result]:
        """Each text after all hooks.

        Args:
            texts: What to redact.
            deadline: When to stop waiting, by `time.monotonic`.
        """
        results: list[Result] = [FAILED] * len(texts)
        if not texts:
            return results
        self.start()
        if self._thread is None or self._running is not None:
            return results
        job = self._running = _Job(texts, results)
        self._jobs.put(job)
        try:
            job.done.get(timeout=max(0.0, min(BATCH_S, deadline - time.monotonic())))
        except queue.Empty:
            log_rarely("redact:slow", "spanledger dropped content: a redaction hook is too slow")
            job.is_abandoned = True
        # A copy: an abandoned job may still write.
        return list(results)

    def _run(self) -> None:
        # What a hook does, such as asking a service, must not be traced, or every export would cause the next one.
        otel_context.attach(otel_context.set_value(otel_context._SUPPRESS_INSTRUMENTATION_KEY, True))
        while True:
            job = self._jobs.get()
            try:
                for index, text in enumerate(job.texts):
                    if job.is_abandoned:
                        break
                    job.results[index] = self._apply(text)
            finally:
                self._running = None
                job.done.put(None)

    def _apply(self, text: str) -> Result:
        ends = time.monotonic() + TEXT_S
        current = text
        result: str | None = text
        try:
            for hook in self._hooks:
                result = hook(current)
                if result is None:
                    break
                if not isinstance(result, str):
                    raise TypeError("a redaction hook must return a str or None")
                current = result
        except BaseException as error:  # noqa: BLE001 - of the host: it may raise anything, and its message may quote the text
            log_rarely("redact:failed", "spanledger dropped content: a redaction hook failed (%s)", type(error).__name__)
            return FAILED
        if time.monotonic() > ends:
            log_rarely("redact:slow", "spanledger dropped content: a redaction hook is too slow")
            return FAILED
        return True, result
