"""Usage and cost of each step of one interaction: what was counted, who said it, and why it was or was not billed."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import polars as pl
import streamlit as st

from spanledger.client import ClientError
from spanledger_dashboard import data, tables
from spanledger_dashboard.billing import sentence
from spanledger_dashboard.cards import empty, when
from spanledger_dashboard.links import open_interaction
from spanledger_dashboard.scope import Scope
from spanledger_dashboard.state import iso
from spanledger_dashboard.untrusted import label, shorten

USAGE: Final = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")
ALWAYS: Final = ("input_tokens", "output_tokens")
QUALITY: Final = {
    "exact": "exact",
    "estimated": "estimated from the text",
    "partial": "partial: some counts are unknown",
    "missing": "missing: not said",
}
DIALECTS: Final = {
    "agent_framework": "Agent Framework",
    "anthropic_sdk": "Anthropic SDK",
    "genai": "OpenTelemetry GenAI",
    "google_adk": "Google ADK",
    "langfuse": "Langfuse",
    "langsmith": "LangSmith",
    "litellm": "LiteLLM",
    "lmnr": "Laminar",
    "logfire": "Logfire",
    "mlflow": "MLflow",
    "openinference": "OpenInference",
    "openlit": "OpenLIT",
    "pydantic_ai": "Pydantic AI",
    "spanledger": "Spanledger",
    "strands": "Strands",
    "traceloop": "Traceloop",
    "vercel": "Vercel AI SDK",
}
_GENERATIONS: Final = ("model", "embedding", "rerank")
_MONEY: Final = {
    "cost": "Cost",
    "cost_input": "… input",
    "cost_cache_read": "… cache read",
    "cost_cache_write": "… cache write",
    "cost_output": "… output",
    "cost_other": "… fees",
}
_AROUND: Final = timedelta(minutes=10)
_NEAR: Final = timedelta(seconds=1)
_LOOKED_AT: Final = 24
_FOUND: Final = "_twin_of"


def speaker(span: Mapping[str, Any]) -> str:
    """Who recorded a span: the instrumentation, and the dialect that it speaks."""
    dialect = DIALECTS.get(span["dialect"] or "", span["dialect"] or "")
    scope = span["scope"] or ""
    return f"{scope} ({dialect})" if scope and dialect and scope.lower() != dialect.lower() else scope or dialect or "unknown"


def quality(span: Mapping[str, Any]) -> str:
    """What the token counts of a span are, in words; empty where there is nothing to count."""
    return QUALITY.get(span["usage_quality"] or "", "") or (QUALITY["missing"] if span["kind"] in _GENERATIONS else "")


def used(span: Mapping[str, Any]) -> bool:
    """Whether a span says something of usage or cost, or should have."""
    counted = any(value is not None for value in span["usage"].values())
    return counted or span["cost_usd"] is not None or bool(span["not_billed_reason"]) or span["kind"] in _GENERATIONS


def draw(here: Scope, item: Mapping[str, Any], spans: Sequence[Mapping[str, Any]]) -> None:
    """Draw the table, and where a call is billed that is not billed here."""
    rows = [span for span in spans if used(span)]
    if not rows:
        empty("No step used a model.")
        return
    money: dict[str, list[float | None]] = {"cost": [_float(span["cost_usd"]) for span in rows]}
    for part in ("input", "cache_read", "cache_write", "output", "other"):
        money[f"cost_{part}"] = [_float(span["cost"].get(part)) for span in rows]
    shown = pl.DataFrame(
        {
            "step": [shorten(span["name"]) for span in rows],
            "model": [span["model"] for span in rows],
            **{name: [span["usage"].get(name) for span in rows] for name in USAGE},
            **money,
            "billing": [sentence(span) for span in rows],
            "quality": [quality(span) for span in rows],
            "speaker": [speaker(span) for span in rows],
        },
        strict=False,
        schema_overrides={"model": pl.String} | dict.fromkeys(USAGE, pl.Int64) | dict.fromkeys(money, pl.Float64),
    )
    counts = [name for name in USAGE if name in ALWAYS or any(span["usage"].get(name) is not None for span in rows)]
    parts = [name for name in list(_MONEY)[1:] if any(money[name])]
    tables.show(
        shown,
        title="Usage and cost by step",
        key="steps",
        alt="Usage and cost of each step",
        order=["step", "model", "cost", "billing", "quality", *counts, "speaker", *parts],
        columns={
            "step": tables.words("Step", pinned=True),
            "model": tables.words("Model"),
            **{name: tables.column(name, title=tables.title(name).removesuffix(" tokens")) for name in USAGE},
            **{name: tables.Money(text) for name, text in _MONEY.items()},
            "billing": tables.words("Billing", width=370),
            "quality": tables.words("Counts are", width=125, help="How sure the token counts are."),
            "speaker": tables.words("Said by", width=330, help="The instrumentation that recorded them, and its dialect."),
        },
    )
    for span in rows:
        if "in another trace" in (span["not_billed_reason"] or ""):
            _elsewhere(here, item, span)


def _float(value: Any) -> float | None:
    return None if value is None else float(value)


def _elsewhere(here: Scope, item: Mapping[str, Any], span: Mapping[str, Any]) -> None:
    """A way to the call that is billed in this one's stead."""
    found = st.session_state.setdefault(_FOUND, {})
    id = str(span["span_id"])
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.caption(label(f"{shorten(span['name'], 40)} is counted in another trace.", 120), width="content")
        if id not in found:
            if st.button("Find it", icon=":material/search:", key=f"twin_find_{id}", type="tertiary"):
                found[id] = find_twin(here.project, item, span) or ""
                st.rerun()
        elif not found[id]:
            st.caption("It was not found near this time; it may be past its retention.", width="content")
        elif st.button("Open it", icon=":material/arrow_forward:", key=f"twin_open_{id}", type="tertiary"):
            open_interaction(found[id])


def find_twin(project: str, item: Mapping[str, Any], span: Mapping[str, Any]) -> str | None:
    """The id of the interaction near in time that holds the billed twin of a span; None when none of those looked at does."""
    start = when(span["start"])
    if start is None:
        return None
    end = start + timedelta(seconds=span["duration_s"] or 0.0)
    window = {"start": iso(start - _AROUND), "end": iso(end + _NEAR)}
    page = data.together(page=data.interactions(project, **window, order="-time", limit=_LOOKED_AT + 1))["page"]
    if isinstance(page, ClientError):
        return None
    ids = [str(other["id"]) for other in page["items"] if other["id"] != item["id"]]
    answers = data.together(**{id: data.interaction(project, id) for id in ids})
    for id in ids:
        if not isinstance(answers[id], ClientError) and any(is_twin(span, other) for other in answers[id]["spans"]):
            return id
    return None


def is_twin(span: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether another span is the same provider call, and the one that counts: other scope, equal counts, at the same time."""
    if other["cost_status"] is None or other["not_billed_reason"] or other["scope"] == span["scope"]:
        return False
    if any(span["usage"].get(name) != other["usage"].get(name) for name in ("input_tokens", "output_tokens")):
        return False
    if span["response_id"] and other["response_id"] and span["response_id"] != other["response_id"]:
        return False
    first, second = when(span["start"]), when(other["start"])
    if first is None or second is None:
        return False
    ends = [at + timedelta(seconds=s["duration_s"] or 0.0) for at, s in ((first, span), (second, other))]
    return first - _NEAR <= ends[1] and second - _NEAR <= ends[0]
