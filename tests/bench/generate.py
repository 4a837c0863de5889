"""Ten million spans as settling would have written them, made by the engine itself.

30 days, five spans a trace (root, agent, retrieval, two model calls): per trace one row of `interactions` and three of `calls`. Costs
and tokens of an interaction are the sums of its calls, so that breakdowns agree. Closed days are one part each, as the collector
keeps them.
"""

import time
from collections.abc import Callable

from spanledger_collector.store.ledger import write_mark
from spanledger_collector.store.protocol import Store

DAYS = 30
PROJECT = "bench"

_PICK = {
    "model": "['gpt-4o', 'gpt-4o-mini', 'gpt-5-mini', 'claude-sonnet-4-5', 'claude-haiku-4-5', 'gemini-2.5-flash']",
    "provider": "['openai', 'openai', 'openai', 'anthropic', 'anthropic', 'gcp.gemini']",
    "feature": "['search', 'answer', 'summarise', 'triage', 'draft', 'translate', 'classify', 'extract']",
    "failure": "['rate_limited', 'timeout', 'provider_error', 'truncated', 'validation', 'rejected', 'tool_error', 'refusal']",
}
_BASE = f"""
    sipHash64({{day:UInt32}}, number) AS h,
    lower(concat(hex(h), hex(sipHash64(h, 1)))) AS trace_id,
    toDateTime64({{zero:Float64}} + {{day:UInt32}} * 86400 + (number / {{per_day:UInt32}}) * {{length:Float64}}, 9, 'UTC') AS start_time,
    {_PICK["feature"]}[1 + h % 8] AS feature,
    concat('r', toString(intDiv({{day:UInt32}}, 5))) AS release,
    if(h % 10 = 0, 'staging', 'production') AS environment,
    concat('u', toString(h % 20000)) AS user,
    concat('s', toString(h % 90000)) AS session,
    if(h % 100 < 6, {_PICK["failure"]}[1 + intDiv(h, 100) % 8], '') AS failure_mode,
    map('tier', if(h % 3 = 0, 'pro', 'free')) AS tags
"""


def _call(part: int) -> dict[str, str]:
    """Columns of one of a trace's two model calls, as expressions over `h`."""
    g = f"sipHash64(h, {part + 10})"
    tokens = f"toUInt32(200 + {g} % 3000)"
    out = f"toUInt32(20 + intDiv({g}, 3000) % 400)"
    cost = f"toDecimal64(({tokens} * (1 + {g} % 6) + {out} * 4 * (1 + {g} % 6)) / 4e6, 12)"
    return {"g": g, "given": tokens, "made": out, "cost": cost}


def _interactions() -> str:
    one, two = _call(1), _call(2)
    cost = f"{one['cost']} + {two['cost']}"
    return f"""
    INSERT INTO interactions (project, interaction_id, trace_id, root_span_id, name, start_time, duration_ns, is_interaction, app,
        environment, release, feature, user, session, tags, span_count, span_kinds, generations, known_cost_generations, models, model_costs_usd,
        input_tokens, output_tokens, cost_usd, wasted_cost_usd, cache_savings_usd, failure_mode, validations, validation_failures,
        confidence_sources, confidence_values, feedback_sources, feedback_names, feedback_positive, settled_through, version, is_deleted)
    SELECT '{PROJECT}', concat(trace_id, '-', lower(hex(h))), trace_id, lower(hex(h)), 'answer', start_time,
        toUInt64(8e8 + h % 4000000000), 1, 'support', environment, release, feature, user, session, tags, 5,
        map('interaction', 1, 'agent', 1, 'retrieval', 1, 'model', 2), 2, 2,
        if({one["g"]} % 6 = {two["g"]} % 6, [{_PICK["model"]}[1 + {one["g"]} % 6], ''],
            [{_PICK["model"]}[1 + {one["g"]} % 6], {_PICK["model"]}[1 + {two["g"]} % 6], '']),
        if({one["g"]} % 6 = {two["g"]} % 6, [toNullable({cost}), NULL], [toNullable({one["cost"]}), {two["cost"]}, NULL]),
        {one["given"]} + {two["given"]}, {one["made"]} + {two["made"]}, {cost}, if(failure_mode != '', {cost}, toDecimal64(0, 12)),
        toDecimal64(0, 12), failure_mode, 1, failure_mode = 'validation', ['verbalized'],
        [round(0.5 + 0.5 * pow((h % 1000) / 1000, 0.5), 3)],
        if(h % 20 = 0, ['user'], []), if(h % 20 = 0, ['helpful'], []), if(h % 20 = 0, [toInt8(intDiv(h, 20) % 5 != 0)], []),
        start_time, 1, 0
    FROM (SELECT number, {_BASE} FROM numbers({{per_day:UInt32}}))
    """


