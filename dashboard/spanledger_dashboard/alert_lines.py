"""Firing rules on the charts of their measure."""

import plotly.graph_objects as go

from spanledger_dashboard import format as fmt
from spanledger_dashboard.charts.figure import threshold_line
from spanledger_dashboard.scope import Scope
from spanledger_dashboard.untrusted import shorten
from spanledger_schema.catalogue import MEASURES

_BUCKET_WINDOWS = {"minute": "1m", "hour": "1h", "day": "1d", "week": "7d"}


def draw_thresholds(chart: go.Figure, here: Scope, *measures: str) -> None:
    """Draw the threshold of each firing rule whose measure the chart shows.

    An amount over an hour says nothing about a chart of days: thresholds of additive measures are drawn only where the rule's
    window is the chart's bucket. Rules for groups of their own are left to the alerts page.
    """
    for rule in here.rules:
        if rule["state"] != "firing" or rule["measure"] not in measures or rule["group_by"]:
            continue
        if MEASURES[rule["measure"]].additive and _BUCKET_WINDOWS.get(here.window.granularity) != rule["window"]:
            continue
        threshold = float(rule["threshold"])
        text = f"{shorten(rule['name'], 28)}: {fmt.measure(rule['measure'], threshold)}"
        threshold_line(chart, threshold, text, here.palette)
