"""Dimensions: what measures are broken down by and filtered on, each with the column that holds it."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Dimension:
    """What a measure is broken down by or filtered on: the column of calls, of interactions, of losses that holds it."""

    name: str
    label: str
    description: str
    calls: str | None = None
    interactions: str | None = None
    losses: str | None = None


def _both(name: str, label: str, description: str, column: str | None = None, losses: str | None = None) -> Dimension:
    return Dimension(name, label, description, calls=column or name, interactions=column or name, losses=losses)


_DIMENSIONS: Final = (
    _both("app", "App", "The application (`service.name`).", losses="app"),
    _both("environment", "Environment", "The deployment environment.", losses="environment"),
    _both("feature", "Feature", "The part of the product that asked."),
    _both("release", "Release", "The application's release (`service.version`).", losses="release"),
    Dimension("prompt_version", "Prompt version", "The version of a call's prompt.", calls="prompt_version"),
    _both("user", "User", "The end user."),
    _both("session", "Session", "The conversation or session."),
    _both("trace_id", "Trace", "The OpenTelemetry trace."),
    _both("interaction", "Interaction", "The interaction's id.", "interaction_id"),
    _both("failure_mode", "Failure mode", "How the interaction failed; not set when it did not."),
    Dimension("interaction_name", "Interaction name", "The name of the interaction.", interactions="name"),
    Dimension("model", "Model", "The model that answered, else the one asked for.", calls="model"),
    Dimension("provider", "Provider", "The model's provider.", calls="provider"),
    Dimension("operation", "Operation", "The GenAI operation of the call.", calls="operation"),
    Dimension("kind", "Kind of call", "model, embedding, rerank, tool or retrieval.", calls="kind"),
    Dimension("call_name", "Call", "The name of the tool, data source or model call.", calls="name"),
    Dimension("error_class", "Error class", "The class of a call's error.", calls="error_class"),
    Dimension("finish_reason", "Finish reason", "Why the model stopped.", calls="finish_reason"),
    Dimension("cost_status", "Cost status", "reported, priced, estimated, unpriced or free.", calls="cost_status"),
    Dimension("usage_quality", "Usage quality", "exact, estimated, partial or missing.", calls="usage_quality"),
    Dimension("confidence_source", "Confidence source", "What stated the confidence.", interactions="confidence_source"),
    Dimension("feedback_source", "Feedback source", "user, reviewer or evaluator.", interactions="feedback_source"),
    Dimension("feedback_name", "Feedback name", "What was judged.", interactions="feedback_name"),
    Dimension("loss_reason", "Reason of loss", "Why an SDK lost what it lost; of its losses only.", losses="reason"),
    Dimension("span_kind", "Kind of span", "What a span is: model, tool, retrieval, agent, …", interactions="span_kind"),
)

DIMENSIONS: Final[dict[str, Dimension]] = {dimension.name: dimension for dimension in _DIMENSIONS}
TAG_DIMENSION_PREFIX: Final = "tag:"
