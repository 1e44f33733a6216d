"""A receiver of webhooks on 127.0.0.1 whose answers are scripted."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

Act = Callable[["Conversation"], None]


class Heard(NamedTuple):
    """One request."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def type(self) -> str:
        found: str = self.document["type"]
        return found

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


class Conversation(NamedTuple):
    """A connection whose request was heard."""

    connection: socket.socket
    ended: threading.Event

    def say(self, text: str) -> None:
        self.connection.sendall(text.encode())

    def wait(self) -> None:
        """Do nothing until the receiver stops."""
        self.ended.wait(60)


def answer(status: str = "200 OK", text: str = "", **headers: str) -> Act:
    """Answer with a status and headers: ``answer("429 Too Many", retry_after="7")``."""
    fields = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())

    def act(conversation: Conversation) -> None:
        length = len(text.encode())
        conversation.say(f"HTTP/1.1 {status}\r\n{fields}Content-Length: {length}\r\n\r\n{text}")

    return act


def hang(conversation: Conversation) -> None:
    """Say nothing."""
    conversation.wait()


def close(conversation: Conversation) -> None:
    """Say nothing and hang up."""


def drip(piece: str, first: str = "") -> Act:
    """Say ``first``, then ``piece`` again and again, five times a second."""

    def act(conversation: Conversation) -> None:
        conversation.say(first)
        with suppress(OSError):
            while not conversation.ended.wait(0.2):
                conversation.say(piece)

    return act


class Receiver:
    """Plays ``script``, the last act for ever; with ``context`` it speaks TLS."""

    def __init__(self, *script: Act, context: ssl.SSLContext | None = None) -> None:
        self.script = list(script) or [answer()]
        self.heard: list[Heard] = []
        self.connections = 0
        self._context = context
        self._changed = threading.Condition()
        self._ended = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        return f"{'https' if self._context else 'http'}://127.0.0.1:{self.port}/hook?shop=7"

    def types(self) -> list[str]:
        return [one.type for one in self.heard]

    def wait_for(self, number: int, seconds: float = 10) -> list[Heard]:
        """Wait until so many requests were heard."""
        with self._changed:
            there = self._changed.wait_for(lambda: len(self.heard) >= number, seconds)
        assert there, f"heard {self.types()}"
        return self.heard

    def stop(self) -> None:
        self._ended.set()
        self._listening.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                self.connections += 1
                threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(20)
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
            with connection, connection.makefile("rb") as file:
                heard = _read(file)
                if heard is None:
                    return
                with self._changed:
                    act = self.script.pop(0) if len(self.script) > 1 else self.script[0]
                    self.heard.append(heard)
                    self._changed.notify_all()
                act(Conversation(connection, self._ended))


def _read(file: Any) -> Heard | None:
    line = file.readline().decode("latin-1").strip()
    if not line:
        return None
    headers = {}
    while field := file.readline().decode("latin-1").strip():
        name, _, value = field.partition(": ")
        headers[name.lower()] = value
    return Heard(line, headers, file.read(int(headers.get("content-length", 0))))


@contextmanager
def receiver(*script: Act, context: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """Run one."""
    running = Receiver(*script, context=context)
    try:
        yield running
    finally:
        running.stop()


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)
