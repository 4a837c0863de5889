"""The collector's own counters and logs.

Counters are plain numbers behind one lock, printed as Prometheus text. Logs are JSON lines on standard error with constant
messages and values as fields; prompt or completion text never enters a log.
"""

import json
import logging
import sys
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterable

_HELP = {
    "spanledger_spans_received_total": "Spans in requests that were read.",
    "spanledger_spans_stored_total": "Spans that are durable; includes copies of spans already stored.",
    "spanledger_spans_quarantined_total": "Spans that the store refused for their content.",
    "spanledger_requests_spooled_total": "Requests that wait, or waited, on disk for the store, by route.",
    "spanledger_spool_bytes": "Bytes of requests that wait for the store.",
    "spanledger_spans_rejected_total": "Spans refused, by reason.",
    "spanledger_spans_denied_total": "Spans refused by a data rule of their project.",
    "spanledger_spans_changed_late_total": "Spans stripped, masked or redacted after they were stored: an ancestor came later.",
    "spanledger_logs_denied_total": "Log records refused by a data rule of their project.",
    "spanledger_logs_received_total": "Log records in requests that were read.",
    "spanledger_requests_refused_total": "Requests refused as a whole, by reason; quota_exceeded is a key's own limit.",
    "spanledger_feedback_stored_total": "Judgements stored.",
    "spanledger_traces_settled_total": "Traces settled (again, when something late arrived).",
    "spanledger_commit_groups_total": "Group commits.",
    "spanledger_settle_errors_total": "Settling runs that failed and will be tried again.",
    "spanledger_alert_evaluations_total": "Alert rules evaluated.",
    "spanledger_alert_deliveries_total": "Alert deliveries, by channel and result.",
    "spanledger_pending_traces": "Traces stored and waiting to be settled.",
    "spanledger_open_request_bytes": "Bytes of request bodies being worked on.",
}


class Counters:
    """Named counts with labels, and a window of stored spans for the rate on the dashboard."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[tuple[str, tuple[tuple[str, str], ...]], float] = defaultdict(float)
        self._stored: deque[tuple[float, int]] = deque()

    def add(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        with self._lock:
            self._values[name, tuple(sorted(labels.items()))] += amount

    def put(self, name: str, value: float) -> None:
        """Set a gauge."""
        with self._lock:
            self._values[name, ()] = value

    def get(self, name: str) -> float:
        """Sum over all labels."""
        with self._lock:
            return sum(value for (key, _), value in self._values.items() if key == name)

    def stored(self, spans: int) -> None:
        """Count durable spans."""
        self.add("spanledger_spans_stored_total", spans)
        now = time.monotonic()
        with self._lock:
            self._stored.append((now, spans))
            while self._stored and self._stored[0][0] < now - 60:
                self._stored.popleft()

    def spans_per_minute(self) -> int:
        """Spans stored during the last 60 s."""
        now = time.monotonic()
        with self._lock:
            return sum(spans for at, spans in self._stored if at >= now - 60)

    def prometheus(self) -> str:
        """All counters in Prometheus' text format."""
        with self._lock:
            values = sorted(self._values.items())
        lines: list[str] = []
        for name, text in _HELP.items():
            kind = "counter" if name.endswith("_total") else "gauge"
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
            own = [(labels, value) for (key, labels), value in values if key == name] or [((), 0.0)]
            for labels, value in own:
                inner = ",".join(f'{key}="{_escape(text)}"' for key, text in labels)
                lines.append(f"{name}{{{inner}}} {value:g}" if inner else f"{name} {value:g}")
        return "\n".join(lines) + "\n"


def losses_text(totals: Iterable[tuple[str, str, str, int]]) -> str:
    """What SDKs lost (project, signal, reason, how many) in Prometheus' text format."""
    lines: dict[str, list[str]] = {}
    for project, signal, reason, number in totals:
        name = f"spanledger_sdk_dropped_{signal}_total"
        lines.setdefault(name, []).append(f'{name}{{project="{_escape(project)}",reason="{_escape(reason)}"}} {number}')
    text = ""
    for signal in ("spans", "feedback"):
        name = f"spanledger_sdk_dropped_{signal}_total"
        head = [f"# HELP {name} What SDKs say that they lost of {signal}, by reason.", f"# TYPE {name} counter"]
        text += "\n".join([*head, *lines.get(name, [])]) + "\n"
    return text


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            # The type and place only: messages of exceptions may quote stored text.
            trace = record.exc_info[2]
            while trace is not None and trace.tb_next is not None:
                trace = trace.tb_next
            entry["error"] = record.exc_info[0].__name__
            if trace is not None:
                entry["at"] = f"{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}"
        return json.dumps(entry, ensure_ascii=False)


def set_up_logging(level: int = logging.WARNING) -> None:
    """JSON lines on standard error for everything at or above `level`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
