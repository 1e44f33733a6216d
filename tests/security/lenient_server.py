"""A raw SMTP server that is as lenient about line ends as those that smuggling needs."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

ENDS = (b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\n.\r", b"\r.\n")
"""What some server or other has taken for the end of a message, beside CRLF dot CRLF."""

_GOOD = b"\r\n.\r\n"


class Heard(NamedTuple):
    """What a lenient server took for messages, and for commands."""

    messages: list[bytes]
    commands: list[bytes]


@contextmanager
def lenient_server(*ends: bytes) -> Iterator[tuple[int, Heard]]:
    """Serve on a port; ``ends`` end a message too, and CR or LF alone a command."""
    heard = Heard([], [])
    end = re.compile(b"|".join(re.escape(one) for one in (_GOOD, *ends)))
    sockets: list[socket.socket] = []
    threads: list[threading.Thread] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                sockets.append(connection)
                start(converse, connection, end, heard)

    def start(target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        threads.append(thread)
        thread.start()

    start(accept)
    try:
        yield listener.getsockname()[1], heard
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in sockets:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(5)


_LINE = re.compile(rb"\r\n|\r|\n")
_REPLIES = {
    b"EHLO": b"250-lenient.example\r\n250 PIPELINING\r\n",
    b"DATA": b"354 go on\r\n",
    b"QUIT": b"221 bye\r\n",
}


def converse(connection: socket.socket, end: re.Pattern[bytes], heard: Heard) -> None:
    inbox = b""

    def read_until(pattern: re.Pattern[bytes]) -> bytes:
        nonlocal inbox
        while (found := pattern.search(inbox)) is None:
            piece = connection.recv(65_536)
            if not piece:
                raise ConnectionError
            inbox += piece
        before, inbox = inbox[: found.start()], inbox[found.end() :]
        return before

    with connection, suppress(OSError):
        connection.sendall(b"220 lenient.example ESMTP\r\n")
        while True:
            line = read_until(_LINE)
            heard.commands.append(line)
            verb = line[:4].upper()
            connection.sendall(_REPLIES.get(verb, b"250 ok\r\n"))
            if verb == b"DATA":
                inbox = b"\r\n" + inbox  # a message may begin with its end
                heard.messages.append(read_until(end)[2:])
                connection.sendall(b"250 taken\r\n")
