"""OTLP/JSON to decoded spans and log records, exact to the specification's JSON mapping; and back, for what waits on disk."""

import binascii
import json
import math
from collections.abc import Iterable
from typing import Any, Final

import orjson

from spanledger_collector.errors import BadRequest, PayloadTooLarge
from spanledger_collector.ingest.decoded import Attributes, Decoded, DecodedSpan, LogRecord, ScopeSpans

_INT64_MAX: Final = 1 << 63
_DEPTH_MAX: Final = 32
_HEX_DIGITS: Final = frozenset("0123456789abcdef")


def decode_spans(body: bytes, spans_max: int) -> Decoded:
    """Decode OTLP/JSON: ids as hex, enums as integers, 64-bit integers as strings or numbers, unknown fields ignored.

    Raises:
        BadRequest: it is no OTLP/JSON.
        PayloadTooLarge: it holds more spans than allowed.
    """
    decoded = Decoded()
    for resource, scope, span in _walk_json(body, "resourceSpans", "scopeSpans", "spans"):
        if decoded.count >= spans_max:
            raise PayloadTooLarge(f"The request holds more than {spans_max:,} spans. Send smaller batches.")
        group = decoded.groups[-1] if decoded.groups else None
        name, version = str(scope.get("name") or ""), str(scope.get("version") or "")
        if group is None or group.resource is not resource or (group.scope, group.scope_version) != (name, version):
            group = ScopeSpans(resource, name, version, [])
            decoded.groups.append(group)
        parsed = _json_span(span)
        if isinstance(parsed, str):
            decoded.reject(parsed)
        else:
            group.spans.append(parsed)
    decoded.groups = [group for group in decoded.groups if group.spans]
    return decoded


def decode_logs(body: bytes) -> list[LogRecord]:
    """Decode OTLP/JSON logs; records that belong to no span are left out.

    Raises:
        BadRequest: it is no OTLP/JSON.
    """
    records = []
    for resource, _, item in _walk_json(body, "resourceLogs", "scopeLogs", "logRecords"):
        trace_id, span_id = _hex(item.get("traceId"), 32), _hex(item.get("spanId"), 16)
        if trace_id and span_id:
            attributes = _json_attributes(item.get("attributes"))
            event = str(item.get("eventName") or attributes.get("event.name") or "")
            time_ns = _json_int(item.get("timeUnixNano")) or _json_int(item.get("observedTimeUnixNano"))
            records.append(LogRecord(trace_id, span_id, time_ns, event, _json_value(item.get("body")), attributes, resource))
    return records


def encode_spans(decoded: Decoded) -> bytes:
    """Decoded spans as OTLP/JSON, from which the same spans are decoded again."""
    return orjson.dumps(
        {
            "resourceSpans": [
                {
                    "resource": {"attributes": _to_attributes(group.resource)},
                    "scopeSpans": [
                        {
                            "scope": {"name": group.scope, "version": group.scope_version},
                            "spans": [_to_span(span) for span in group.spans],
                        }
                    ],
                }
                for group in decoded.groups
            ]
        }
    )


def encode_logs(records: Iterable[LogRecord]) -> bytes:
    """Decoded log records as OTLP/JSON."""
    return orjson.dumps({"resourceLogs": [_to_log(record) for record in records]})


def _to_span(span: DecodedSpan) -> dict[str, Any]:
    return {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "parentSpanId": span.parent_span_id,
        "name": span.name,
        "kind": span.otel_kind,
        "startTimeUnixNano": str(span.start_ns),
        "endTimeUnixNano": str(span.end_ns),
        "attributes": _to_attributes(span.attributes),
        "events": [
            {"name": name, "timeUnixNano": str(at), "attributes": _to_attributes(details)} for name, at, details in span.events
        ],
        "status": {"code": span.status_code, "message": span.status_message},
    }


def _to_log(record: LogRecord) -> dict[str, Any]:
    item = {
        "traceId": record.trace_id,
        "spanId": record.span_id,
        "timeUnixNano": str(record.time_ns),
        "eventName": record.event,
        "body": _to_value(record.body),
        "attributes": _to_attributes(record.attributes),
    }
    return {
        "resource": {"attributes": _to_attributes(record.resource)},
        "scopeLogs": [{"scope": {}, "logRecords": [item]}],
    }


def _to_attributes(attributes: Attributes, depth: int = 0) -> list[dict[str, Any]]:
    return [{"key": key, "value": _to_value(value, depth)} for key, value in attributes.items()]


def _to_value(value: Any, depth: int = 0) -> dict[str, Any]:
    if depth > _DEPTH_MAX:
        return {}
    if isinstance(value, str):
        return {"stringValue": value}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        word = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        return {"doubleValue": value if math.isfinite(value) else word}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_to_value(item, depth + 1) for item in value]}}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": _to_attributes(value, depth + 1)}}
    return {}


