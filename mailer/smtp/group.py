"""A group: several messages that travel at once (CHUNKING, RFC 3030, with PIPELINING, RFC 2920).

One write and one wait for all of them. To a server next door that leaves a tenth of what it costs
to hand over one message at a time, and over a round trip of 20 ms one connection does the work of
ten.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from time import monotonic
from typing import NamedTuple

from ..outcome import Kind
from .reply import Reply
from .wire import Broken, Wire

_STAGES = ("rset", "mail", "rcpt", "dot")
_GOODBYE = 421
_GOODBYE_SECONDS = 1.0
"""Many a server says 421 as a refusal for now, stays, and takes what follows: it has not said
goodbye unless it hangs up within so long."""


_NO_COMMAND = range(500, 505)
"""Replies to BDAT that say nothing about the message: so answers a server behind something that
knows no BDAT and lets the offer of it pass."""


class OutOfStep(Broken):
    """The server's replies do not belong to our commands: how many it answers, nobody knows. Or it
    answers none with a message."""


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
        heard: list[Verdict] = []
        try:
            over, in_doubt = self._converse(wire, heard, writing, command, final)
        except BaseException:
            # A time limit strikes anywhere. A 250 that was heard by then is one all the same.
            yield from heard
            raise
        yield from heard
        if over is not None:
            for _ in range(in_doubt):
                yield Verdict(Kind.AMBIGUOUS, "dot", words=over.words)
            raise over

    def _converse(
        self, wire: Wire, heard: list[Verdict], writing: float, command: float, final: float
    ) -> tuple[Broken | None, int]:
        """Send all, and note what is heard. Return why that is all, and how many of the next
        messages may have been accepted all the same."""
        over: Broken | None = None
        try:
            wire.write("data", b"".join(self._pieces), writing, shown="".join(self._shown))
            wire.until = monotonic() + final
        except Broken as broken:
            over = broken
            command = final = 0  # a server that hangs up half-way may have said why
        left = sum(end <= wire.written for end in self._ends)
        try:
            for position in range(len(self._ends)):
                _hear(wire, heard, command, final, whole=position < left)
            _check_that_it_is_over(wire)
        except Broken as broken:
            if broken.reply is not None:  # a goodbye
                return broken, 0
            if isinstance(broken, OutOfStep):
                over = broken
                if not _is_read_as_commands(broken, heard):
                    heard.clear()  # perhaps none of these replies was meant for its message
            if over is None:
                mute = broken.stage == "dot" and not heard
                over = OutOfStep("dot", broken.words) if mute else broken
        finally:
            wire.until = math.inf
        return over, left - len(heard)


def _hear(wire: Wire, heard: list[Verdict], command: float, final: float, *, whole: bool) -> None:
    """Read the replies about one message, of which all has left or not, and note what they say."""
    refused: Verdict | None = None
    try:
        for stage in _STAGES:
            reply = wire.hear(stage, final if stage == "dot" else command)
            leaves = reply.code == _GOODBYE and wire.hangs_up(_GOODBYE_SECONDS)
            # Before the message, a goodbye says nothing about it.
            if reply.code >= 400 and stage != "rset" and (stage == "dot" or not leaves):
                refused = refused or _refused(stage, reply)
            if leaves:
                raise Broken(stage, "", reply)
            good = reply.code < 300 and (stage != "dot" or (whole and refused is None))
            if not good and (stage == "rset" or reply.code < 400):
                raise OutOfStep(stage, f"unexpected reply {reply.code} to {_NAMES[stage]}")
    except Broken:
        if refused is not None:  # whatever else was to be said about it
            heard.append(refused)
        raise
    heard.append(refused or Verdict(Kind.SENT, "dot", reply))


_NAMES = {"rset": "RSET", "mail": "MAIL", "rcpt": "RCPT", "dot": "the message"}


def _refused(stage: str, reply: Reply) -> Verdict:
    lasting = reply.code >= 500 and not (stage == "dot" and reply.code in _NO_COMMAND)
    return Verdict(Kind.REFUSED if lasting else Kind.DEFERRED, stage, reply)


def _check_that_it_is_over(wire: Wire) -> None:
    """Raise `OutOfStep` if there is a reply too many: then the last that we took is not the last.
    (Unless it comes later: it is noticed before the next group, and this one is believed.) A server
    may leave now, and say so."""
    if wire.silent() or wire.hangs_up(0):
        return
    try:
        reply = wire.hear("dot", _GOODBYE_SECONDS)
        leaves = reply.code == _GOODBYE and wire.hangs_up(_GOODBYE_SECONDS)
    except Broken:
        leaves = False
    if not leaves:
        raise OutOfStep("dot", "the server spoke out of turn")


def _is_read_as_commands(broken: OutOfStep, heard: list[Verdict]) -> bool:
    """Say whether the server reads as commands a message whose recipient it refused (go-smtp did,
    before 0.26). The replies before that one were what they seemed."""
    return broken.stage == "rset" and bool(heard) and heard[-1].kind is not Kind.SENT
