"""An open conversation: envelopes in, outcomes out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from time import monotonic

from ..errors import MailerError
from ..outcome import Kind, Outcome
from .envelope import Envelope
from .group import Group, OutOfStep
from .opening import open_wire
from .reply import Reply
from .server import Server
from .wire import Broken, Observer

_QUIT_SECONDS = 1.0
_STAGES: tuple[str, ...] = ("mail", "rcpt", "data")
_ALL_SAID = tuple((stage, b"") for stage in _STAGES)
_GOOD = {"rset": 2, "mail": 2, "rcpt": 2, "data": 3}
_SURE_SECONDS = 1.0
"""A connection that was silent for longer is asked for a word before a group is entrusted to it:
one that is dead without our knowing would leave all of the group in doubt."""


class Interrupted(MailerError):
    """The conversation broke off before any byte of the message left.

    ``outcome`` is what that means for the envelope if no other connection does better.
    """

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        super().__init__(f"{outcome.stage}: {outcome.code or ''} {outcome.words}")


class ConnectFailed(Interrupted):
    """No usable connection could be made; ``outcome`` says at which stage, and why."""


def _always(_: int = 0) -> bool:
    return True


class Connection:
    """An open conversation with a server, for one thread at a time and one process ever."""

    delivered = 0
    """How many envelopes were tried on it."""

    def __init__(
        self,
        server: Server,
        *,
        transport: str | None = None,
        observe: Observer | None = None,
        until: float = math.inf,
    ) -> None:
        """Connect, greet, secure and log in, by ``until``. Raises `ConnectFailed`.

        Outcomes carry the name ``transport``.
        """
        self._transport = transport
        try:
            self._wire, self._features = open_wire(server, observe, until)
        except Broken as broken:
            raise ConnectFailed(self._broken_off(_unopened(broken), broken)) from broken
        self.alive = True
        """Whether the conversation can go on."""
        self._timeout = server.timeout
        # The three commands take at most as long; callers reckon with it.
        self._writing_timeout = 3 * server.timeout
        self._final_timeout = server.final_timeout
        self._pipelining = "PIPELINING" in self._features
        self.takes_groups = self._pipelining and "CHUNKING" in self._features
        """Whether `deliver_group` may be used; no longer once the server did not cope with one."""
        self._announced: Envelope | None = None
        self._reset_due = False

    def awaits(self, envelope: Envelope) -> bool:
        """Say whether this envelope's commands have travelled with the message before it."""
        return self._announced is envelope

    def deliver(
        self,
        envelope: Envelope,
        *,
        following: Envelope | None = None,
        mark: Callable[[int], bool] = _always,
        until: float = math.inf,
    ) -> Outcome:
        """Send one message and return what became of it; see `alive` afterwards.

        The commands for ``following`` travel with the message if the server knows PIPELINING:
        it must then be the next envelope here. ``mark`` is asked (about position 0) when nothing
        but the message is left to send; False ends the connection. Until then nothing is waited for
        any longer than ``until``, of the monotonic clock. Raises `Interrupted`.
        """
        self.delivered += 1
        try:
            if self._announced is not envelope and (words := envelope.unfit(self._features)):
                return self._outcome(Kind.REFUSED, "mail", words=words)
            try:
                self._wire.until = until
                refusal = self._announce(envelope)
                self._wire.until = math.inf  # a message that leaves has all its time
                # A reply too many must never be taken for the reply to the message.
                if refusal is None and not self._wire.silent():
                    raise Broken("data", "the server hung up, or spoke out of turn")
            except Broken as broken:
                raise Interrupted(self._broken_off(Kind.DEFERRED, broken)) from broken
            if refusal is not None:
                return refusal
            if mark(0):
                return self._hand_over(envelope.message, following)
            self.abandon()
            return self._outcome(Kind.NOT_STARTED, "data")
        except BaseException:
            # Also a time limit that strikes anywhere: a half-said conversation is never reused.
            self.abandon()
            raise

    def deliver_group(
        self,
        group: Sequence[Envelope],
        *,
        mark: Callable[[int], bool] = _always,
        until: float = math.inf,
    ) -> Iterator[Outcome]:
        """Send several messages at once and yield what became of each, in order.

        Only where `takes_groups` says so. ``mark`` is asked for each, by its position, before any
        leaves; with the first False the group ends, and with it the outcomes. Until they leave
        nothing is waited for any longer than ``until``. Raises `Interrupted` when nothing of the
        next message, and of those after it, can have been accepted.
        """
        self.delivered += len(group)
        try:
            try:
                yield from self._deliver_group(group, mark, until)
            except Broken as broken:
                self.takes_groups = not isinstance(broken, OutOfStep)
                raise Interrupted(self._broken_off(Kind.DEFERRED, broken)) from broken
        except BaseException:
            self.abandon()
            raise

    def _deliver_group(
        self, group: Sequence[Envelope], mark: Callable[[int], bool], until: float
    ) -> Iterator[Outcome]:
        self._wire.until = until
        self._make_sure()
        self._wire.until = math.inf  # messages that leave have all their time
        travelling = Group()
        outcomes: list[Outcome | None] = []
        for position, envelope in enumerate(group):
            if words := envelope.unfit(self._features):
                outcomes.append(self._outcome(Kind.REFUSED, "mail", words=words))
            elif mark(position):
                outcomes.append(None)
                travelling.add(envelope.commands(self._features), envelope.message)
            else:
                outcomes.append(self._outcome(Kind.NOT_STARTED, "data"))
                break
        verdicts = travelling.exchange(
            self._wire,
            writing=self._writing_timeout,
            command=self._timeout,
            final=self._final_timeout,
        )
        for known in outcomes:
            outcome = known or self._outcome(*next(verdicts))
            # Nobody knows what a server makes of a transaction that it refused in part.
            self._reset_due = outcome.kind is not Kind.SENT
            yield outcome
        next(verdicts, None)  # raises if that was the end of the conversation

    def _make_sure(self) -> None:
        """Raise `Broken` if the server is out of step, or gone."""
        if not self._wire.silent():
            raise Broken("mail", "the server hung up, or spoke out of turn")
        if monotonic() - self._wire.heard_at > _SURE_SECONDS:
            reply = self._wire.ask("noop", "NOOP", self._timeout)
            if reply.code // 100 != 2:
                raise Broken("noop", "", reply)

    def usable(self) -> bool:
        """Say whether a connection that was left idle is still good, without speaking."""
        return self.alive and self._announced is None and self._wire.silent()

    def close(self) -> None:
        """Say goodbye and close. The messages are accepted by now: an error changes nothing."""
        if self.alive and self._announced is None:
            try:
                self._wire.ask("quit", "QUIT", _QUIT_SECONDS)
            except Broken:
                pass
        self.abandon()

    def abandon(self) -> None:
        """Close without a word. An unfinished message is then not accepted."""
        self.alive = False
        self._announced = None
        self._wire.close()

    def _commands(self, envelope: Envelope) -> bytes:
        return f"{envelope.commands(self._features)}DATA\r\n".encode()

    def _announce(self, envelope: Envelope) -> Outcome | None:
        """Say MAIL, RCPT and DATA. Return the first refusal; None: the message is awaited."""
        refused: tuple[str, Reply] | None = None
        accepted = []
        try:
            for stage, line in self._exchanges(envelope):
                if line:
                    self._wire.write(stage, line, self._timeout)
                reply = self._wire.hear(stage, self._timeout)
                if reply.code // 100 == _GOOD[stage]:
                    accepted.append(stage)
                elif reply.code == 421:
                    raise Broken(stage, "", reply)
                elif stage == "rset" or reply.code < 400:
                    raise Broken(stage, f"unexpected reply {reply.code} to {stage.upper()}")
                else:
                    refused = refused or (stage, reply)
                    if line:
                        break
            if refused is None:
                return None
            self._end_transaction(accepted)
        except Broken:
            if refused is None:
                raise
            self.abandon()
        return self._answered(*refused)

    def _exchanges(self, envelope: Envelope) -> Iterable[tuple[str, bytes]]:
        """Return what to hear, each with the line to say before it, empty if it was said."""
        if self._announced is envelope:
            self._announced = None
            return _ALL_SAID
        if self._announced is not None:
            raise ValueError("another envelope was announced as the next one")
        stages, commands = _STAGES, self._commands(envelope)
        if self._reset_due:
            stages, commands = ("rset", *stages), b"RSET\r\n" + commands
            self._reset_due = False
        if not self._pipelining:
            return zip(stages, commands.splitlines(keepends=True), strict=True)
        self._wire.write(stages[0], commands, self._timeout)
        return [(stage, b"") for stage in stages]

    def _end_transaction(self, accepted: list[str]) -> None:
        """Leave a transaction in which something was refused."""
        if "data" not in accepted:
            self._reset_due = True
        elif "rcpt" not in accepted:
            # RFC 2920, section 3.1: a server may await a message though nobody is to have it.
            self._wire.write("dot", b".\r\n", self._timeout)
            self._wire.hear("dot", self._timeout)
        else:
            self.abandon()  # a lone dot would deliver an empty message

    def _hand_over(self, message: bytes, following: Envelope | None) -> Outcome:
        """Send the message, its final dot and the next commands; return what the server says."""
        body = message
        if b"\r\n." in body:  # seldom, and to look takes a third of the time to replace nothing
            body = body.replace(b"\r\n.", b"\r\n..")
        if body.startswith(b"."):
            body = b"." + body
        end = b".\r\n" if body.endswith(b"\r\n") else b"\r\n.\r\n"
        dot_at = len(body) + len(end) - 3
        commands = b""
        if following is not None and self._pipelining and not following.unfit(self._features):
            commands = self._commands(following)
            self._announced = following

        lost: Broken | None = None
        try:
            everything = b"".join((body, end, commands))
            shown = f"({len(message)} bytes of message and the final dot)\n{commands.decode()}"
            self._wire.write("data", everything, self._writing_timeout, shown=shown)
        except Broken as broken:
            lost = broken
        dot_left = self._wire.written > dot_at
        stage = "dot" if dot_left else "data"
        try:
            # A server that hangs up half-way through a message may have said why.
            reply = self._wire.hear(stage, 0 if lost else self._final_timeout)
        except Broken as broken:
            self.abandon()
            unheard = Kind.AMBIGUOUS if dot_left else Kind.DEFERRED
            return self._outcome(unheard, stage, words=(lost or broken).words)
        if lost or reply.code == 421:
            self.abandon()
        if reply.code >= 400:
            return self._answered(stage, reply)
        if reply.code < 300 and self._wire.written >= dot_at + 3:
            return self._outcome(Kind.SENT, stage, reply)
        self.abandon()
        words = f"unexpected reply {reply.code} to the message"
        return self._outcome(Kind.AMBIGUOUS if dot_left else Kind.DEFERRED, stage, words=words)

    def _answered(self, stage: str, reply: Reply) -> Outcome:
        return self._outcome(Kind.REFUSED if reply.code >= 500 else Kind.DEFERRED, stage, reply)

    def _broken_off(self, kind: Kind, broken: Broken) -> Outcome:
        return self._outcome(kind, broken.stage, broken.reply, broken.words)

    def _outcome(
        self, kind: Kind, stage: str, reply: Reply | None = None, words: str = ""
    ) -> Outcome:
        if reply is None:
            return Outcome(kind, stage, None, None, words, self._transport)
        enhanced, words = reply.read()
        return Outcome(kind, stage, reply.code, enhanced, words, self._transport)


def _unopened(broken: Broken) -> Kind:
    # RFC 4954: a login that fails for now (454, 4.7.0) is no word about the transport.
    reply = broken.reply
    is_temporary = reply is not None and 400 <= reply.code < 500 and reply.code != 421
    return Kind.DEFERRED if broken.stage == "auth" and is_temporary else Kind.UNAVAILABLE
