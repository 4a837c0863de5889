"""The data rules of all projects in memory, for every request, and beside the spool for a start while the store is away."""

import contextlib
import json
import threading
from pathlib import Path
from typing import Final

from spanledger_collector.errors import SpanledgerError, StoreUnavailable
from spanledger_collector.governance.data_rules import DataRule, DataRules
from spanledger_collector.store.private_json import replace_json
from spanledger_collector.store.project_book import read_settings
from spanledger_collector.store.protocol import Store

LOOK_EVERY_S: Final = 2.0


class RuleBook:
    """Asking is without I/O; `reload` reads. Where others may change rules too, `start` looks every two seconds."""

    def __init__(self, store: Store, cache: Path, *, watches: bool) -> None:
        """Know nothing yet.

        Args:
            store: Where the rules are.
            cache: A file in which they are kept for a start while the store is away.
            watches: Other collectors may change rules, so look again.
        """
        self._store = store
        self._cache = cache
        self._watches = watches
        self._rules: dict[str, DataRules] = {}
        self._is_known = False
        self._is_stale = False
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def of(self, project: str) -> DataRules | None:
        """The project's rules, or None where it has none.

        Raises:
            StoreUnavailable: nobody can say which rules there are, so nothing may be kept, not even on disk.
        """
        if not self._is_known:
            raise StoreUnavailable("The data rules cannot be read now; send it again in a few seconds.")
        return self._rules.get(project)

    @property
    def projects(self) -> frozenset[str]:
        """Those that have rules, as far as is known."""
        return frozenset(self._rules)

    def reload(self) -> None:
        """Read all rules anew.

        Raises:
            StoreUnavailable: the store does not answer; what is known stays.
        """
        with self._lock:
            self._is_stale = True
            found = {project: settings.rules for project, settings in read_settings(self._store).items() if settings.rules}
            self._take(found)
            self._write_cache(found)
            self._is_stale = False

    def recall(self) -> None:
        """Take the rules from the cache, where there is one."""
        try:
            found = json.loads(self._cache.read_text())
            rules = {project: tuple(DataRule(*rule) for rule in listed) for project, listed in found.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return
        with self._lock:
            self._take(rules)

    def start(self) -> None:
        """Begin to look for changes of others, and for own ones that could not be read."""
        self._thread = threading.Thread(target=self._watch, name="data-rules", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End that."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _take(self, found: dict[str, tuple[DataRule, ...]]) -> None:
        before = self._rules
        # Rules that have not changed keep what they remember.
        kept = {project: known for project, known in before.items() if known.rules == found.get(project)}
        self._rules = {project: kept.get(project) or DataRules(rules) for project, rules in found.items()}
        self._is_known = True

    def _watch(self) -> None:
        while not self._stopping.wait(LOOK_EVERY_S):
            if self._watches or self._is_stale:
                with contextlib.suppress(SpanledgerError):
                    self.reload()

    def _write_cache(self, found: dict[str, tuple[DataRule, ...]]) -> None:
        try:
            replace_json(self._cache, found)
        except OSError:
            # Without it a start while the store is away answers 503 until it is back. An older one must not be believed then.
            with contextlib.suppress(OSError):
                self._cache.unlink(missing_ok=True)
