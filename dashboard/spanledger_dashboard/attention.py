"""What needs attention: computed from the answers, at most three things, the gravest first, nothing when all is well."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import polars as pl
import streamlit as st

from spanledger.client import ClientError
from spanledger_dashboard import data, shape
from spanledger_dashboard import format as fmt
from spanledger_dashboard.cards import when
from spanledger_dashboard.foot import stale_for
from spanledger_dashboard.intervals import Z_ATTENTION, difference_z
from spanledger_dashboard.links import link
from spanledger_dashboard.scope import Scope
from spanledger_dashboard.state import ask, iso
from spanledger_dashboard.theme import SERIES_MAX
from spanledger_dashboard.untrusted import label, shorten
from spanledger_schema.losses import loss_reason

SERIES: Final = SERIES_MAX
SHOWN: Final = 3
SOURCES: Final = 3
STALE_S: Final = 15 * 60
SPEND_RISE: Final = 0.5
DRIFT_FOLLOWS: Final = ("app", "feature")
"""The filters that the drift read knows."""
LOSSES_FOLLOW: Final = ("app", "env", "release")
"""The filters that what SDKs lost can be asked by."""
_SEVERITIES: Final = ("critical", "warning", "info")


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that needs attention, and the page that shows the evidence, if one does. The text is plain, never markup."""

    text: str
    page: str = ""
    link: str = ""


def firing(rules: Sequence[Mapping[str, Any]]) -> list[Item]:
    """Rules that fire, critical ones first."""
    burning = [rule for rule in rules if rule.get("state") == "firing" and rule.get("enabled", True)]
    burning.sort(key=lambda rule: (_SEVERITIES.index(rule["severity"]) if rule["severity"] in _SEVERITIES else 9, rule["name"]))
    return [Item(f"Alert is firing: {shorten(rule['name'])} ({rule['severity']})", "alerts", "Open alerts") for rule in burning]


