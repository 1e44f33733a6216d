"""How a server can misbehave in place of a reply, and the other end that it does that to."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Callable

TARPIT_SECONDS = 0.3
"""A pause that a client must bear."""
DRIP_SECONDS = 0.15
"""Between two bytes: no wait for one byte is ever long, only the whole is."""
SLOW_SECONDS = 1.0
"""What it takes to think about a message when asked to be slow: most of what a client bears."""
HANG_SECONDS = 60


class Left(Exception):
    """The conversation is over: the client has left, or is left."""


class Peer:
    """The client's end of a connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._inbox = b""
        self._read_to = 0

    def line(self) -> bytes:
        while (end := self._inbox.find(b"\n", self._read_to) + 1) == 0:
            self._read()
        line = self._inbox[self._read_to : end]
        self._read_to = end
        return line

    def take(self, size: int) -> bytes:
        """Return so many bytes."""
        pieces = []
        while size:
            if self._read_to == len(self._inbox):
                self._read()
            piece = self._inbox[self._read_to : self._read_to + size]
            pieces.append(piece)
            size -= len(piece)
            self._read_to += len(piece)
        return b"".join(pieces)

    def say(self, words: bytes) -> None:
        self.sock.sendall(words)

    def wait(self, seconds: float) -> None:
        """Wait so long, or until the client leaves, which raises `Left`."""
        deadline = time.monotonic() + seconds
        while (rest := deadline - time.monotonic()) > 0:
            if select.select([self.sock], [], [], rest)[0]:
                self._read()

    def ignore(self, seconds: float) -> None:
        """Read nothing for so long, then all that was sent meanwhile."""
        time.sleep(seconds)
        self.wait(HANG_SECONDS)

    def _read(self) -> None:
        data = self.sock.recv(65_536)
        if not data:
            raise Left
        self._inbox = self._inbox[self._read_to :] + data
        self._read_to = 0


def _reset(peer: Peer, good: bytes) -> None:
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise Left


def _drop(peer: Peer, good: bytes) -> None:
    raise Left


def _hang(peer: Peer, good: bytes) -> None:
    peer.wait(HANG_SECONDS)
    raise Left


def _late(peer: Peer, good: bytes) -> None:
    """Answer when nobody listens any more."""
    try:
        peer.wait(HANG_SECONDS)
    finally:
        peer.say(good)


def _drip(peer: Peer, good: bytes) -> None:
    for byte in good:
        peer.say(bytes([byte]))
        peer.wait(DRIP_SECONDS)


def _endless(peer: Peer, good: bytes) -> None:
    while True:
        peer.say(b"%s-and more\r\n" % good[:3])
        peer.wait(DRIP_SECONDS)


def _huge(peer: Peer, good: bytes) -> None:
    peer.say(b"%s-%s\r\n" % (good[:3], b"x" * 1_000_000) + good)
    _hang(peer, good)


def _tarpit(peer: Peer, good: bytes) -> None:
    peer.wait(TARPIT_SECONDS)
    peer.say(good)


def _slow(peer: Peer, good: bytes) -> None:
    peer.wait(SLOW_SECONDS)
    peer.say(good)


def _instead(words: bytes, *, then: Callable[[Peer, bytes], None] | None = None) -> Misdeed:
    def say(peer: Peer, good: bytes) -> None:
        peer.say(words)
        if then is not None:
            then(peer, good)

    return say


Misdeed = Callable[[Peer, bytes], None]

MISDEEDS: dict[str, Misdeed] = {
    "4xx": _instead(b"451 4.3.0 later\r\n"),
    "5xx": _instead(b"550 5.1.1 never\r\n"),
    "full": _instead(b"552 5.2.2 full\r\n"),
    "421": _instead(b"421 4.3.2 closing\r\n", then=_drop),
    "stays": _instead(b"421 4.7.0 try again later\r\n"),
    "452": _instead(b"452 4.3.1 no space left\r\n", then=_drop),
    "454": _instead(b"454 4.7.0 not now\r\n"),
    "530": _instead(b"530 5.7.0 log in first\r\n"),
    "535": _instead(b"535 5.7.8 wrong password\r\n"),
    "554": _instead(b"554 5.3.2 go away\r\n", then=_drop),
    "garbage": _instead(b"hello there\r\n"),
    "drop": _drop,
    "reset": _reset,
    "hang": _hang,
    "late": _late,
    "drip": _drip,
    "endless": _endless,
    "huge": _huge,
    "early": lambda peer, good: peer.say(good + b"250 2.0.0 and one too many\r\n"),
    "tarpit": _tarpit,
    "slow": _slow,
}
"""By name: each is given what a good server would say, and says it, or does not, in its way."""

ARE_ANSWERS = {"4xx", "5xx", "full", "stays", "tarpit"}
"""After these the conversation can go on."""
SAY_WHAT_IS_GOOD = {"late", "drip", "early", "tarpit", "slow"}
