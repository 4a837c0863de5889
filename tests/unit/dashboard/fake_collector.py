# ruff: noqa: E501 - tables of made-up rows
"""A stand-in for the collector, as docs/reference/http.md describes it: it computes its answers from made-up rows.

It is here so that the dashboard's pages can be tested through their public doors without a store. It knows the measures
and parameters that the dashboard asks for and refuses the rest loudly.
"""

import io
import json
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import polars as pl
import pyarrow as pa
from tests.unit.dashboard.fake_spending import costs, prices, reprices

from spanledger_schema.catalogue import MEASURES
from spanledger_schema.dimensions import DIMENSIONS
from spanledger_schema.failure_modes import FAILURE_MODES
from spanledger_schema.query import Query, QueryError

FEATURES = {
    "support-agent": ("sonnet-5", 0.021, 0.075, 0.81, 0.74),
    "doc-search": ("gpt-6-mini", 0.008, 0.032, 0.90, 0.86),
    "sql-copilot": ("sonnet-5", 0.034, 0.054, 0.86, 0.79),
    "onboarding-bot": ("gemini-4-flash", 0.006, 0.018, 0.93, 0.88),
    "email-drafts": ("haiku-5", 0.0006, 0.012, 0.95, 0.90),
}
PROVIDERS = {"sonnet-5": "anthropic", "haiku-5": "anthropic", "gpt-6-mini": "openai", "gemini-4-flash": "google"}
PARTS = {"cost_input_usd": Decimal("0.5"), "cost_cache_read_usd": Decimal("0.1"), "cost_cache_write_usd": Decimal(0),
         "cost_output_usd": Decimal("0.4"), "cost_other_usd": Decimal(0), "cost_unsplit_usd": Decimal(0)}  # fmt: skip
MODES = ("timeout", "tool_error", "refusal", "truncated", "validation")
UNITS = {name: str(m.unit) for name, m in MEASURES.items()}


