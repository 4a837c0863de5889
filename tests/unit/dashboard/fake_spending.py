# ruff: noqa: E501 - tables of made-up rows
"""The part of the stand-in collector that speaks of spending and prices, as docs/reference/http.md describes it."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from math import floor, log10
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.unit.dashboard.fake_collector import World

CAVEATS = ["Nothing is said of the quality of the answers."]
LISTED = {"openai": ["gpt-6-mini", "gpt-6"], "anthropic": ["sonnet-5", "haiku-5"]}
VERSION = "genai-prices/9.9.9"


def _kept(world: "World", body: dict[str, Any], start: str | None = None, end: str | None = None) -> list[dict[str, Any]]:
    rows = world.rows
    for f in body.get("filters", ()):
        name = f["dimension"]
        values = [r["tags"].get(name[4:]) if name.startswith("tag:") else r.get(name) for r in rows]
        rows = [r for r, value in zip(rows, values, strict=True) if (value in f["values"]) == (f["op"] == "in")]
    start, end = start or body.get("start"), end or body.get("end")
    if start is not None and end is not None:
        low, high = datetime.fromisoformat(start), datetime.fromisoformat(end)
        rows = [r for r in rows if low <= r["time"] < high]
    return rows


def _total(rows: Iterable[dict[str, Any]]) -> Decimal:
    return sum((r["cost_usd"] for r in rows if r["cost_usd"] is not None), Decimal(0))


def costs(world: "World", about: str, body: dict[str, Any]) -> tuple[int, Any]:
    """Answers of `POST /api/v1/costs/{about}`."""
    rows = _kept(world, body)
    priced = [r for r in rows if r["cost_usd"] is not None]
    match about:
        case "changes":
            return 200, _changes(world, body, rows)
        case "distribution":
            return 200, _distribution(rows, priced)
        case "waste":
            failed = [r for r in priced if r["failure_mode"]]
            causes = [
                {
                    "cause": "failed",
                    "meaning": "The interaction failed.",
                    "cost_usd": f"{_total(failed):f}",
                    "calls": len(failed),
                    "interactions": len(failed),
                }
            ]
            return 200, {"wasted_cost_usd": f"{_total(failed):f}", "causes": causes if failed else []}
        case "caching":
            groups = [{"feature": f, "model": "sonnet-5", "calls": 9, "repeats": 4, "input_tokens": 100, "cache_read_tokens": 30, "missed_tokens": 40,
                       "cache_hit_rate": 0.3, "saved_usd": "1.5", "missed_usd": "2.25"} for f in sorted({r["feature"] for r in rows})]  # fmt: skip
            return 200, {"saved_usd": f"{1.5 * len(groups)}", "missed_usd": f"{2.25 * len(groups)}", "groups": groups}
        case "what-if":
            if body["model"] not in {m for models in LISTED.values() for m in models}:
                return 422, {
                    "title": "Invalid question",
                    "detail": f"{body['model']!r} has no price (unknown_model)",
                    "code": "invalid_query",
                }
            total = _total(priced)
            line = {"calls": len(priced), "cost_usd": f"{total:f}", "would_cost_usd": f"{total / 2:f}", "calls_left_out": 0}
            models = [
                {"provider": "x", "model": model, **line, "left_out_reason": None} for model in sorted({r["model"] for r in rows})
            ][:1]
            return 200, {
                "provider": body["provider"] or None,
                "model": body["model"],
                **line,
                "difference_usd": f"{-total / 2:f}",
                "models": models,
                "caveats": CAVEATS,
            }
        case "month":
            return 200, _month(priced)
    return 404, {"title": "Not found", "code": "not_found"}


def _changes(world: "World", body: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    before = _kept(world, body, body["compare_start"], body["compare_end"])
    then, now = _total(before), _total(rows)
    line = {"before_usd": f"{then:f}", "after_usd": f"{now:f}", "change_usd": f"{now - then:f}", "calls_before": len(before), "calls_after": len(rows),
            "volume_usd": f"{now - then - 1:f}", "mix_usd": "0.25", "tokens_per_call_usd": "0.75", "price_usd": "0"}  # fmt: skip
    models = [{"model": model, **line} for model in sorted({r["model"] for r in rows})][:1]
    sides = {"before": (body["compare_start"], body["compare_end"]), "after": (body["start"], body["end"])}
    return {name: {"start": a, "end": b, "calls_without_cost": 3} for name, (a, b) in sides.items()} | {
        "overall": line,
        "models": models,
    }


def _distribution(rows: list[dict[str, Any]], priced: list[dict[str, Any]]) -> dict[str, Any]:
    values = sorted(r["cost_usd"] for r in priced)
    bins: dict[int, list[Decimal]] = {}
    for value in values:
        bins.setdefault(floor(log10(value) * 8), []).append(value)
    quantiles = {f"cost_p{q}_usd": f"{values[int((len(values) - 1) * q / 100)]:f}" if values else None for q in (50, 95, 99)}
    tail = (
        [
            {
                "dimension": "feature",
                "value": rows[-1]["feature"],
                "interactions_in_tail": 30,
                "share_of_tail": 0.7,
                "share_of_rest": 0.2,
                "lift": 3.5,
                "tail_cost_usd": "3",
            }
        ]
        if values
        else []
    )
    return {
        "interactions": len(rows), "without_cost": len(rows) - len(priced), "free": 0, **quantiles, "highest_usd": f"{values[-1]:f}" if values else None,
        "bins": [{"from_usd": 10 ** (b / 8), "to_usd": 10 ** ((b + 1) / 8), "interactions": len(v), "cost_usd": f"{sum(v):f}"} for b, v in sorted(bins.items())],
        "tail": tail,
    }  # fmt: skip


def _month(priced: list[dict[str, Any]]) -> dict[str, Any]:
    now = max((r["time"] for r in priced), default=datetime(2026, 11, 24))
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    end = (first + timedelta(days=32)).replace(day=1)
    mine = [r for r in priced if r["time"] >= first]
    by_day: dict[str, Decimal] = {}
    for r in mine:
        by_day[f"{r['time']:%Y-%m-%d}"] = by_day.get(f"{r['time']:%Y-%m-%d}", Decimal(0)) + r["cost_usd"]
    total = _total(mine)
    ahead = {
        "p10_usd": float(total) * 1.1,
        "p50_usd": float(total) * 1.2,
        "p90_usd": float(total) * 1.4,
        "days_used": 56,
        "backtests": 8,
        "backtests_covered": 7,
    }
    return {
        "month": f"{first:%Y-%m}", "start": f"{first:%Y-%m-%dT00:00:00Z}", "end": f"{end:%Y-%m-%dT00:00:00Z}", "to_date_usd": f"{total:f}", "forecast": ahead if mine else None,
        "days": [{"date": day, "cost_usd": f"{cost:f}"} for day, cost in sorted(by_day.items())],
    }  # fmt: skip


def prices(world: "World", method: str, rest: list[str], params: dict[str, list[str]], body: Any) -> tuple[int, Any]:
    """Answers of `/api/v1/prices` and below."""
    sources = [{"source": "corrections", "version": "corrections/2026-11-25"}, {"source": "genai-prices", "version": VERSION}]
    match method, rest:
        case "GET", []:
            return 200, {"prices": world.prices, "sources": sources}
        case "PUT" | "POST", []:
            if Decimal(body.get("multiplier") or 0) > 10**9:
                return 422, {
                    "title": "Invalid question",
                    "detail": "multiplier lies between 0 and 1000000000 with at most 12 places.",
                    "code": "invalid",
                }
            made = {
                "id": f"{len(world.versions):016x}",
                "kind": "model",
                "provider": "*",
                **body,
                "changed_at": "2026-11-24T10:00:00Z",
                "version": "user/1",
            }
            world.prices.append(made)
            world.versions.append(made | {"action": "set"})
            return 201, {"prices": [made]}
        case "DELETE", [id]:
            gone = [p for p in world.prices if p["id"] == id]
            world.prices = [p for p in world.prices if p["id"] != id]
            world.versions += [p | {"action": "retired"} for p in gone]
            return 204, None
        case "GET", ["history"]:
            return 200, {"versions": world.versions}
        case "GET", ["models"]:
            return 200, {"models": LISTED}
        case "GET", ["check"]:
            return 200, {"findings": _findings(world), "sources": sources}
        case "GET", ["diff"]:
            row = {
                "provider": "anthropic",
                "model": "sonnet-5",
                "kind": "input",
                "ours": "3",
                "release": {"price": "3", "above": [{"above_input_tokens": 200000, "price": "6"}]},
                "source": "corrections",
            }
            return 200, {"release": VERSION, "differences": [row]}
        case "GET", ["resolve"]:
            return 200, _resolved(params)
    return 404, {"title": "Not found", "code": "not_found"}


def _resolved(params: dict[str, list[str]]) -> dict[str, Any]:
    model, provider = params["model"][0], params.get("provider", [""])[0]
    known = {m for models in LISTED.values() for m in models}
    head = {"provider": provider, "model": model, "processing": ""}
    if model not in known:
        return head | {"reason": "unknown_model", "explanation": "No list knows a model of this name.", "periods": []}
    card = {"source": "genai-prices", "version": VERSION, "reason": None, "windows": []}
    old = {"from": None, "until": "2026-06-01T00:00:00Z", "is_current": False, "prices": {"input": "5", "output": "15"}, **card}
    new = {
        "from": "2026-06-01T00:00:00Z",
        "until": None,
        "is_current": True,
        "prices": {
            "input": "2.5",
            "cache_read": {"price": "0.3", "above": [{"above_input_tokens": 200000, "price": "0.6"}]},
            "output": "10",
        },
        **card,
    }
    return head | {"reason": None, "explanation": None, "periods": [old, new]}


def _findings(world: "World") -> list[dict[str, Any]]:
    unpriced = [r for r in world.rows if r["unpriced_generations"]]
    if not unpriced:
        return []
    model, provider = unpriced[-1]["model"], unpriced[-1]["provider"]
    shared = {"provider": provider, "model": model, "last_seen": "2026-11-24T10:00:00Z"}
    return [
        {"code": "unpriced", "subject": f"{provider} {model}", "message": f"{len(unpriced)} calls have no known cost: unknown_model", "advice": "set a price, or price_as another model",
         "reason": "unknown_model", "calls": len(unpriced), "tokens": 1000, **shared},
        {"code": "unpriced", "subject": "openai gpt-6", "message": "4 calls have no known cost: failed_without_usage", "advice": "set a price, or price_as another model",
         "reason": "failed_without_usage", "calls": 4, "tokens": 0, **shared, "provider": "openai", "model": "gpt-6"},
        {"code": "older_version", "subject": "genai-prices/9.9.8", "message": "70 calls were priced by it", "advice": "spanledger reprice --dry-run shows what is different now"},
    ]  # fmt: skip


def reprices(world: "World", method: str, rest: list[str], body: Any) -> tuple[int, Any]:
    """Answers of `/api/v1/reprices` and below: each is done at once."""
    if method == "POST":
        sides = {
            "before": {"status": "unpriced", "price": None, "usd": "0"},
            "after": {"status": "priced", "price": "user/1", "usd": "1.25"},
        }
        change = {
            "provider": "self",
            "model": "local-llama",
            "processing": None,
            "calls": 12,
            **sides,
            "difference_usd": "1.25",
            "why": "it has a price now",
        }
        made = {"id": f"{len(world.reprices):016x}", "state": "done", "since": None, "until": None, "model": None, **body, "started_at": "2026-11-24T10:00:00Z", "traces_total": 12,
                "traces_done": 12, "calls_changed": 12, "before_usd": "0", "after_usd": "1.25", "difference_usd": "1.25", "changes": [change]}  # fmt: skip
        world.reprices.insert(0, made)
        return 202, made
    if rest:
        found = next((r for r in world.reprices if r["id"] == rest[0]), None)
        return (200, found) if found else (404, {"title": "No such re-pricing", "code": "not_found"})
    return 200, {"reprices": world.reprices}
