"""OTLP bytes to decoded spans and log records.

Protobuf is read through a second description of OTLP in which sub-messages are `bytes` (same wire type), so that attributes
arrive as raw slices. Most of them repeat byte for byte from span to span, so a bounded memo from raw `KeyValue` bytes to
(key, value) replaces the walk (`docs/adr/0004`; figures in its text). Uncommon shapes go through the ordinary protobuf classes.
Values in decoded dictionaries are shared between spans: read-only.
"""

import base64
import binascii
import struct
from collections.abc import Iterable
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from spanledger_collector.errors import BadRequest, PayloadTooLarge
from spanledger_collector.ingest.decoded import Attributes, Decoded, DecodedSpan, LogRecord, ScopeSpans

PACKAGE: Final = "opentelemetry.proto.collector"
"""Where OTLP's services are; gRPC names them by it."""
_REMEMBERED_BYTES_MAX: Final = 4_096
_NO_PARENT: Final = ("", "0000000000000000")


def _light_classes() -> dict[str, Any]:
    """Describe OTLP once more with bytes in place of sub-messages, and build classes for it."""
    types = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="spanledger_light.proto", package="spanledger.light", syntax="proto3")

    def message(name: str, fields: Iterable[tuple[str, int, int, bool, str]]) -> None:
        entry = file.message_type.add(name=name)
        for field_name, number, kind, repeated, type_name in fields:
            entry.field.add(
                name=field_name,
                number=number,
                type=kind,
                label=types.LABEL_REPEATED if repeated else types.LABEL_OPTIONAL,
                type_name=type_name or None,
            )

    text, number = types.TYPE_BYTES, types.TYPE_INT32
    message("Request", [("resources", 1, types.TYPE_MESSAGE, True, ".spanledger.light.Resource")])
    message("Resource", [("resource", 1, text, False, ""), ("scopes", 2, types.TYPE_MESSAGE, True, ".spanledger.light.Scope")])
    message("Scope", [("scope", 1, text, False, ""), ("items", 2, text, True, "")])
    message("Spans", [("resources", 1, types.TYPE_MESSAGE, True, ".spanledger.light.SpansResource")])
    scopes = ("scopes", 2, types.TYPE_MESSAGE, True, ".spanledger.light.SpansScope")
    message("SpansResource", [("resource", 1, text, False, ""), scopes])
    message("SpansScope", [("scope", 1, text, False, ""), ("items", 2, types.TYPE_MESSAGE, True, ".spanledger.light.Span")])
    message(
        "Span",
        [
            ("trace_id", 1, text, False, ""),
            ("span_id", 2, text, False, ""),
            ("parent_span_id", 4, text, False, ""),
            ("name", 5, text, False, ""),
            ("kind", 6, number, False, ""),
            ("start", 7, types.TYPE_FIXED64, False, ""),
            ("end", 8, types.TYPE_FIXED64, False, ""),
            ("attributes", 9, text, True, ""),
            ("events", 11, text, True, ""),
            ("status", 15, text, False, ""),
        ],
    )
    message(
        "Event", [("time", 1, types.TYPE_FIXED64, False, ""), ("name", 2, text, False, ""), ("attributes", 3, text, True, "")]
    )
    message("Status", [("message", 2, text, False, ""), ("code", 3, number, False, "")])
    message("Named", [("name", 1, text, False, ""), ("version", 2, text, False, ""), ("attributes", 3, text, True, "")])
    message("Bag", [("attributes", 1, text, True, "")])
    message(
        "Log",
        [
            ("time", 1, types.TYPE_FIXED64, False, ""),
            ("body", 5, text, False, ""),
            ("attributes", 6, text, True, ""),
            ("trace_id", 9, text, False, ""),
            ("span_id", 10, text, False, ""),
            ("observed", 11, types.TYPE_FIXED64, False, ""),
            ("event", 12, text, False, ""),
        ],
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    names = [entry.name for entry in file.message_type]
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"spanledger.light.{name}")) for name in names}


_LIGHT: Final = _light_classes()
_Request: Final = _LIGHT["Request"]
_Span: Final = _LIGHT["Span"].FromString
_DOUBLE: Final = struct.Struct("<d").unpack_from


def any_value(value: Any) -> Any:
    """An `AnyValue` message as Python: nested lists and dictionaries, bytes as base64 text."""
    which = value.WhichOneof("value")
    if which == "array_value":
        return [any_value(item) for item in value.array_value.values]
    if which == "kvlist_value":
        return {item.key: any_value(item.value) for item in value.kvlist_value.values}
    if which == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()
    return getattr(value, which) if which else None


def _slow_key_value(raw: bytes) -> tuple[str, Any]:
    try:
        item = KeyValue.FromString(raw)
        return item.key, any_value(item.value)
    except (DecodeError, RecursionError):
        # One unreadable attribute (invalid UTF-8, too deep) costs itself, not its span.
        return "spanledger.unreadable_attribute", True