def _calls() -> str:
    selects = []
    for part in (1, 2):
        call = _call(part)
        selects.append(f"""
        SELECT '{PROJECT}' AS project, trace_id, lower(hex({call["g"]})) AS span_id, concat(trace_id, '-', lower(hex(h))) AS interaction_id,
            'model' AS kind, 'chat' AS name, start_time + INTERVAL {part * 100} MILLISECOND AS start_time, toUInt64(6e8) AS duration_ns,
            if(h % 2 = 0, toNullable(toUInt64(1e8 + {call["g"]} % 500000000)), NULL) AS ttft_ns, 'support' AS app, environment, release,
            feature, if(h % 3 = 0, 'v2', 'v1') AS prompt_version, user, session, tags, failure_mode,
            {_PICK["provider"]}[1 + {call["g"]} % 6] AS provider, {_PICK["model"]}[1 + {call["g"]} % 6] AS model,
            {_PICK["model"]}[1 + {call["g"]} % 6] AS request_model, 'chat' AS operation, 'stop' AS finish_reason,
            'exact' AS usage_quality, toNullable({call["given"]}) AS uncached_input_tokens, toNullable({call["made"]}) AS
            visible_output_tokens, toNullable({call["cost"]}) AS cost_usd, toNullable({call["cost"]}) AS cost_input_usd,
            toNullable(if(failure_mode != '', {call["cost"]}, toDecimal64(0, 12))) AS wasted_cost_usd,
            toNullable(toDecimal64(0, 12)) AS cache_savings_usd, 'priced' AS cost_status, 'genai-prices' AS cost_source,
            1 AS version, 0 AS is_deleted
        FROM base""")
    columns = (
        "project, trace_id, span_id, interaction_id, kind, name, start_time, duration_ns, ttft_ns, app, environment, release, feature, "
        "prompt_version, user, session, tags, failure_mode, provider, model, request_model, operation, finish_reason, usage_quality, "
        "uncached_input_tokens, visible_output_tokens, cost_usd, cost_input_usd, wasted_cost_usd, cache_savings_usd, cost_status, "
        "cost_source, version, is_deleted"
    )
    retrieval = f"""
        SELECT '{PROJECT}', trace_id, lower(hex(sipHash64(h, 9))), concat(trace_id, '-', lower(hex(h))), 'retrieval', 'kb', start_time,
            toUInt64(1e8), NULL, 'support', environment, release, feature, '', user, session, tags, failure_mode, '', '', '', 'retrieval',
            '', '', NULL, NULL, NULL, NULL, NULL, NULL, 'not_billable', '', 1, 0
        FROM base"""
    base = f"WITH base AS (SELECT number, {_BASE} FROM numbers({{per_day:UInt32}}))"
    return f"INSERT INTO calls ({columns}) {base} {' UNION ALL '.join([*selects, retrieval])}"


def _spans() -> str:
    one, two = _call(1), _call(2)
    ids = f"[lower(hex(h)), lower(hex(sipHash64(h, 8))), lower(hex(sipHash64(h, 9))), lower(hex({one['g']})), lower(hex({two['g']}))]"
    return f"""
    INSERT INTO spans (project, trace_id, span_id, parent_span_id, name, kind, dialect, scope, start_time, duration_ns, received_at,
        clock, app, environment, release, feature, user, session, tags, interaction, provider, operation, request_model, response_model,
        input_tokens, output_tokens, usage_quality, status_code, version)
    SELECT '{PROJECT}', trace_id, ids[n], if(n = 1, '', ids[if(n = 2, 1, 2)]), ['answer', 'agent', 'retrieval kb', 'chat', 'chat'][n],
        ['interaction', 'agent', 'retrieval', 'model', 'model'][n], 'genai', 'spanledger', start_time + toIntervalMillisecond(n * 50),
        toUInt64(6e8), start_time, 'ok', 'support', environment, release, if(n = 1, feature, ''), if(n = 1, user, ''),
        if(n = 1, session, ''), if(n = 1, tags, map()), if(n = 1, 'answer', ''),
        if(n > 3, {_PICK["provider"]}[1 + g % 6], ''), ['', 'invoke_agent', 'retrieval', 'chat', 'chat'][n],
        if(n > 3, {_PICK["model"]}[1 + g % 6], ''), if(n > 3, {_PICK["model"]}[1 + g % 6], ''),
        if(n > 3, toNullable(toUInt32(200 + g % 3000)), NULL), if(n > 3, toNullable(toUInt32(20 + intDiv(g, 3000) % 400)), NULL),
        if(n > 3, 'exact', ''), 1, 1
    FROM (SELECT number, {_BASE}, {ids} AS ids, arrayJoin([1, 2, 3, 4, 5]) AS n, if(n = 4, {one["g"]}, {two["g"]}) AS g
        FROM numbers({{per_day:UInt32}}))
    """


def generate(store: Store, spans: int, now_s: float, progress: Callable[[int], None]) -> None:
    """Fill an empty, migrated store with about `spans` spans that end now; `progress` hears of each day that is done."""
    per_day = spans // 5 // DAYS
    zero = (int(now_s) // 86_400 - DAYS + 1) * 86_400.0
    for day in range(DAYS):
        for statement in (_interactions(), _calls(), _spans()):
            text = statement
            # The last day ends now: what seems to come in the future would be settled anew, beside what is measured.
            length = min(86_399.0, now_s - 60 - zero - day * 86_400)
            values = {
                "day:UInt32": str(day),
                "per_day:UInt32": str(per_day),
                "zero:Float64": repr(zero),
                "length:Float64": repr(length),
            }
            for name, value in values.items():
                text = text.replace(f"{{{name}}}", value)
            store.command(text)
        for table in ("interactions", "calls", "spans"):
            store.command(
                f"OPTIMIZE TABLE {table} PARTITION '{time.strftime('%Y-%m-%d', time.gmtime(zero + day * 86_400))}' FINAL"
            )
        progress(day + 1)
    write_mark(store, "default", int(now_s * 1e9), "bench")
