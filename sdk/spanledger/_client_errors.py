"""What can go wrong between the client and the collector; `spanledger.client` has them all."""

import httpx


class ClientError(Exception):
    """Something went wrong between this client and the collector; the message is fit for a person."""


class Unreachable(ClientError):
    """Nobody answered in time at the collector's address."""


class ApiError(ClientError):
    """The collector answered with an error.

    Attributes:
        status: HTTP status.
        code: The collector's own stable word for the problem, such as `invalid_query`.
        title: The problem in a few words.
        detail: What was wrong and what to do; may be empty.
    """

    def __init__(self, status: int, code: str, title: str, detail: str) -> None:
        super().__init__(detail or title)
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail

    def __reduce__(self) -> tuple[type["ApiError"], tuple[int, str, str, str]]:
        return type(self), (self.status, self.code, self.title, self.detail)


class InvalidRequest(ApiError):
    """The request was wrong: an unknown measure, a bad time, a rule that cannot be."""


class Unauthorized(ApiError):
    """The key is missing, unknown or lacks the scope."""


class NotFound(ApiError):
    """There is no such thing."""


class Unavailable(ApiError):
    """The collector or its store cannot answer at the moment."""


def error_of(response: httpx.Response) -> ApiError:
    """What an answer that is no success says."""
    try:
        problem = response.json()
    except ValueError:
        problem = None
    problem = problem if isinstance(problem, dict) else {}
    status = response.status_code
    title = str(problem.get("title") or response.reason_phrase or f"HTTP {status}")
    kind = ApiError
    if status in (401, 403):
        kind = Unauthorized
    elif status == 404:
        kind = NotFound
    elif status == 503:
        kind = Unavailable
    elif 400 <= status < 500:
        kind = InvalidRequest
    return kind(status, str(problem.get("code") or f"http_{status}"), title, str(problem.get("detail") or ""))
