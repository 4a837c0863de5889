"""The foot of the sidebar and the first-run state: is the collector there, and does data arrive?"""

from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

import streamlit as st

from spanledger.client import ClientError, Unauthorized
from spanledger_dashboard import data, reader
from spanledger_dashboard import format as fmt
from spanledger_dashboard.cards import when
from spanledger_dashboard.untrusted import label
from spanledger_schema.semconv import DEFAULT_PROJECT

_REFRESH_S = 15
_WAIT_S = 3
_PORT: Final = 4318
_NO_KEY: Final = 401


@st.fragment(run_every=_REFRESH_S)
def status_line(project: str, zone: str) -> None:
    """Collector state, throughput and how far the data goes; refreshes by itself and nothing else."""
    try:
        status = data.status(project)
    except Unauthorized as error:
        if error.status == _NO_KEY:
            # The key has ended while its reader was here.
            data.doubt(reader.current())
            st.rerun()
        st.badge("You may not see the collector's state", icon=":material/lock:", color="gray")
        return
    except ClientError:
        st.badge("Collector unreachable", icon=":material/cloud_off:", color="red")
        st.caption(label(data.endpoint(), 80))
        return
    if status.get("ready"):
        st.badge("Collector ready", icon=":material/check_circle:", color="green")
    else:
        st.badge("Collector not ready", icon=":material/warning:", color="orange")
    per_minute = status.get("spans_per_minute")
    # Of all projects together a key of one project is told nothing.
    lines = [] if per_minute is None else [f"{fmt.count(per_minute)} spans/min"]
    lines.append(f"Data through {fmt.moment(when(status.get('data_through')), zone)}")
    if pending := status.get("pending_traces"):
        lines.append(f"{fmt.plural(pending, 'trace')} being settled")
    if rejected := status.get("rejected_spans"):
        lines.append(f"{fmt.plural(rejected, 'span')} refused")
    st.caption("  \n".join(label(line, 80) for line in lines))


def stale_for(status: dict[str, Any]) -> float | None:
    """Seconds since the newest data; None when there is none."""
    through = when(status.get("data_through"))
    return None if through is None else (datetime.now(UTC) - through).total_seconds()


def has_data(projects: Any, project: str) -> bool:
    """Whether the project ever stored a span. An answer that failed does not say that it did not."""
    if not isinstance(projects, list):
        return True
    return any(found["name"] == project and found["spans"] for found in projects)


def busiest(projects: Any) -> str:
    """The project to show to whoever names none: `default` if it holds data, else the one with the newest."""
    if not isinstance(projects, list) or has_data(projects, DEFAULT_PROJECT):
        return DEFAULT_PROJECT
    found = [project for project in projects if project["spans"] and project["last_at"]]
    if not found and len(projects) == 1:
        # The key's own project, in which nothing has come yet.
        return str(projects[0]["name"])
    return str(max(found, key=lambda project: str(project["last_at"]))["name"]) if found else DEFAULT_PROJECT


def _snippet(url: str, project: str) -> str:
    chosen = "" if project == DEFAULT_PROJECT else f'\n    project="{project}",'
    return f"""import spanledger

spanledger.init(
    app="my-app",
    endpoint="{url}",{chosen}
)

with spanledger.interaction("first question", feature="search"):
    with spanledger.generation(model="gpt-4o-mini", provider="openai", input="Hello?") as g:
        g.record(output="Hi!", input_tokens=12, output_tokens=3, finish_reason="stop")

spanledger.flush()"""


def first_run(project: str) -> None:
    """What to do while nothing was ever stored, and a light that turns green when it was."""
    with st.container(border=True, key="first_run"):
        st.subheader("Send the first interaction", anchor=False)
        st.caption("1 · Install the SDK where your application runs")
        st.code("pip install spanledger", language="shell")
        st.caption("2 · Record an interaction, here by hand; any OpenTelemetry exporter works too")
        st.code(_snippet(data.endpoint(), project), language="python")
        st.caption("3 · It appears here by itself. To look around first, in another terminal:")
        port = urlsplit(data.endpoint()).port or _PORT
        st.code("spanledger demo --no-up" + ("" if port == _PORT else f" --port {port}"), language="shell")
        _waiting(project)


@st.fragment(run_every=_WAIT_S)
def _waiting(project: str) -> None:
    try:
        found = data.fresh_projects(project)
    except ClientError:
        st.badge("The collector does not answer", icon=":material/cloud_off:", color="red")
        return
    if has_data(found, project):
        data.forget()
        st.rerun()
    st.badge("Waiting for the first span…", icon=":material/hourglass_empty:", color="gray")
