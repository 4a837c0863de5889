"""What a demonstrated interaction is made of. Pure data."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

Kind = Literal["model", "embedding", "retrieval", "tool"]


@dataclass(frozen=True, slots=True)
class Fault:
    """An error of a provider or a tool; `status` is HTTP's, None where no answer came."""

    name: str
    message: str
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One call inside an interaction. Token counts are OpenTelemetry's: cached are part of input, reasoning of output."""

    kind: Kind
    name: str
    seconds: float
    provider: str | None = None
    attempt: int | None = None
    prompt_version: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    finish: str | None = None
    first_token_s: float | None = None
    system: str | None = None
    said: object = None
    answer: object = None
    documents: tuple[dict[str, object], ...] = ()
    fault: Fault | None = None
    pause_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Judgement:
    """Feedback, so many seconds after the interaction ended."""

    name: str
    value: bool | float | str
    source: Literal["user", "reviewer", "evaluator"]
    comment: str | None
    after_s: float


@dataclass(frozen=True, slots=True)
class Plan:
    """One interaction, from its start to what was thought of it."""

    at: datetime
    environment: str
    release: str
    name: str
    feature: str
    user: str
    session: str
    tags: dict[str, str]
    question: str
    answer: str
    steps: tuple[Step, ...]
    prompt_version: str | None = None
    confidence: dict[str, float] = field(default_factory=dict)
    validations: dict[str, bool] = field(default_factory=dict)
    fallback: tuple[str, str, str] | None = None
    escalation: tuple[str, str] | None = None
    judgements: tuple[Judgement, ...] = ()
    fault: Fault | None = None

    @property
    def ends(self) -> datetime:
        """When it is over."""
        return self.at + timedelta(seconds=sum(step.pause_s + step.seconds for step in self.steps))
