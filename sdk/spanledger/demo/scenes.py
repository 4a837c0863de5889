"""How each feature of the demonstration works: which models it calls, how sure it is, how it fails and what is thought of it."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from spanledger.demo import voices
from spanledger.demo.plan import Fault, Judgement, Plan, Step
from spanledger.demo.plot import Plot

GPT_4O: Final = ("gpt-4o", "openai")
GPT_4O_MINI: Final = ("gpt-4o-mini", "openai")
GPT_5_MINI: Final = ("gpt-5-mini", "openai")
SONNET: Final = ("claude-sonnet-4-5", "anthropic")
HAIKU: Final = ("claude-haiku-4-5", "anthropic")
GEMINI: Final = ("gemini-2.5-flash", "gcp.gemini")
EMBEDDING: Final = ("text-embedding-3-small", "openai")

_TOKENS_PER_S: Final = {"gpt-4o": 85, "gpt-4o-mini": 120, "gpt-5-mini": 95, "claude-sonnet-4-5": 65, "claude-haiku-4-5": 140}
_RATE_LIMIT: Final = Fault("RateLimitError", "Error code: 429 - Rate limit reached, please try again later.", 429)
_OVERLOADED: Final = Fault("OverloadedError", "Error code: 529 - Overloaded", 529)
_INTERNAL: Final = Fault("InternalServerError", "Error code: 500 - The server had an error.", 500)
_TIMEOUT: Final = Fault("APITimeoutError", "Request timed out.")
_NO_ORDER: Final = Fault("OrderServiceError", "order service: connection reset")
_ORDER_FUNCTION: Final = {"name": "look_up_order", "arguments": "{}"}
_USERS: Final = 260
_PLAN_WEIGHTS: Final = {"free": 55, "pro": 35, "enterprise": 10}
_OUTAGE_FAULTS: Final = 0.88
_EVERYDAY_FAULTS: Final = 0.012
_GIVES_UP: Final = 0.3
_STANDS_IN: Final = 0.3


@dataclass(slots=True)
class Scene:
    """What the scenes of one interaction share."""

    plot: Plot
    rng: random.Random
    at: datetime
    topic: voices.Topic
    question: str
    answer: str
    order: str

    def call(self, model: tuple[str, str], given: float, made: float, **more: object) -> Step:
        """A model call that went well."""
        rng, (name, provider) = self.rng, model
        output = max(4, round(skewed(rng, made, 0.55)))
        first = skewed(rng, 0.42, 0.45)
        step = Step(
            kind="model",
            name=name,
            provider=provider,
            input_tokens=max(20, round(skewed(rng, given, 0.35))),
            output_tokens=output,
            seconds=first + output / (_TOKENS_PER_S.get(name, 110) * rng.uniform(0.7, 1.2)),
            first_token_s=first,
            finish="stop",
            system=voices.SYSTEM,
            said=self.question,
            answer=self.answer,
        )
        return replace(step, **more)  # type: ignore[arg-type]

    def tried(self, step: Step, stand_in: Step | None) -> tuple[list[Step], tuple[str, str, str] | None]:
        """The call with the faults of its provider: up to three attempts, then the stand-in if there is one.

        Returns:
            The calls made, and `(from, to, reason)` when the stand-in answered.
        """
        rng, made = self.rng, list[Step]()
        is_out = self.plot.is_out(step.provider or "", self.at)
        for attempt in (1, 2, 3):
            pause = 0.0 if attempt == 1 else skewed(rng, 0.6 * 2**attempt, 0.3)
            if rng.random() >= (_OUTAGE_FAULTS if is_out else _EVERYDAY_FAULTS):
                made.append(replace(step, attempt=attempt if attempt > 1 else None, pause_s=pause))
                return made, None
            fault = rng.choice((_OVERLOADED, _OVERLOADED, _RATE_LIMIT) if is_out else (_RATE_LIMIT, _INTERNAL, _TIMEOUT))
            made.append(_failed(step, fault, attempt, pause, rng))
            if rng.random() < _GIVES_UP:
                break
        if stand_in is None or rng.random() >= _STANDS_IN:
            return made, None
        made.append(stand_in)
        return made, (step.name, stand_in.name, made[-2].fault.name if made[-2].fault else "error")

    def found(self, index: str, count: int) -> list[Step]:
        """The embedding of the question and the search with it."""
        pages = [
            {"id": page, "content": text, "score": round(0.92 - 0.07 * place - self.rng.random() * 0.05, 3)}
            for place, (page, text) in enumerate(self.topic.pages[:count])
        ]
        embedding = Step(
            "embedding",
            EMBEDDING[0],
            skewed(self.rng, 0.09, 0.4),
            provider=EMBEDDING[1],
            input_tokens=max(6, len(self.question) // 4),
            said=self.question,
        )
        search = Step("retrieval", index, skewed(self.rng, 0.06, 0.5), said=self.question, documents=tuple(pages))
        return [embedding, search]


@dataclass(slots=True)
class Outcome:
    """What a scene came to, before users judge it."""

    steps: list[Step]
    confidence: dict[str, float]
    name: str
    prompt_version: str
    validations: dict[str, bool]
    fallback: tuple[str, str, str] | None = None
    escalation: tuple[str, str] | None = None


def session(plot: Plot, rng: random.Random, begins: datetime) -> list[Plan]:
    """One user's visit: one to a few interactions, some seconds apart."""
    user = f"u-{1 + int(_USERS * rng.random() ** 1.8):04d}"
    tier = rng.choices(list(_PLAN_WEIGHTS), list(_PLAN_WEIGHTS.values()))[0]
    name = f"s-{begins:%m%d%H%M}-{rng.randrange(16**4):04x}"
    environment = "staging" if rng.random() < 0.03 else "production"
    tags = {"demo": "true", "tier": tier}
    plans: list[Plan] = []
    at = begins
    for _ in range(1 + min(4, int(rng.expovariate(1.1)))):
        plans.append(_interaction(plot, rng, at, environment, user, name, tags))
        at = plans[-1].ends + timedelta(seconds=skewed(rng, 40, 0.8))
    return plans


