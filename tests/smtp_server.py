"""A raw-socket SMTP server on 127.0.0.1 whose every reply a test can script.

It answers each command like a good server until a script for that stage says otherwise::

    with SMTPServer(script={"rcpt": [Do(b"550 5.1.1 no such user\\r\\n")]}) as server:
        ...
    assert server.messages == []

A stage is ``banner``, ``tls``, ``ehlo``, ``starttls``, ``auth`` (each line of it), ``mail``,
``rcpt``, ``data``, ``dot`` (of BDAT: the reply to the message), ``rset``, ``noop`` or ``quit``, or
``body``: the first bytes of a message. Each item of its list is used once, by whichever connection
comes first; ``GOOD`` skips one. When the list is used up the server is good again.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, Self

STAGES = {
    *("banner", "tls", "ehlo", "starttls", "auth", "mail", "rcpt"),
    *("data", "body", "dot", "rset", "noop", "quit"),
}


@dataclass(frozen=True)
class Do:
    """What to do at a stage: perhaps reply, then go on or not."""

    reply: bytes | None = None
    """Sent as it is. None: what a good server says; empty: nothing."""
    then: Literal["go on", "close", "reset", "vanish", "hang", "read slowly"] = "go on"
    """To vanish is to close without the replies that have not left yet."""
    every: float = 0
    """Seconds between the bytes of the reply; 0 sends it at once."""
    accept: bool | None = None
    """At the dot: whether the message counts as accepted. None: if the reply is a 2xx."""
    call: Callable[[], None] | None = None
    """Called first, in the server's thread."""


GOOD = Do()
CLOSE = Do(b"", "close")
RESET = Do(b"", "reset")
VANISH = Do(b"", "vanish")
HANG = Do(b"", "hang")


class Message(NamedTuple):
    sender: str
    recipient: str
    data: bytes
    """Without dot-stuffing and final dot."""
    at: float
    session: int


class Command(NamedTuple):
    line: str
    at: float
    session: int


@dataclass
class Session:
    """One connection, as the server saw it."""

    number: int
    chunks: list[bytes] = field(default_factory=list)
    """What each read brought: in lockstep with the replies, one round trip each."""
    replies: list[tuple[float, bytes]] = field(default_factory=list)
    encrypted_from: int | None = None
    """Number of the first chunk that came through TLS."""
    ended: threading.Event = field(default_factory=threading.Event)
    abandoned: bool = False
    """The client left without QUIT."""


