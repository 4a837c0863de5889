"""Says a story through the public SDK: real spans, real delivery, at the times at which they happened."""

import heapq
import itertools
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta

import spanledger
from spanledger.demo.plan import Fault, Judgement, Plan, Step
from spanledger.testing import ManualClock

APP = "support-assistant"
PENDING_MAX = 3_500
"""Spans that may wait to be sent; the queue of the SDK holds more than twice as many and drops what exceeds it."""
FLUSH_S = 30.0


class ProviderError(Exception):
    """What a provider's client raises; `status_code` is HTTP's."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.status_code = fault.status


def _error_class(name: str) -> type[ProviderError]:
    return type(name, (ProviderError,), {"__module__": "provider"})


class Player:
    """Plays interactions on a clock that it sets. One thread."""

    def __init__(self, clock: ManualClock, *, endpoint: str, project: str, api_key: str | None = None) -> None:
        """Nothing is sent yet.

        Args:
            clock: The clock that the SDK uses; see `spanledger.testing.use_clock`.
            endpoint: Address of the collector.
            project: Project to write to.
            api_key: Key, where the collector wants one.
        """
        self._clock = clock
        self._endpoint = endpoint
        self._project = project
        self._api_key = api_key
        self._environment = ""
        self._errors: dict[str, type[ProviderError]] = {}
        self._later: list[tuple[datetime, int, str, str, Judgement]] = []
        self._numbers = itertools.count()

    def play(self, plan: Plan) -> None:
        """One interaction. What is thought of it waits for `judge`."""
        self._speak_for(plan.environment)
        self._clock.set(plan.at)
        with suppress(ProviderError):
            self._interact(plan)
        self._make_room()

    def judge(self, until: datetime) -> None:
        """Send the feedback that was given up to a time."""
        while self._later and self._later[0][0] <= until:
            at, _, identity, user, judgement = heapq.heappop(self._later)
            spanledger.feedback(
                identity,
                judgement.name,
                judgement.value,
                comment=judgement.comment,
                source=judgement.source,
                user=user if judgement.source == "user" else None,
                timestamp=at,
            )

    def finish(self, timeout_s: float = FLUSH_S) -> bool:
        """Wait until all is delivered; False when time ran out."""
        return spanledger.flush(timeout_s)

    def _speak_for(self, environment: str) -> None:
        if environment != self._environment:
            spanledger.flush(FLUSH_S)
            spanledger.init(
                APP,
                endpoint=self._endpoint,
                project=self._project,
                api_key=self._api_key,
                environment=environment,
                capture="full",
                # What a demonstration could not deliver is of no use to the next one.
                spool=False,
            )
            self._environment = environment

    def _make_room(self) -> None:
        while True:
            stats = spanledger.stats()
            if stats.spans_pending < PENDING_MAX and stats.feedback_pending < 1_000:
                return
            spanledger.flush(FLUSH_S)
            if spanledger.stats().spans_pending >= PENDING_MAX:
                time.sleep(0.2)

    def _interact(self, plan: Plan) -> None:
        with spanledger.interaction(
            plan.name,
            feature=plan.feature,
            user=plan.user,
            session=plan.session,
            tags=plan.tags,
            release=plan.release,
            prompt_version=plan.prompt_version,
            input=plan.question,
        ) as it:
            for judgement in plan.judgements:
                at = plan.ends + timedelta(seconds=judgement.after_s)
                heapq.heappush(self._later, (at, next(self._numbers), it.id, plan.user, judgement))
            for step in plan.steps:
                self._clock.advance(step.pause_s)
                # A retry, a stand-in or an answer without the tool comes after a call that failed.
                with suppress(ProviderError):
                    self._call(step)
            for source, value in plan.confidence.items():
                it.confidence(value, source=source)
            for name, passed in plan.validations.items():
                it.validation(name, passed)
            if plan.fallback is not None:
                origin, stand_in, reason = plan.fallback
                it.fallback(stand_in, from_model=origin, reason=reason)
            if plan.escalation is not None:
                it.escalate(plan.escalation[0], reason=plan.escalation[1])
            if plan.fault is not None:
                raise self._error(plan.fault)
            it.record(output=plan.answer)

    def _call(self, step: Step) -> None:
        match step.kind:
            case "retrieval":
                with spanledger.retrieval(step.name, query=step.said) as search:
                    self._clock.advance(step.seconds)
                    search.record(documents=step.documents)
            case "tool":
                with spanledger.tool(step.name, arguments=step.said, call_id="call_1") as tool:
                    self._clock.advance(step.seconds)
                    self._break(step)
                    tool.record(result=step.answer)
            case _:
                self._generate(step)

    def _generate(self, step: Step) -> None:
        with spanledger.generation(
            step.name,
            step.provider,
            input=step.said,
            operation="embeddings" if step.kind == "embedding" else "chat",
            prompt_version=step.prompt_version,
            attempt=step.attempt,
            stream=step.first_token_s is not None,
            system=step.system,
        ) as call:
            if step.fault is None and step.first_token_s is not None:
                self._clock.advance(step.first_token_s)
                call.first_token()
                self._clock.advance(step.seconds - step.first_token_s)
            else:
                self._clock.advance(step.seconds)
            self._break(step)
            call.record(
                output=step.answer,
                input_tokens=step.input_tokens,
                output_tokens=step.output_tokens,
                cache_read_tokens=step.cache_read_tokens,
                cache_write_tokens=step.cache_write_tokens,
                reasoning_tokens=step.reasoning_tokens,
                finish_reason=step.finish,
                response_model=step.name,
            )

    def _break(self, step: Step) -> None:
        if step.fault is not None:
            raise self._error(step.fault)

    def _error(self, fault: Fault) -> ProviderError:
        return self._errors.setdefault(fault.name, _error_class(fault.name))(fault)


def play_day(player: Player, plans: Iterable[Plan]) -> int:
    """Play a past day, one environment after the other, and what was thought of it; answers how many interactions it was."""
    day = sorted(plans, key=lambda plan: (plan.environment, plan.at))
    for plan in day:
        player.play(plan)
    if day:
        player.judge(max(plan.ends for plan in day) + timedelta(hours=1))
    return len(day)
