"""A synchronous client of the collector's HTTP API (extra: `pip install 'spanledger[client]'`).

    from spanledger.client import Client

    with Client() as client:
        answer = client.query({"measures": ["cost_usd"], "dimensions": ["model"]})
        answer.frame        # a polars DataFrame, money as Decimal, times in UTC
        answer.units        # {"model": None, "cost_usd": "USD"}

One `Client` may be shared between threads. Errors:

    ClientError
    ├── Unreachable            nobody answered at that address
    └── ApiError               the collector refused; has status, code, title and detail
        ├── InvalidRequest     the request was wrong (other 4xx)
        ├── Unauthorized       the key is missing, unknown, or not allowed to (401, 403)
        ├── NotFound           404
        └── Unavailable        the collector cannot answer now (503); try again
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, cast
from urllib.parse import quote, urlsplit

import httpx
import polars as pl
import pyarrow as pa

from spanledger._client_errors import (
    ApiError,
    ClientError,
    InvalidRequest,
    NotFound,
    Unauthorized,
    Unavailable,
    Unreachable,
    error_of,
)
from spanledger_schema.query import Query
from spanledger_schema.semconv import PERSON_HEADER, PERSON_SCOPES_HEADER, PROJECT_HEADER

ARROW_STREAM: Final = "application/vnd.apache.arrow.stream"
DEFAULT_URL: Final = "http://127.0.0.1:4318"
_CONNECT_TIMEOUT_S: Final = 5.0

_Primitive = str | int | float | bool | None

__all__ = [
    "Answer",
    "ApiError",
    "Client",
    "ClientError",
    "InvalidRequest",
    "NotFound",
    "Unauthorized",
    "Unavailable",
    "Unreachable",
]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a Query came to.

    Attributes:
        frame: `time` if there is a granularity, then the dimensions, then the measures; unknown is null.
        units: The unit of each column, None for those that have none.
        warnings: What a reader of the numbers should know.
    """

    frame: pl.DataFrame
    units: dict[str, str | None]
    warnings: list[str]


