"""One interaction: what it was, its spans in time, its conversation, and what each step cost.

Everything that a model or a user wrote is drawn with `st.text`, `st.code` or a table cell.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import polars as pl
import streamlit as st

from spanledger_dashboard import excerpt, tables
from spanledger_dashboard import format as fmt
from spanledger_dashboard.billing import sentence
from spanledger_dashboard.cards import CHART_CONFIG, card, empty, when
from spanledger_dashboard.charts.waterfall import ordered, waterfall
from spanledger_dashboard.scope import Scope
from spanledger_dashboard.untrusted import badge_label, label, shorten
from spanledger_schema.catalogue import FAILURE_MODES

AVATARS: Final = {
    "user": ":material/person:",
    "assistant": ":material/smart_toy:",
    "system": ":material/settings:",
    "tool": ":material/build:",
}
_USAGE: Final = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")
_TEXT_MAX: Final = 20_000
_ROWS_TALL: Final = 22
_TALL: Final = 760
SHOWN: Final = "shown"
SPAN: Final = "span"
"""Parameters of the URL: how many spans are drawn, and which one is looked at."""


def draw(here: Scope, found: Mapping[str, Any]) -> None:
    """Draw an answer of `GET /api/v1/interactions/{id}`."""
    item, rows = found["interaction"], ordered(found["spans"])
    shown = excerpt.pick(rows, _limit())
    spans = [span for _, span in shown]
    _facts(here, item)
    if said := excerpt.sentence(rows, shown):
        _more(said, len(rows) - len(shown))
    left, right = st.columns([5, 4], gap="small")
    with left, card("Timeline", "Select a bar to see the span; a red outline and ✕ mark errors"):
        if shown:
            _timeline(here, item, shown)
        else:
            empty("Its spans are past their retention.")
    with (
        right,
        card("Conversation"),
        st.container(height=_TALL if len(shown) > _ROWS_TALL else "content", border=False, autoscroll=False),
    ):
        _conversation(spans, found["content"])
    with card("Usage and cost by step", "Sum of the billed steps is the interaction's cost"):
        _steps(spans)
    left, right = st.columns(2, gap="small")
    with left, card("Feedback and signals"):
        _judgements(here, found["feedback"])
        _signals(spans)
    with right, card("Span details"):
        _span_details(item, spans)


def _limit() -> int:
    """How many spans to draw, of the URL, so that a link shows its receiver as many."""
    text = st.query_params.get(SHOWN, "")
    return max(excerpt.FIRST, int(text)) if text.isascii() and text.isdigit() and len(text) < 7 else excerpt.FIRST


def _more(said: str, rest: int) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="excerpt"):
        st.caption(label(said, 300), width="content")
        if st.button(label(f"Show {min(rest, excerpt.FIRST):,} more"), icon=":material/expand_more:", key="more_spans"):
            st.query_params[SHOWN] = str(_limit() + excerpt.FIRST)
            st.rerun()


def _timeline(here: Scope, item: Mapping[str, Any], rows: Sequence[excerpt.Row]) -> None:
    # A long one scrolls in its card: what is beside and below it must stay in reach.
    with st.container(height=_TALL if len(rows) > _ROWS_TALL else "content", border=False):
        event = st.plotly_chart(
            waterfall(rows, here.palette),
            key=f"waterfall_{item['id']}",
            config=CHART_CONFIG,
            theme=None,
            on_select="rerun",
            selection_mode="points",
            alt=f"{len(rows)} spans in {fmt.duration(item['duration_s'])}.",
        )
    points = event.selection.points if hasattr(event, "selection") else []
    if points and points[0].get("customdata"):
        st.session_state[_span_key(item)] = points[0]["customdata"][0]


def _span_key(item: Mapping[str, Any]) -> str:
    return f"span_of_{item['id']}"


def _facts(here: Scope, item: Mapping[str, Any]) -> None:
    mode = item["failure_mode"]
    st.text(shorten(item["name"], 200))
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="facts"):
        if mode:
            text = f"Failed · {str(mode).replace('_', ' ')}"
            st.badge(
                badge_label(text), icon=":material/error:", color="red", help=label(FAILURE_MODES.get(mode, ""), 200) or None
            )
        else:
            st.badge("Succeeded", icon=":material/check_circle:", color="green")
        facts = [
            (":material/schedule:", fmt.moment(when(item["time"]), here.zone)),
            (":material/timer:", fmt.duration(item["duration_s"])),
            (":material/payments:", fmt.money(item["cost_usd"] and float(item["cost_usd"]))),
            (":material/account_tree:", fmt.plural(int(item["spans"]), "span")),
        ]
        facts += [(":material/query_stats:", f"confidence {fmt.probability(v)} ({k})") for k, v in item["confidence"].items()]
        named = (
            ("feature", "label"),
            ("user", "person"),
            ("session", "forum"),
            ("environment", "dns"),
            ("release", "new_releases"),
        )
        facts += [(f":material/{icon}:", f"{name} {item[name]}") for name, icon in named if item[name]]
        facts += [(":material/sell:", f"{name} = {value}") for name, value in item["tags"].items()]
        for icon, text in facts:
            st.badge(badge_label(text), icon=icon, color="gray")
        if item["unpriced_generations"]:
            n = item["unpriced_generations"]
            st.badge(
                badge_label(f"{fmt.plural(n, 'generation')} without a price: cost is understated"),
                icon=":material/warning:",
                color="orange",
            )
    if item["failure_reason"]:
        st.text(shorten(item["failure_reason"], 400))
    st.code(item["id"], language=None)


def _conversation(spans: Sequence[Mapping[str, Any]], content: Mapping[str, Any]) -> None:
    # The interaction's own span holds the first question and the last answer: said already, or said last.
    steps = [span for span in spans if content.get(span["span_id"])]
    steps.sort(key=lambda span: span["kind"] == "interaction")
    said: set[str] = set()
    shown = sum(_step(span, content[span["span_id"]], said) for span in steps)
    if not shown:
        empty(
            "No content is stored for this interaction: it was not captured, is past its retention, or the key may not read it."
        )


def _step(span: Mapping[str, Any], held: Mapping[str, Any], said: set[str]) -> int:
    """Draw what one span said; the answer is how many things that were. Messages in `said` are repeated by it and skipped."""
    if span["kind"] == "tool":
        return _tool(span, held)
    shown = 0
    for message in (*held.get("input", ()), *held.get("output", ())):
        mark = json.dumps(message, sort_keys=True, default=str)
        if mark not in said:
            said.add(mark)
            _message(message)
            shown += 1
    shown += _documents(span, held.get("documents") or ())
    raw = held.get("raw") or {}
    for side in ("input", "output"):
        if raw.get(side) and not held.get(side):
            with st.expander(label(f"{span['name']}: {side} as it came"), type="compact", icon=":material/data_object:"):
                _verbatim(raw[side])
            shown += 1
    return shown


def _tool(span: Mapping[str, Any], held: Mapping[str, Any]) -> int:
    failed = " ✕" if span["status"] == "error" else ""
    with st.expander(label(f"Tool: {shorten(span['name'])}{failed}"), type="compact", icon=":material/build:"):
        for side, title in (("input", "Arguments"), ("output", "Result")):
            parts = [part for message in held.get(side, ()) for part in message.get("parts") or ()]
            found = [part.get("text") or part.get("arguments") or part.get("result") or part for part in parts]
            found = found or [value for value in ((held.get("raw") or {}).get(side),) if value]
            if found:
                st.caption(label(title))
            for value in found:
                _verbatim(value)
    return 1


def _message(message: Mapping[str, Any]) -> None:
    role = str(message.get("role") or "")
    with st.chat_message(role if role in AVATARS else "other", avatar=AVATARS.get(role, ":material/chat:")):
        if role not in ("user", "assistant"):
            st.caption(label(role))
        for part in message.get("parts") or ():
            _part(part)


def _part(part: Mapping[str, Any]) -> None:
    kind = str(part.get("type") or "other")
    match kind:
        case "text" | "refusal":
            if kind == "refusal":
                st.badge("refusal", color="orange")
            st.text(_clipped(part.get("text")) or "(empty)")
        case "reasoning":
            with st.expander("Reasoning", type="compact", icon=":material/psychology:"):
                st.text(_clipped(part.get("text")))
        case "tool_call":
            with st.expander(label(f"Tool call: {shorten(part.get('name'))}"), type="compact", icon=":material/build:"):
                _verbatim(part.get("arguments"))
        case "tool_result":
            with st.expander(
                label(f"Tool result: {shorten(part.get('name') or part.get('id'))}"), type="compact", icon=":material/output:"
            ):
                _verbatim(part.get("result"))
        case _:
            with st.expander(label(f"{kind}, not shown"), type="compact", icon=":material/attachment:"):
                _verbatim({key: value for key, value in part.items() if key != "type"})


def _documents(span: Mapping[str, Any], documents: Sequence[Mapping[str, Any]]) -> int:
    if not documents:
        return 0
    title = f"{span['name']}: {len(documents)} {'document' if len(documents) == 1 else 'documents'}"
    with st.expander(label(title), type="compact", icon=":material/search:"):
        for document in documents:
            score = document.get("score")
            st.text(f"{shorten(str(document.get('id') or ''))}{'' if score is None else f'  score {float(score):.3f}'}")
            _verbatim(document.get("content"))
    return 1


def _clipped(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _TEXT_MAX else f"{text[:_TEXT_MAX]}… ({len(text) - _TEXT_MAX:,} more characters)"


def _verbatim(value: Any) -> None:
    st.code(_clipped(value if value is not None else ""), language=None, wrap_lines=True)


def _steps(spans: Sequence[Mapping[str, Any]]) -> None:
    rows = [span for span in spans if any(v is not None for v in span["usage"].values()) or span["cost_usd"] is not None]
    if not rows:
        empty("No step used a model.")
        return
    money: dict[str, list[float | None]] = {"cost": [_float(span["cost_usd"]) for span in rows]}
    for part in ("input", "cache_read", "cache_write", "output"):
        money[f"cost_{part}"] = [_float(span["cost"].get(part)) for span in rows]
    shown = pl.DataFrame(
        {
            "step": [shorten(span["name"]) for span in rows],
            "model": [span["model"] for span in rows],
            **{name: [span["usage"].get(name) for span in rows] for name in _USAGE},
            **money,
            "billing": [sentence(span) for span in rows],
        },
        strict=False,
        schema_overrides={"model": pl.String} | dict.fromkeys(_USAGE, pl.Int64) | dict.fromkeys(money, pl.Float64),
    )
    parts = {
        "cost": "Cost",
        "cost_input": "… input",
        "cost_cache_read": "… cache read",
        "cost_cache_write": "… cache write",
        "cost_output": "… output",
    }
    tables.show(
        shown,
        title="Usage and cost by step",
        key="steps",
        alt="Usage and cost of each step",
        order=["step", "model", "cost", "billing", *_USAGE, *list(parts)[1:]],
        columns={
            "step": tables.words("Step", pinned=True),
            "model": tables.words("Model"),
            **{name: tables.column(name) for name in _USAGE},
            **{name: tables.Money(text) for name, text in parts.items()},
            "billing": tables.words("Billing", width=290),
        },
    )


def _float(value: Any) -> float | None:
    return None if value is None else float(value)


def _judgements(here: Scope, feedback: Sequence[Mapping[str, Any]]) -> None:
    if not feedback:
        empty("Nobody judged it yet.")
    for given in feedback:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            word, colour = {True: ("positive", "green"), False: ("negative", "red")}.get(given["positive"], ("neutral", "gray"))
            st.badge(word, color=colour)  # type: ignore[arg-type]
            by = (
                f"{given['name']} = {_clipped(given['value'])} · {given['source']} · {fmt.moment(when(given['time']), here.zone)}"
            )
            st.caption(label(by, 160), width="content")
        if given["comment"]:
            st.text(_clipped(given["comment"]))


def _signals(spans: Sequence[Mapping[str, Any]]) -> None:
    rows = [(shorten(span["name"], 40), span["signals"]) for span in spans]
    found = [(step, str(name), value) for step, signals in rows for name, value in signals.items() if value is not None]
    if found:
        frame = pl.DataFrame(
            {"Span": [row[0] for row in found], "Signal": [row[1] for row in found], "Value": [_clipped(row[2]) for row in found]}
        )
        tables.show(frame, {}, title="Signals", key="signals", alt="Signals of the spans")


def _span_details(item: Mapping[str, Any], spans: Sequence[Mapping[str, Any]]) -> None:
    ranked = list(spans)
    if not ranked:
        empty("No span.")
        return
    ids = [span["span_id"] for span in ranked]
    names = {
        span["span_id"]: f"{shorten(span['name'])} · {span['kind']}{' ✕' if span['status'] == 'error' else ''}" for span in ranked
    }
    failed = next((index for index, span in enumerate(ranked) if span["status"] == "error"), 0)
    key = _span_key(item)
    if st.session_state.get(key) not in names:
        wanted = st.query_params.get(SPAN)
        st.session_state[key] = wanted if wanted in names else ids[failed]
    chosen = st.selectbox("Span", ids, format_func=lambda id: names.get(id, id), key=key, label_visibility="collapsed")
    if chosen == ids[failed]:
        st.query_params.pop(SPAN, None)
    elif chosen:
        st.query_params[SPAN] = chosen
    span = next((span for span in ranked if span["span_id"] == chosen), ranked[0])
    facts = {
        name: span[name]
        for name in (
            "span_id",
            "parent_span_id",
            "status",
            "status_message",
            "error_type",
            "error_class",
            "http_status",
            "provider",
            "model",
            "request_model",
            "operation",
            "finish_reason",
            "response_id",
            "ttft_s",
            "usage_quality",
            "is_retry",
            "is_fallback",
            "dialect",
            "scope",
        )
        if span[name] not in (None, "", False)
    } | {"duration": fmt.duration(span["duration_s"])}
    rows = [*facts.items(), *sorted(span["attributes"].items())]
    frame = pl.DataFrame({"Name": [str(row[0]) for row in rows], "Value": [_clipped(row[1]) for row in rows]})
    tables.show(frame, {}, title="Span details", key="span_facts", height=360, alt="Facts and attributes of the span")
