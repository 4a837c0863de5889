"""What the pages know of the collector: cached reads over HTTP, several at once, and the few writes.

The only module that holds a client. Answers are kept for a few seconds, keyed by the question and by who asked: what one may
read is not shown to another, and the audit log names everybody who read content.
"""

import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, Final

import polars as pl
import streamlit as st
from streamlit.runtime.scriptrunner import add_script_run_ctx, get_script_run_ctx

from spanledger.client import Client, ClientError
from spanledger_dashboard.reader import Reader, current
from spanledger_schema.query import Query

URL_VARIABLE: Final = "SPANLEDGER_ENDPOINT"
_FRESH_S: Final = 10
_SETTLED_S: Final = 60
_WORKERS: Final = 8
_KEPT: Final = 2_000
_PAGE: Final = 500
_CLIENTS: Final = 256


def endpoint() -> str:
    """The collector's address, as an application would be told it."""
    return os.environ.get(URL_VARIABLE, "").strip().rstrip("/") or "http://127.0.0.1:4318"


@st.cache_resource(max_entries=_CLIENTS, show_spinner=False)
def _client(url: str, who: Reader) -> Client:
    # Never closed by hand: one that is forgotten here may be in use in another session, and closes when that lets go of it.
    return Client(url, api_key=who.key, person=who.person, person_scopes=who.scopes)


@st.cache_resource(show_spinner=False)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_WORKERS, thread_name_prefix="spanledger-read")


def together(**reads: Callable[[], Any]) -> dict[str, Any]:
    """Make all reads at once; each answer is its value, or the `ClientError` that a card then shows in its place."""
    context = get_script_run_ctx()

    def run(read: Callable[[], Any]) -> Any:
        add_script_run_ctx(threading.current_thread(), context)
        try:
            return read()
        except ClientError as error:
            return error

    waiting = {name: _pool().submit(run, read) for name, read in reads.items()}
    return {name: future.result() for name, future in waiting.items()}


@st.cache_data(ttl=_FRESH_S, max_entries=_KEPT, show_spinner=False)
def _query(url: str, who: Reader, project: str, question: str) -> tuple[pl.DataFrame, list[str]]:
    answer = _client(url, who).query(json.loads(question), project=project)
    return answer.frame, answer.warnings


def query(project: str, question: Query) -> Callable[[], pl.DataFrame]:
    """A read that answers a Query with its frame."""
    text, who = json.dumps(question.to_dict(), sort_keys=True), current()
    return lambda: _query(endpoint(), who, project, text)[0]


@st.cache_data(ttl=_FRESH_S, max_entries=_KEPT, show_spinner=False)
def _get(url: str, who: Reader, project: str, what: str, parameters: str) -> Any:
    client, given = _client(url, who), json.loads(parameters)
    match what:
        case "interactions":
            return client.interactions(project=project, **given)
        case "interaction":
            return client.interaction(given["id"], project=project)
        case "alert_rules":
            return client.alert_rules(project=project)
        case "alert_events":
            return client.alert_events(project=project, **given)
        case "preview":
            start, end = (datetime.fromisoformat(given[side]) for side in ("start", "end"))
            return client.preview_alert(given["rule"], start, end, project=project)
        case "projects":
            # Of no project: a key that belongs to one must be told which, not asked for another.
            return client.projects()
        case "costs":
            return client.costs(given["about"], given["question"], project=project)
        case "route":
            return client.call("GET", given["path"], parameters=given["parameters"], project=project)
    raise ValueError(what)


@st.cache_data(ttl=_SETTLED_S, max_entries=_KEPT, show_spinner=False)
def _values(url: str, who: Reader, project: str, dimension: str) -> list[str]:
    return _client(url, who).values(dimension, limit=500, project=project)


@st.cache_data(ttl=_SETTLED_S, max_entries=_KEPT, show_spinner=False)
def _drift(url: str, who: Reader, project: str, parameters: str) -> dict[str, Any]:
    return _client(url, who).drift(project=project, **json.loads(parameters))


@st.cache_data(ttl=_FRESH_S, max_entries=_KEPT, show_spinner=False)
def _me(url: str, who: Reader) -> dict[str, Any]:
    return _client(url, who).me()


def me(who: Reader) -> dict[str, Any]:
    """Who a key is, or the person that it acts for, and what they may do.

    Raises:
        ClientError: when the collector refuses the key or is away.
    """
    return _me(endpoint(), who)


def doubt(who: Reader) -> None:
    """Ask anew who somebody is: the collector just refused their key."""
    _me.clear(endpoint(), who)


def _read(project: str, what: str, **parameters: Any) -> Callable[[], Any]:
    text, who = json.dumps(parameters, sort_keys=True), current()
    return lambda: _get(endpoint(), who, project, what, text)


