"""The HTTP client against a collector that is played by a handler."""

import concurrent.futures
import json
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import httpx
import polars as pl
import pyarrow as pa
import pytest

from spanledger.client import (
    ApiError,
    Client,
    ClientError,
    InvalidRequest,
    NotFound,
    Unauthorized,
    Unavailable,
    Unreachable,
)
from spanledger_schema.query import Query

Handler = Callable[[httpx.Request], httpx.Response]


def client(handler: Handler, **settings: Any) -> Client:
    return Client("http://collector.test", transport=httpx.MockTransport(handler), **settings)


def answering(body: Any, seen: list[httpx.Request] | None = None, status: int = 200) -> Handler:
    def handler(request: httpx.Request) -> httpx.Response:
        if seen is not None:
            seen.append(request)
        return httpx.Response(status, json=body)

    return handler


def arrow(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def cost_table(warnings: list[str]) -> pa.Table:
    schema = pa.schema(
        [
            pa.field("time", pa.timestamp("ms", "UTC")),
            pa.field("model", pa.string()),
            pa.field("cost_usd", pa.decimal128(38, 12), metadata={"unit": "USD"}),
        ],
        metadata={"warnings": json.dumps(warnings)},
    )
    rows = [
        {"time": datetime(2026, 11, 1, tzinfo=UTC), "model": "gpt-4o", "cost_usd": Decimal("0.000000000001")},
        {"time": datetime(2026, 11, 2, tzinfo=UTC), "model": None, "cost_usd": None},
    ]
    return pa.Table.from_pylist(rows, schema=schema)


def test_a_query_comes_back_as_a_frame_with_exact_money_units_and_warnings() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=arrow(cost_table(["over several sources"])))

    question = Query(measures=("cost_usd",), dimensions=("model",), granularity="day")
    answer = client(handler).query(question)

    assert answer.frame["cost_usd"].to_list() == [Decimal("0.000000000001"), None]
    assert answer.frame.schema["time"] == pl.Datetime("ms", "UTC")
    assert answer.units == {"time": None, "model": None, "cost_usd": "USD"}
    assert answer.warnings == ["over several sources"]
    assert Query.from_dict(json.loads(seen[0].content)) == question
    assert seen[0].headers["accept"] == "application/vnd.apache.arrow.stream"


def test_an_empty_answer_keeps_its_columns() -> None:
    table = cost_table([]).slice(0, 0)
    answer = client(lambda _: httpx.Response(200, content=arrow(table))).query({"measures": ["cost_usd"]})
    assert answer.frame.height == 0
    assert answer.frame.columns == ["time", "model", "cost_usd"]