def _interaction(
    plot: Plot, rng: random.Random, at: datetime, environment: str, user: str, session_name: str, tags: dict[str, str]
) -> Plan:
    feature = rng.choices(list(_FEATURES), [weight for weight, _ in _FEATURES.values()])[0]
    scene = _scene(plot, rng, at)
    outcome = _FEATURES[feature][1](scene)
    broken = next((step.fault for step in reversed(outcome.steps) if step.kind == "model"), None)
    plan = Plan(
        at=at,
        environment=environment,
        release=plot.release(at)[0],
        name=outcome.name,
        feature=feature,
        user=user,
        session=session_name,
        tags=tags,
        question=scene.question,
        answer="" if broken else str(outcome.steps[-1].answer or scene.answer),
        steps=tuple(outcome.steps),
        prompt_version=outcome.prompt_version,
        confidence={} if broken else {source: round(value, 3) for source, value in outcome.confidence.items()},
        validations={} if broken else outcome.validations,
        fallback=outcome.fallback,
        escalation=outcome.escalation,
        fault=broken,
    )
    return replace(plan, judgements=_judgements(rng, plan))


def _scene(plot: Plot, rng: random.Random, at: datetime) -> Scene:
    topic = rng.choice(voices.TOPICS)
    words = {
        "day": rng.choice(voices.DAYS),
        "order": f"N-{rng.randrange(100_000, 999_999)}",
        "city": rng.choice(voices.CITIES),
        "size": rng.randrange(36, 47),
        "cold": rng.choice((2, 5, 8, 10)),
    }
    question, answer = rng.choice(topic.questions).format(**words), rng.choice(topic.answers).format(**words)
    return Scene(plot, rng, at, topic, question, answer, str(words["order"]))


