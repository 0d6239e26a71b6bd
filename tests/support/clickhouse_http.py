"""ClickHouse's HTTP interface over the embedded engine: stands for a server in tests. The product never imports it.

What clickhouse-connect needs: `/ping`, statements in the body or the URL, parameters (`param_…`, also as a form), settings,
`INSERT … FORMAT X` with data behind, compressed bodies, and errors as a server words them. Every request gets a session of
its own, as a server gives one without a session id. Run it as `python -m tests.support.clickhouse_http DIRECTORY [PORT]`.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import chdb
import lz4.frame

_TRANSPORT = {
    "query",
    "database",
    "session_id",
    "session_timeout",
    "session_check",
    "query_id",
    "quota_key",
    "compress",
    "decompress",
    "wait_end_of_query",
    "buffer_size",
    "client_protocol_version",
    "role",
    "default_format",
    "user",
    "password",
    "enable_http_compression",
    "send_progress_in_http_headers",
    "http_headers_progress_interval_ms",
    "cancel_http_readonly_queries_on_client_close",
}
_INSERT = re.compile(rb"^\s*(INSERT\s+INTO\s.*?)\bFORMAT\s+(\w+)[ \t]*(?:;|\n|$)", re.IGNORECASE | re.DOTALL)
_FORMAT = re.compile(rb"\bFORMAT\s+(\w+)\s*;?\s*$")
_UNKNOWN = 1002


class ClickHouseHttp(ThreadingHTTPServer):
    """Serves one data directory."""

    daemon_threads = True

    def __init__(self, directory: Path, port: int = 0, handler: type[_Handler] | None = None) -> None:
        super().__init__(("127.0.0.1", port), handler or _Handler)
        self.directory = directory
        #: While this file exists, an insert is answered for ever: a byte now and then, so that no timeout of a read fires.
        self.drips = directory.parent / "drips"
        #: Keeps the engine open between requests.
        self.engine = chdb.connect(str(directory))  # type: ignore[no-untyped-call]

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def start(self) -> None:
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.shutdown()
        self.server_close()
        self.engine.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ClickHouseHttp

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        if urlsplit(self.path).path == "/ping":
            self._reply(200, b"Ok.\n")
        else:
            self.do_POST()

    def do_POST(self) -> None:
        given = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        body = self._form(self._body(), given)
        statement = given["query"].encode() + b"\n" + body if "query" in given else body
        if self.server.drips.exists() and _INSERT.match(statement):
            self._drip()
            return
        session = chdb.connect(str(self.server.directory))  # type: ignore[no-untyped-call]
        try:
            with suppress(ConnectionError):  # a client that gave up needs no answer
                self._reply(*self._answer(session, statement, given))
        finally:
            session.close()

    def _drip(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        with suppress(ConnectionError):
            while self.server.drips.exists():
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(0.2)
        self.close_connection = True

    def _answer(self, session: Any, statement: bytes, given: Mapping[str, str]) -> tuple[int, bytes, dict[str, str]]:
        query_id = {"X-ClickHouse-Query-Id": given.get("query_id", "")}
        try:
            _prepare(session, given)
            insert = _INSERT.match(statement)
            if insert and insert[2].upper() != b"VALUES":
                return 200, b"", query_id | _insert(session, insert, statement[insert.end() :])
            wanted = _FORMAT.search(statement)
            name = wanted[1].decode() if wanted else given.get("default_format", "TabSeparated")
            parameters = {key[6:]: value for key, value in given.items() if key.startswith("param_")}
            result = session.query(statement, name, params=parameters)
        except Exception as error:
            return _error(str(error))
        data = bytes(result.bytes() or b"")
        summary = {"read_rows": str(result.rows_read()), "read_bytes": str(result.bytes_read()), "written_rows": "0"}
        headers = query_id | {"X-ClickHouse-Summary": json.dumps(summary)}
        if data or re.match(rb"\s*(SELECT|WITH|SHOW|DESC|EXISTS|EXPLAIN)", statement, re.IGNORECASE):
            headers["X-ClickHouse-Format"] = name
        return 200, data, headers

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            data = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return _decompressed(data, self.headers.get("Content-Encoding", ""))

    def _form(self, body: bytes, given: dict[str, str]) -> bytes:
        """Parameters sent as a form go into `given`; what is left of the body."""
        kind = self.headers.get("Content-Type", "")
        if "multipart/form-data" not in kind:
            return body
        for part in body.split(b"--" + kind.split("boundary=")[1].encode())[1:-1]:
            head, value = part[2:-2].split(b"\r\n\r\n", 1)
            name = re.search(rb'name="([^"]+)"', head)
            assert name is not None
            given[name[1].decode()] = value.decode()
        return b""

    def _reply(self, code: int, data: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in {"X-ClickHouse-Timezone": "UTC", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _prepare(session: Any, given: Mapping[str, str]) -> None:
    if given.get("database"):
        session.query("USE `{}`".format(given["database"].replace("`", "\\`")), "TabSeparated")
    for name, value in given.items():
        if name not in _TRANSPORT and not name.startswith("param_"):
            quoted = value.replace("\\", "\\\\").replace("'", "\\'")
            session.query(f"SET {re.sub(r'[^A-Za-z0-9_]', '', name)} = '{quoted}'", "TabSeparated")


def _insert(session: Any, head: re.Match[bytes], data: bytes) -> dict[str, str]:
    # From a file: the engine's streaming insert reports rows as written that it refused, for want of space for instance.
    with tempfile.NamedTemporaryFile(suffix=".data") as file:
        file.write(data)
        file.flush()
        statement = f"{head[1].decode()} FROM INFILE '{file.name}' COMPRESSION 'none' FORMAT {head[2].decode()}"
        written = session.query(statement, "TabSeparated").rows_read()
    return {"X-ClickHouse-Summary": json.dumps({"written_rows": str(written)})}


def _decompressed(data: bytes, encoding: str) -> bytes:
    if encoding == "lz4":
        whole = b""
        while data:  # several frames
            frame = lz4.frame.LZ4FrameDecompressor()
            whole += frame.decompress(data)
            data = frame.unused_data or b""
        return whole
    if encoding == "gzip":
        return gzip.decompress(data)
    return zlib.decompress(data) if encoding == "deflate" else data


def _error(text: str) -> tuple[int, bytes, dict[str, str]]:
    message = text[max(text.find("Code: "), 0) :]
    found = re.match(r"Code: (\d+)", message)
    code = found[1] if found else str(_UNKNOWN)
    return (404 if code in ("60", "81") else 500), message.encode(), {"X-ClickHouse-Exception-Code": code}


def main() -> None:
    server = ClickHouseHttp(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    print(f"port {server.port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
