"""A server in this process that answers as a test says, also dishonestly."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Script:
    """Answers by path: a body, or a function that is given the request handler."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes | Callable[[BaseHTTPRequestHandler], None]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.url = ""
        self.ranges = True


def respond(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, **fields: str) -> None:
    handler.send_response(status)
    told = {"Content-Length": str(len(body)), **{k.replace("_", "-"): v for k, v in fields.items()}}
    for name, value in told.items():
        if value:
            handler.send_header(name, value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


def _handler(script: Script) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            script.asked.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
            answer = script.answers.get(self.path, script.answers.get(self.path.partition("?")[0]))
            self.close_connection = True
            try:
                if answer is None:
                    respond(self, b"nothing here", 404)
                elif callable(answer):
                    answer(self)
                else:
                    self._part(answer)
            except (BrokenPipeError, ConnectionResetError):
                pass

        def _part(self, body: bytes) -> None:
            wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            if not wanted or not script.ranges:
                respond(self, body, ETag='"e1"')
                return
            start, stop = int(wanted[1]), int(wanted[2]) + 1
            span = f"bytes {start}-{min(stop, len(body)) - 1}/{len(body)}"
            respond(self, body[start:stop], 206, ETag='"e1"', Content_Range=span)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@pytest.fixture
def serve() -> Iterator[Callable[[], Script]]:
    """Start a server on 127.0.0.1, as many as are asked for; all end with the test."""
    running = []

    def start() -> Script:
        script = Script()
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(script))
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        running.append((server, thread))
        script.url = f"http://127.0.0.1:{server.server_port}"
        return script

    yield start
    for server, thread in running:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def script(serve: Callable[[], Script]) -> Script:
    """One such server."""
    return serve()
