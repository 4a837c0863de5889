"""A fake OpenAI on loopback that knows what it charged: every answer's usage is remembered, at the real prices of the model."""

import json
import threading
import time
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "gpt-4o-mini-2024-07-18"
PER_MILLION = {"input": Decimal("0.15"), "cached": Decimal("0.075"), "output": Decimal("0.60")}


class FakeProvider:
    """Serves `/v1/chat/completions`; the first word of the last message chooses what happens."""

    def __init__(self) -> None:
        self.charged: list[dict[str, int]] = []
        self._tokens = 100
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                provider.answer(self, body)

            def log_message(self, *_: Any) -> None:
                """Be quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def cost_usd(self) -> Decimal:
        """What all answers so far cost."""
        total = Decimal(0)
        for usage in self.charged:
            fresh = usage["input"] - usage["cached"]
            total += (
                fresh * PER_MILLION["input"] + usage["cached"] * PER_MILLION["cached"] + usage["output"] * PER_MILLION["output"]
            )
        return total / 1_000_000

    def total(self, kind: str) -> int:
        return sum(usage[kind] for usage in self.charged)

    def answer(self, request: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        word = str(body["messages"][-1]["content"]).split(" ")[0]
        if word == "fail429":
            return _send(request, 429, {"error": {"message": "Rate limit reached", "type": "rate_limit_error"}})
        if word == "fail500":
            return _send(request, 500, {"error": {"message": "The server had an error", "type": "server_error"}})
        if word == "slow":
            time.sleep(1.5)
        self._tokens += 7
        usage = {"input": self._tokens, "output": self._tokens // 3, "cached": self._tokens // 2 if word == "cached" else 0}
        if word != "slow":
            self.charged.append(usage)
        wire = {
            "prompt_tokens": usage["input"],
            "completion_tokens": usage["output"],
            "total_tokens": usage["input"] + usage["output"],
            "prompt_tokens_details": {"cached_tokens": usage["cached"]},
            "completion_tokens_details": {"reasoning_tokens": 0},
        }
        identity = f"chatcmpl-{self._tokens}"
        if body.get("stream"):
            return _stream(request, identity, wire)
        message: dict[str, Any] = {"role": "assistant", "content": "It lies on the Garonne."}
        if word == "tools":
            call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bordeaux"}'}}
            message = {"role": "assistant", "content": None, "tool_calls": [call]}
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if word == "tools" else "stop"}
        _send(
            request,
            200,
            {"id": identity, "object": "chat.completion", "created": 1, "model": MODEL, "choices": [choice], "usage": wire},
        )
        return None


def _send(request: BaseHTTPRequestHandler, status: int, body: dict[str, Any]) -> None:
    raw = json.dumps(body).encode()
    try:
        request.send_response(status)
        request.send_header("content-type", "application/json")
        request.send_header("content-length", str(len(raw)))
        request.end_headers()
        request.wfile.write(raw)
    except (BrokenPipeError, ConnectionResetError):
        return


def _stream(request: BaseHTTPRequestHandler, identity: str, usage: dict[str, Any]) -> None:
    head = {"id": identity, "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    chunks: list[dict[str, Any]] = [
        {**head, "choices": [{"index": 0, "delta": {"role": "assistant", "content": word}, "finish_reason": None}]}
        for word in ("It ", "lies ", "there.")
    ]
    chunks.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    chunks.append({**head, "choices": [], "usage": usage})
    request.send_response(200)
    request.send_header("content-type", "text/event-stream")
    request.send_header("connection", "close")
    request.end_headers()
    for chunk in chunks:
        request.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        request.wfile.flush()
        time.sleep(0.02)
    request.wfile.write(b"data: [DONE]\n\n")
    request.close_connection = True