def failures_rose(now: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Whether the failure rate rose by more than chance shows once in a thousand looks."""
    if not before.get("interactions") or not now.get("interactions"):
        return False
    z = difference_z(int(now["failures"]), int(now["interactions"]), int(before["failures"]), int(before["interactions"]))
    return z >= Z_ATTENTION


def failures(now: Mapping[str, Any], before: Mapping[str, Any], modes: Sequence[shape.Change], baseline: str) -> Item:
    """A failure rate that rose, and the mode that grew most."""
    rise = f"Failure rate rose to {fmt.percent(now['failure_rate'])} from {fmt.percent(before['failure_rate'])} {baseline}"
    grown = [change for change in modes if change.difference > 0 and change.key != (None,)]
    return Item(f"{rise}, mostly {grown[0].label.replace('_', ' ')}" if grown else rise, "failures", "Open failures")


def spend(now: Mapping[str, Any], before: Mapping[str, Any], parts: Sequence[shape.Change], baseline: str) -> list[Item]:
    """Cost that rose by half or more."""
    if not before.get("cost_usd") or now.get("cost_usd") is None:
        return []
    if float(now["cost_usd"]) / float(before["cost_usd"]) - 1 < SPEND_RISE:
        return []
    text = f"Cost rose to {fmt.money(now['cost_usd'])} from {fmt.money(before['cost_usd'])} {baseline}"
    grown = [change for change in parts if change.difference > 0]
    return [Item(f"{text}, mostly {grown[0].label}" if grown else text, "costs", "Open costs")]


def unpriced(now: Mapping[str, Any], models: pl.DataFrame | ClientError | None) -> list[Item]:
    """Generations whose cost is unknown: the sum understates the spend."""
    n = int(now.get("unpriced_generations") or 0)
    if not n:
        return []
    counted = models.select("model", "unpriced_generations").iter_rows() if isinstance(models, pl.DataFrame) else ()
    names = [shorten(model, 30) for model, count in counted if count]
    of = f" ({fmt.listing(names)})" if names else ""
    return [Item(f"Cost is unknown for {fmt.plural(n, 'generation')}{of}: the total is understated", "costs", "Open costs")]


def stale(status: Mapping[str, Any] | ClientError, zone: str) -> list[Item]:
    """No data for a quarter of an hour."""
    if isinstance(status, ClientError):
        return []
    age = stale_for(dict(status))
    if age is None or age < STALE_S:
        return []
    return [Item(f"No span arrived since {fmt.moment(when(status['data_through']), zone)}", "interactions", "Open interactions")]


def moved(answers: Mapping[str, Any], zone: str) -> list[Item]:
    """Confidence sources that moved against their reference."""
    found = [
        (source, answer)
        for source, answer in answers.items()
        if not isinstance(answer, ClientError) and answer["state"] == "moved"
    ]
    return [
        Item(
            f"Confidence ({shorten(source, 30)}) has moved since {fmt.moment(when(answer['moved_since']), zone)}",
            "confidence",
            "Open confidence",
        )
        for source, answer in found
    ]


def lost(answer: pl.DataFrame | ClientError, zone: str, since: datetime) -> list[Item]:
    """Spans that SDKs lost, by service, those of most first; what an application drops on purpose is no loss.

    Args:
        answer: `sdk_dropped_spans` by app and reason over time.
        zone: The reader's time zone.
        since: When the range begins, which its first bucket may precede.
    """
    if isinstance(answer, ClientError):
        return []
    found: dict[str | None, list[tuple[datetime, str, int]]] = {}
    for at, app, reason, number in answer.select("time", "app", "loss_reason", "sdk_dropped_spans").iter_rows():
        if number and not loss_reason(reason or "").is_meant:
            found.setdefault(app, []).append((max(at, since), reason or "", int(number)))
    return [_lost(app, losses, zone) for app, losses in sorted(found.items(), key=lambda pair: -sum(loss[2] for loss in pair[1]))]


def _lost(app: str | None, losses: Sequence[tuple[datetime, str, int]], zone: str) -> Item:
    counts: dict[str, int] = {}
    for _, reason, number in losses:
        counts[reason] = counts.get(reason, 0) + number
    names = sorted(counts, key=lambda reason: -counts[reason])
    why = fmt.listing([shorten(loss_reason(reason).words) for reason in names])
    who = f"The SDK of {shorten(app, 30)} dropped" if app else "An SDK dropped"
    first = fmt.moment(min(at for at, _, _ in losses), zone)
    lost_words = f"{who} {fmt.plural(sum(counts.values()), 'span')} since {first}: {why}"
    return Item(f"{lost_words}. The command “spanledger doctor” says what to do.")


def lost_read(here: Scope) -> Callable[[], Any]:
    """What SDKs lost, of what never arrived no more is known than app, environment and release."""
    known = {name: values for name, values in here.filters.choices.items() if name in LOSSES_FOLLOW}
    filters = replace(here.filters, choices=known)
    return data.query(here.project, ask(filters, here.window, ["sdk_dropped_spans"], ["app", "loss_reason"], over_time=True))


def banner(here: Scope, now: Mapping[str, Any], before: Mapping[str, Any], got: Mapping[str, Any]) -> None:
    """Draw the banner, if there is anything to say."""
    compared = before if here.comparable else {}
    why = data.together(**_reasons(here, now, compared))
    items = firing(here.rules)
    if here.window.current:
        items += stale(got["status"], here.zone)
    items += lost(got["lost"], here.zone, here.window.start)
    if failures_rose(now, compared):
        modes = _differences(why["modes"], why["modes_before"], ["failure_mode"], "failures")
        items.append(failures(now, compared, modes, here.window.baseline))
    parts = _differences(got["parts"], got["parts_before"], ["feature", "model"], "cost_usd")
    items += spend(now, compared, parts, here.window.baseline)
    items += moved({source: got[name] for name, source in drift_sources(here).items()}, here.zone)
    items += unpriced(now, why.get("unpriced"))
    if not items:
        return
    with st.container(border=True, key="attention", gap="xsmall"):
        with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
            count = fmt.plural(len(items), "thing needs", "things need")
            st.markdown(f":material/trending_up: **{label(count)} attention**")
        for item in items[:SHOWN]:
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                st.text(item.text, width="content")
                if item.page:
                    link(item.page, item.link)
        if rest := items[SHOWN:]:
            with st.expander(f"{len(rest)} more", type="compact"):
                for item in rest:
                    st.text(item.text)


def _reasons(here: Scope, now: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Callable[[], Any]]:
    """What is only asked once something is known to be wrong."""
    within, filters, project = here.window, here.filters, here.project
    reads: dict[str, Callable[[], Any]] = {}
    if failures_rose(now, before):
        reads["modes"] = data.query(project, ask(filters, within, ["failures"], ["failure_mode"]))
        reads["modes_before"] = data.query(project, ask(filters, within.previous, ["failures"], ["failure_mode"]))
    if now.get("unpriced_generations"):
        by_model = ask(filters, within, ["unpriced_generations"], ["model"], order=["-unpriced_generations"])
        reads["unpriced"] = data.query(project, by_model)
    return reads


def _differences(now: Any, before: Any, dimensions: list[str], measure: str) -> list[shape.Change]:
    if isinstance(now, ClientError) or isinstance(before, ClientError):
        return []
    return shape.changes(now, before, dimensions, measure)


def drift_sources(here: Scope) -> dict[str, str]:
    """Names for the drift reads of the busiest confidence sources."""
    return {f"drift_{index}": source for index, source in enumerate(here.known.get("confidence_source", [])[:SOURCES])}


def drift_reads(here: Scope) -> dict[str, Callable[[], Any]]:
    """Whether confidence moved, for each of `drift_sources`."""
    return {name: data.drift(here.project, **drift_params(here, source)) for name, source in drift_sources(here).items()}


def drift_params(here: Scope, source: str) -> dict[str, str]:
    """Parameters of the drift read: one app and one feature only when exactly one is chosen."""
    chosen = {name: values[0] for name, values in here.filters.choices.items() if name in DRIFT_FOLLOWS and len(values) == 1}
    # Drift is a matter of hours: whole minutes let all pages and readers share one answer.
    end = here.window.end.replace(second=0, microsecond=0)
    return {"source": source, "start": iso(here.window.start), "end": iso(end), **chosen}
