from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

Serve = Callable[..., "Web"]


class Web:
    """A server on 127.0.0.1 that answers as it was told, and remembers what it was asked."""

    def __init__(self, answers: dict[str, Any], context: ssl.SSLContext | None) -> None:
        self.asked: list[str] = []
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.asked.append(self.path)
                status, body = answers.get(self.path, (404, b""))
                self.send_response(status)
                if status in {301, 302}:
                    self.send_header("Location", body)
                    body = b""
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if context is not None:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(10)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers: ``serve({"/path": (200, b"body")}, context)``."""
    started: list[Web] = []

    def start(answers: dict[str, Any], context: ssl.SSLContext | None = None) -> Web:
        started.append(Web(answers, context))
        return started[-1]

    yield start
    for web in started:
        web.close()