def _answer(scene: Scene) -> Outcome:
    """A question with sources; a tool looks up the order; GPT-4o answers in a stream, Gemini stands in."""
    rng, (_, prompt) = scene.rng, scene.plot.release(scene.at)
    is_grown = scene.plot.has_grown_prompt(scene.at)
    given = 11_500 if is_grown else 1_750
    steps = scene.found("help-pages", 3)
    if scene.topic.name != "products" and rng.random() < 0.45:
        steps += _look_up(scene, given)
    step = scene.call(GPT_4O, given, 190, prompt_version=prompt, system=voices.SYSTEM_GROWN if is_grown else voices.SYSTEM)
    if rng.random() < 0.55 and step.input_tokens is not None and step.input_tokens > 1_200:
        step = replace(step, cache_read_tokens=step.input_tokens * rng.randrange(55, 85) // 12_800 * 128)
    kind = rng.random()
    if kind < 0.004:
        step = replace(step, finish="length")
    elif kind < 0.007:
        step = replace(step, finish="content_filter", answer=None)
    elif kind < 0.009:
        step = replace(step, answer="")
    calls, fallback = scene.tried(step, scene.call(GEMINI, given, 210, prompt_version=prompt))
    sure = _beta(rng, 0.84, 14)
    confidence = {"verbalized": sure}
    if rng.random() < 0.3:
        confidence["judge"] = _beta(rng, 0.1 + 0.85 * sure, 12)
    passed = {"cites_a_page": rng.random() < 0.985}
    escalation = ("support", "low confidence") if sure < 0.58 else None
    return Outcome(steps + calls, confidence, "answer question", prompt, passed, fallback, escalation)


def _look_up(scene: Scene, given: float) -> list[Step]:
    rng = scene.rng
    arguments = {"order": scene.order}
    asks = scene.call(
        GPT_4O_MINI,
        given * 0.35,
        22,
        finish="tool_calls",
        answer=[{"role": "assistant", "tool_calls": [{"id": "call_1", "function": _ORDER_FUNCTION}]}],
    )
    fault = _NO_ORDER if rng.random() < 0.012 else None
    result = {"order": scene.order, "status": rng.choice(("shipped", "packed", "delivered", "returned"))}
    tool = Step("tool", "look_up_order", skewed(rng, 0.18, 0.7), said=arguments, answer=result, fault=fault)
    return [asks, tool]


def _search(scene: Scene) -> Outcome:
    """A search box: much used, cheap."""
    rng = scene.rng
    scene.question = rng.choice(voices.SEARCHES)
    steps = scene.found("catalogue", 2)
    step = scene.call(GPT_4O_MINI, 620, 48, prompt_version="search-v3", first_token_s=None)
    calls, fallback = scene.tried(step, None)
    return Outcome(steps + calls, {"verbalized": _beta(rng, 0.88, 20)}, "search", "search-v3", {}, fallback)


def _summarise(scene: Scene) -> Outcome:
    """Long mail threads for a person: Claude Sonnet with a cached prompt, GPT-4o mini stands in."""
    rng = scene.rng
    step = scene.call(SONNET, 6_200, 310, prompt_version="summary-v2")
    total = step.input_tokens or 0
    prefix = min(total // 2, 2_600)
    cached = {"cache_read_tokens": prefix} if rng.random() < 0.7 else {"cache_write_tokens": prefix}
    step = replace(step, answer=f"The customer asks: {scene.question} Suggested next step: {scene.answer}", **cached)  # type: ignore[arg-type]
    calls, fallback = scene.tried(step, scene.call(GPT_4O_MINI, 6_000, 280, prompt_version="summary-v2"))
    return Outcome(calls, {"judge": _beta(rng, 0.86, 25)}, "summarise thread", "summary-v2", {}, fallback)


def _triage(scene: Scene) -> Outcome:
    """Which team a mail goes to: Claude Haiku, as JSON, checked against a schema. Its confidence drifts."""
    rng = scene.rng
    team = rng.choice(voices.TEAMS)
    sure = _beta(rng, 0.87 - 0.13 * scene.plot.drift(scene.at), 16)
    is_valid = rng.random() < 0.982
    text = f'{{"team": "{team}", "urgent": {"true" if rng.random() < 0.2 else "false"}, "confidence": {sure:.2f}}}'
    step = scene.call(HAIKU, 880, 34, prompt_version="triage-v4", answer=text if is_valid else text[:-14], first_token_s=None)
    calls, fallback = scene.tried(step, scene.call(GPT_4O_MINI, 860, 36, prompt_version="triage-v4", answer=text))
    escalation = ("triage desk", "low confidence") if sure < 0.55 else None
    checks = {"triage_schema": is_valid}
    return Outcome(calls, {"verbalized": sure}, "triage mail", "triage-v4", checks, fallback, escalation)


def _draft(scene: Scene) -> Outcome:
    """Replies for the staff to send: GPT-5 mini thinks long, and its users do not like the result."""
    rng = scene.rng
    steps = scene.found("help-pages", 2)
    step = scene.call(GPT_5_MINI, 2_300, 820, prompt_version="draft-v1")
    step = replace(step, reasoning_tokens=(step.output_tokens or 0) * rng.randrange(35, 75) // 100)
    if rng.random() < 0.012:
        step = replace(step, finish="length")
    text = f"Dear customer, thank you for your message. {scene.answer} We remain at your disposal for any further questions."
    calls, fallback = scene.tried(replace(step, answer=text), None)
    return Outcome(steps + calls, {"verbalized": _beta(rng, 0.83, 18)}, "draft reply", "draft-v1", {}, fallback)


_FEATURES: Final[dict[str, tuple[int, Callable[[Scene], Outcome]]]] = {
    "answer": (34, _answer),
    "search": (24, _search),
    "triage": (22, _triage),
    "summarise": (10, _summarise),
    "draft-reply": (10, _draft),
}
FEATURES: Final = tuple(_FEATURES)
DISLIKED: Final = "draft-reply"
DRIFTING: Final = "triage"


def bulk(plot: Plot, rng: random.Random, begins: datetime, count: int) -> list[Plan]:
    """A person who has a whole folder summarised at once: a short spike of cost, for the alert on it."""
    plans: list[Plan] = []
    at = begins
    while len(plans) < count:
        scene = _scene(plot, rng, at)
        outcome = _summarise(scene)
        plan = Plan(
            at=at,
            environment="production",
            release=plot.release(at)[0],
            name="summarise folder",
            feature="summarise",
            user="u-0001",
            session=f"s-{begins:%m%d%H%M}-bulk",
            tags={"demo": "true", "tier": "enterprise"},
            question=scene.question,
            answer=str(outcome.steps[-1].answer or ""),
            steps=tuple(outcome.steps),
            prompt_version=outcome.prompt_version,
            fault=outcome.steps[-1].fault,
            fallback=outcome.fallback,
        )
        plans.append(plan)
        at += timedelta(seconds=0.8)
    return plans


def _failed(step: Step, fault: Fault, attempt: int, pause: float, rng: random.Random) -> Step:
    """The call, refused: no answer, no usage."""
    return Step(
        "model",
        step.name,
        30.0 if fault.status is None else skewed(rng, 0.35, 0.5),
        provider=step.provider,
        attempt=attempt if attempt > 1 else None,
        prompt_version=step.prompt_version,
        system=step.system,
        said=step.said,
        fault=fault,
        pause_s=pause,
    )


def _judgements(rng: random.Random, plan: Plan) -> tuple[Judgement, ...]:
    found: list[Judgement] = []
    sure = next(iter(plan.confidence.values()), 0.3)
    is_right = plan.fault is None and rng.random() < 0.22 + 0.78 * sure
    is_disliked = plan.feature == DISLIKED
    if rng.random() < (0.22 if is_disliked else 0.11):
        is_liked = rng.random() < ((0.42 if is_disliked else 0.97) if is_right else 0.12)
        said = voices.PRAISED if is_liked else voices.DISLIKED if is_disliked else voices.WRONG
        comment = rng.choice(said) if rng.random() < (0.15 if is_liked else 0.55) else None
        found.append(Judgement("helpful", is_liked, "user", comment, skewed(rng, 35, 0.9)))
    if plan.fault is None and "judge" in plan.confidence:
        found.append(Judgement("grounded", is_right, "evaluator", None, skewed(rng, 6, 0.4)))
    if rng.random() < 0.015:
        note = rng.choice(voices.REVIEWED[:2]) if is_right else voices.REVIEWED[2]
        found.append(Judgement("correct", is_right, "reviewer", note, skewed(rng, 900, 0.6)))
    return tuple(found)


def _beta(rng: random.Random, mean: float, weight: float) -> float:
    mean = min(0.98, max(0.02, mean))
    return min(1.0, max(0.0, rng.betavariate(mean * weight, (1 - mean) * weight)))


def skewed(rng: random.Random, median: float, spread: float) -> float:
    """A heavy-tailed positive number: log-normal with this median."""
    return median * math.exp(rng.gauss(0.0, spread))
