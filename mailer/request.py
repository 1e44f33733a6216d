"""One HTTP request to another's server: pinned to checked addresses, bounded in time and size.

The standard library's HTTP on a connection of our own: no redirect is followed, no proxy of the
environment used, and one deadline holds for all of it, from connecting to the last byte, which
timeouts of single reads do not give.
"""

from __future__ import annotations

import io
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from functools import cache
from http.client import HTTPException, HTTPResponse
from typing import Any, Literal, NamedTuple, cast

from .destination import Destination

CONNECT_SECONDS = 5.0
ANSWER_MAX = 2_000
"""So much of an answer is read, in bytes."""

Method = Literal["GET", "POST"]


class Answer(NamedTuple):
    """What a server answered."""

    code: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    """Its beginning."""


class NoAnswer(Exception):
    """There was none: says why."""


def ask(
    method: Method,
    destination: Destination,
    addresses: Sequence[str],
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    *,
    seconds: float,
    connect_seconds: float = CONNECT_SECONDS,
    answer_max: int = ANSWER_MAX,
) -> Answer:
    """Ask the first of ``addresses`` that can be connected to. Raises NoAnswer."""
    until = time.monotonic() + seconds
    try:
        with _connected(destination, addresses, until, connect_seconds) as connection:
            connection.settimeout(_left(until))
            connection.sendall(_written(method, destination, headers or {}, body))
            with HTTPResponse(cast(Any, _Timed(connection, until)), method=method) as response:
                response.begin()
                named = {name.lower(): value for name, value in response.getheaders()}
                return Answer(response.status, named, _beginning(response, answer_max))
    except TimeoutError as error:
        raise NoAnswer(f"it took longer than {seconds:g} s") from error
    except ssl.SSLCertVerificationError as error:
        raise NoAnswer(f"its certificate is refused: {error.verify_message}") from error
    except (HTTPException, OSError, ValueError) as error:
        raise NoAnswer(f"no answer: {error or type(error).__name__}") from error


def _beginning(response: HTTPResponse, most: int) -> bytes:
    try:
        return response.read(most)
    except (HTTPException, OSError):
        return b""  # its status was heard, and that counts


def _connected(
    destination: Destination, addresses: Sequence[str], until: float, connect_seconds: float
) -> socket.socket:
    error: OSError | None = None
    for address in addresses:
        try:
            seconds = min(connect_seconds, _left(until))
            opened = socket.create_connection((address, destination.port), timeout=seconds)
        except TimeoutError:
            error = OSError(f"cannot connect to {address} within {seconds:g} s")
        except OSError as refused:
            error = OSError(f"cannot connect to {address}: {refused.strerror or refused}")
        else:
            return opened if destination.scheme == "http" else _secured(opened, destination, until)
    raise error or OSError("it has no address")


def _secured(opened: socket.socket, destination: Destination, until: float) -> socket.socket:
    # The name that was asked for, not the address, is what its certificate must be for.
    try:
        opened.settimeout(_left(until))
        return _context().wrap_socket(opened, server_hostname=destination.host)
    except BaseException:
        opened.close()
        raise


@cache
def _context() -> ssl.SSLContext:
    return ssl.create_default_context()  # reads all authorities: 20 ms


def _written(
    method: Method, destination: Destination, headers: Mapping[str, str], body: bytes
) -> bytes:
    length = {"Content-Length": str(len(body))} if method == "POST" else {}
    fields = {"Host": destination.authority, **headers, **length, "Connection": "close"}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {destination.target} HTTP/1.1\r\n{head}\r\n".encode("ascii") + body


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class _Timed(io.RawIOBase):
    """A socket as `HTTPResponse` reads one, until an instant, however slowly bytes drip in."""

    def __init__(self, connection: socket.socket, until: float) -> None:
        self._connection = connection
        self._until = until

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._connection.settimeout(_left(self._until))
        return self._connection.recv_into(buffer)
