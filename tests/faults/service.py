"""The service's door: gunicorn, and a visitor who signs up again and again."""

from __future__ import annotations

import http.client
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ..worker import Process, wait_until


class Answer(NamedTuple):
    """What a visitor was told."""

    address: str
    status: int
    body: str
    retry_after: str | None
    seconds: float


class Service:
    """The running service, seen from the outside."""

    def __init__(self, port: int) -> None:
        self.port = port

    @contextmanager
    def visited(self, name: str) -> Iterator[list[Answer]]:
        """Sign up during the block, one address after the other; yield the answers so far."""
        answers: list[Answer] = []
        over = threading.Event()
        errors: list[BaseException] = []

        def visit() -> None:
            try:
                while not over.is_set():
                    answers.append(self.sign_up(f"{name}{len(answers)}@example.com"))
                    over.wait(0.3)
            except BaseException as error:
                errors.append(error)

        visitor = threading.Thread(target=visit)
        visitor.start()
        try:
            yield answers
        finally:
            over.set()
            visitor.join()
        assert errors == []

    def sign_up(self, address: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        body = json.dumps({"email": address, "password": "correct horse battery staple"})
        began = time.monotonic()
        try:
            connection.request("POST", "/signup", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        retry_after = answer.getheader("Retry-After")
        return Answer(address, answer.status, text, retry_after, time.monotonic() - began)


@contextmanager
def service(environ: Mapping[str, str], log: Path) -> Iterator[Service]:
    """Run the service as the README says, on a port of 127.0.0.1."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--timeout", "120"]
    process = Process([*command, "mailer:create_app()"], environ, log)
    try:
        wait_until(lambda: _answers(port), 30, lambda: process.output)
        yield Service(port)
    finally:
        process.stop()


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
