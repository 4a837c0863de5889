"""Feedback: what do users say?"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import polars as pl
import streamlit as st

from spanledger.client import ClientError
from spanledger_dashboard import data, export, scope, shape, tables
from spanledger_dashboard import format as fmt
from spanledger_dashboard.alert_lines import draw_thresholds
from spanledger_dashboard.cards import allowed, card, empty, figure, kpi, problem, rows, when
from spanledger_dashboard.charts import bars, rates, series
from spanledger_dashboard.intervals import wilson
from spanledger_dashboard.links import go
from spanledger_dashboard.scope import Scope
from spanledger_dashboard.state import ask, interaction_params
from spanledger_dashboard.untrusted import badge_label, label, shorten
from spanledger_schema.dimensions import DIMENSIONS
from spanledger_schema.query import Filter

SOURCES: Final = ("user", "reviewer", "evaluator")
TOTALS: Final = (
    "feedback_positive_rate",
    "feedback_judged",
    "feedback_count",
    "feedback_coverage",
    "interactions",
    "cost_per_positive_interaction_usd",
)
RATE: Final = ("feedback_positive_rate", "feedback_judged")
BY: Final = ("feature", "model", "release", "prompt_version", "environment")
LATEST: Final = 6
_COMMENT: Final = 400


def render() -> None:
    """Draw the page."""
    here = scope.current()
    source = st.segmented_control(
        "Feedback of",
        SOURCES,
        default=SOURCES[0],
        required=True,
        key="v_source",
        bind="query-params",
        label_visibility="collapsed",
        format_func=lambda name: f"{name}s",
    )
    # Without a filter the measures count users' feedback, and interactions are all interactions.
    where = [Filter("feedback_source", "in", (source,))] if source and source != SOURCES[0] else []
    got = _read(here, where)
    if isinstance(got["now"], ClientError):
        problem(got["now"], "the feedback", "feedback")
        return
    now = shape.only(shape.positives(got["now"])) if got["now"].height else {}
    if not now.get("feedback_count"):
        _none_yet(now, source or SOURCES[0])
        return
    export.offer("Key figures", got["now"])
    export.offer("Feedback over time", got["course"])
    _figures(here, now, got, by_users=not where)
    left, right = st.columns([5, 4], gap="small")
    with left, card("Positive rate over time", f"{fmt.bucket(here.window.granularity)}, with its 95 % Wilson interval"):
        _course(here, got["course"])
    with right:
        _by(here, where, now)
    left, right = st.columns([4, 5], gap="small")
    with left:
        _funnel(here, now, by_users=not where)
    with right, card("By name", "What was judged"):
        _names(here, got["names"])
    with card("Latest negative feedback"):
        _negatives(here, got["negatives"], source or SOURCES[0])


def _read(here: Scope, where: Sequence[Filter]) -> dict[str, Any]:
    within, filters, project = here.window, here.filters, here.project
    return data.together(
        now=data.query(project, ask(filters, within, TOTALS, where=where)),
        before=data.query(project, ask(filters, within.previous, TOTALS, where=where)),
        course=data.query(project, ask(filters, within, (*RATE, "feedback_coverage"), where=where, over_time=True)),
        names=data.query(project, ask(filters, within, ("feedback_count", *RATE), ["feedback_name"], where=where, limit=100)),
        negatives=data.interactions(
            project, **interaction_params(filters, within), feedback="negative", order="-time", limit=LATEST
        ),
    )


def _none_yet(now: Mapping[str, Any], source: str) -> None:
    with st.container(border=True):
        st.subheader("No feedback here", anchor=False)
        n = fmt.count(now.get("interactions"))
        empty(f"None of the {n} interactions in this range was judged by a {source}. One call records a judgement:")
        st.code('spanledger.feedback(interaction_id, "helpful", True, comment="…")', language="python")


def _figures(here: Scope, now: Mapping[str, Any], got: Mapping[str, Any], *, by_users: bool) -> None:
    within, answer = here.window, got["before"]
    before = {} if isinstance(answer, ClientError) or not answer.height else shape.only(shape.positives(answer))
    course = got["course"]

    def spark(name: str) -> list[float]:
        return [] if isinstance(course, ClientError) else shape.sparkline(shape.over_time(course, name, within), within)

    rate = wilson(int(now["positive"]), int(now["feedback_judged"]))
    with st.grid(4, min_column_width=155):
        note = fmt.interval(rate.low, rate.high) if rate else None
        kpi("feedback_positive_rate", now, before, here, note=note, spark=spark("feedback_positive_rate"))
        kpi(
            "feedback_judged",
            now,
            before,
            here,
            note=here.window.versus if here.comparable else None,
            spark=spark("feedback_judged"),
        )
        if by_users:
            kpi("feedback_coverage", now, before, here, spark=spark("feedback_coverage"))
            kpi("cost_per_positive_interaction_usd", now, before, here, title="Cost per positive")
        else:
            kpi("interactions", now, before, here, title="Judged interactions")


def _course(here: Scope, answer: pl.DataFrame | ClientError) -> None:
    frame = rows(answer, "the feedback over time", "course")
    if frame is None:
        return
    counted = shape.positives(frame)
    hits = dict(shape.per_bucket(counted, "positive", here.window, missing=0))
    points = []
    for at, n in shape.whole(shape.over_time(frame, "feedback_judged", here.window), here.window):
        rate = wilson(int(hits[at] or 0), int(n or 0))
        points.append((at, rate.value, rate.low, rate.high, rate.n) if rate else (at, None, None, None, 0))
    chart = series.rate_band(points, here.palette, zone=here.zone, name="positive")
    draw_thresholds(chart, here, "feedback_positive_rate")
    figure(chart, "feedback_course", "Rate of positive feedback over time with its interval.")


def _by(here: Scope, where: Sequence[Filter], now: Mapping[str, Any]) -> None:
    with card("Positive rate by group", "95 % Wilson interval; grey: too few to judge; dotted: all together"):
        by = st.segmented_control(
            "By",
            BY,
            default=BY[0],
            required=True,
            key="v_by",
            bind="query-params",
            label_visibility="collapsed",
            format_func=lambda name: name.replace("_", " "),
        )
        by = by or BY[0]
        question = ask(here.filters, here.window, RATE, [by], where=where, order=["-feedback_judged"], limit=100)
        frame = rows(data.together(by=data.query(here.project, question))["by"], "the breakdown", "by")
        if frame is None:
            return
        export.offer(f"Feedback by {DIMENSIONS[by].label.lower()}", frame)
        found = shape.rates(shape.positives(frame), by, "positive", "feedback_judged")
        if not found:
            empty("Nothing was judged as positive or negative.")
            return
        overall = float(now["feedback_positive_rate"]) if now.get("feedback_positive_rate") is not None else None
        figure(rates.dots(found, here.palette, overall=overall), "feedback_by", f"Positive rate by {by} with intervals.")


def _funnel(here: Scope, now: Mapping[str, Any], *, by_users: bool) -> None:
    of_all = f", {fmt.percent(now['feedback_coverage'])} of them judged" if by_users else " with a judgement"
    with card("From answers to judgements", f"{fmt.count(now['interactions'])} interactions{of_all}"):
        judged, positive = int(now["feedback_judged"]), int(now["positive"])
        steps = [("All feedback", int(now["feedback_count"])), ("Positive or negative", judged), ("Positive", positive)]
        steps.append(("Negative", judged - positive))
        shown = [(name, float(n), f"{n:,}{_part(n, judged) if name in ('Positive', 'Negative') else ''}") for name, n in steps]
        figure(bars.parts(shown, here.palette, height=230), "feedback_funnel", f"{judged} judgements, {positive} positive.")


def _part(n: int, whole: int) -> str:
    return f"  ({fmt.percent(n / whole)} of judged)" if whole else ""


def _names(here: Scope, answer: pl.DataFrame | ClientError) -> None:
    frame = rows(answer, "the names", "names")
    if frame is None:
        return
    found = shape.positives(frame.filter(pl.col("feedback_name").is_not_null() & (pl.col("feedback_count") > 0)))
    found = found.sort("feedback_count", descending=True)
    intervals = [wilson(int(k), int(n or 0)) for k, n in found.select("positive", "feedback_judged").iter_rows()]
    shown = pl.DataFrame(
        {
            "name": found["feedback_name"].to_list(),
            "n": found["feedback_count"].to_list(),
            "rate": tables.cells("feedback_positive_rate", found["feedback_positive_rate"].to_list()),
            "interval": [fmt.interval(rate.low, rate.high) if rate else fmt.UNKNOWN for rate in intervals],
        },
        strict=False,
    )
    tables.show(
        shown,
        title="Feedback by name",
        key="feedback_names",
        alt="Feedback by name",
        columns={
            "name": tables.words("Name", pinned=True),
            "n": tables.column("feedback_count"),
            "rate": tables.share_bar("feedback_positive_rate", [100.0], here.palette),
            "interval": tables.words("95 % interval"),
        },
    )


def _negatives(here: Scope, answer: dict[str, Any] | ClientError, source: str) -> None:
    if isinstance(answer, ClientError):
        problem(answer, "the latest negative feedback", "negatives")
        return
    items = answer["items"]
    details = data.together(**{f"i{n}": data.interaction(here.project, item["id"]) for n, item in enumerate(items)})
    found = [(item, given) for n, item in enumerate(items) for given in _negative_of(details[f"i{n}"], source)]
    if not found:
        empty(f"No negative judgement by a {source} in this range.")
    nothing = "(no comment)" if allowed("read_content", "read comments") else "(comment not shown)"
    for n, (item, given) in enumerate(found):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            comment = given["comment"]
            st.text(f"“{shorten(comment, _COMMENT)}”" if comment else nothing, width="stretch")
            if item["failure_mode"]:
                st.badge(badge_label(item["failure_mode"].replace("_", " ")), color="orange")
            at = fmt.moment(when(given["time"]), here.zone)
            st.caption(label(f"{given['name']} · {shorten(item['feature'])} · {at}", 160), width="content")
            if st.button("Open", key=f"negative_{n}", type="tertiary", icon=":material/arrow_forward:", icon_position="right"):
                go("interactions", trace=str(item["id"]))


def _negative_of(detail: dict[str, Any] | ClientError, source: str) -> list[dict[str, Any]]:
    if isinstance(detail, ClientError):
        return []
    return [given for given in detail["feedback"] if given["positive"] is False and given["source"] == source]


if __name__ == "__main__":
    render()
