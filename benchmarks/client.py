"""A client that costs next to nothing: ready-made requests over connections that are kept.

``client PORT KEY REQUESTS BATCH CONNECTIONS``. Each connection sends its next request once the
answer is there. Prints one line of JSON: how long it took, its own CPU seconds, and how many emails
it sent with those that warmed the server up.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time

from mailer.dev.ports import HOST

from . import work

WARM_UP = 200
"""Emails, before what is measured."""


def bodies(number: int, batch: int) -> list[bytes]:
    """Return so many requests' bodies: an email each, or a batch of them."""
    emails = [
        {
            "from": work.SENDER,
            "to": [work.recipient(one)],
            "template": {"id": "order", "variables": work.context(one)},
        }
        for one in range(number * batch)
    ]
    if batch == 1:
        return [json.dumps(one).encode() for one in emails]
    return [
        json.dumps(emails[first : first + batch]).encode() for first in range(0, len(emails), batch)
    ]


def requests(key: str, number: int, batch: int) -> list[bytes]:
    path = "/api/emails" if batch == 1 else "/api/emails/batch"
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {key}\r\n"
        "Content-Type: application/json\r\nContent-Length: "
    )
    return [b"%s%d\r\n\r\n%s" % (head.encode(), len(one), one) for one in bodies(number, batch)]


def run(port: int, ready: list[bytes], connections: int) -> None:
    """Send all of them."""
    selector = selectors.DefaultSelector()
    waiting = iter(ready)

    def send(connection: socket.socket) -> None:
        request = next(waiting, None)
        if request is None:
            selector.unregister(connection)
            connection.close()
        else:
            connection.sendall(request)

    for _ in range(min(connections, len(ready))):
        connection = socket.create_connection((HOST, port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(connection, selectors.EVENT_READ, connection)
        send(connection)
    while selector.get_map():
        for key, _ in selector.select():
            _read(key.data)
            send(key.data)


def _read(connection: socket.socket) -> None:
    """Read one answer; end when it is no good one."""
    answer = connection.recv(65_536)
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise SystemExit(f"expected an email to be accepted, got {answer.decode()!r}")
    head, _, body = answer.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    left = length - len(body)
    while left > 0:
        left -= len(connection.recv(left))


def main(port: str, key: str, number: str, batch: str, connections: str) -> None:
    each = int(batch)
    warm = requests(key, WARM_UP // each, each)
    ready = requests(key, int(number), each)
    run(int(port), warm, int(connections))
    began, cpu = time.perf_counter(), time.process_time()
    run(int(port), ready, int(connections))
    took, used = time.perf_counter() - began, time.process_time() - cpu
    emails = (len(warm) + len(ready)) * each
    print(json.dumps({"took": took, "cpu": used, "emails": emails}))


if __name__ == "__main__":
    main(*sys.argv[1:])
