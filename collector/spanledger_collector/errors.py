"""What can go wrong in the collector, as one tree.

    SpanledgerError
    ├── BadRequest             400  the body or a parameter cannot be read
    │   └── UnsupportedMedia   415  a content type or encoding that we do not read
    ├── InvalidQuestion        422  well-formed, but asks for something that does not exist
    ├── NotAllowed             403  the Host, Origin or key does not permit it
    ├── NotFound               404
    ├── PayloadTooLarge        413
    ├── Overloaded             503  too much is waiting; retry in a second or two
    ├── StoreUnavailable       503  the store does not answer; retryable
    ├── StoreRefused           500  the store refuses a statement of ours: a defect of Spanledger or of the data
    │   └── QueryTooExpensive  422  the question exceeds time or memory limits
    └── CannotStart            –    configuration or data directory unusable (the command prints it and exits)

Messages are for the person who has to act; they never hold SQL, paths of the server or stored text.
"""

from typing import ClassVar


class SpanledgerError(Exception):
    """Anything that the collector reports.

    Attributes:
        code: A stable word for programs.
        status: The HTTP status that the error becomes.
        title: One line for people.
        retry_after_s: When the same request may succeed, in seconds, or None.
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    retry_after_s: int | None = None

    @property
    def detail(self) -> str:
        """What was wrong and what to do."""
        return str(self.args[0]) if self.args else self.title


class BadRequest(SpanledgerError):
    """The request cannot be read."""

    code = "bad_request"
    status = 400
    title = "The request cannot be read"


class UnsupportedMedia(BadRequest):
    """The content type or encoding is not one that we read."""

    code = "unsupported_media_type"
    status = 415
    title = "Unsupported content type"


class InvalidQuestion(SpanledgerError):
    """A question or rule that cannot be answered as asked."""

    code = "invalid_query"
    status = 422
    title = "The question cannot be answered"


class NotAllowed(SpanledgerError):
    """The caller may not do this."""

    code = "forbidden"
    status = 403
    title = "Not allowed"


class NotFound(SpanledgerError):
    """There is no such thing."""

    code = "not_found"
    status = 404
    title = "Not found"


class PayloadTooLarge(SpanledgerError):
    """The body is larger than the limit."""

    code = "payload_too_large"
    status = 413
    title = "The body is too large"


class Overloaded(SpanledgerError):
    """Too much is waiting to be stored."""

    code = "overloaded"
    status = 503
    title = "Overloaded, try again"
    retry_after_s = 1


class StoreUnavailable(SpanledgerError):
    """The store does not answer."""

    code = "store_unavailable"
    status = 503
    title = "The store is not available"
    retry_after_s = 2


class StoreRefused(SpanledgerError):
    """The store refused a statement."""

    code = "store_refused"
    title = "The store refused"


class QueryTooExpensive(StoreRefused):
    """The question needs more time or memory than is allowed."""

    code = "query_too_expensive"
    status = 422
    title = "The question needs too much time or memory"


class CannotStart(SpanledgerError):
    """The collector cannot start; the command line prints the message and exits with 1."""

    code = "cannot_start"
    title = "The collector cannot start"
