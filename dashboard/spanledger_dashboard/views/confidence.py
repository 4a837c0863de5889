"""Confidence & drift: can the stated confidence be trusted, and did it move?"""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import polars as pl
import streamlit as st

from spanledger.client import ClientError
from spanledger_dashboard import data, export, scope, shape, tables
from spanledger_dashboard import format as fmt
from spanledger_dashboard.alert_lines import draw_thresholds
from spanledger_dashboard.attention import DRIFT_FOLLOWS, drift_params
from spanledger_dashboard.cards import card, empty, figure, problem, rows, when
from spanledger_dashboard.charts import confidence
from spanledger_dashboard.scope import Scope
from spanledger_dashboard.state import ask, iso, title
from spanledger_dashboard.untrusted import label, shorten
from spanledger_schema.dimensions import DIMENSIONS
from spanledger_schema.query import Filter

SEGMENT: Final = ("confidence_count", "confidence_p10", "confidence_p50", "confidence_p90")
BY: Final = ("feature", "prompt_version", "release", "environment", "app")
VERDICTS: Final = ("alarm", "within noise", "too few")


def render() -> None:
    """Draw the page."""
    here = scope.current()
    offered = data.together(sources=data.values(here.project, "confidence_source"))["sources"]
    if isinstance(offered, ClientError):
        problem(offered, "the confidence sources", "sources")
        return
    source, reference = _choices(list(offered))
    if source is None:
        _none_yet()
        return
    drift_read = data.drift(here.project, **drift_params(here, source), **_reference_params(here, reference))
    got = data.together(drift=drift_read)
    if isinstance(got["drift"], ClientError):
        problem(got["drift"], "the drift", "drift")
    else:
        _drift(here, got["drift"])
    _segments(here, source)


def _choices(offered: list[str]) -> tuple[str | None, tuple[date, date] | None]:
    stored = st.session_state.get("d_source") or st.query_params.get("d_source")
    sources = list(dict.fromkeys([*offered, *([stored] if stored else [])]))
    if not sources:
        return None, None
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        source = st.selectbox("Confidence source", sources, key="d_source", bind="query-params", width=200)
        begin = st.date_input(
            "Reference from",
            None,
            key="d_from",
            bind="query-params",
            width=160,
            help="The period that the present is compared with. Empty: the collector's own choice, shown in the chart.",
        )
        end = st.date_input("Reference to (inclusive)", None, key="d_to", bind="query-params", width=160)
    if isinstance(begin, date) and isinstance(end, date) and begin <= end:
        return source, (begin, end)
    if begin or end:
        st.caption("A reference needs both days, the first not after the last; until then the collector's own choice is used.")
    return source, None


def _reference_params(here: Scope, reference: tuple[date, date] | None) -> dict[str, str]:
    if reference is None:
        return {}
    zone = ZoneInfo(here.zone)
    begin = datetime.combine(reference[0], datetime.min.time(), zone)
    end = datetime.combine(reference[1] + timedelta(days=1), datetime.min.time(), zone)
    return {"reference_start": iso(begin), "reference_end": iso(end)}


def _none_yet() -> None:
    with st.container(border=True):
        st.subheader("No confidence yet", anchor=False)
        empty("No interaction states how sure the answer is. One call records it:")
        st.code('it.confidence(0.82, source="verbalized")', language="python")


def _verdict(here: Scope, drift: Mapping[str, Any]) -> tuple[str, str]:
    n = sum(int(band["n"]) for band in drift["bands"])
    match drift["state"]:
        case "moved":
            return f"moved since {fmt.moment(when(drift['moved_since']), here.zone)}", "orange"
        case "ok":
            return "no movement beyond noise", "green"
        case "learning":
            return "learning the reference", "blue"
        case "too_few":
            return f"too few to judge (n = {n:,})", "gray"
        case _:
            return "no data", "gray"


def _drift(here: Scope, drift: Mapping[str, Any]) -> None:
    reference = drift["reference"]
    caption = "Median with p25–p75 and p5–p95"
    if reference:
        begin, end = (
            fmt.day(datetime.fromisoformat(reference["start"]), here.zone),
            fmt.day(datetime.fromisoformat(reference["end"]), here.zone),
        )
        caption += f" · reference {begin} to {end}, n = {reference['n']:,}"
    if ignored := [title(name).lower() for name in here.filters.choices if name not in DRIFT_FOLLOWS]:
        st.caption(
            label(f"Drift and calibration are judged for all of an app's feature: {', '.join(ignored)} not applied to them.", 200)
        )
    left, right = st.columns([7, 5], gap="small")
    with left, card("Confidence over time", caption, _verdict(here, drift)):
        bands = [band for band in drift["bands"] if band["p50"] is not None]
        if bands:
            export.offer("Confidence over time", pl.DataFrame(bands))
            period = (datetime.fromisoformat(reference["start"]), datetime.fromisoformat(reference["end"])) if reference else None
            moved = when(drift["moved_since"]) if drift["state"] == "moved" else None
            chart = confidence.quantiles(bands, here.palette, zone=here.zone, moved_since=moved, reference=period)
            draw_thresholds(chart, here, "confidence_p10", "confidence_p50", "confidence_p90", "confidence_mean")
            figure(chart, "confidence_bands", f"Confidence over time: {_verdict(here, drift)[0]}.")
        if drift["message"]:
            st.text(shorten(drift["message"], 400))
    with right:
        _calibration(here, drift["calibration"])
    with card("What moved", _psi(drift)):
        _channels(drift)