def test_a_query_may_be_a_mapping_with_datetimes() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=arrow(cost_table([])))

    start = datetime(2026, 11, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    client(handler).query({"measures": ("cost_usd",), "start": start})
    assert json.loads(seen[0].content) == {"measures": ["cost_usd"], "start": "2026-11-01T00:00:00Z"}


def test_parameters_travel_as_the_reference_says() -> None:
    seen: list[httpx.Request] = []
    client(answering({"items": [], "next_cursor": None}, seen)).interactions(
        start=datetime(2026, 11, 1, tzinfo=UTC), feature=["search", None], failed=True, user=None, limit=5
    )
    assert seen[0].url.params.multi_items() == [
        ("start", "2026-11-01T00:00:00Z"),
        ("feature", "search"),
        ("feature", ""),
        ("failed", "true"),
        ("limit", "5"),
    ]


def test_names_in_paths_are_escaped() -> None:
    seen: list[httpx.Request] = []
    api = client(answering({"values": ["a"], "interaction": {}}, seen))
    assert api.values("tag:a/b?c", limit=3) == ["a"]
    api.interaction("../keys")
    assert seen[0].url.raw_path == b"/api/v1/dimensions/tag%3Aa%2Fb%3Fc/values?limit=3"
    assert seen[1].url.raw_path == b"/api/v1/interactions/..%2Fkeys"


def test_every_route_is_reached_with_its_method_and_body() -> None:
    seen: list[httpx.Request] = []
    everything = {
        "projects": [{"name": "a"}],
        "rules": [{"id": "r"}],
        "events": [{"id": "e"}],
        "tags": [],
        "accepted": 1,
        "ids": ["f"],
    }
    api = client(answering(everything, seen))
    rule = {"measure": "cost_usd", "threshold": Decimal("25.00"), "window": "1h"}
    end = datetime(2026, 11, 2, tzinfo=UTC)

    assert api.projects() == [{"name": "a"}]
    assert api.alert_rules() == [{"id": "r"}]
    assert api.alert_events(rule_id="r") == [{"id": "e"}]
    assert api.feedback([{"trace_id": "t", "name": "helpful", "value": True}])["accepted"] == 1
    api.feedback({"trace_id": "t", "name": "helpful", "value": True})
    api.create_alert_rule(rule)
    api.update_alert_rule("r/1", rule)
    api.delete_alert_rule("r")
    api.preview_alert(rule, "2026-11-01T00:00:00Z", end)
    api.tags(each=3)
    api.catalogue()
    api.status()
    api.drift(source="verbalized")
    assert api.ready()

    assert [(r.method, r.url.raw_path.decode()) for r in seen] == [
        ("GET", "/api/v1/projects"),
        ("GET", "/api/v1/alerts/rules"),
        ("GET", "/api/v1/alerts/events?rule_id=r"),
        ("POST", "/api/v1/feedback"),
        ("POST", "/api/v1/feedback"),
        ("POST", "/api/v1/alerts/rules"),
        ("PUT", "/api/v1/alerts/rules/r%2F1"),
        ("DELETE", "/api/v1/alerts/rules/r"),
        ("POST", "/api/v1/alerts/preview"),
        ("GET", "/api/v1/tags?each=3"),
        ("GET", "/api/v1/catalogue"),
        ("GET", "/api/v1/status"),
        ("GET", "/api/v1/drift?source=verbalized"),
        ("GET", "/readyz"),
    ]
    assert json.loads(seen[5].content) == {"measure": "cost_usd", "threshold": "25.00", "window": "1h"}
    assert json.loads(seen[8].content)["end"] == "2026-11-02T00:00:00Z"


def test_key_and_project_travel_in_headers_and_a_call_may_name_another_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPANLEDGER_API_KEY", "sl_secret")
    seen: list[httpx.Request] = []
    api = client(answering({}, seen), project="shop")
    api.status()
    api.status(project="lab")
    assert [r.headers["authorization"] for r in seen] == ["Bearer sl_secret"] * 2
    assert [r.headers["x-spanledger-project"] for r in seen] == ["shop", "lab"]
    assert "sl_secret" not in repr(api)


def test_the_address_comes_from_the_environment_and_its_password_stays_out_of_messages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SPANLEDGER_ENDPOINT", "http://me:hunter2@127.0.0.1:9/x/")
    api = Client()
    with pytest.raises(Unreachable, match="spanledger up") as caught:
        api.status()
    assert "http://127.0.0.1:9/x" in str(caught.value)
    assert "hunter2" not in str(caught.value) + repr(api)
    assert not api.ready()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequest),
        (422, InvalidRequest),
        (401, Unauthorized),
        (403, Unauthorized),
        (404, NotFound),
        (503, Unavailable),
        (500, ApiError),
    ],
)
def test_errors_carry_what_the_collector_said(status: int, kind: type[ApiError]) -> None:
    problem = {"title": "Bad", "detail": "no measure 'x'", "code": "invalid_query", "status": status}
    with pytest.raises(kind, match="no measure 'x'") as caught:
        client(answering(problem, status=status)).catalogue()
    error = pickle.loads(pickle.dumps(caught.value))
    assert type(error) is kind
    assert (error.status, error.code, error.title, error.detail) == (status, "invalid_query", "Bad", "no measure 'x'")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b"\xff"])
def test_something_else_at_the_address_is_a_clear_error(body: bytes) -> None:
    api = client(lambda _: httpx.Response(200, content=body))
    with pytest.raises(ClientError, match="collector"):
        api.status()
    with pytest.raises(ClientError, match="version"):
        api.query({"measures": ["cost_usd"]})
    with pytest.raises(ApiError, match="Bad Gateway"):
        client(lambda _: httpx.Response(502, content=body)).status()


def test_a_silent_collector_is_unreachable() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("slow", request=request)

    with pytest.raises(Unreachable, match="in time"):
        client(handler).status()


@pytest.mark.parametrize("url", ["ftp://x", "127.0.0.1:4318", "http://"])
def test_an_unusable_address_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="http://"):
        Client(url)


def test_a_key_that_cannot_be_a_header_is_refused_without_quoting_it() -> None:
    with pytest.raises(ValueError, match="printable ASCII") as caught:
        Client(api_key="se\ncret")
    assert "cret" not in str(caught.value)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        client(answering({})).interactions(start=datetime(2026, 11, 1))


def test_one_client_serves_many_threads() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"values": [request.url.path.split("/")[4]]})

    with client(handler) as api, concurrent.futures.ThreadPoolExecutor(8) as pool:
        names = [f"tag:{n}" for n in range(200)]
        assert [v[0] for v in pool.map(api.values, names)] == names