def parse_key_value(raw: bytes) -> tuple[str, Any]:
    """One `KeyValue` off the wire; the common shapes by hand, the rest by protobuf."""
    try:
        if raw[0] != 0x0A or raw[1] > 0x7F:
            return _slow_key_value(raw)
        key_end = 2 + raw[1]
        if raw[key_end] != 0x12:
            return _slow_key_value(raw)
        at = key_end + 1
        length = raw[at]
        at += 1
        if length > 0x7F:
            length = (length & 0x7F) | (raw[at] << 7)
            at += 1
            if length > 0x3FFF:
                length = (length & 0x3FFF) | (raw[at] << 14)
                at += 1
        if at + length != len(raw) or length < 2:
            return _slow_key_value(raw)
        tag = raw[at]
        if tag == 0x0A:
            size, start = raw[at + 1], at + 2
            if size > 0x7F:
                size = (size & 0x7F) | (raw[start] << 7)
                start += 1
                if size > 0x3FFF:
                    size = (size & 0x3FFF) | (raw[start] << 14)
                    start += 1
            if start + size == len(raw):
                return raw[2:key_end].decode(), raw[start:].decode()
        elif tag == 0x18 and length <= 9:
            number, shift = 0, 0
            for byte in raw[at + 1 :]:
                number |= (byte & 0x7F) << shift
                shift += 7
            if raw[-1] < 0x80:
                return raw[2:key_end].decode(), number
        elif tag == 0x21 and length == 9:
            return raw[2:key_end].decode(), _DOUBLE(raw, at + 1)[0]
        elif tag == 0x10 and length == 2:
            return raw[2:key_end].decode(), raw[at + 1] == 1
    except (IndexError, UnicodeDecodeError):
        pass
    return _slow_key_value(raw)


class Memo(dict[bytes, tuple[str, Any]]):
    """Raw `KeyValue` bytes to (key, value), for what repeats.

    Bounded per key (a key that keeps missing, such as an id, stops being remembered) and in total, so that one sender cannot
    fill it for all.
    """

    _PER_KEY: Final = 2_048
    _TOTAL: Final = 50_000
    _BYTES: Final = 128

    def __init__(self) -> None:
        super().__init__()
        self._misses: dict[str, int] = {}

    def __missing__(self, raw: bytes) -> tuple[str, Any]:
        pair = parse_key_value(raw)
        if len(raw) < self._BYTES:
            misses = self._misses.get(pair[0], 0)
            if misses < self._PER_KEY and len(self) < self._TOTAL and len(self._misses) < self._TOTAL:
                self._misses[pair[0]] = misses + 1
                self[raw] = pair
        return pair


def _parse_span(raw: bytes) -> Any:
    try:
        return _Span(raw)
    except DecodeError:
        return None