@dataclass
class World:
    """The rows behind the answers; tests change what they need to."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    rules: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    details: dict[str, dict[str, Any]] = field(default_factory=dict)
    drift: dict[str, Any] | None = None
    status: dict[str, Any] = field(default_factory=dict)
    prices: list[dict[str, Any]] = field(default_factory=list)
    versions: list[dict[str, Any]] = field(default_factory=list)
    reprices: list[dict[str, Any]] = field(default_factory=list)
    losses: list[dict[str, Any]] = field(default_factory=list)
    project: str = "default"
    failing: dict[str, tuple[int, str]] = field(default_factory=dict)
    seen: list[tuple[str, str, Any]] = field(default_factory=list)
    lists: list[tuple[str, str, dict[str, list[str]]]] = field(default_factory=list)
    keys: dict[str, tuple[str, ...]] | None = None
    """Scopes by key; None: no key is asked for."""
    people: list[tuple[str, str | None]] = field(default_factory=list)
    """For whom each request came, with which scopes."""

    def frame(self) -> pl.DataFrame:
        """One row per interaction and model."""
        return pl.DataFrame(self.rows, infer_schema_length=None)


def row(at: datetime, rng: random.Random, feature: str, *, now: datetime, **over: Any) -> dict[str, Any]:
    """One believable interaction."""
    model, cost, fail, liked, sure = FEATURES[feature]
    trace = f"{rng.getrandbits(128):032x}"
    recent = (now - at) < timedelta(days=10)
    failed = rng.random() < fail * (1.5 if recent else 1)
    spent = Decimal(str(round(cost * rng.lognormvariate(0, 0.6), 8)))
    tokens = rng.randint(300, 6000)
    values = {
        "id": trace, "trace_id": trace, "name": f"{feature} answer", "time": at,
        "duration_s": round(rng.lognormvariate(0.6, 0.7), 3), "app": "helpdesk", "environment": rng.choice(("prod", "prod", "staging")),
        "release": "v142" if recent else "v141", "feature": feature, "prompt_version": "p7", "user": f"u_{rng.randint(1, 400)}",
        "session": f"s_{rng.randint(1, 900)}", "spans": rng.randint(3, 9), "generations": 1, "model": model,
        "provider": PROVIDERS[model], "kind": "model", "input_tokens": tokens, "output_tokens": rng.randint(20, 900),
        "cache_read_tokens": tokens // 3, "cache_write_tokens": tokens // 20, "reasoning_tokens": rng.randint(0, 20),
        "cost_usd": spent, "wasted_cost_usd": spent if failed else Decimal(0), "cache_savings_usd": spent / 5,
        "unpriced_generations": 0, "estimated": 0, "failure_mode": rng.choice(MODES) if failed else None, "retries": int(rng.random() < 0.05),
        "fallbacks": int(rng.random() < 0.02), "escalations": int(rng.random() < 0.03), "validations": 1,
        "validation_failures": int(rng.random() < 0.04), "ttft_s": round(rng.lognormvariate(-0.6, 0.4), 3),
        "confidence_source": "verbalized" if feature != "email-drafts" else None,
        "confidence": min(1.0, max(0.0, rng.gauss(sure - (0.05 if recent else 0), 0.1))) if feature != "email-drafts" else None,
        "feedback_source": None, "feedback_name": None, "positive": None, "preview": f"Where is my order {rng.randint(1000, 9999)}?",
        "tags": {"tier": ("free", "pro", "=cmd()")[int(trace[0], 16) % 3]},
    }  # fmt: skip
    if rng.random() < 0.12:
        values |= {"feedback_source": "user", "feedback_name": "helpful", "positive": rng.random() < liked}
    return values | over


def busy_world(now: datetime, *, days: int = 62, per_day: int = 60, seed: int = 7) -> World:
    """Two months of traffic with one model that has no price, one rule that fires and one drifted source."""
    rng = random.Random(seed)
    rows = []
    for i in range(days * per_day):
        at = now - timedelta(days=days) + timedelta(days=i / per_day)
        feature = rng.choices(list(FEATURES), (46, 22, 16, 8, 8))[0]
        rows.append(row(at, rng, feature, now=now))
    for r in rng.sample(rows[-400:], 12):
        r |= {"model": "local-llama", "provider": "self", "cost_usd": None, "wasted_cost_usd": None, "unpriced_generations": 1}
    world = World(rows=rows)
    world.status = {
        "version": "0.1.0", "ready": True, "spans_per_minute": 1204, "data_through": iso(now - timedelta(seconds=9)),
        "pending_traces": 0, "accepted_spans": 5 * len(rows), "rejected_spans": 0, "store": "embedded",
    }  # fmt: skip
    world.rules = [rule("r1", "Failure rate of support", state="firing")]
    world.events = [
        {"id": "e1", "rule_id": "r1", "rule_name": "Failure rate of support", "group": {}, "kind": "fired", "value": 0.081,
         "threshold": "0.06", "at": iso(now - timedelta(hours=2)), "window_start": iso(now - timedelta(hours=3)),
         "window_end": iso(now - timedelta(hours=2)), "summary": "Failure rate 8.1% > 6%", "delivery": {"oncall@example.com": "delivered"}},
    ]  # fmt: skip
    world.drift = drift(now)
    return world


def rule(id: str, name: str, *, state: str = "ok", **over: Any) -> dict[str, Any]:
    """A stored alert rule."""
    return {
        "id": id, "name": name, "measure": "failure_rate", "filters": [], "group_by": [], "window": "1h", "comparison": ">",
        "threshold": "0.06", "min_interactions": 30, "for_windows": 1, "no_data": "ok", "severity": "warning", "enabled": True,
        "webhooks": [], "emails": ["oncall@example.com"], "state": state,
        "groups": [{"group": {}, "state": state, "value": 0.081, "since": "2026-11-24T10:00:00Z"}], "last_evaluated_at": None,
    } | over  # fmt: skip


def drift(now: datetime, **over: Any) -> dict[str, Any]:
    """A drift answer in which the verbalized confidence moved ten days ago."""
    bands = []
    for d in range(30):
        at, low = now - timedelta(days=30 - d), 0.06 if d >= 20 else 0
        bands.append(
            {
                "time": iso(at),
                "n": 60,
                "p5": 0.58 - low,
                "p25": 0.74 - low,
                "p50": 0.81 - low,
                "p75": 0.88 - low,
                "p95": 0.95 - low,
            }
        )
    bins = [
        {
            "n": 10 + 9 * i,
            "confidence": i / 10 + 0.05,
            "accuracy": min(1, (i / 10 + 0.05) * 0.9),
            "low": max(0, i / 10 - 0.05),
            "high": min(1, i / 10 + 0.12),
        }
        for i in range(10)
    ]
    return {
        "series": [{"app": "helpdesk", "feature": "support-agent", "source": "verbalized"}], "source": "verbalized",
        "state": "moved", "moved_since": iso(now - timedelta(days=10)), "message": "The mean fell.",
        "reference": {"start": iso(now - timedelta(days=44)), "end": iso(now - timedelta(days=30)), "n": 840},
        "channels": [
            {"channel": "mean", "window": "24h", "n": 58, "z": -4.7, "effect": -0.06, "alarm": True},
            {"channel": "spread", "window": "24h", "n": 58, "z": 0.4, "effect": 0.01, "alarm": False},
        ],
        "bands": bands, "psi": 0.18, "psi_n": 600,
        "calibration": {"n": 505, "ece": 0.081, "ece_null_p95": 0.05, "gap": 0.06, "gap_low": 0.03, "gap_high": 0.09, "bins": bins},
    } | over  # fmt: skip


def iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _share(hits: pl.Expr, of: pl.Expr) -> pl.Expr:
    return pl.when(of > 0).then(hits / of)


C = pl.col
_FLOAT_COST = C("cost_usd").cast(pl.Float64)
_SCOPE = C("feedback_source") == pl.lit("user")


def _measure(name: str, scope: tuple[str, ...]) -> pl.Expr:
    judged = C("feedback_source").is_in(scope)
    table: dict[str, pl.Expr] = {
        "interactions": C("id").n_unique(),
        "cost_per_interaction_usd": _share(_FLOAT_COST.sum(), C("cost_usd").count()),
        "priced_share": _share((C("generations") - C("unpriced_generations")).sum(), C("generations").sum()),
        "failures": C("failure_mode").count(),
        "failure_rate": _share(C("failure_mode").count(), pl.len()),
        "validation_failure_rate": _share(C("validation_failures").sum(), C("validations").sum()),
        "escalation_rate": _share((C("escalations") > 0).sum(), pl.len()),
        "fallback_rate": _share((C("fallbacks") > 0).sum(), pl.len()),
        "retry_rate": _share(C("retries").sum(), C("generations").sum()),
        "cache_hit_rate": _share(C("cache_read_tokens").sum(), C("input_tokens").sum()),
        "confidence_mean": C("confidence").mean(),
        "confidence_count": C("confidence").count(),
        "feedback_count": judged.sum(),
        "feedback_judged": (judged & C("positive").is_not_null()).sum(),
        "feedback_coverage": _share(judged.sum(), pl.len()),
        "feedback_positive_rate": _share((judged & C("positive")).sum(), (judged & C("positive").is_not_null()).sum()),
        "estimated_share": _share(C("estimated").sum(), C("generations").sum()),
        "unpriced_share": _share(C("unpriced_generations").sum(), C("generations").sum()),
        "estimated_cost_usd": pl.when(C("estimated").sum() > 0).then(C("cost_usd").filter(C("estimated") > 0).sum()),
        "cost_per_positive_interaction_usd": _share(_FLOAT_COST.sum(), (judged & C("positive")).sum()),
    }
    if name in table:
        return table[name]
    if name in PARTS:
        return (C("cost_usd") * pl.lit(PARTS[name])).sum()
    for prefix, column in (("cost", "cost_usd"), ("duration", "duration_s"), ("ttft", "ttft_s"), ("confidence", "confidence")):
        if name.startswith(f"{prefix}_p"):
            quantile = int(name.split("_")[1][1:]) / 100
            return C(column).cast(pl.Float64).quantile(quantile, "nearest")
    if name in ("cost_usd", "wasted_cost_usd", "cache_savings_usd"):
        return pl.when(C(name).count() > 0).then(C(name).sum())
    return C(name).sum()


def answer(world: World, raw: dict[str, Any]) -> bytes:
    """The Arrow stream that answers a Query."""
    query = Query.from_dict(raw)
    if query.measures == ("sdk_dropped_spans",):
        return _arrow(_lost(world, query))
    frame = world.frame() if world.rows else pl.DataFrame(schema=dict.fromkeys(_columns(), pl.String))
    scope: tuple[str, ...] = ("user",)
    if query.start is not None and query.end is not None and world.rows:
        frame = frame.filter((C("time") >= query.start) & (C("time") < query.end))
    if world.rows:
        keys_of_tags = sorted({key for r in world.rows for key in r["tags"]})
        frame = frame.with_columns(C("tags").struct.field(key).alias(f"tag:{key}") for key in keys_of_tags)
    for f in query.filters:
        if f.dimension == "feedback_source":
            scope = tuple(str(v) for v in f.values)
        keep = C(_column(f.dimension)).is_in([v for v in f.values if v is not None])
        keep = keep.fill_null(False) | (C(_column(f.dimension)).is_null() if None in f.values else pl.lit(False))
        frame = frame.filter(~keep if f.op == "not_in" else keep)
    keys = [C(_column(d)).alias(d) for d in query.dimensions]
    if query.granularity:
        every = {"minute": "1m", "hour": "1h", "day": "1d", "week": "1w", "month": "1mo"}[query.granularity]
        time = C("time").dt.convert_time_zone(query.timezone).dt.truncate(every).dt.convert_time_zone("UTC").alias("time")
        keys = [time, *keys]
    measures = [_measure(m, scope).alias(m) for m in query.measures]
    sources = [f for f in query.filters if f.dimension == "confidence_source"] or "confidence_source" in query.dimensions
    if world.rows:
        frame = frame.group_by(keys).agg(measures) if keys else frame.select(measures)
    else:
        columns = {k.meta.output_name(): pl.Datetime("us", "UTC") if k.meta.output_name() == "time" else pl.String for k in keys}
        empty = {m: [0 if MEASURES[m].empty_is_zero else None] if not keys else [] for m in query.measures}
        frame = pl.DataFrame({k: [] for k in columns} | empty, schema=columns | dict.fromkeys(query.measures, pl.Float64))
    if not sources:
        frame = frame.with_columns(
            pl.lit(None, pl.Float64).alias(m) for m in query.measures if m.startswith("confidence_") and m != "confidence_count"
        )
    order = query.order_by or tuple(f"-{query.measures[0]}" for _ in query.dimensions[:1])
    frame = (
        frame.sort([o.removeprefix("-") for o in order], descending=[o.startswith("-") for o in order], nulls_last=True)
        if order
        else frame
    )
    return _arrow(frame.head(query.limit))


def _lost(world: World, query: Query) -> pl.DataFrame:
    """Losses by app, reason and time, of the apps that are asked for."""
    assert query.dimensions == ("app", "loss_reason")
    apps = [f.values for f in query.filters if f.dimension == "app"]
    rows = [r for r in world.losses if (not apps or r["app"] in apps[0]) and query.start <= r["time"] < query.end]
    schema = {"time": pl.Datetime("us", "UTC"), "app": pl.String, "loss_reason": pl.String, "sdk_dropped_spans": pl.Int64}
    return pl.DataFrame(rows, schema=schema)


def _columns() -> list[str]:
    return list(row(datetime.now(UTC), random.Random(1), "doc-search", now=datetime.now(UTC)))


def _column(dimension: str) -> str:
    if dimension.startswith("tag:"):
        return dimension
    column = {"interaction": "id", "interaction_name": "name"}.get(dimension, dimension)
    if column not in _columns():
        raise QueryError(f"the fake has no {dimension}")
    return column


def _arrow(frame: pl.DataFrame) -> bytes:
    table = frame.to_arrow()
    fields = [f.with_metadata({b"unit": UNITS.get(f.name, "").encode()}) for f in table.schema]
    table = table.cast(pa.schema(fields, metadata={b"warnings": b"[]"}))
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _item(r: dict[str, Any]) -> dict[str, Any]:
    kept = ("id", "trace_id", "name", "duration_s", "app", "environment", "release", "feature", "prompt_version", "user", "session",
            "spans", "generations", "input_tokens", "output_tokens", "cache_read_tokens", "unpriced_generations", "failure_mode",
            "retries", "fallbacks", "escalations", "validations", "validation_failures", "preview")  # fmt: skip
    money = {k: None if r[k] is None else f"{r[k]:f}" for k in ("cost_usd", "wasted_cost_usd")}
    return {k: r[k] for k in kept} | money | {
        "time": iso(r["time"]), "tags": r["tags"], "models": [r["model"]],
        "failure_reason": FAILURE_MODES.get(r["failure_mode"] or ""),
        "confidence": {r["confidence_source"]: r["confidence"]} if r["confidence_source"] else {},
        "feedback": [{"name": r["feedback_name"], "source": r["feedback_source"], "positive": r["positive"]}] if r["feedback_source"] else [],
    }  # fmt: skip


def interactions(world: World, params: dict[str, list[str]]) -> dict[str, Any]:
    rows = [r for r in world.rows if params["start"][0] <= iso(r["time"]) < params["end"][0]]
    for name in ("feature", "model", "environment", "release", "app", "user", "session", "failure_mode"):
        if name in params:
            rows = [r for r in rows if (r[name] or "") in params[name]]
    wanted_tags: dict[str, list[str]] = {}
    for text in params.get("tag", []):
        key, _, value = text.partition("=")
        wanted_tags.setdefault(key, []).append(value)
    rows = [r for r in rows if all(r["tags"].get(key, "") in values for key, values in wanted_tags.items())]
    if "failed" in params:
        rows = [r for r in rows if (r["failure_mode"] is not None) == (params["failed"][0] == "true")]
    if "feedback" in params:
        wanted = {"positive": True, "negative": False}.get(params["feedback"][0])
        rows = [r for r in rows if r["positive"] is not None and (wanted is None or r["positive"] == wanted)]
    if "text" in params:
        rows = [r for r in rows if params["text"][0].lower() in r["name"].lower()]
    if "min_cost_usd" in params:
        rows = [r for r in rows if r["cost_usd"] is not None and r["cost_usd"] >= Decimal(params["min_cost_usd"][0])]
    order = params.get("order", ["-time"])[0]
    key = order.removeprefix("-")
    rows = [r for r in rows if r[key] is not None]
    rows.sort(key=lambda r: r[key], reverse=order.startswith("-"))
    limit, begin = int(params.get("limit", ["50"])[0]), int(params.get("cursor", ["0"])[0])
    page = rows[begin : begin + limit]
    return {"items": [_item(r) for r in page], "next_cursor": str(begin + limit) if len(rows) > begin + limit else None}


def detail(world: World, id: str) -> dict[str, Any] | None:
    if id in world.details:
        return world.details[id]
    r = next((r for r in world.rows if r["id"] == id), None)
    if r is None:
        return None
    start, long = r["time"], r["duration_s"]
    base = {"status": "ok", "status_message": None, "error_type": None, "error_class": None, "http_status": None, "provider": None,
            "model": None, "request_model": None, "operation": None, "finish_reason": None, "response_id": None, "ttft_s": None,
            "usage": {}, "usage_quality": None, "cost_usd": None, "cost": {}, "cost_status": "not_billable", "cost_source": None,
            "price_version": None, "unpriced_reason": None, "not_billed_reason": None, "is_retry": False, "is_fallback": False,
            "signals": {}, "attributes": {}, "dialect": "spanledger", "scope": "spanledger"}  # fmt: skip

    def span(id: str, parent: str | None, name: str, kind: str, at: float, share: float, **over: Any) -> dict[str, Any]:
        return base | {"span_id": id, "parent_span_id": parent, "name": name, "kind": kind, "start": iso(start),
                       "offset_s": at * long, "duration_s": share * long} | over  # fmt: skip

    usage = {k: r[k] for k in ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")}
    cost = None if r["cost_usd"] is None else f"{r['cost_usd']:f}"
    spans = [
        span("a" * 16, None, r["name"], "interaction", 0, 1, signals={"confidence.verbalized": r["confidence"]}),
        span("b" * 16, "a" * 16, "kb.search", "retrieval", 0.02, 0.2, attributes={"gen_ai.data_source.id": "kb"}),
        span("c" * 16, "a" * 16, "crm.lookup", "tool", 0.25, 0.2, status="error", status_message="504 from the CRM", error_type="TimeoutError", error_class="timeout", http_status=504),
        span("d" * 16, "a" * 16, "agent wrapper", "agent", 0.48, 0.5, usage=usage, not_billed_reason="repeats the usage of a model call below it"),
        span("e" * 16, "d" * 16, f"chat {r['model']}", "model", 0.5, 0.45, provider=r["provider"], model=r["model"], request_model=r["model"], operation="chat",
             finish_reason="stop", response_id="resp_1", ttft_s=r["ttft_s"], usage=usage, usage_quality="exact", cost_usd=cost,
             cost={"input": cost, "cache_read": "0.0001", "cache_write": None, "output": "0.002"},
             cost_status="priced" if cost else "unpriced", cost_source="genai-prices", price_version="2026-11-01", unpriced_reason=None if cost else "unknown model",
             attributes={"gen_ai.request.model": r["model"]}),
    ]  # fmt: skip
    content = {
        "e" * 16: {
            "input": [{"role": "system", "parts": [{"type": "text", "text": "You are a helpful clerk."}]}, {"role": "user", "parts": [{"type": "text", "text": r["preview"]}]}],
            "output": [{"role": "assistant", "parts": [{"type": "reasoning", "text": "Look it up."}, {"type": "tool_call", "name": "crm.lookup", "id": "t1", "arguments": '{"order": 1}'},
                       {"type": "text", "text": "It arrives on Monday."}]}],
            "tools": [{"name": "crm.lookup"}], "documents": [], "raw": {},
        },
        "c" * 16: {
            "input": [{"role": "user", "parts": [{"type": "other", "text": '{"order": 1}'}]}],
            "output": [], "tools": [], "documents": [], "raw": {},
        },
        "b" * 16: {"input": [], "output": [], "tools": [], "documents": [{"id": "doc-1", "content": "Orders take 5 days.", "score": 0.71}], "raw": {}},
    }  # fmt: skip
    feedback = []
    if r["feedback_source"]:
        feedback = [{"id": "f1", "name": "helpful", "source": "user", "value": r["positive"], "positive": r["positive"], "score": None,
                     "comment": None if r["positive"] else "It quoted an old policy.", "user": r["user"], "time": iso(start), "span_id": None}]  # fmt: skip
    return {"interaction": _item(r), "spans": spans, "content": content, "feedback": feedback}


def preview(world: World, body: dict[str, Any]) -> dict[str, Any]:
    hours = int((datetime.fromisoformat(body["end"]) - datetime.fromisoformat(body["start"])).total_seconds() // 3600)
    begin, rng = datetime.fromisoformat(body["start"]), random.Random(3)
    points = []
    for h in range(min(hours, 24 * 14)):
        value = rng.uniform(0.02, 0.08)
        points.append(
            {
                "time": iso(begin + timedelta(hours=h)),
                "group": {},
                "value": value,
                "breached": value > float(body["threshold"]),
                "interactions": 90,
            }
        )
    fires = [
        {"from": p["time"], "to": iso(datetime.fromisoformat(p["time"]) + timedelta(hours=1)), "group": {}}
        for p in points
        if p["breached"]
    ]
    return {"points": points, "fires": fires}


def _values(world: World, dimension: str, limit: int) -> dict[str, Any]:
    counts: dict[str, int] = {}
    for r in world.rows:
        if (value := r.get(dimension)) is not None:
            counts[value] = counts.get(value, 0) + 1
    return {"values": sorted(counts, key=lambda v: (-counts[v], v))[:limit]}


def _rules(world: World, method: str, id: str, body: Any) -> tuple[int, Any]:
    if method == "GET":
        return 200, {"rules": world.rules}
    if method == "POST":
        made = rule(f"r{len(world.rules) + 1}", body["name"], state="ok") | body
        world.rules.append(made)
        return 201, made | {"signing_secret": "whsec_shown_once"}
    index = next((i for i, r in enumerate(world.rules) if r["id"] == id), None)
    if index is None:
        return 404, {"title": "No such rule", "code": "not_found"}
    if method == "DELETE":
        world.rules.pop(index)
        return 204, None
    world.rules[index] |= body
    return 200, world.rules[index]


def respond(world: World, method: str, path: str, params: dict[str, list[str]], body: Any) -> tuple[int, Any]:
    """Status and body (bytes are an Arrow stream) for a request."""
    for prefix, (status, title) in world.failing.items():
        if path.startswith(prefix):
            return status, {"title": title, "detail": f"{title}: try a shorter range.", "code": "failing", "status": status}
    parts = path.strip("/").split("/")
    match parts:
        case ["readyz"]:
            return 200, {"ready": True}
        case ["api", "v1", "query"]:
            try:
                return 200, answer(world, body)
            except QueryError as error:
                return 422, {"title": "Invalid query", "detail": str(error), "code": "invalid_query"}
        case ["api", "v1", "status"]:
            return 200, world.status or {"version": "0.1.0", "ready": True, "spans_per_minute": 0, "data_through": None, "pending_traces": 0,
                                         "accepted_spans": 0, "rejected_spans": 0, "store": "embedded"}  # fmt: skip
        case ["api", "v1", "projects"]:
            times = [r["time"] for r in world.rows]
            found = (
                [
                    {
                        "name": world.project,
                        "spans": sum(r["spans"] for r in world.rows),
                        "first_at": iso(min(times)),
                        "last_at": iso(max(times)),
                    }
                ]
                if times
                else []
            )
            return 200, {"projects": found}
        case ["api", "v1", "dimensions", dimension, "values"]:
            if unquote(dimension) not in DIMENSIONS:
                return 422, {"title": "Unknown dimension", "code": "invalid"}
            return 200, _values(world, unquote(dimension), int(params.get("limit", ["100"])[0]))
        case ["api", "v1", "costs", about]:
            return costs(world, about, body)
        case ["api", "v1", "prices", *rest]:
            return prices(world, method, rest, params, body)
        case ["api", "v1", "reprices", *rest]:
            return reprices(world, method, rest, body)
        case ["api", "v1", "tags"]:
            found_tags: dict[str, list[str]] = {}
            for key, value in sorted({pair for r in world.rows for pair in r["tags"].items()}):
                found_tags.setdefault(key, []).append(value)
            return 200, {"tags": [{"key": key, "values": values} for key, values in found_tags.items()]}
        case ["api", "v1", "interactions"]:
            return 200, interactions(world, params)
        case ["api", "v1", "interactions", id]:
            found_one = detail(world, unquote(id))
            return (
                (200, found_one)
                if found_one
                else (
                    404,
                    {"title": "No such interaction", "detail": "There is no interaction with this id.", "code": "not_found"},
                )
            )
        case ["api", "v1", "drift"]:
            none = {"series": [], "source": params.get("source", [""])[0], "state": "no_data", "moved_since": None, "message": "No confidence.", "reference": None,
                    "channels": [], "bands": [], "psi": None, "psi_n": 0, "calibration": None}  # fmt: skip
            return 200, world.drift or none
        case ["api", "v1", "alerts", "rules", *rest]:
            return _rules(world, method, rest[0] if rest else "", body)
        case ["api", "v1", "alerts", "preview"]:
            return 200, preview(world, body)
        case ["api", "v1", "alerts", "events"]:
            return 200, {"events": world.events}
    return 404, {"title": "Not found", "code": "not_found"}


def _guard(world: World, headers: Any, path: str) -> tuple[int, Any] | None:
    """What the collector's guard says to a request, and who it is."""
    if world.keys is None:
        every = ["ingest", "feedback", "read", "read_content", "review", "admin"]
        me = {"actor": "loopback", "name": "", "project": None, "scopes": every, "is_keyless": True}
        return (200, me) if path == "/api/v1/me" else None
    scopes = world.keys.get(str(headers.get("authorization")).removeprefix("Bearer "))
    if scopes is None:
        return 401, {"title": "A key is needed", "code": "unauthorized", "detail": "Send a valid key."}
    person, wanted = headers.get("x-spanledger-person"), headers.get("x-spanledger-person-scopes")
    if person is not None:
        world.people.append((unquote(person), wanted))
        if "act_for" not in scopes:
            return 403, {"title": "Not allowed", "code": "forbidden", "detail": "This key may not act for people."}
        scopes = tuple(scope for scope in (wanted or "").split() if scope in scopes or "admin" in scopes)
    if path == "/api/v1/me":
        return 200, {"actor": "key:0", "name": "the key", "project": None, "scopes": list(scopes), "is_keyless": False}
    return (
        None if "read" in scopes or "admin" in scopes else (403, {"title": "Not allowed", "detail": "It needs the scope read."})
    )


def _handler(world: World) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            url = urlsplit(self.path)
            length = int(self.headers.get("content-length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            world.seen.append((self.command, url.path, body))
            params = parse_qs(url.query, keep_blank_values=True)
            world.lists.append((self.command, url.path, params))
            refused = _guard(world, self.headers, url.path)
            status, out = refused or respond(world, self.command, url.path, params, body)
            payload = b"" if out is None else out if isinstance(out, bytes) else json.dumps(out, default=str).encode()
            self.send_response(status)
            self.send_header(
                "content-type", "application/vnd.apache.arrow.stream" if isinstance(out, bytes) else "application/json"
            )
            self.send_header("content-length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        do_GET = do_POST = do_PUT = do_DELETE = _serve

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    return Handler


@contextmanager
def serving(world: World, port: int = 0) -> Iterator[str]:
    """The address of a fake collector over `world` on loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", port), _handler(world))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def main(sleep: Callable[[], Any]) -> None:
    """Serve a busy world by hand, to look at pages."""
    with serving(busy_world(datetime.now(UTC)), 14318) as url:
        print(url, flush=True)
        sleep()


if __name__ == "__main__":
    main(threading.Event().wait)