class Client:
    """Reads from and writes to one collector."""

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        project: str | None = None,
        person: str | None = None,
        person_scopes: Iterable[str] | None = None,
        timeout_s: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Nothing is sent yet.

        Args:
            url: Address of the collector; default `SPANLEDGER_ENDPOINT`, else `http://127.0.0.1:4318`.
            api_key: Default `SPANLEDGER_API_KEY`; without one ("" too) the collector must be in keyless loopback mode.
            project: Which project to speak of, where the key leaves a choice. Every method takes `project=` as well.
            person: For whom a key with the scope `act_for` acts; the audit log names them.
            person_scopes: What that person may do; default all that the key may.
            timeout_s: Longest wait for an answer.
            transport: Replaces the network, for tests.

        Raises:
            ValueError: for a URL that is not http(s), or a key or project that cannot be a header.
        """
        self._url = (url or os.environ.get("SPANLEDGER_ENDPOINT", "").strip() or DEFAULT_URL).rstrip("/")
        parts = urlsplit(self._url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("url must be an http:// or https:// address")
        # The address without what might be a password in it: it appears in messages.
        self._address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        self._project = project
        headers = {"user-agent": "spanledger-client"}
        if key := (os.environ.get("SPANLEDGER_API_KEY", "").strip() if api_key is None else api_key):
            headers["authorization"] = f"Bearer {_header_value('api_key', key)}"
        if project is not None:
            headers[PROJECT_HEADER] = _header_value("project", project)
        if person is not None:
            headers[PERSON_HEADER] = quote(person, safe="@")
        if person_scopes is not None:
            headers[PERSON_SCOPES_HEADER] = " ".join(sorted(person_scopes))
        self._http = httpx.Client(
            base_url=self._url,
            headers=headers,
            timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, _CONNECT_TIMEOUT_S)),
            transport=transport,
        )

    def __repr__(self) -> str:
        return f"Client({self._address!r}, project={self._project!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    # --- Numbers -----------------------------------------------------------------------------------------------------
    def query(self, query: Query | Mapping[str, Any], *, project: str | None = None) -> Answer:
        """Ask a Query; a mapping is its JSON form, in which times may be datetimes."""
        body = query.to_dict() if isinstance(query, Query) else _jsonable(dict(query))
        response = self._send("POST", "/api/v1/query", body=body, project=project, accept=ARROW_STREAM)
        return _read_arrow(response)

    def costs(self, about: str, question: Mapping[str, Any], *, project: str | None = None) -> dict[str, Any]:
        """`changes`, `distribution`, `waste`, `caching`, `what-if` or `month` of cost, as in the HTTP reference."""
        return self._object("POST", f"/api/v1/costs/{quote(about, safe='')}", body=_jsonable(dict(question)), project=project)

    def reconcile(self, *files: str | os.PathLike[str], project: str | None = None, **options: Any) -> dict[str, Any]:
        """Compare providers' own exports of usage and costs with the ledger; the parts of the difference add up.

        Args:
            files: Paths; a usage and a costs export of the same days belong together.
            project: Whose calls.
            **options: `provider`, `timezone`, `columns`, `only`, `rates`, `filters`, `start`, `end`, `format`, as in the HTTP
                reference.

        Raises:
            OSError: a file cannot be read.
            ValueError: a file is no text.
        """
        given = [{"name": Path(file).name, "text": _text_of(Path(file))} for file in files]
        return self.costs("reconcile", {**options, "files": given}, project=project)

    def me(self) -> dict[str, Any]:
        """Who the key is, its project (None: any), and its scopes."""
        return self._object("GET", "/api/v1/me")

    def catalogue(self, *, project: str | None = None) -> dict[str, Any]:
        """The measures, dimensions and failure modes that this collector knows."""
        return self._object("GET", "/api/v1/catalogue", project=project)

    def projects(self, *, project: str | None = None) -> list[dict[str, Any]]:
        """The projects that the key may read, with their spans and first and last times."""
        return self._list("projects", "GET", "/api/v1/projects", project=project)

    def values(
        self,
        dimension: str,
        *,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        limit: int = 100,
        project: str | None = None,
    ) -> list[str]:
        """The values of a dimension in a range, those with most interactions first."""
        path = f"/api/v1/dimensions/{quote(dimension, safe='')}/values"
        parameters = {"start": start, "end": end, "limit": limit}
        return cast("list[str]", self._list("values", "GET", path, parameters=parameters, project=project))

    def tags(self, *, each: int = 50, project: str | None = None) -> list[dict[str, Any]]:
        """The keys of tags, each `{"key": ..., "values": [...]}` with at most `each` values, most frequent first."""
        return self._list("tags", "GET", "/api/v1/tags", parameters={"each": each}, project=project)

    # --- Interactions ------------------------------------------------------------------------------------------------
    def interactions(self, *, project: str | None = None, **parameters: Any) -> dict[str, Any]:
        """A page of interactions: `{"items": [...], "next_cursor": ...}`; parameters as in the HTTP reference."""
        return self._object("GET", "/api/v1/interactions", parameters=parameters, project=project)

    def interaction(self, id: str, *, project: str | None = None) -> dict[str, Any]:
        """One interaction with its spans, content and feedback, by its own id or its trace's.

        Raises:
            NotFound: there is none (yet: it is there at most 5 s after it was sent).
        """
        return self._object("GET", f"/api/v1/interactions/{quote(id, safe='')}", project=project)

    def feedback(self, items: Mapping[str, Any] | Iterable[Mapping[str, Any]], *, project: str | None = None) -> dict[str, Any]:
        """Send one judgement or a list; answers `{"accepted": n, "ids": [...]}`."""
        body = dict(items) if isinstance(items, Mapping) else [dict(item) for item in items]
        return self._object("POST", "/api/v1/feedback", body=_jsonable(body), project=project)

    def drift(self, *, project: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Whether the confidence of one source moved against its reference, and how well it is calibrated."""
        return self._object("GET", "/api/v1/drift", parameters=parameters, project=project)

    # --- Alerts ------------------------------------------------------------------------------------------------------
    def alert_rules(self, *, project: str | None = None) -> list[dict[str, Any]]:
        """All rules with their present state."""
        return self._list("rules", "GET", "/api/v1/alerts/rules", project=project)

    def create_alert_rule(self, rule: Mapping[str, Any], *, project: str | None = None) -> dict[str, Any]:
        """Create a rule; the answer shows its `signing_secret` this once."""
        return self._object("POST", "/api/v1/alerts/rules", body=_jsonable(dict(rule)), project=project)

    def update_alert_rule(self, id: str, rule: Mapping[str, Any], *, project: str | None = None) -> dict[str, Any]:
        """Replace a rule."""
        path = f"/api/v1/alerts/rules/{quote(id, safe='')}"
        return self._object("PUT", path, body=_jsonable(dict(rule)), project=project)

    def delete_alert_rule(self, id: str, *, project: str | None = None) -> None:
        """Delete a rule; its events stay."""
        self._send("DELETE", f"/api/v1/alerts/rules/{quote(id, safe='')}", project=project)

    def preview_alert(
        self, rule: Mapping[str, Any], start: datetime | str, end: datetime | str, *, project: str | None = None
    ) -> dict[str, Any]:
        """When the rule would have fired in a past range, computed by the evaluator itself."""
        body = _jsonable({**rule, "start": start, "end": end})
        return self._object("POST", "/api/v1/alerts/preview", body=body, project=project)

    def alert_events(self, *, project: str | None = None, **parameters: Any) -> list[dict[str, Any]]:
        """What fired and was resolved. Parameters: start, end, rule_id, limit."""
        return self._list("events", "GET", "/api/v1/alerts/events", parameters=parameters, project=project)

    # --- The collector itself ----------------------------------------------------------------------------------------
    def status(self, *, project: str | None = None) -> dict[str, Any]:
        """Version, throughput and how far the data goes."""
        return self._object("GET", "/api/v1/status", project=project)

    def ready(self) -> bool:
        """Whether the collector takes data and answers: False when it is away, too."""
        try:
            return self._http.get("/readyz").is_success
        except httpx.HTTPError:
            return False

    def readiness(self) -> dict[str, Any]:
        """What the collector says of itself: `status`, where it is not ready `reason` and perhaps `advice`; empty: it is away."""
        try:
            found = self._http.get("/readyz").json()
        except (httpx.HTTPError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def call(
        self, method: str, path: str, *, body: Any = None, parameters: Mapping[str, Any] | None = None, project: str | None = None
    ) -> Any:
        """Any route of the API: its JSON, or None where the answer is empty."""
        response = self._send(method, path, parameters=parameters, body=_jsonable(body), project=project)
        return response.json() if response.content else None

    # --- Plumbing ----------------------------------------------------------------------------------------------------
    def _object(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        response = self._send(method, path, **request)
        try:
            value = response.json()
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise ClientError(f"what answers at {self._address} is not a Spanledger collector ({path} is no JSON object)")
        return value

    def _list(self, key: str, method: str, path: str, **request: Any) -> list[Any]:
        value = self._object(method, path, **request).get(key)
        if not isinstance(value, list):
            raise ClientError(f"{path} answered without a list of {key}; do client and collector have the same version?")
        return value

    def _send(
        self,
        method: str,
        path: str,
        *,
        parameters: Mapping[str, Any] | None = None,
        body: Any = None,
        project: str | None = None,
        accept: str = "application/json",
    ) -> httpx.Response:
        headers = {"accept": accept}
        if project is not None:
            headers[PROJECT_HEADER] = _header_value("project", project)
        content = None
        if body is not None:
            content = json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
            headers["content-type"] = "application/json"
        try:
            response = self._http.request(
                method, path, params=httpx.QueryParams(_parameters(parameters or {})), content=content, headers=headers
            )
        except httpx.TimeoutException:
            raise Unreachable(f"the collector at {self._address} did not answer in time") from None
        except httpx.TransportError:
            raise Unreachable(
                f"no collector answers at {self._address}; start one with `spanledger up`, or set SPANLEDGER_ENDPOINT"
            ) from None
        if not response.is_success:
            raise error_of(response)
        return response


def _read_arrow(response: httpx.Response) -> Answer:
    try:
        table = pa.ipc.open_stream(pa.py_buffer(response.content)).read_all()
    except pa.ArrowInvalid:
        raise ClientError("the collector's answer is no Arrow stream; do client and collector have the same version?") from None
    warnings = json.loads((table.schema.metadata or {}).get(b"warnings", b"[]"))
    units = {field.name: ((field.metadata or {}).get(b"unit", b"").decode() or None) for field in table.schema}
    return Answer(cast(pl.DataFrame, pl.from_arrow(table)), units, [str(warning) for warning in warnings])


def _text_of(file: Path) -> str:
    content = file.read_bytes()
    try:
        # Spreadsheets save as either.
        return content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{file.name} is no text: export it as CSV or JSON") from None


def _header_value(name: str, value: str) -> str:
    if not value or not value.isprintable() or not value.isascii():
        raise ValueError(f"{name} must be printable ASCII, since it travels in an HTTP header")
    return value


def _parameters(parameters: Mapping[str, Any]) -> list[tuple[str, _Primitive]]:
    pairs: list[tuple[str, _Primitive]] = []
    for name, value in parameters.items():
        values = value if isinstance(value, (list, tuple, set, frozenset)) else [value]
        # In a list, None asks for "not set", which the API writes as an empty value; alone it is left out.
        is_listed = values is value
        pairs.extend((name, _text(item)) for item in values if is_listed or item is not None)
    return pairs


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return _iso(value) if isinstance(value, datetime) else str(value)


def _iso(value: datetime) -> str:
    if value.tzinfo is None:
        raise ValueError("times need a time zone, for example datetime.now(UTC)")
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _jsonable(value: Any) -> Any:
    """The value with times as ISO text, Decimals as plain text and tuples as lists."""
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, datetime):
        return _iso(value)
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, (Sequence, set, frozenset)):
        return [_jsonable(item) for item in value]
    return value.isoformat() if isinstance(value, date) else format(value, "f")
