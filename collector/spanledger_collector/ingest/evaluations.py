"""Evaluation results as they come over OTLP become feedback of an evaluator. Pure.

`gen_ai.evaluation.result` comes as a log record or as an event of the span that it judges; OpenInference writes annotations and
evaluations into the span's attributes.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from spanledger_collector.errors import InvalidQuestion
from spanledger_collector.ingest.decoded import Attributes, DecodedSpan
from spanledger_collector.ingest.dialects.facts import text, unflatten
from spanledger_collector.ingest.judgements import Judgement, verdict

EVENT: Final = "gen_ai.evaluation.result"
_NAME_CHARS_MAX: Final = 200
_TEXT_CHARS_MAX: Final = 10_000
_ANNOTATOR: Final = {"HUMAN": "reviewer", "USER": "user"}


def from_event(attributes: Attributes, project: str, trace_id: str, span_id: str, time_ns: int) -> Judgement | None:
    """A judgement out of an evaluation event, or None where it says nothing."""
    return _judgement(
        project,
        trace_id,
        span_id,
        time_ns,
        name=text(attributes.get("gen_ai.evaluation.name")),
        score=attributes.get("gen_ai.evaluation.score.value"),
        label=text(attributes.get("gen_ai.evaluation.score.label")),
        comment=text(attributes.get("gen_ai.evaluation.explanation")),
    )


def from_span(span: DecodedSpan, project: str) -> Iterable[Judgement]:
    """The judgements that a span carries: evaluation events, and OpenInference's annotations and evaluations."""
    for name, time_ns, attributes in span.events:
        if name == EVENT and (found := from_event(attributes, project, span.trace_id, span.span_id, time_ns or span.end_ns)):
            yield found
    for prefix, inner in (("annotations", "annotation"), ("evaluations", "evaluation")):
        if not any(key.startswith(prefix + ".0.") for key in span.attributes):
            continue
        for item in unflatten(span.attributes, prefix):
            entry = item.get(inner, item) if isinstance(item, Mapping) else {}
            if not isinstance(entry, Mapping):
                continue
            found = _judgement(
                project,
                span.trace_id,
                span.span_id,
                span.end_ns or span.start_ns,
                name=text(entry.get("name")),
                score=entry.get("score"),
                label=text(entry.get("label")),
                comment=text(entry.get("explanation")),
                source=_ANNOTATOR.get(text(entry.get("annotator_kind")).upper(), "evaluator"),
            )
            if found is not None:
                yield found


def _judgement(
    project: str,
    trace_id: str,
    span_id: str,
    time_ns: int,
    *,
    name: str,
    score: Any,
    label: str,
    comment: str,
    source: str = "evaluator",
) -> Judgement | None:
    number = float(score) if isinstance(score, int | float) and math.isfinite(score) else None
    name = name[:_NAME_CHARS_MAX]
    if not name or (number is None and not label):
        return None
    value: Any = label[:_TEXT_CHARS_MAX] if number is None else number
    try:
        positive, _ = verdict(value)
        if label and number is not None:
            # Where a label says good or bad, it says it better than a number of unknown scale.
            said, _ = verdict(label[:_TEXT_CHARS_MAX])
            positive = said if said >= 0 else positive
    except InvalidQuestion:
        return None
    identity = hashlib.sha256(orjson.dumps([trace_id, span_id, name, source, time_ns])).hexdigest()[:32]
    return Judgement(
        project,
        identity,
        trace_id,
        span_id,
        trace_id,
        name,
        source,
        orjson.dumps(value).decode(),
        positive,
        number,
        comment[:_TEXT_CHARS_MAX],
        "",
        time_ns // 1_000 * 1_000,
        time_ns // 1_000 * 256,
    )