class SMTPServer:
    """Listens at once; `stop`, or the end of the with block, ends every conversation."""

    def __init__(
        self,
        *,
        features: Sequence[str] = ("PIPELINING", "8BITMIME", "SMTPUTF8"),
        script: Mapping[str, Sequence[Do]] | None = None,
        tls: ssl.SSLContext | None = None,
        implicit_tls: bool = False,
        bdat: Literal["good", "undiscarded", "unknown"] = "good",
    ) -> None:
        """``bdat``: undiscarded, a chunk that was refused is read as commands, as by go-smtp before
        0.26; unknown, every chunk is."""
        unknown = set(script or {}) - STAGES
        if unknown:
            raise ValueError(f"no such stage: {unknown}")
        self.features = list(features)
        self.script = {stage: list(items) for stage, items in (script or {}).items()}
        self.tls = tls
        self.implicit_tls = implicit_tls
        self.bdat = bdat
        self.sessions: list[Session] = []
        self.commands: list[Command] = []
        self.messages: list[Message] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._conversations: list[_Conversation] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(64)
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def lines(self) -> list[str]:
        """Every command of every session, in the order of arrival."""
        return [command.line for command in self.commands]

    @property
    def recipients(self) -> list[str]:
        """Whose messages were accepted, in order."""
        return [message.recipient for message in self.messages]

    def then(self, stage: str, *items: Do) -> None:
        """Script what happens next at a stage."""
        with self._lock:
            self.script.setdefault(stage, []).extend(items)

    def stop(self) -> None:
        """Stop listening and end every conversation, whatever it is doing."""
        self._stopping.set()
        self.stop_listening()
        self.hang_up()
        for thread in self._threads:
            thread.join(10)

    def stop_listening(self) -> None:
        """Refuse every further connection; those that are open go on."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def hang_up(self) -> None:
        """Close every open connection, as a server does that is tired of waiting."""
        for conversation in self._open():
            with suppress(OSError):
                # Not the method of SSLSocket: another thread may be reading from it.
                socket.socket.shutdown(conversation.sock, socket.SHUT_RDWR)

    def say(self, words: bytes, *, under_tls: bool = False) -> None:
        """Say something on every open connection out of turn, or write it beneath TLS."""
        for conversation in self._open():
            conversation.say(words, under_tls=under_tls)

    def _open(self) -> list[_Conversation]:
        with self._lock:
            return list(self._conversations)

    def take(self, stage: str) -> Do:
        with self._lock:
            items = self.script.get(stage)
            return items.pop(0) if items else GOOD

    def pause(self, seconds: float) -> None:
        """Sleep; ends the conversation if the server is stopped meanwhile."""
        if self._stopping.wait(seconds):
            raise _End

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            session = Session(len(self.sessions))
            with self._lock:
                self.sessions.append(session)
            self._start(_Conversation(self, sock, session).run)

    def _start(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, daemon=True)
        self._threads.append(thread)
        thread.start()

    def track(self, conversation: _Conversation) -> None:
        with self._lock:
            self._conversations.append(conversation)

    def untrack(self, conversation: _Conversation) -> None:
        with self._lock:
            self._conversations.remove(conversation)


class _End(Exception):
    """The conversation is over."""


class _Conversation:
    def __init__(self, server: SMTPServer, sock: socket.socket, session: Session) -> None:
        self.server = server
        self.sock = sock
        self.session = session
        self.inbox = bytearray()
        self.outbox = b""
        self.sender = ""
        self.begun = False
        self.recipients: list[str] = []
        self.body = b""
        self.accepted = False
        self.auth: list[bytes] = []  # what is still to be asked for
        self.out_of_turn: tuple[bytes, bool] | None = None
        self.said = threading.Event()
        server.track(self)

    def run(self) -> None:
        try:
            if self.server.implicit_tls:
                self.start_tls()
            self.answer("banner", b"220 test.example ESMTP\r\n")
            while True:
                self.command(self.read_until(b"\r\n"))
        except (_End, OSError):
            pass
        finally:
            self.server.untrack(self)
            self.sock.close()
            self.session.ended.set()

    def read_until(self, end: bytes) -> bytes:
        searched = 0
        while (found := self.inbox.find(end, searched)) < 0:
            self.flush()
            searched = max(0, len(self.inbox) - len(end))
            self.inbox += self.read_some()
        result = bytes(self.inbox[:found])
        del self.inbox[: found + len(end)]
        return result

    def say(self, words: bytes, *, under_tls: bool) -> None:
        """Have this conversation's own thread say it: no two may use one TLS socket."""
        self.said.clear()
        self.out_of_turn = words, under_tls
        assert self.said.wait(5), "the conversation is not waiting for a command"

    def wait_for_bytes(self) -> None:
        while not select.select([self.sock], [], [], 0.005)[0]:
            if self.out_of_turn is not None:
                words, under_tls = self.out_of_turn
                self.out_of_turn = None
                if under_tls:
                    os.write(self.sock.fileno(), words)
                else:
                    self.sock.sendall(words)
                self.said.set()

    def read_some(self) -> bytes:
        if not (isinstance(self.sock, ssl.SSLSocket) and self.sock.pending()):
            self.wait_for_bytes()
        chunk = self.sock.recv(1 << 20)
        if not chunk:
            self.session.abandoned = True
            raise _End
        self.session.chunks.append(chunk)
        return chunk

    def flush(self) -> None:
        """Replies to a group of commands leave together, as RFC 2920 asks of a server."""
        if self.outbox:
            reply, self.outbox = self.outbox, b""
            self.session.replies.append((time.monotonic(), reply))
            self.sock.sendall(reply)

    def answer(self, stage: str, good: bytes) -> bytes:
        """Do what the script says, or reply ``good``; return the reply."""
        do = self.server.take(stage)
        if do.call is not None:
            do.call()
        reply = good if do.reply is None else do.reply
        if do.every:
            self.flush()
            for byte in reply:
                self.sock.sendall(bytes([byte]))
                self.server.pause(do.every)
        else:
            self.outbox += reply
        if stage == "dot":
            accepted = reply.startswith(b"2") if do.accept is None else do.accept
            self.accepted = accepted and bool(self.recipients)
        if do.then != "go on":
            if self.accepted:
                self.record()
            self.end(do.then)
        return reply

    def end(self, how: str) -> None:
        if how != "vanish":
            self.flush()
        if how == "reset":
            linger = struct.pack("ii", 1, 0)
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        if how == "hang":
            self.server.pause(60)
        while how == "read slowly" and self.sock.recv(100_000):
            self.server.pause(0.02)
        raise _End

    def record(self) -> None:
        message = Message(
            self.sender, self.recipients[-1], self.body, time.monotonic(), self.session.number
        )
        self.server.messages.append(message)
        self.accepted = False

    def command(self, raw: bytes) -> None:  # noqa: PLR0912 - one branch for each command
        line = raw.decode()
        self.server.commands.append(Command(line, time.monotonic(), self.session.number))
        verb = line.split(" ", 1)[0].upper()
        if self.auth:
            self.auth_line()
        elif verb in {"EHLO", "HELO"}:
            self.answer("ehlo", self.hello(verb))
        elif verb == "STARTTLS":
            if self.answer("starttls", b"220 2.0.0 go ahead\r\n").startswith(b"220"):
                self.flush()
                self.inbox = bytearray()
                self.start_tls()
        elif verb == "AUTH":
            self.auth = {
                "PLAIN": [b"235 2.7.0 welcome\r\n"],
                "LOGIN": [b"334 VXNlcm5hbWU6\r\n", b"334 UGFzc3dvcmQ6\r\n", b"235 welcome\r\n"],
                "CRAM-MD5": [b"334 PDEyM0B0ZXN0Pg==\r\n", b"235 welcome\r\n"],
            }[line.split()[1].upper()]
            self.auth_line()
        elif verb == "MAIL":
            self.sender = line[line.index("<") + 1 : line.index(">")]
            if self.answer("mail", b"250 2.1.0 ok\r\n").startswith(b"2"):
                self.recipients = []
                self.begun = True
        elif verb == "RCPT":
            good = b"250 2.1.5 ok\r\n" if self.begun else b"503 5.5.1 MAIL first\r\n"
            if self.answer("rcpt", good).startswith(b"2"):
                self.recipients.append(line[line.index("<") + 1 : line.index(">")])
        elif verb == "DATA":
            good = b"354 go on\r\n" if self.recipients else b"554 5.5.1 no valid recipients\r\n"
            if self.answer("data", good).startswith(b"354"):
                self.receive()
        elif verb == "BDAT":
            self.receive_chunk(int(line.split()[1]))
        elif verb == "RSET":
            self.reset()
            self.answer("rset", b"250 2.0.0 ok\r\n")
        elif verb == "NOOP":
            self.answer("noop", b"250 2.0.0 ok\r\n")
        elif verb == "QUIT":
            self.answer("quit", b"221 2.0.0 bye\r\n")
            self.flush()
            raise _End
        else:
            self.outbox += b"502 5.5.2 what?\r\n"

    def hello(self, verb: str) -> bytes:
        if verb == "HELO":
            return b"250 test.example\r\n"
        offered = ["test.example", *self.server.features]
        if self.server.tls and not self.server.implicit_tls and not self.encrypted:
            offered.append("STARTTLS")
        lines = [f"250-{word}\r\n" for word in offered[:-1]] + [f"250 {offered[-1]}\r\n"]
        return "".join(lines).encode()

    @property
    def encrypted(self) -> bool:
        return self.session.encrypted_from is not None

    def start_tls(self) -> None:
        assert self.server.tls is not None
        do = self.server.take("tls")
        if do is not GOOD:
            self.outbox += do.reply or b""
            self.end(do.then)
        self.sock = self.server.tls.wrap_socket(self.sock, server_side=True)
        self.session.encrypted_from = len(self.session.chunks)

    def auth_line(self) -> None:
        good = self.auth.pop(0)
        if not self.answer("auth", good).startswith(b"334"):
            self.auth = []

    def receive(self) -> None:
        self.flush()
        if not self.inbox:
            self.inbox += self.read_some()
        self.answer("body", b"")
        # A message may be empty: its final dot may directly follow the command's CRLF.
        self.inbox[:0] = b"\r\n"
        stuffed = self.read_until(b"\r\n.\r\n") + b"\r\n"
        self.body = stuffed.replace(b"\r\n..", b"\r\n.")[2:]
        self.end_message()

    def receive_chunk(self, size: int) -> None:
        """Take a message that is one chunk, the last (RFC 3030)."""
        refused = self.server.bdat == "undiscarded" and not self.recipients
        if refused or self.server.bdat == "unknown":
            self.answer("dot", b"502 5.5.1 no\r\n")
            return
        if not self.inbox:
            self.inbox += self.read_some()
        self.answer("body", b"")
        while len(self.inbox) < size:
            self.inbox += self.read_some()
        self.body = bytes(self.inbox[:size])
        del self.inbox[:size]
        self.end_message()

    def end_message(self) -> None:
        good = b"250 2.0.0 queued\r\n" if self.recipients else b"554 5.5.1 no recipients\r\n"
        self.answer("dot", good)
        if self.accepted:
            self.record()
        self.reset()

    def reset(self) -> None:
        self.begun = False
        self.recipients = []


