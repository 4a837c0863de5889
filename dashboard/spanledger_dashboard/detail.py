"""One interaction: what it was, its spans in time, its conversation, and what each step cost.

Everything that a model or a user wrote is drawn with `st.text`, `st.code` or a table cell.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import polars as pl
import streamlit as st

from spanledger_dashboard import conversation, excerpt, steps, sums, tables
from spanledger_dashboard import format as fmt
from spanledger_dashboard.cards import CHART_CONFIG, card, empty, when
from spanledger_dashboard.charts.waterfall import ordered, waterfall
from spanledger_dashboard.conversation import clipped
from spanledger_dashboard.scope import Scope
from spanledger_dashboard.untrusted import badge_label, label, shorten
from spanledger_schema.failure_modes import FAILURE_MODES

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
    _facts(here, item, [span for _, span in rows])
    if said := excerpt.sentence(rows, shown):
        _more(said, len(rows) - len(shown))
    left, right = st.columns([5, 4], gap="small")
    with left:
        with card("Timeline", "Select a bar to see the span below; a red outline and ✕ mark errors", stretch=False):
            if shown:
                _timeline(here, item, shown)
            else:
                empty("Its spans are past their retention.")
        with card("Span details", stretch=False):
            _span_details(item, spans)
    with right:
        with (
            card("Conversation", stretch=False),
            st.container(height=_TALL if len(shown) > _ROWS_TALL else "content", border=False, autoscroll=False),
        ):
            conversation.draw(spans, found["content"])
        with card("Feedback and signals", stretch=False):
            _judgements(here, found["feedback"])
            _signals(spans)
    with card("Usage and cost by step", "Sum of the billed steps is the interaction's cost"):
        steps.draw(here, item, spans)


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


def _facts(here: Scope, item: Mapping[str, Any], spans: Sequence[Mapping[str, Any]]) -> None:
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
            (":material/payments:", sums.of_steps(item["cost_usd"], spans).text()),
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
        speakers = list(dict.fromkeys(steps.speaker(span) for span in spans))
        facts += [(":material/cable:", f"recorded by {fmt.listing(speakers, 2)}")] if speakers else []
        for icon, text in facts:
            st.badge(badge_label(text, 120), icon=icon, color="gray")
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


def _judgements(here: Scope, feedback: Sequence[Mapping[str, Any]]) -> None:
    if not feedback:
        empty("Nobody judged it yet.")
    for given in feedback:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            word, colour = {True: ("positive", "green"), False: ("negative", "red")}.get(given["positive"], ("neutral", "gray"))
            st.badge(word, color=colour)  # type: ignore[arg-type]
            by = f"{given['name']} = {clipped(given['value'])} · {given['source']} · {fmt.moment(when(given['time']), here.zone)}"
            st.caption(label(by, 160), width="content")
        if given["comment"]:
            st.text(clipped(given["comment"]))


def _signals(spans: Sequence[Mapping[str, Any]]) -> None:
    rows = [(shorten(span["name"], 40), span["signals"]) for span in spans]
    found = [(step, str(name), value) for step, signals in rows for name, value in signals.items() if value is not None]
    if found:
        frame = pl.DataFrame(
            {"Span": [row[0] for row in found], "Signal": [row[1] for row in found], "Value": [clipped(row[2]) for row in found]}
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
    frame = pl.DataFrame({"Name": [str(row[0]) for row in rows], "Value": [clipped(row[1]) for row in rows]})
    tables.show(frame, {}, title="Span details", key="span_facts", height=360, alt="Facts and attributes of the span")
