"""The page script that Streamlit runs: frame, navigation, filter bar, and then the page."""

import importlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import streamlit as st

from spanledger.client import ClientError
from spanledger_dashboard import bar, cards, data, export, foot, links, scope, sign_in
from spanledger_dashboard.state import from_params, since, window
from spanledger_dashboard.theme import palette
from spanledger_schema.semconv import DEFAULT_PROJECT

HERE: Final = Path(__file__).resolve().parent
VIEWS: Final = HERE / "views"
STYLE: Final = """<style>
.stMainBlockContainer{padding-left:2rem;padding-right:2rem;max-width:1560px}
.st-key-attention{background:rgba(230,149,0,.12);border-color:rgba(230,149,0,.35)}
.st-key-bar h1{padding:0}
.st-key-door{margin-top:9vh}
.st-key-sign_in{padding:1.75rem}
.st-key-ticket{position:absolute;width:0;height:0;overflow:hidden}
@media (max-width:640px){.stMainBlockContainer{padding-left:1rem;padding-right:1rem}}
</style>"""


# Streamlit loads pandas when it first draws. Plotly, in the thread of another reader, takes the half of it that is there by then
# for the whole and fails; to import it here is to wait for it.
importlib.import_module("pandas")


def pages() -> dict[str, list[st.Page]]:
    """The navigation: sections and their pages."""
    page, icon = st.Page, ":material/{}:".format
    return {
        "": [page(VIEWS / "overview.py", title="Overview", icon=icon("space_dashboard"), default=True)],
        "Spend": [
            page(VIEWS / "costs.py", title="Costs", icon=icon("payments"), url_path="costs"),
            page(VIEWS / "prices.py", title="Prices", icon=icon("sell"), url_path="prices"),
            page(VIEWS / "reconcile.py", title="Reconcile", icon=icon("fact_check"), url_path="reconcile"),
        ],
        "Quality": [
            page(VIEWS / "failures.py", title="Failures", icon=icon("error"), url_path="failures"),
            page(VIEWS / "confidence.py", title="Confidence & drift", icon=icon("query_stats"), url_path="confidence"),
            page(VIEWS / "feedback.py", title="Feedback", icon=icon("thumbs_up_down"), url_path="feedback"),
        ],
        "Investigate": [
            page(VIEWS / "interactions.py", title="Interactions", icon=icon("account_tree"), url_path="interactions")
        ],
        "Act": [page(VIEWS / "alerts.py", title="Alerts", icon=icon("notifications"), url_path="alerts")],
    }


def _project() -> str:
    """The project of the URL; without one that which has data, which then goes into the URL."""
    wanted = st.session_state.get("project") or st.query_params.get("project")
    if wanted:
        return from_params({"project": [wanted]}).project
    found = data.together(projects=data.projects(DEFAULT_PROJECT))["projects"]
    project = foot.busiest(found)
    if project != DEFAULT_PROJECT:
        st.session_state["project"] = project
    return project


def main() -> None:
    """Draw the frame and run the chosen page."""
    st.set_page_config(page_title="Spanledger", page_icon=str(HERE / "static" / "favicon.png"), layout="wide")
    st.html(STYLE)
    st.logo(str(HERE / "static" / "logo.png"), icon_image=str(HERE / "static" / "favicon.png"), size="large")
    if not sign_in.enter():
        # All addresses stay known, so that a link leads to its page once its reader is in.
        st.navigation(pages(), position="hidden")
        return
    chosen = st.navigation(pages(), position="sidebar", expanded=True)
    links.arrive(chosen.url_path)
    project = _project()
    export.begin()
    asked = bar.render(chosen.title, project)
    filters = asked.filters
    zone = filters.zone(st.context.timezone)
    with st.sidebar:
        foot.status_line(project, zone)
        sign_in.whoami()
    first = data.together(projects=data.projects(project), rules=data.alert_rules(project))
    if isinstance(first["projects"], ClientError):
        cards.problem(first["projects"], "this page", "frame")
        return
    mine: dict[str, Any] = next((found for found in first["projects"] if found["name"] == project), {})
    began = cards.when(mine.get("first_at"))
    within = since(window(filters, datetime.now(UTC), zone), began)
    rules = first["rules"] if isinstance(first["rules"], list) else []
    scope.put(scope.Scope(filters, within, palette(st.context.theme.type), tuple(rules), asked.known, began))
    if foot.has_data(first["projects"], project) or chosen.url_path == "alerts":
        chosen.run()
    else:
        foot.first_run(project)
    with asked.menu:
        export.menu(chosen.url_path or "overview", filters, within)


if __name__ == "__main__":
    main()
