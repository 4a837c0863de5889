"""From a request body to a parcel of rows: decompress, decode, normalise, build Arrow. Runs on the one decoding thread."""

import logging
import time
import zlib
from collections.abc import Callable
from typing import Final

from spanledger_collector.errors import BadRequest, PayloadTooLarge, UnsupportedMedia
from spanledger_collector.governance.data_rules import DataRules
from spanledger_collector.ingest import otlp_json
from spanledger_collector.ingest.classes import Classes, Stated, own
from spanledger_collector.ingest.decoded import Decoded
from spanledger_collector.ingest.evaluations import from_span
from spanledger_collector.ingest.judgements import Judgement
from spanledger_collector.ingest.logs import LogParcel, log_parcel
from spanledger_collector.ingest.losses import read_losses
from spanledger_collector.ingest.normalize import normalise
from spanledger_collector.ingest.otlp import Decoder
from spanledger_collector.ingest.privacy import enforce, enforce_logs
from spanledger_collector.ingest.writer import Parcel
from spanledger_collector.store import arrow
from spanledger_collector.store.loss_book import Loss
from spanledger_schema.semconv import SDK_INSTANCE
from spanledger_schema.spans import ContentRow, SpanRow

_LOGGER: Final = logging.getLogger(__name__)

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"


def decompress(body: bytes, encoding: str, bytes_max: int) -> bytes:
    """Undo gzip or deflate, never past `bytes_max`.

    Raises:
        UnsupportedMedia: another encoding.
        BadRequest: the body is not what its encoding says.
        PayloadTooLarge: it grows past the limit.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "deflate"):
        raise UnsupportedMedia(f"Content-Encoding {encoding[:40]!r} is not read; use gzip, deflate or none.")
    inflate = zlib.decompressobj(wbits=47 if encoding == "gzip" else 15)
    try:
        plain = inflate.decompress(body, bytes_max + 1)
    except zlib.error:
        raise BadRequest(f"The body is not valid {encoding}.") from None
    if len(plain) > bytes_max:
        raise PayloadTooLarge(f"The body is larger than {bytes_max:,} bytes after decompression. Send smaller batches.")
    if not inflate.eof:
        raise BadRequest(f"The {encoding} body is cut off.")
    return plain


class Intake:
    """Decoders with their memory of what repeats; used by one thread at a time."""

    def __init__(
        self,
        *,
        decompressed_bytes_max: int,
        spans_max: int,
        rules_of: Callable[[str], DataRules | None] = lambda _: None,
        on_losses: Callable[[list[Loss]], None] = lambda _: None,
    ) -> None:
        """Prepare; see `Settings` for the limits.

        `rules_of` gives a project's data rules, `on_losses` takes what SDKs say that they lost.
        """
        self._bytes_max = decompressed_bytes_max
        self._spans_max = spans_max
        self._rules_of = rules_of
        self._on_losses = on_losses
        self.classes = Classes()
        self._decoder = Decoder(spans_max)

    def traces(
        self, body: bytes, content_type: str, encoding: str, project: str, received_at: int
    ) -> tuple[Parcel | None, dict[str, int]]:
        """Read an export request.

        Returns:
            What to store (None when nothing is left), and how many spans were refused for which reason.

        Raises:
            BadRequest, UnsupportedMedia, PayloadTooLarge: the request cannot be read at all.
            StoreUnavailable: the project's data rules are not known.
        """
        rules = self._rules_of(project)
        plain = decompress(body, encoding, self._bytes_max)
        decoded = otlp_json.decode_spans(plain, self._spans_max) if content_type == JSON else self._decoder.spans(plain)
        for group in decoded.groups:
            if SDK_INSTANCE in group.resource:
                self._on_losses(read_losses(group.resource, project, received_at))
        is_touched = rules is not None and enforce(decoded, rules, project, self.classes, received_at)
        parcel = self._parcel(decoded, project, received_at)
        if parcel is not None and (is_touched or (rules is not None and decoded.rejected)):
            # A span that is refused for its ids states a class too: the body that it came in does not wait on disk.
            parcel.body = otlp_json.encode_spans(decoded)
        return parcel, decoded.rejected

    def logs(self, body: bytes, content_type: str, encoding: str, project: str, received_at: int) -> LogParcel:
        """Read an export request of logs; records that belong to no span are left out.

        Raises:
            BadRequest, UnsupportedMedia, PayloadTooLarge: the request cannot be read at all.
            StoreUnavailable: the project's data rules are not known.
        """
        rules = self._rules_of(project)
        plain = decompress(body, encoding, self._bytes_max)
        records = otlp_json.decode_logs(plain) if content_type == JSON else self._decoder.logs(plain)
        if rules is None:
            return log_parcel(records, project, received_at)
        kept, denied = enforce_logs(records, rules, project, self.classes, received_at)
        parcel = log_parcel(kept, project, received_at)
        parcel.denied = denied
        # Not the body as it came: records that belong to no span are not among those that the rules have seen.
        parcel.body = otlp_json.encode_logs(kept)
        return parcel

    def plain(self, body: bytes, encoding: str) -> bytes:
        """A body without its compression.

        Raises:
            BadRequest, UnsupportedMedia, PayloadTooLarge: see `decompress`.
        """
        return decompress(body, encoding, self._bytes_max)

    def _parcel(self, decoded: Decoded, project: str, received_at: int) -> Parcel | None:
        rows: list[SpanRow] = []
        contents: list[ContentRow] = []
        judgements: list[Judgement] = []
        # The receive time is ahead of the host's clock after that was set back; spans of now are not suspect for it.
        host_ns = min(received_at, time.time_ns())
        stated: dict[tuple[str, str], Stated] = {}
        for group in decoded.groups:
            of_resource = own(group.resource)
            if any(of_resource):
                stated.update(dict.fromkeys(((span.trace_id, span.span_id) for span in group.spans), of_resource))
            for span in group.spans:
                try:
                    row, content = normalise(group, span, project, received_at, host_ns)
                except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
                    # A span that the rules cannot digest costs itself, not its neighbours, who would be sent again for ever.
                    _LOGGER.exception("a span cannot be read; project=%s trace=%s", project[:40], span.trace_id)
                    decoded.reject("malformed_span")
                    continue
                rows.append(row)
                if content is not None:
                    contents.append(content)
                if span.events or "annotations.0.annotation.name" in span.attributes:
                    judgements += from_span(span, project)
        if not rows:
            return None
        content = arrow.content_table(contents) if contents else None
        return Parcel(rows, arrow.span_table(rows), content, received_at, judgements, stated=stated)