def interactions(project: str, **parameters: Any) -> Callable[[], dict[str, Any]]:
    """A read of one page of interactions."""
    return _read(project, "interactions", **parameters)


def all_interactions(project: str, parameters: dict[str, Any], most: int) -> Callable[[], list[dict[str, Any]]]:
    """A read of all interactions that match, page by page, at most `most`; never cached, and good outside of a page's run."""
    client = _client(endpoint(), current())

    def read() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while len(found) < most:
            asked = {**parameters, "limit": min(_PAGE, most - len(found)), **({"cursor": cursor} if cursor else {})}
            page = client.interactions(project=project, **asked)
            found += page["items"]
            if (cursor := page["next_cursor"]) is None:
                break
        return found

    return read


def interaction(project: str, id: str) -> Callable[[], dict[str, Any]]:
    """A read of one interaction with all that belongs to it."""
    return _read(project, "interaction", id=id)


def drift(project: str, **parameters: Any) -> Callable[[], dict[str, Any]]:
    """A read of how one confidence source compares with its reference."""
    text, who = json.dumps(parameters, sort_keys=True), current()
    return lambda: _drift(endpoint(), who, project, text)


def costs(project: str, about: str, question: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """A read of a question about spending: changes, distribution, waste, caching, what-if or month."""
    return _read(project, "costs", about=about, question=question)


def route(project: str, path: str, **parameters: Any) -> Callable[[], dict[str, Any]]:
    """A read of a route of the API that is a list or an object of its own, such as the prices."""
    return _read(project, "route", path=path, parameters=parameters)


def fresh(project: str, path: str) -> dict[str, Any]:
    """The same as it is now, never cached: for what is under way.

    Raises:
        ClientError: when the collector refuses or is away.
    """
    answer: dict[str, Any] = _client(endpoint(), current()).call("GET", path, project=project)
    return answer


def change(project: str, method: str, path: str, body: Any = None) -> Any:
    """A write to a route of the API; all reads are asked anew after it.

    Raises:
        ClientError: when the collector refuses it or is away.
    """
    answer = _client(endpoint(), current()).call(method, path, body=body, project=project)
    forget()
    return answer


def alert_rules(project: str) -> Callable[[], list[dict[str, Any]]]:
    """A read of the alert rules with their states."""
    return _read(project, "alert_rules")


def alert_events(project: str, **parameters: Any) -> Callable[[], list[dict[str, Any]]]:
    """A read of what fired and was resolved."""
    return _read(project, "alert_events", **parameters)


def projects(project: str) -> Callable[[], list[dict[str, Any]]]:
    """A read of the projects that the key may see."""
    return _read(project, "projects")


def values(project: str, dimension: str) -> Callable[[], list[str]]:
    """A read of a dimension's values over all of history, those with most interactions first."""
    who = current()
    return lambda: _values(endpoint(), who, project, dimension)


@st.cache_data(ttl=_SETTLED_S, max_entries=_KEPT, show_spinner=False)
def _tags(url: str, who: Reader, project: str) -> list[dict[str, Any]]:
    return _client(url, who).tags(project=project)


def tags(project: str) -> Callable[[], list[dict[str, Any]]]:
    """A read of the keys of tags and their most frequent values."""
    who = current()
    return lambda: _tags(endpoint(), who, project)


def status(project: str) -> dict[str, Any]:
    """The collector's own state, never cached.

    Raises:
        ClientError: when it does not answer.
    """
    return _client(endpoint(), current()).status(project=project)


def forget() -> None:
    """Ask everything anew: after a change, or when the reader says so."""
    _me.clear()
    _query.clear()
    _get.clear()
    _values.clear()
    _tags.clear()
    _drift.clear()


def preview_alert(project: str, rule: dict[str, Any], start: datetime, end: datetime) -> Callable[[], dict[str, Any]]:
    """A read of when a rule would have fired between two times."""
    return _read(project, "preview", rule=rule, start=start.isoformat(), end=end.isoformat())


def save_alert(project: str, id: str | None, rule: dict[str, Any]) -> dict[str, Any]:
    """Create a rule, or replace the one with this id.

    Raises:
        ClientError: when the collector refuses it or is away.
    """
    client = _client(endpoint(), current())
    saved = client.update_alert_rule(id, rule, project=project) if id else client.create_alert_rule(rule, project=project)
    forget()
    return saved


def delete_alert(project: str, id: str) -> None:
    """Delete a rule.

    Raises:
        ClientError: when the collector refuses or is away.
    """
    _client(endpoint(), current()).delete_alert_rule(id, project=project)
    forget()


def fresh_projects(project: str) -> list[dict[str, Any]]:
    """The projects as they are now, not from the cache.

    Raises:
        ClientError: when the collector does not answer.
    """
    return _client(endpoint(), current()).projects(project=project)
