"""Alerts: what will page us, and how often would it have?"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import polars as pl
import streamlit as st

from spanledger.client import ClientError
from spanledger_dashboard import data, rule_form, scope, shape, tables
from spanledger_dashboard import format as fmt
from spanledger_dashboard.cards import allowed, card, empty, figure, problem, unit_of, when
from spanledger_dashboard.charts.alerts import backtest, group_name
from spanledger_dashboard.rules import BLANK, FIELDS, look_back, problems, sentence, window_length
from spanledger_dashboard.scope import Scope
from spanledger_dashboard.untrusted import label, shorten
from spanledger_schema.catalogue import MEASURES

STATES: Final = ("firing", "pending", "no data", "ok", "off")
STATE_COLOURS: Final = ("red", "orange", "gray", "green", "gray")
NEW: Final = "new"
EVENTS: Final = 100


def render() -> None:
    """Draw the page."""
    here = scope.current()
    start, end = here.window.start.isoformat(), here.window.end.isoformat()
    got = data.together(
        rules=data.alert_rules(here.project), events=data.alert_events(here.project, start=start, end=end, limit=EVENTS)
    )
    _secret()
    if isinstance(got["rules"], ClientError):
        problem(got["rules"], "the alert rules", "rules")
        return
    rules: list[dict[str, Any]] = got["rules"]
    _list(here, rules)
    chosen = st.query_params.get("a_rule")
    known = next((rule for rule in rules if rule["id"] == chosen), None)
    if chosen == NEW or known is not None:
        _edit(here, known)
    with card("History", f"What fired and was resolved · {here.window.label.lower()}"):
        _history(here, got["events"])


def _secret() -> None:
    secret = st.session_state.get("_signing_secret")
    if not secret:
        return
    with st.container(border=True):
        st.markdown("**Signing secret of the new rule**")
        st.caption("Webhooks are signed with it. It is shown this once: copy it now.")
        st.code(secret, language=None)
        if st.button("I have copied it", key="secret_done"):
            del st.session_state["_signing_secret"]
            st.rerun()


def _state(rule: Mapping[str, Any]) -> str:
    return "off" if not rule["enabled"] else str(rule["state"]).replace("_", " ")


def _list(here: Scope, rules: Sequence[Mapping[str, Any]]) -> None:
    with card("Rules", "Select a row to change a rule"):
        if rules:
            shown = pl.DataFrame(
                {
                    "name": [shorten(rule["name"]) for rule in rules],
                    "state": [[_state(rule)] for rule in rules],
                    "when": [sentence(rule) for rule in rules],
                    "severity": [str(rule["severity"]) for rule in rules],
                    "groups": [_burning(rule) for rule in rules],
                    "notify": [_notified(rule) for rule in rules],
                    "checked": [rule["last_evaluated_at"] for rule in rules],
                },
                schema_overrides={"checked": pl.String},
            ).with_columns(pl.col("checked").str.to_datetime(time_zone="UTC", strict=False))
            # The key counts selections: a row stays selected in the browser, and a rule that was closed must stay closed.
            row = tables.show(
                shown,
                title="Rules",
                key=f"alerts_rules_{st.session_state.get('_rules_round', 0)}",
                selectable=True,
                alt="Alert rules with their states",
                columns={
                    "name": tables.words("Name", pinned=True),
                    "state": tables.chips("State", STATES, STATE_COLOURS),
                    "when": tables.words("When", width=320),
                    "severity": tables.words("Severity", width="small"),
                    "groups": tables.words("Now", width="medium"),
                    "notify": tables.words("Notifies", width="small"),
                    "checked": st.column_config.DatetimeColumn(
                        "Last checked", format="MMM D, HH:mm:ss", timezone=here.zone, width=130
                    ),
                },
            )
            if row is not None and st.query_params.get("a_rule") != rules[row]["id"]:
                st.query_params["a_rule"] = str(rules[row]["id"])
                st.rerun()
        else:
            empty("No rule yet. A rule watches any measure and tells you when it crosses a threshold.")
        if allowed("admin", "make or change rules") and st.button(
            "New rule", icon=":material/add:", type="primary", key="rule_new"
        ):
            st.query_params["a_rule"] = NEW
            st.session_state["_rules_round"] = st.session_state.get("_rules_round", 0) + 1
            st.rerun()


def _burning(rule: Mapping[str, Any]) -> str:
    unit = MEASURES[rule["measure"]].unit if rule["measure"] in MEASURES else None
    found = []
    for group in rule["groups"] or ():
        if group["value"] is None or unit is None:
            continue
        name = group_name(group["group"] or {})
        said = fmt.write(unit, float(group["value"]))
        found.append(f"{shorten(name, 40)}: {said}" if name else said)
    return fmt.listing(found, 2)


def _notified(rule: Mapping[str, Any]) -> str:
    counted = (("webhook", len(rule["webhooks"])), ("e-mail", len(rule["emails"])))
    return ", ".join(fmt.plural(n, noun) for noun, n in counted if n) or "nobody"


def _close() -> None:
    st.query_params.pop("a_rule", None)
    st.session_state["_rules_round"] = st.session_state.get("_rules_round", 0) + 1


def _edit(here: Scope, known: Mapping[str, Any] | None) -> None:
    stored = {name: known.get(name, BLANK[name]) for name in FIELDS} if known else dict(BLANK)
    left, right = st.columns([2, 3], gap="small")
    with left, card("Change rule" if known else "New rule"):
        rule = rule_form.form(stored, known["id"] if known else NEW, here.known)
        wrong = problems(rule)
        for text in wrong:
            st.caption(label(text, 200))
        is_mine = allowed("admin", "save a rule")
        with st.container(horizontal=True, gap="small"):
            save = is_mine and st.button(
                "Save rule", type="primary", icon=":material/save:", disabled=bool(wrong), key="rule_save"
            )
            if st.button("Cancel", key="rule_cancel"):
                _close()
                st.rerun()
            if is_mine and known is not None:
                with st.popover("Delete", icon=":material/delete:"):
                    st.text("Its history stays. This cannot be undone.")
                    if st.button("Delete this rule", key="rule_delete"):
                        _write(lambda: data.delete_alert(here.project, known["id"]))
        if save:
            _write(lambda: _save(here, known, rule))
    with right:
        _preview(here, rule, [text for text in wrong if not text.startswith("Give")])


def _save(here: Scope, known: Mapping[str, Any] | None, rule: dict[str, Any]) -> None:
    saved = data.save_alert(here.project, str(known["id"]) if known else None, rule)
    if secret := saved.get("signing_secret"):
        st.session_state["_signing_secret"] = secret


def _write(change: Any) -> None:
    try:
        change()
    except ClientError as error:
        st.error(label(str(error), 300), title="The collector refused the rule")
        return
    _close()
    st.rerun()


def _preview(here: Scope, rule: Mapping[str, Any], wrong: Sequence[str]) -> None:
    length = window_length(rule["window"])
    if wrong or length is None:
        with card("Preview"):
            empty("Complete the rule to see when it would have fired.")
        return
    end = here.window.end.replace(second=0, microsecond=0)
    start = end - look_back(length)
    tried = {**rule, "name": rule["name"] or "preview", "webhooks": [], "emails": []}
    got = data.together(preview=data.preview_alert(here.project, tried, start, end))["preview"]
    if isinstance(got, ClientError):
        with card("Preview"):
            problem(got, "the preview", "preview")
        return
    found = shape.fires(got["fires"], start, end)
    badge = (f"would have fired {found.count}×", "orange" if found.count else "green")
    past = fmt.duration((end - start).total_seconds())
    with card(f"Preview on the last {past}", "What the evaluator would have seen, window by window", badge):
        if not any(point["value"] is not None for point in got["points"]):
            empty("No value of this measure in that time.")
            return
        unit = unit_of(rule["measure"])
        name = MEASURES[rule["measure"]].label
        chart = backtest(got["points"], got["fires"], float(rule["threshold"]), unit, here.palette, zone=here.zone, name=name)
        figure(chart, "alert_preview", f"{name} over time; the rule would have fired {found.count} times.")
        with st.grid(4, min_column_width=110):
            st.metric("Fires", found.count, border=True)
            st.metric("Per week", f"{found.per_week:.1f}", border=True)
            st.metric("Median length", _length(found.median), border=True)
            st.metric("Longest", _length(found.longest), border=True)


def _length(length: timedelta | None) -> str:
    return fmt.UNKNOWN if length is None else fmt.duration_roughly(length.total_seconds())


def _history(here: Scope, events: list[dict[str, Any]] | ClientError) -> None:
    if isinstance(events, ClientError):
        problem(events, "the history", "events")
        return
    if not events:
        empty("Nothing fired in this range.")
        return
    shown = pl.DataFrame(
        {
            "at": [datetime.fromisoformat(event["at"]) for event in events],
            "rule": [shorten(event["rule_name"]) for event in events],
            "what": [[str(event["kind"])] for event in events],
            "group": [group_name(event["group"] or {}) for event in events],
            "summary": [shorten(event["summary"], 200) for event in events],
            "window": [_span(here, event) for event in events],
            "delivery": [_delivery(event["delivery"]) for event in events],
        }
    )
    tables.show(
        shown,
        title="History",
        key="alerts_events",
        alt="What fired and was resolved",
        columns={
            "at": st.column_config.DatetimeColumn("Time", format="MMM D, HH:mm:ss", timezone=here.zone, width=130),
            "rule": tables.words("Rule"),
            "what": tables.chips("What", ("fired", "resolved"), ("red", "green")),
            "group": tables.words("Group"),
            "summary": tables.words("Summary", width=330),
            "window": tables.words("Window"),
            "delivery": tables.words("Delivery"),
        },
    )


def _delivery(outcomes: Any) -> str:
    """What became of each notification."""
    if not outcomes:
        return "nobody to notify"
    if isinstance(outcomes, Mapping):
        return ", ".join(f"{shorten(str(target), 60)}: {shorten(str(outcome), 80)}" for target, outcome in outcomes.items())
    return shorten(str(outcomes), 120)


def _span(here: Scope, event: Mapping[str, Any]) -> str:
    return f"{fmt.moment(when(event['window_start']), here.zone)} to {fmt.moment(when(event['window_end']), here.zone)}"


if __name__ == "__main__":
    render()
