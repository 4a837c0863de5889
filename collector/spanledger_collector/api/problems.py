"""Errors as HTTP: RFC 9457 `application/problem+json`; OTLP routes answer `google.rpc.Status` in the request's encoding."""

import orjson
from starlette.responses import Response

from spanledger_collector.errors import SpanledgerError


def problem(error: SpanledgerError, path: str) -> Response:
    """The response that an error becomes."""
    headers = {} if error.retry_after_s is None else {"retry-after": str(error.retry_after_s)}
    if path.startswith("/v1/"):
        body = orjson.dumps({"code": rpc_code(error.status), "message": error.detail})
        return Response(body, error.status, headers, "application/json")
    return _problem(error.status, error.code, error.title, error.detail, headers)


def plain_problem(status: int, code: str, title: str, detail: str) -> Response:
    """A problem that is no exception of ours."""
    return _problem(status, code, title, detail, {})


def rpc_code(status: int) -> int:
    """The `google.rpc.Code` of an HTTP status."""
    return {400: 3, 401: 16, 403: 7, 404: 5, 413: 8, 415: 3, 422: 3, 429: 8, 503: 14}.get(status, 13)


def _problem(status: int, code: str, title: str, detail: str, headers: dict[str, str]) -> Response:
    body = {"type": "about:blank", "title": title, "detail": detail, "code": code, "status": status}
    return Response(orjson.dumps(body), status, headers, "application/problem+json")
