"""ClickHouse's HTTP protocol over chDB, for tests that run anywhere: `front.py FOLDER PORT` serves until its input closes.

What the product's driver uses of it: questions, commands and inserts, settings and bound parameters in the address or a form,
compressed bodies, errors with their numbers. Answers are made whole before they are sent. No users, no cluster.
"""

import gzip
import json
import re
import sys
import tempfile
import threading
from email.message import Message
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import chdb
import lz4.frame

TRANSPORT = {"database", "query", "query_id", "session_id", "session_timeout", "wait_end_of_query", "client_protocol_version"}
TRANSPORT |= {"enable_http_compression", "http_headers_progress_interval_ms", "send_progress_in_http_headers", "buffer_size"}
TRANSPORT |= {"default_format", "user", "password", "cancel_http_readonly_queries_on_client_close", "role", "compress"}
FORMAT = re.compile(r"\bFORMAT\s+(\w+)\s*;?\s*$", re.IGNORECASE)
INSERT = re.compile(rb"\A\s*(INSERT\s+INTO\s[^\n]*?)\s(FORMAT\s+\w+)[ \t]*(?:\n|\Z)", re.IGNORECASE | re.DOTALL)
CODE = re.compile(r"Code: (\d+)\.")


def quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def answer(folder: str, parameters: dict[str, str], body: bytes) -> tuple[bytes, str | None]:
    """Run one request; the answer and its format, which is None for a command."""
    handle = chdb.connect(folder)
    try:
        if parameters.get("database"):
            handle.query(f"USE `{parameters['database']}`")
        settings = {name: value for name, value in parameters.items() if name not in TRANSPORT}
        for name, value in sorted(settings.items(), key=lambda item: item[0] == "readonly"):
            handle.query(f"SET {name} = {quoted(value)}")
        head = parameters.get("query", "").encode()
        if (found := INSERT.match(head + b"\n" + body)) and not re.search(rb"\sSELECT\s", found.group(1), re.IGNORECASE):
            with tempfile.NamedTemporaryFile(prefix="front-") as file:
                file.write((head + b"\n" + body)[found.end() :])
                file.flush()
                handle.query(f"{found.group(1).decode()} FROM INFILE {quoted(file.name)} {found.group(2).decode()}")
            return b"", None
        sql = (head + b"\n" + body).decode()
        if (stated := FORMAT.search(sql)) or "default_format" in parameters:
            form = stated.group(1) if stated else parameters["default_format"]
            return handle.query(sql, form).bytes(), form
        # Only a question has a line of names, so a command is told from an empty answer.
        names, _, rows = handle.query(sql, "TabSeparatedWithNames").bytes().partition(b"\n")
        return (rows, "TabSeparated") if names else (b"", None)
    finally:
        handle.close()


class Front(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folder = ""

    def do_GET(self) -> None:
        if self.path == "/ping":
            self._send(200, b"Ok.\n", {})
            return
        self._run(b"")

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b"".join(iter(self._chunk, b""))
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        unpack = {"gzip": gzip.decompress, "lz4": lz4.frame.decompress}.get(self.headers.get("Content-Encoding", ""))
        self._run(unpack(body) if unpack else body)

    def _chunk(self) -> bytes:
        data = self.rfile.read(int(self.rfile.readline().split(b";")[0], 16))
        self.rfile.readline()
        return data

    def _run(self, body: bytes) -> None:
        parameters = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        if (kind := self.headers.get("Content-Type", "")).startswith("multipart/form-data"):
            form = BytesParser().parsebytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
            parts = [part for part in form.get_payload() if isinstance(part, Message)]
            fields = {str(part.get_param("name", header="content-disposition")): part.get_payload(decode=True) for part in parts}
            parameters |= {name: bytes(value).decode() for name, value in fields.items()}  # type: ignore[arg-type]
            body = b""
        try:
            raw, form_name = answer(self.folder, parameters, body)
            self._send(200, raw, {"X-ClickHouse-Format": form_name} if form_name else {})
        except RuntimeError as error:
            code = CODE.search(str(error))
            self._send(500, str(error).encode(), {"X-ClickHouse-Exception-Code": code.group(1) if code else "1002"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        summary = json.dumps({"read_rows": "0", "written_rows": "0", "result_rows": "0"})
        fixed = {"X-ClickHouse-Timezone": "UTC", "X-ClickHouse-Query-Id": "front", "X-ClickHouse-Summary": summary}
        for name, value in {**fixed, **headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


if __name__ == "__main__":
    Front.folder = sys.argv[1]
    kept = chdb.connect(Front.folder)
    kept.query("CREATE DATABASE IF NOT EXISTS `default`")
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Front)
    server.daemon_threads = True
    threading.Thread(target=lambda: (sys.stdin.buffer.read(), server.shutdown()), daemon=True).start()
    server.serve_forever()
