"""gunicorn's worker with threads, which gives no client a thread for longer than it takes.

A thread reads a request to its end, whenever that comes: a handful of clients that send a byte a
minute, or that are gone without a word, would have all threads. And what gunicorn itself refuses it
answers with a page, and logs with the client's address and the path.
"""

from __future__ import annotations

import io
import json
import socket
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

from gunicorn.http import errors
from gunicorn.workers.gthread import TConn, ThreadWorker

_STATUSES: dict[type[Exception], HTTPStatus] = {
    errors.LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    errors.LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    errors.UnsupportedTransferCoding: HTTPStatus.NOT_IMPLEMENTED,
    errors.ExpectationFailed: HTTPStatus.EXPECTATION_FAILED,
    errors.ConfigurationProblem: HTTPStatus.INTERNAL_SERVER_ERROR,
}


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """Counts the seconds of each request. Its heartbeat looks once a second who is late."""

    wsgi: Callable[..., Iterable[bytes]]
    request_seconds = 60.0
    """From the first byte of a request to the last of its body, and then of its answer. 13 MB of
    attachments take 17 s at 6 Mbit/s."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._late_at: dict[TConn, float] = {}
        self._looked_at = 0.0

    def load_wsgi(self) -> None:
        super().load_wsgi()
        app = self.wsgi

        def serve(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
            environ["wsgi.input"] = _Input(environ["wsgi.input"])
            return app(environ, start)

        self.wsgi = serve

    def handle(self, conn: TConn) -> Any:
        self._late_at[conn] = time.monotonic() + self.request_seconds
        try:
            return super().handle(conn)
        finally:
            del self._late_at[conn]

    def notify(self) -> None:
        super().notify()
        now = time.monotonic()
        if now - self._looked_at < 1:
            return  # it is called at each event
        self._looked_at = now
        for conn, late_at in list(self._late_at.items()):
            if now > late_at:
                # Whoever reads from it finds its end, at once; what is answered still goes out.
                try:
                    conn.sock.shutdown(socket.SHUT_RD)
                except OSError:
                    pass  # it is gone

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """Answer what never came to the app, in the form of the API's errors."""
        status = _status(exc)
        is_bug = status == HTTPStatus.INTERNAL_SERVER_ERROR
        self.log.log(
            "error" if is_bug else "warning",
            "request=- status=%d error=%s",
            status,
            type(exc).__name__,
            exc_info=exc if is_bug else None,
        )
        try:
            client.sendall(_answer(status))
        except OSError:
            pass  # it is gone


class _Input(io.RawIOBase):
    """A request's body. One whose chunks are malformed fails as one that breaks off does, which
    Werkzeug takes for the client's fault, not as a bug."""

    def __init__(self, body: Any) -> None:
        self._body = body

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._body.read(len(buffer))
        except errors.ParseException as error:
            raise OSError("the body is malformed") from error
        buffer[: len(data)] = data
        return len(data)


def _status(exc: Exception) -> HTTPStatus:
    for kind, status in _STATUSES.items():
        if isinstance(exc, kind):
            return status
    malformed = isinstance(exc, errors.ParseException | errors.NoMoreData)
    return HTTPStatus.BAD_REQUEST if malformed else HTTPStatus.INTERNAL_SERVER_ERROR


def _answer(status: HTTPStatus) -> bytes:
    name = "internal_server_error" if status >= 500 else "invalid_request"
    body = json.dumps({"statusCode": status, "name": name, "message": status.phrase}).encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
