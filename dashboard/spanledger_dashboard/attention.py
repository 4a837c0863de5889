"""What needs attention: computed from the answers, at most three things, the gravest first, nothing when all is well."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from spanledger_dashboard.theme import SERIES_MAX
from spanledger_dashboard.untrusted import label, shorten

SERIES: Final = SERIES_MAX
SHOWN: Final = 3
STALE_S: Final = 15 * 60
SPEND_RISE: Final = 0.5
_SEVERITIES: Final = ("critical", "warning", "info")


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that needs attention, and the page that shows the evidence. The text is plain, never markup."""

    text: str
    page: str
    link: str


def firing(rules: Sequence[Mapping[str, Any]]) -> list[Item]:
    """Rules that fire, critical ones first."""
    burning = [rule for rule in rules if rule.get("state") == "firing" and rule.get("enabled", True)]
    burning.sort(key=lambda rule: (_SEVERITIES.index(rule["severity"]) if rule["severity"] in _SEVERITIES else 9, rule["name"]))
    return [Item(f"Alert is firing: {shorten(rule['name'])} ({rule['severity']})", "alerts", "Open alerts") for rule in burning]


def failures(now: Mapping[str, Any], before: Mapping[str, Any], modes: Sequence[shape.Change], baseline: str) -> list[Item]:
    """A failure rate that rose by more than chance shows once in a thousand looks."""
    if not before.get("interactions") or not now.get("interactions"):
        return []
    z = difference_z(int(now["failures"]), int(now["interactions"]), int(before["failures"]), int(before["interactions"]))
    if z < Z_ATTENTION:
        return []
    rise = f"Failure rate rose to {fmt.percent(now['failure_rate'])} from {fmt.percent(before['failure_rate'])} {baseline}"
    grown = [change for change in modes if change.difference > 0]
    return [Item(f"{rise}, mostly {grown[0].label.replace('_', ' ')}" if grown else rise, "failures", "Open failures")]


def spend(now: Mapping[str, Any], before: Mapping[str, Any], parts: Sequence[shape.Change], baseline: str) -> list[Item]:
    """Cost that rose by half or more."""
    if not before.get("cost_usd") or now.get("cost_usd") is None:
        return []
    if float(now["cost_usd"]) / float(before["cost_usd"]) - 1 < SPEND_RISE:
        return []
    text = f"Cost rose to {fmt.money(now['cost_usd'])} from {fmt.money(before['cost_usd'])} {baseline}"
    grown = [change for change in parts if change.difference > 0]
    return [Item(f"{text}, mostly {grown[0].label}" if grown else text, "costs", "Open costs")]


def unpriced(now: Mapping[str, Any], models: pl.DataFrame | ClientError) -> list[Item]:
    """Generations whose cost is unknown: the sum understates the spend."""
    n = int(now.get("unpriced_generations") or 0)
    if not n:
        return []
    names = (
        []
        if isinstance(models, ClientError)
        else [shorten(m, 30) for m, count in models.select("model", "unpriced_generations").iter_rows() if count]
    )
    of = f" of {fmt.listing(names)}" if names else ""
    verb = "generation has" if n == 1 else "generations have"
    return [Item(f"{n:,} {verb} no price{of}: cost is understated", "costs", "Open costs")]


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


def banner(here: Scope, now: Mapping[str, Any], before: Mapping[str, Any], got: Mapping[str, Any]) -> None:
    """Draw the banner, if there is anything to say."""

    def differences(name: str, dimensions: list[str], measure: str) -> list[shape.Change]:
        sides = (got[name], got[f"{name}_before"])
        return [] if any(isinstance(side, ClientError) for side in sides) else shape.changes(*sides, dimensions, measure)

    modes = [change for change in differences("modes", ["failure_mode"], "failures") if change.key != (None,)]
    items = [
        *firing(here.rules),
        *(stale(got["status"], here.zone) if here.window.current else []),
        *(_risen(here, now, before, modes, differences("parts", ["feature", "model"], "cost_usd")) if here.comparable else []),
        *moved(_drifts(here, got["sure"]), here.zone),
        *unpriced(now, got["unpriced"]),
    ]
    if not items:
        return
    with st.container(border=True, key="attention", gap="xsmall"):
        with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
            count = fmt.plural(len(items), "thing needs", "things need")
            st.markdown(f":material/trending_up: **{label(count)} attention**")
        for item in items[:SHOWN]:
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                st.text(item.text, width="content")
                link(item.page, item.link)
        if rest := items[SHOWN:]:
            with st.expander(f"{len(rest)} more", type="compact"):
                for item in rest:
                    st.text(item.text)


def _risen(
    here: Scope, now: Mapping[str, Any], before: Mapping[str, Any], modes: Sequence[shape.Change], parts: Sequence[shape.Change]
) -> list[Item]:
    baseline = here.window.baseline
    return [*failures(now, before, modes, baseline), *spend(now, before, parts, baseline)]


def _drifts(here: Scope, sure: pl.DataFrame | ClientError) -> dict[str, Any]:
    if isinstance(sure, ClientError) or not sure.height:
        return {}
    ranked = sure.filter(pl.col("confidence_source").is_not_null()).sort("confidence_count", descending=True)
    sources = [str(name) for name in ranked["confidence_source"].head(3)]
    read = {f"s{i}": data.drift(here.project, **drift_params(here, source)) for i, source in enumerate(sources)}
    answers = data.together(**read)
    return {source: answers[f"s{i}"] for i, source in enumerate(sources)}


def drift_params(here: Scope, source: str) -> dict[str, str]:
    """Parameters of the drift read: one app and one feature only when exactly one is chosen."""
    chosen = {name: values[0] for name, values in here.filters.choices.items() if name in ("app", "feature") and len(values) == 1}
    start, end = here.window.start.isoformat(), here.window.end.isoformat()
    return {"source": source, "start": start.replace("+00:00", "Z"), "end": end.replace("+00:00", "Z"), **chosen}