class Certificates:
    """Made by openssl in a folder: an authority (`ca_file`) and what servers may present."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca_file = str(folder / "ca.pem")
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        for name in ("ca", "self-signed"):
            names = ["-addext", "subjectAltName=IP:127.0.0.1"]
            usage = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
            self._openssl(
                "req", "-x509", *curve, "-keyout", f"{name}.key", "-out", f"{name}.pem",
                "-days", "2", "-subj", f"/CN={name}", *(usage if name == "ca" else names),
            )  # fmt: skip
        (folder / "index.txt").touch()
        (folder / "ca.conf").write_text(
            "[ca]\ndefault_ca = d\n[p]\ncommonName = supplied\n[d]\npolicy = p\n"
            "database = index.txt\nnew_certs_dir = .\nrand_serial = yes\ndefault_md = sha256\n"
        )
        today = time.strftime("%y%m%d000000Z", time.gmtime(time.time() - 86_400))
        self._sign("good", "IP:127.0.0.1", today, "491231000000Z")
        self._sign("other-host", "DNS:other.example", today, "491231000000Z")
        self._sign("expired", "IP:127.0.0.1", "200101000000Z", "200102000000Z")

    def server(self, name: str) -> ssl.SSLContext:
        """Return a server's side with certificate good, other-host, expired or self-signed."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        return context

    def _sign(self, name: str, alternative: str, start: str, end: str) -> None:
        self._openssl(
            "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}",
        )  # fmt: skip
        (self.folder / f"{name}.ext").write_text(
            f"subjectAltName = {alternative}\nbasicConstraints = critical, CA:FALSE\n"
            "subjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid\n"
            "keyUsage = critical, digitalSignature\nextendedKeyUsage = serverAuth\n"
        )
        self._openssl(
            "ca", "-batch", "-config", "ca.conf", "-cert", "ca.pem", "-keyfile", "ca.key",
            "-in", f"{name}.csr", "-out", f"{name}.pem", "-notext", "-extfile", f"{name}.ext",
            "-startdate", start, "-enddate", end,
        )  # fmt: skip

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)
