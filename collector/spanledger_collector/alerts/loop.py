"""The evaluator: a thread that measures each enabled rule every few seconds, writes what changed, and tells it.

An event is written before it is told, so that a restart neither fires again nor forgets to tell. Where the evaluator stands is
read from the events.
"""

import logging
import threading
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import orjson
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from spanledger_collector.alerts import notify
from spanledger_collector.alerts.evaluate import FIRING, Change, GroupKey, GroupState, Sample, query_of, step, summary
from spanledger_collector.alerts.rules import Rule, parse_rule
from spanledger_collector.clock import CLOCK
from spanledger_collector.errors import SpanledgerError
from spanledger_collector.query.run import answer
from spanledger_collector.settings import Settings
from spanledger_collector.store import alert_book
from spanledger_collector.store.alert_book import AlertEvent, StoredRule
from spanledger_collector.store.protocol import Store
from spanledger_collector.telemetry import Counters
from spanledger_schema.query import QueryError

_LOGGER: Final = logging.getLogger(__name__)
_LAG: Final = timedelta(seconds=2)
"""Windows end this long ago: what just came is not settled yet."""

RuleKey = tuple[str, str]


class Evaluator:
    """Owns the states of all rules. Methods are thread-safe."""

    def __init__(self, settings: Settings, store: Store, counters: Counters) -> None:
        """Prepare; `start` begins."""
        self._settings = settings
        self._store = store
        self._counters = counters
        self._states: dict[RuleKey, dict[GroupKey, GroupState]] = {}
        self._evaluated: dict[RuleKey, datetime] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="alerts", daemon=True)
        self._senders = ThreadPoolExecutor(4, "alert-send")

    def start(self) -> None:
        """Take up where the last collector stopped, and go on."""
        for event in alert_book.open_groups(self._store):
            since = _at(event.at)
            key = tuple(orjson.loads(event.group_key))
            self._states.setdefault((event.project, event.rule_id), {})[key] = GroupState(FIRING, since, event.value)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; deliveries under way get a few seconds."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        self._senders.shutdown(wait=True, cancel_futures=True)

    def state_of(self, project: str, rule_id: str) -> tuple[dict[GroupKey, GroupState], datetime | None]:
        """The groups of a rule as they were last evaluated, and when."""
        with self._lock:
            key = (project, rule_id)
            return dict(self._states.get(key, {})), self._evaluated.get(key)

    def forget(self, project: str, rule_id: str, because: str) -> None:
        """A rule was changed or deleted: its state begins anew, and what fires is resolved as far as people were told."""
        with self._lock:
            states = self._states.pop((project, rule_id), {})
            self._evaluated.pop((project, rule_id), None)
        now_ns = time.time_ns()
        for event in alert_book.read_events(self._store, project, rule_id=rule_id, limit=1_000):
            key = tuple(orjson.loads(event.group_key))
            if event.kind == "fired" and key in states and states.pop(key).state == FIRING:
                closing = event._replace(
                    event_id=uuid.uuid4().hex,
                    kind="resolved",
                    at=now_ns,
                    summary=f"The rule was {because}",
                    version=CLOCK.now_ns(),
                )
                alert_book.write_event(self._store, closing._replace(delivery=f'{{"rule":"{because}"}}'))

    def measure(self, rule: Rule, project: str, end: datetime) -> list[dict[GroupKey, Sample]]:
        """What a rule's windows ending at `end` measure, the newest first.

        Raises:
            QueryError, StoreUnavailable: the question cannot be answered.
        """
        return [self._measure_one(rule, project, end, back) for back in range(rule.for_windows)]

    def _measure_one(self, rule: Rule, project: str, end: datetime, back: int) -> dict[GroupKey, Sample]:
        table, _ = answer(self._store, query_of(rule, end, back), project)
        values = table.column(rule.measure).to_pylist()
        counts = table.column("interactions").to_pylist()
        groups = [table.column(name).to_pylist() for name in rule.group_by]
        keys: Sequence[GroupKey] = list(zip(*groups, strict=True)) if groups else [()] * table.num_rows
        return {
            key: Sample(Decimal(value) if isinstance(value, int) else value, count or 0)
            for key, value, count in zip(keys, values, counts, strict=True)
        }

    def _run(self) -> None:
        self._tell_untold()
        while not self._stopping.wait(self._settings.alert_every_s):
            try:
                self.evaluate_all(datetime.now(UTC) - _LAG)
            except SpanledgerError as error:
                _LOGGER.warning("alert rules could not be read: %s", error.code)
            except Exception:
                # A defect; but a thread that ends would never tell anybody anything again.
                _LOGGER.exception("evaluating alert rules hit a defect")

    def evaluate_all(self, now: datetime) -> None:
        """Evaluate every enabled rule of every project once.

        Raises:
            StoreUnavailable: the rules cannot be read.
        """
        for stored in alert_book.read_rules(self._store):
            try:
                rule = parse_rule(stored.body["rule"], stored.rule_id)
                if rule.enabled:
                    self._evaluate(stored, rule, now)
            except (QueryError, SpanledgerError) as error:
                _LOGGER.warning("alert rule %s could not be evaluated: %s", stored.rule_id, type(error).__name__)

    def _evaluate(self, stored: StoredRule, rule: Rule, now: datetime) -> None:
        windows = self.measure(rule, stored.project, now)
        key = (stored.project, rule.id)
        with self._lock:
            before = dict(self._states.get(key, {}))
        after, changes = step(rule, before, windows, now)
        events = [self._write(stored.project, rule, change, now) for change in changes]
        with self._lock:
            self._states[key] = after
            self._evaluated[key] = now
        self._counters.add("spanledger_alert_evaluations_total")
        for event in events:
            self._senders.submit(self._tell, event, rule, str(stored.body.get("signing_secret", "")))

    def _write(self, project: str, rule: Rule, change: Change, now: datetime) -> AlertEvent:
        event = AlertEvent(
            project=project,
            event_id=uuid.uuid4().hex,
            rule_id=rule.id,
            rule_name=rule.name,
            group_key=orjson.dumps(change.group).decode(),
            kind=change.kind,
            value=None if change.value is None else float(change.value),
            threshold=float(rule.threshold),
            window_start=_ns(change.window_start),
            window_end=_ns(change.window_end),
            at=_ns(now),
            summary=summary(rule, change),
            delivery="" if rule.webhooks or rule.emails else "{}",
            version=CLOCK.now_ns(),
        )
        alert_book.write_event(self._store, event)
        return event

    def _tell_untold(self) -> None:
        try:
            rules = {(stored.project, stored.rule_id): stored for stored in alert_book.read_rules(self._store)}
            for event in alert_book.untold_events(self._store):
                stored = rules.get((event.project, event.rule_id))
                if stored is not None:
                    rule = parse_rule(stored.body["rule"], stored.rule_id)
                    self._senders.submit(self._tell, event, rule, str(stored.body.get("signing_secret", "")))
        except SpanledgerError as error:
            _LOGGER.warning("undelivered alerts could not be read: %s", error.code)

    def _tell(self, event: AlertEvent, rule: Rule, secret: str) -> None:
        results: dict[str, str] = {}
        body = orjson.dumps(self._message(event, rule))
        for url in rule.webhooks:
            results[url] = self._attempt("webhook", self._webhook, url, body, secret, event.event_id)
        for address in rule.emails:
            results[address] = self._attempt("email", self._mail, address, event, rule)
        if results:
            told = event._replace(delivery=orjson.dumps(results).decode(), version=CLOCK.now_ns())
            try:
                alert_book.write_event(self._store, told)
            except SpanledgerError as error:
                _LOGGER.warning("the delivery of an alert could not be noted: %s", error.code)

    def _attempt(self, channel: str, send: Any, *arguments: Any) -> str:
        def again(error: BaseException) -> bool:
            return isinstance(error, notify.Undeliverable) and not error.is_final and not self._stopping.is_set()

        retrying = Retrying(
            stop=stop_after_attempt(4),
            wait=wait_random_exponential(multiplier=1, max=15),
            retry=retry_if_exception(again),
            reraise=True,
        )
        try:
            retrying(send, *arguments)
            result = "delivered"
        except notify.Undeliverable as error:
            result = f"failed: {error}"
        self._counters.add("spanledger_alert_deliveries_total", channel=channel, result=result.split(":")[0])
        return result

    def _webhook(self, url: str, body: bytes, secret: str, event_id: str) -> None:
        allow = self._settings.alert_webhook_allow_private
        notify.send_webhook(url, body, secret, int(time.time()), event_id, allow_private=allow)

    def _mail(self, address: str, event: AlertEvent, rule: Rule) -> None:
        smtp = self._settings.smtp_url.get_secret_value() if self._settings.smtp_url else ""
        subject = f"[Spanledger] {rule.severity}: {rule.name} {event.kind}"
        text = f"{event.summary}\n\nRule: {rule.name}\nProject: {event.project}\n{self._settings.public_url}/alerts\n"
        notify.send_mail(smtp, self._settings.smtp_from, address, subject, text)

    def _message(self, event: AlertEvent, rule: Rule) -> dict[str, Any]:
        return {
            "event": event.kind,
            "event_id": event.event_id,
            "project": event.project,
            "rule": {"id": rule.id, "name": rule.name, "severity": rule.severity, "measure": rule.measure, "window": rule.window},
            "group": dict(zip(rule.group_by, orjson.loads(event.group_key), strict=False)),
            "value": event.value,
            "threshold": event.threshold,
            "summary": event.summary,
            "at": _at(event.at).isoformat().replace("+00:00", "Z"),
            "url": f"{self._settings.public_url}/alerts",
        }


def _ns(at: datetime) -> int:
    return int(at.timestamp()) * 1_000_000_000 + at.microsecond * 1_000


def _at(nanoseconds: int) -> datetime:
    return datetime.fromtimestamp(nanoseconds // 1_000_000_000, UTC).replace(microsecond=nanoseconds // 1_000 % 1_000_000)