class Decoder:
    """Decodes requests, remembering what repeats. Used by one thread at a time."""

    def __init__(self, spans_max: int = 100_000) -> None:
        self._memo = Memo()
        self._bags: dict[bytes, Attributes] = {}
        self._scopes: dict[bytes, tuple[str, str]] = {}
        self._statuses: dict[bytes, tuple[int, str]] = {b"": (0, "")}
        self._spans_max = spans_max

    def spans(self, body: bytes) -> Decoded:
        """Decode an `ExportTraceServiceRequest`.

        Raises:
            BadRequest: it is not one.
            PayloadTooLarge: it holds more spans than allowed.
        """
        try:
            request, is_whole = _LIGHT["Spans"].FromString(body), True
        except DecodeError:
            # Something in it is damaged. Span by span, that costs only the span that it is in; it is slower, so not the rule.
            request, is_whole = self._request(body), False
        self._check_count(request)
        decoded = Decoded()
        for resource in request.resources:
            attributes = self._bag(resource.resource)
            for scope in resource.scopes:
                name, version = self._scope(scope.scope)
                group = ScopeSpans(attributes, name, version, [])
                for item in scope.items:
                    self._span(item if is_whole else _parse_span(item), group.spans, decoded)
                if group.spans:
                    decoded.groups.append(group)
        return decoded

    def logs(self, body: bytes) -> list[LogRecord]:
        """Decode an `ExportLogsServiceRequest`; records that belong to no span are left out.

        Raises:
            BadRequest: it is not one.
            PayloadTooLarge: it holds more records than allowed.
        """
        request = self._request(body)
        records: list[LogRecord] = []
        for resource in request.resources:
            described = self._bag(resource.resource)
            for scope in resource.scopes:
                for raw in scope.items:
                    try:
                        item = _LIGHT["Log"].FromString(raw)
                    except DecodeError:
                        continue
                    if len(item.trace_id) != 16 or len(item.span_id) != 8:
                        continue
                    attributes = dict(map(self._memo.__getitem__, item.attributes))
                    event = item.event.decode("utf-8", "replace") or str(attributes.get("event.name") or "")
                    try:
                        content = any_value(AnyValue.FromString(item.body))
                    except (DecodeError, RecursionError):
                        content = None
                    ids = item.trace_id.hex(), item.span_id.hex()
                    records.append(LogRecord(*ids, item.time or item.observed, event, content, attributes, described))
        return records

    def _request(self, body: bytes) -> Any:
        try:
            request = _Request.FromString(body)
        except DecodeError:
            raise BadRequest("The body is no OTLP protobuf message. Send application/x-protobuf or application/json.") from None
        self._check_count(request)
        return request

    def _check_count(self, request: Any) -> None:
        count = sum(len(scope.items) for resource in request.resources for scope in resource.scopes)
        if count > self._spans_max:
            raise PayloadTooLarge(f"The request holds {count:,} items; the limit is {self._spans_max:,}. Send smaller batches.")

    def _bag(self, raw: bytes) -> Attributes:
        bag = self._bags.get(raw)
        if bag is None:
            try:
                bag = dict(map(parse_key_value, _LIGHT["Bag"].FromString(raw).attributes))
            except DecodeError:
                bag = {}
            if len(raw) <= _REMEMBERED_BYTES_MAX and len(self._bags) < 10_000:
                self._bags[raw] = bag
        return bag

    def _scope(self, raw: bytes) -> tuple[str, str]:
        scope = self._scopes.get(raw)
        if scope is None:
            try:
                named = _LIGHT["Named"].FromString(raw)
                scope = (named.name.decode("utf-8", "replace"), named.version.decode("utf-8", "replace"))
            except DecodeError:
                scope = ("", "")
            if len(raw) <= _REMEMBERED_BYTES_MAX and len(self._scopes) < 10_000:
                self._scopes[raw] = scope
        return scope

    def _span(self, message: Any, into: list[DecodedSpan], decoded: Decoded) -> None:
        if message is None:
            decoded.reject("malformed_span")
            return
        trace_id, span_id = message.trace_id, message.span_id
        if len(trace_id) != 16 or len(span_id) != 8 or not any(trace_id) or not any(span_id):
            decoded.reject("invalid_id")
            return
        span = DecodedSpan()
        span.trace_id = trace_id.hex()
        span.span_id = span_id.hex()
        parent = message.parent_span_id.hex()
        span.parent_span_id = "" if parent in _NO_PARENT or len(parent) != 16 else parent
        span.name = message.name.decode("utf-8", "replace")
        span.otel_kind = message.kind
        span.start_ns = message.start
        span.end_ns = message.end
        raw = list(message.attributes)
        span.attributes = dict(map(self._memo.__getitem__, raw))
        span.digest = binascii.crc32(b"".join(raw))
        span.events = [self._event(event) for event in message.events] if message.events else []
        status = self._statuses.get(message.status)
        if status is None:
            status = self._status(message.status)
            if status is None:
                decoded.reject("malformed_span")
                return
        span.status_code, span.status_message = status
        into.append(span)

    def _status(self, raw: bytes) -> tuple[int, str] | None:
        try:
            status = _LIGHT["Status"].FromString(raw)
        except DecodeError:
            return None
        found = (status.code, status.message.decode("utf-8", "replace"))
        if len(raw) < 64 and len(self._statuses) < 1_000:
            self._statuses[raw] = found
        return found

    def _event(self, raw: bytes) -> tuple[str, int, Attributes]:
        try:
            event = _LIGHT["Event"].FromString(raw)
        except DecodeError:
            return "", 0, {}
        return event.name.decode("utf-8", "replace"), event.time, dict(map(self._memo.__getitem__, event.attributes))


def export_response(field: str, rejected: int, message: str) -> bytes:
    """An OTLP export response in protobuf; the empty message when nothing was refused."""
    if not rejected and not message:
        return b""
    kinds: dict[str, Any] = {
        "rejectedSpans": (ExportTraceServiceResponse, "rejected_spans"),
        "rejectedLogRecords": (ExportLogsServiceResponse, "rejected_log_records"),
        "rejectedDataPoints": (ExportMetricsServiceResponse, "rejected_data_points"),
    }
    make, name = kinds[field]
    response = make()
    setattr(response.partial_success, name, rejected)
    response.partial_success.error_message = message
    return bytes(response.SerializeToString())


def status_message(code: int, message: str, retry_after_s: int | None = None) -> bytes:
    """A `google.rpc.Status` in protobuf, with when to send the same again where that may help."""
    status = Status(code=code, message=message)
    if retry_after_s is not None:
        retry = RetryInfo()
        retry.retry_delay.seconds = retry_after_s
        status.details.add().Pack(retry)
    return bytes(status.SerializeToString())


def count_data_points(body: bytes) -> int:
    """Data points in an `ExportMetricsServiceRequest`.

    Raises:
        BadRequest: it is not one.
    """
    try:
        request = ExportMetricsServiceRequest.FromString(body)
    except DecodeError:
        raise BadRequest("The body is no OTLP protobuf message.") from None
    points = 0
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                points += len(getattr(metric, kind).data_points) if kind else 0
    return points