def _walk_json(body: bytes, outer: str, middle: str, inner: str) -> Iterable[tuple[Attributes, dict[str, Any], dict[str, Any]]]:
    document = _document(body)
    if not isinstance(document, dict):
        raise BadRequest(f"The body is no OTLP/JSON: an object with {outer} is expected.")
    for resource in _dicts(document.get(outer), outer):
        described = resource.get("resource")
        attributes = _json_attributes(described.get("attributes") if isinstance(described, dict) else None)
        for scope in _dicts(resource.get(middle), middle):
            named = scope.get("scope")
            for item in _dicts(scope.get(inner), inner):
                yield attributes, named if isinstance(named, dict) else {}, item


def _document(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        # JavaScript cuts texts in the middle of an emoji and writes the half as an escape, which is no Unicode: it becomes "?".
        if b"\\u" in body:
            return orjson.loads(json.dumps(json.loads(body), ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        pass
    raise BadRequest("The body is no JSON. Send OTLP as application/json or application/x-protobuf.")


def _dicts(value: Any, name: str) -> list[dict[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise BadRequest(f"The body is no OTLP/JSON: {name} is a list of objects.")
    return value


def _json_span(span: dict[str, Any]) -> DecodedSpan | str:
    trace_id, span_id = _hex(span.get("traceId"), 32), _hex(span.get("spanId"), 16)
    if not trace_id or not span_id:
        return "invalid_id"
    parsed = DecodedSpan()
    parsed.trace_id, parsed.span_id = trace_id, span_id
    parsed.parent_span_id = _hex(span.get("parentSpanId"), 16)
    parsed.name = _text(span.get("name"))
    parsed.otel_kind = _json_int(span.get("kind")) & 0xFF
    parsed.start_ns, parsed.end_ns = _json_int(span.get("startTimeUnixNano")), _json_int(span.get("endTimeUnixNano"))
    parsed.attributes = _json_attributes(span.get("attributes"))
    parsed.digest = binascii.crc32(orjson.dumps(parsed.attributes, option=orjson.OPT_SORT_KEYS))
    events = span.get("events")
    parsed.events = [
        (_text(event.get("name")), _json_int(event.get("timeUnixNano")), _json_attributes(event.get("attributes")))
        for event in (events if isinstance(events, list) else ())
        if isinstance(event, dict)
    ]
    status = span.get("status")
    status = status if isinstance(status, dict) else {}
    parsed.status_code = _json_int(status.get("code")) & 0xFF
    parsed.status_message = _text(status.get("message"))
    return parsed


def _hex(value: Any, digits: int) -> str:
    if not isinstance(value, str) or len(value) != digits:
        return ""
    lowered = value.lower()
    # Not `int(lowered, 16)`, which also takes signs, spaces and underscores.
    return lowered if _HEX_DIGITS.issuperset(lowered) and lowered.strip("0") else ""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _json_int(value: Any) -> int:
    """A 64-bit integer as a number or as text; anything else is 0, protobuf's default."""
    number = 0
    if isinstance(value, str) and len(value) <= 20 and value.removeprefix("-").isdecimal():
        number = int(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, float) and value.is_integer():
        number = int(value)
    return number if -_INT64_MAX <= number < 2 * _INT64_MAX else 0


def _json_attributes(items: Any) -> Attributes:
    attributes: Attributes = {}
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict) and isinstance(item.get("key"), str):
            attributes[item["key"]] = _json_value(item.get("value"))
    return attributes


def _json_value(value: Any, depth: int = 0) -> Any:
    if not isinstance(value, dict) or depth > _DEPTH_MAX:
        return None
    if "stringValue" in value:
        return _text(value["stringValue"])
    if "intValue" in value:
        return _json_int(value["intValue"])
    if "doubleValue" in value:
        number = value["doubleValue"]
        return float(number) if isinstance(number, int | float) or number in ("NaN", "Infinity", "-Infinity") else None
    if "boolValue" in value:
        return value["boolValue"] is True
    if "bytesValue" in value:
        return _text(value["bytesValue"])
    if isinstance(array := value.get("arrayValue"), dict):
        items = array.get("values")
        return [_json_value(item, depth + 1) for item in (items if isinstance(items, list) else ())]
    if isinstance(bag := value.get("kvlistValue"), dict):
        items = bag.get("values")
        pairs = [item for item in (items if isinstance(items, list) else ()) if isinstance(item, dict)]
        return {_text(item.get("key")): _json_value(item.get("value"), depth + 1) for item in pairs}
    return None