def _psi(drift: Mapping[str, Any]) -> str:
    psi = drift["psi"]
    return "Against the reference" if psi is None else f"Against the reference · PSI {psi:.2f} (n = {drift['psi_n']:,})"


def _calibration(here: Scope, found: Mapping[str, Any] | None) -> None:
    if not found or not found["n"]:
        with card("Calibration", "Stated confidence against what turned out right"):
            empty("No labels: feedback or checks on interactions that state a confidence make this chart.")
        return
    low, high, gap = found["gap_low"], found["gap_high"], found["gap"]
    badge = ("calibrated within noise", "gray")
    if gap is not None and low is not None and high is not None and (low > 0 or high < 0):
        badge = ("over-confident", "orange") if low > 0 else ("under-confident", "blue")
    elif found["ece"] is not None and found["ece_null_p95"] is not None and found["ece"] > found["ece_null_p95"]:
        badge = ("off in places", "orange")
    ece = fmt.UNKNOWN if found["ece"] is None else f"{found['ece']:.3f}"
    null = fmt.UNKNOWN if found["ece_null_p95"] is None else f"{found['ece_null_p95']:.3f}"
    with card("Calibration", f"n = {found['n']:,} · ECE {ece}; a perfect source stays below {null} in 95 of 100 samples", badge):
        figure(confidence.reliability(found, here.palette), "confidence_reliability", f"Reliability diagram: {badge[0]}.")
        if gap is not None and low is not None and high is not None:
            text = f"Stated minus observed: {gap * 100:+.1f} pp (95 % {low * 100:+.1f} to {high * 100:+.1f} pp)"
            st.caption(label(text, 120))


def _channels(drift: Mapping[str, Any]) -> None:
    found = drift["channels"]
    if not found:
        empty("Nothing to compare yet.")
        return
    shown = pl.DataFrame(
        {
            "channel": [str(c["channel"]).replace("_", " ").capitalize() for c in found],
            "window": [str(c["window"]) for c in found],
            "n": [c["n"] for c in found],
            "z": [c["z"] for c in found],
            "effect": [c["effect"] for c in found],
            "state": [[_channel_verdict(c)] for c in found],
        },
        strict=False,
        schema_overrides={"z": pl.Float64, "effect": pl.Float64},
    )
    tables.show(
        shown,
        title="What moved",
        key="confidence_channels",
        alt="Drift channels with test statistics",
        columns={
            "channel": tables.words("Channel", pinned=True),
            "window": tables.words("Window"),
            "n": st.column_config.NumberColumn("n", format="%,.0f"),
            "z": st.column_config.NumberColumn("z", help="Distance from the reference in standard errors.", format="%+.2f"),
            "effect": st.column_config.NumberColumn(
                "Effect", help="How much it differs, in the channel's own unit.", format="%+.3f"
            ),
            "state": tables.chips("Verdict", VERDICTS, ("orange", "green", "gray")),
        },
    )


def _channel_verdict(channel: Mapping[str, Any]) -> str:
    if channel["z"] is None:
        return VERDICTS[2]
    return VERDICTS[0] if channel["alarm"] else VERDICTS[1]


def _segments(here: Scope, source: str) -> None:
    with card("By group", "Quantiles of the stated confidence and how many values they stand on"):
        by = st.segmented_control(
            "By",
            BY,
            default=BY[0],
            required=True,
            key="d_by",
            bind="query-params",
            label_visibility="collapsed",
            format_func=lambda name: DIMENSIONS[name].label,
        )
        by = by or BY[0]
        where = [Filter("confidence_source", "in", (source,))]
        question = ask(here.filters, here.window, SEGMENT, [by], where=where, order=["-confidence_count"], limit=100)
        past = ask(here.filters, here.window.previous, SEGMENT, [by], where=where)
        got = data.together(now=data.query(here.project, question), before=data.query(here.project, past))
        frame = rows(got["now"], "the groups", "segments")
        if frame is None:
            return
        frame = frame.filter(pl.col("confidence_count") > 0)
        if not frame.height:
            empty("No value of this source in this range.")
            return
        before = {} if isinstance(got["before"], ClientError) or not here.comparable else shape.by_key(got["before"], by)
        names = frame[by].to_list()
        shown = {by: [name or "not set" for name in names]} | {m: tables.cells(m, frame[m].to_list()) for m in SEGMENT}
        medians = zip(names, frame["confidence_p50"].to_list(), strict=True)
        unit = tables.unit("confidence_p50")
        shown["change"] = [
            fmt.change(unit, p50, before.get(name, {}).get("confidence_p50")) or fmt.UNKNOWN for name, p50 in medians
        ]
        tables.show(
            pl.DataFrame(shown, strict=False),
            title="By group",
            key="confidence_segments",
            alt=f"Confidence by {by}",
            columns={
                by: tables.words(DIMENSIONS[by].label, pinned=True),
                "change": tables.words("Median, change", help=here.compared),
                **{name: tables.column(name) for name in SEGMENT},
            },
        )


if __name__ == "__main__":
    render()
