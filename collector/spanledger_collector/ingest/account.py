"""Where every accepted span is: accepted = stored + pending + quarantined, per project, always."""

import threading
from collections import defaultdict
from collections.abc import Mapping

_STATES = ("accepted", "stored", "pending", "quarantined")


class Account:
    """Counts of spans by project, moved together under one lock, so that whoever reads them sees them agree."""

    def __init__(self, pending: Mapping[str, int], quarantined: Mapping[str, int]) -> None:
        """Begin with what an earlier process left: it was accepted then."""
        self._lock = threading.Lock()
        self._spans: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(_STATES, 0))
        for state, counts in (("pending", pending), ("quarantined", quarantined)):
            for project, number in counts.items():
                self._spans[project][state] += number
                self._spans[project]["accepted"] += number

    def accept(self, project: str, *, stored: int = 0, pending: int = 0, quarantined: int = 0) -> None:
        """Spans were accepted, and this is where they are."""
        with self._lock:
            spans = self._spans[project]
            spans["accepted"] += stored + pending + quarantined
            spans["stored"] += stored
            spans["pending"] += pending
            spans["quarantined"] += quarantined

    def move(self, project: str, number: int, origin: str, to: str) -> None:
        """Accepted spans went from one place to another."""
        with self._lock:
            self._spans[project][origin] -= number
            self._spans[project][to] += number

    def drop(self, project: str, number: int) -> None:
        """Spans in quarantine were given up by a person."""
        with self._lock:
            self._spans[project]["quarantined"] -= number
            self._spans[project]["accepted"] -= number

    def drop_pending(self, project: str, number: int) -> None:
        """Waiting spans turned out to be none."""
        with self._lock:
            self._spans[project]["pending"] -= number
            self._spans[project]["accepted"] -= number

    def by_project(self) -> dict[str, dict[str, int]]:
        """All counts at one moment."""
        with self._lock:
            return {project: dict(spans) for project, spans in self._spans.items()}

    def total(self, state: str, project: str | None = None) -> int:
        """One state of a project, or over all projects."""
        with self._lock:
            return sum(spans[state] for name, spans in self._spans.items() if project in (None, name))

    def prometheus(self) -> str:
        """All counts in Prometheus' text format."""
        lines = [
            "# HELP spanledger_spans Accepted spans by where they are; accepted is the sum of the others.",
            "# TYPE spanledger_spans gauge",
        ]
        for project, spans in sorted(self.by_project().items()):
            named = project.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
            lines += [f'spanledger_spans{{project="{named}",state="{state}"}} {spans[state]}' for state in _STATES]
        return "\n".join(lines) + "\n"
