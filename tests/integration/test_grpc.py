"""OTLP over gRPC with OpenTelemetry's own stubs: the same spans, the same answers, the same refusals as over HTTP."""

import asyncio
import contextlib
import gc
import time
import tracemalloc
from collections.abc import Iterator

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from live import LiveCollector, free_port
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from otlp_kit import S, request, span_hex, trace_hex
from slow_grpc import SlowSender

from spanledger_collector.settings import MIB

CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.usage.input_tokens": 100,
    "gen_ai.usage.output_tokens": 10,
}


@pytest.fixture(scope="module")
def live() -> Iterator[tuple[LiveCollector, grpc.Channel]]:
    port = free_port()
    collector = LiveCollector(grpc_port=port)
    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    yield collector, channel
    channel.close()
    collector.stop()


def test_spans_over_grpc_are_counted(live: tuple[LiveCollector, grpc.Channel]) -> None:
    collector, channel = live
    message = ExportTraceServiceRequest.FromString(request(S(1, attrs=CHAT), S(2, 1, attrs=CHAT)))
    message.resource_spans[0].scope_spans[0].spans[1].trace_id = b"short"
    answer = TraceServiceStub(channel).Export(
        message, metadata=[("x-spanledger-project", "rpc")], compression=grpc.Compression.Gzip
    )
    assert answer.partial_success.rejected_spans == 1
    assert "a trace id has 16 bytes" in answer.partial_success.error_message
    assert collector.ask(["input_tokens", "spans"], "rpc") == [{"input_tokens": 100, "spans": 1}]
    assert collector.value("spans", "default") == 0


def test_logs_over_grpc_join_their_spans(live: tuple[LiveCollector, grpc.Channel]) -> None:
    collector, channel = live
    collector.send(request(S(1, attrs=CHAT, trace=7)), "rpc-logs")
    message = ExportLogsServiceRequest()
    record = message.resource_logs.add().scope_logs.add().log_records.add()
    record.event_name = "gen_ai.choice"
    record.trace_id, record.span_id = bytes.fromhex(trace_hex(7)), bytes.fromhex(span_hex(1))
    record.time_unix_nano = time.time_ns()
    pair = record.body.kvlist_value.values.add()
    pair.key, pair.value.string_value = "finish_reason", "length"
    LogsServiceStub(channel).Export(message, metadata=[("x-spanledger-project", "rpc-logs")])
    assert collector.value("failures", "rpc-logs") == 1


def test_what_is_no_otlp_is_refused_and_costs_nobody_else(live: tuple[LiveCollector, grpc.Channel]) -> None:
    _, channel = live
    export = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
    with pytest.raises(grpc.RpcError) as refused:
        export(b"\xff\xff\xff not protobuf")
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.RpcError) as named:
        export(b"", metadata=[("x-spanledger-project", " ")])
    assert named.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert export(b"") is not None


def test_with_a_key_every_call_needs_it() -> None:
    port = free_port()
    collector = LiveCollector(grpc_port=port, bootstrap_key="sl-secret")
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = TraceServiceStub(channel)
            message = ExportTraceServiceRequest.FromString(request(S(1, attrs=CHAT)))
            with pytest.raises(grpc.RpcError) as refused:
                stub.Export(message)
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
            stub.Export(message, metadata=[("authorization", "Bearer sl-secret")])
    finally:
        collector.stop()


def test_a_crowd_of_slow_senders_takes_bounded_memory_and_good_senders_get_through() -> None:
    port = free_port()
    collector = LiveCollector(grpc_port=port, body_bytes_max=MIB, open_bytes_max=4 * MIB)
    message = ExportTraceServiceRequest.FromString(request(S(1, attrs=CHAT)))
    try:
        crowd = asyncio.run(_stall(port, 40, message))
        assert 3 * MIB < sum(sender.sent for sender in crowd) < 4 * MIB + 40 * 70_000, "more is not let out of their hands"
        assert collector.value("spans", "beside") == 1
    finally:
        collector.stop()


async def _stall(port: int, count: int, message: ExportTraceServiceRequest) -> list[SlowSender]:
    crowd = [SlowSender(MIB - 100) for _ in range(count)]
    sending = [asyncio.create_task(sender.send(port, MIB - 2_000, 8)) for sender in crowd]
    await asyncio.sleep(0.3)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        export = TraceServiceStub(channel).Export
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await export(message, metadata=[("x-spanledger-project", "beside")])
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        trailers = dict(refused.value.trailing_metadata())
        (detail,) = Status.FromString(trailers["grpc-status-details-bin"]).details
        retry = RetryInfo()
        assert detail.Unpack(retry), "exporters send again what says when"
        await asyncio.sleep(retry.retry_delay.seconds)
        await export(message, metadata=[("x-spanledger-project", "beside")])
    for task, sender in zip(sending, crowd, strict=True):
        task.cancel()
        sender.close()
    return crowd


def test_messages_are_forgotten_when_they_are_answered(live: tuple[LiveCollector, grpc.Channel]) -> None:
    _, channel = live
    export = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
    large = request(S(1)) + b"\xba\x3e" + b"\x80\x80\x80\x02" + b"x" * (4 * MIB)  # a field that nobody knows
    refused = b"\xff" * 4 * MIB
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        for body in (large, refused) * 3:
            with contextlib.suppress(grpc.RpcError):
                export(body)
        assert tracemalloc.get_traced_memory()[0] < 4 * MIB, "not one of six, without the interpreter's search for rings"
    finally:
        tracemalloc.stop()
        gc.enable()
