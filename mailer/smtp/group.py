"""A group: several messages that travel at once (CHUNKING, RFC 3030, with PIPELINING, RFC 2920).

One write and one wait for all of them. To a server next door that leaves a tenth of what it costs
to hand over one message at a time, and over a round trip of 20 ms one connection does the work of
ten.
"""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic
from typing import NamedTuple

from ..outcome import Kind
from .reply import Reply
from .wire import Broken, Wire

_STAGES = ("rset", "mail", "rcpt")
_GOODBYE = 421


class Verdict(NamedTuple):
    """What became of one message."""

    kind: Kind
    stage: str
    reply: Reply | None = None
    words: str = ""


class Group:
    """Messages for one write. RSET goes before each: what the server refused of one must not be in
    the way of the next, nor the sender of one be taken for that of the next."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._shown: list[str] = []
        self._ends: list[int] = []
        """Where in the whole each message ends."""

    def add(self, commands: str, message: bytes) -> None:
        """Add a message, with its MAIL and RCPT."""
        said = f"RSET\r\n{commands}BDAT {len(message)} LAST\r\n"
        head = said.encode()
        start = self._ends[-1] if self._ends else 0
        self._pieces += (head, message)
        self._shown += (said, f"({len(message)} bytes of message)\n")
        self._ends.append(start + len(head) + len(message))

    def exchange(
        self, wire: Wire, *, writing: float, command: float, final: float
    ) -> Iterator[Verdict]:
        """Send all, and yield what became of each, in order.

        The write takes at most ``writing`` seconds, the reply to a command ``command``, and all of
        them together ``final``. Raises `Broken` once the conversation is over: nothing of the
        messages whose turn would have come next can have been accepted.
        """
        if not self._ends:
            return
        over: Broken | None = None
        try:
            wire.write("data", b"".join(self._pieces), writing, shown="".join(self._shown))
        except Broken as broken:
            over = broken
            command = final = 0  # a server that hangs up half-way may have said why
        left = sum(end <= wire.written for end in self._ends)
        wire.until = monotonic() + final
        heard: list[Verdict] = []
        goodbye = False
        try:
            while len(heard) < len(self._ends):
                heard.append(_hear(wire, command, final, whole=len(heard) < left))
        except Broken as broken:
            over = over or broken
            last = broken.reply or (heard[-1].reply if heard else None)
            goodbye = last is not None and last.code == _GOODBYE
        else:
            if wire.unread and not wire.unread.startswith(b"421"):
                heard.clear()  # which reply was meant for which message, nobody knows
                over = Broken("dot", "the server spoke out of turn")
        yield from heard
        if over is not None:
            if not goodbye:
                for _ in range(left - len(heard)):
                    yield Verdict(Kind.AMBIGUOUS, "dot", words=over.words)
            raise over


def _hear(wire: Wire, command: float, final: float, *, whole: bool) -> Verdict:
    """Read the replies about one message, of which all has left or not."""
    refused: tuple[str, Reply] | None = None
    for stage in _STAGES:
        reply = wire.hear(stage, command)
        if reply.code == _GOODBYE:
            raise Broken(stage, "", reply)
        if reply.code >= 400 and stage != "rset":
            refused = refused or (stage, reply)
        elif reply.code >= 300:
            raise Broken(stage, f"unexpected reply {reply.code} to {stage.upper()}")
    reply = wire.hear("dot", final)
    if reply.code >= 400:
        stage, reply = refused or ("dot", reply)
        return Verdict(Kind.REFUSED if reply.code >= 500 else Kind.DEFERRED, stage, reply)
    if reply.code >= 300 or refused or not whole:
        raise Broken("dot", f"unexpected reply {reply.code} to the message")
    return Verdict(Kind.SENT, "dot", reply)
