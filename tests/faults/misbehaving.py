"""An oracle that misbehaves as the sender of an email is named: ``STAGE_HOW-...@...``.

``rcpt_drop-1`` is hung up on once, in the place of the reply to its RCPT; ``dot_lost`` once after
its final dot, which counts for nothing then, while after any other misdeed at the dot the message
is accepted, unless the reply refuses it; ``rcpt_4xx_always`` each time. A client that was cut off
on a connection that it had kept may rightly go on at once over a new one: it meets the same there.

Before a sender is known, the server misbehaves as the next line of FOLDER/modes says, one for each
connection; while there is a FOLDER/closed it refuses them. With certificates in FOLDER it takes
mail by STARTTLS alone, and only from who has logged in. With a FOLDER/lockstep it does not offer
PIPELINING; with a FOLDER/chunking it offers CHUNKING, and notes who came in a chunk in
FOLDER/chunks.

Each transaction, and each conversation that does not come so far, is a line
``began ended name misdeed`` of FOLDER/talks.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import NamedTuple

from .misdeeds import ARE_ANSWERS, HANG_SECONDS, MISDEEDS, SAY_WHAT_IS_GOOD, Left, Peer
from .oracle import MESSAGE_ID, note

IGNORES_SECONDS = 3.0
"""How long it reads nothing in the middle of a message."""
HEAD_BYTES = 5000
"""Of a chunk, what is read before its middle: the head, and more."""


class Talk(NamedTuple):
    """What the server noted about one transaction."""

    began: float
    ended: float
    name: str
    misdeed: str
    """``-`` if it behaved."""


def talks(folder: Path) -> list[Talk]:
    """Return what was noted so far."""
    path = folder / "talks"
    lines = path.read_text().splitlines() if path.exists() else []
    found = (line.split(" ") for line in lines)
    return [Talk(float(began), float(ended), name, deed) for began, ended, name, deed in found]


def happened(folder: Path, name: str) -> list[Talk]:
    """Return the misdeeds that those met whose name begins so."""
    return [one for one in talks(folder) if one.name.startswith(name) and one.misdeed != "-"]


class _Server:
    def __init__(self, folder: Path, delay: float, port: int) -> None:
        self.folder = folder
        self.delay = delay
        self.port = port
        self.lock = threading.Lock()
        self.struck: set[str] = set()
        self.modes: deque[str] = deque()
        self.secure = (folder / "good.pem").exists()

    def serve(self) -> None:
        listener = _listen(self.port)
        port = listener.getsockname()[1]
        os.write(1, f"{port}\n".encode())
        while True:
            if (self.folder / "closed").exists():
                listener.close()
                while (self.folder / "closed").exists():
                    time.sleep(0.01)
                listener = _listen(port)
            if select.select([listener], [], [], 0.02)[0]:
                sock, _ = listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                talk = _Conversation(self, sock, self._next_mode())
                threading.Thread(target=talk.run, daemon=True).start()

    def _next_mode(self) -> str:
        asked = self.folder / "modes"
        if asked.exists():
            self.modes.extend(asked.read_text().split())
            asked.unlink()
        return self.modes.popleft() if self.modes else ""

    def write(self, name: str, line: str) -> None:
        with self.lock, (self.folder / name).open("ab", buffering=0) as file:
            file.write(f"{line}\n".encode())


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Small, so that most of a large message is still in the client when we stop to read it.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
    listener.bind(("127.0.0.1", port))
    listener.listen(128)
    return listener


class _Conversation:
    def __init__(self, server: _Server, sock: socket.socket, mode: str) -> None:
        self.server = server
        self.peer = Peer(sock)
        self.mode = mode
        self.transactions = 0
        self.at_quit = ""
        self.trusted = not server.secure
        self.sender_ok = False
        self.recipient = ""
        self._begin(mode)

    def run(self) -> None:
        try:
            self.answer("banner", b"220 oracle.example ESMTP\r\n")
            while True:
                self.command(self.peer.line())
        except (Left, OSError):
            pass  # one of us has left: that is what we are here for
        finally:
            self._end()
            self.peer.sock.close()

    def command(self, line: bytes) -> None:
        word = line[:4].upper()
        if word in {b"EHLO", b"HELO"}:
            self.answer("ehlo", self._features())
        elif word == b"STAR":
            self.answer("starttls", b"220 2.0.0 go ahead\r\n")
            self._encrypt()
        elif word == b"AUTH":
            self.trusted = self.answer("auth", b"235 2.7.0 welcome\r\n")
        elif word == b"QUIT":
            self._end()
            self._begin(self.at_quit)
            self.answer("quit", b"221 2.0.0 bye\r\n")
            raise Left
        elif word in {b"MAIL", b"RCPT", b"DATA", b"BDAT"}:
            self._transact(word, line)
        else:
            self.peer.say(b"250 2.0.0 ok\r\n")

    def _transact(self, word: bytes, line: bytes) -> None:
        if word == b"MAIL":
            self._end()
            self._begin(line[line.index(b"<") + 1 : line.index(b"@")].decode())
            self.transactions += 1
            self.sender_ok = self.trusted and self.answer("mail", b"250 2.1.0 ok\r\n")
            self.recipient = ""
            if not self.trusted:
                self.server.write("untrusted", self.name)
                self.peer.say(b"530 5.7.0 log in first\r\n")
        elif word == b"RCPT":
            if not self.sender_ok:
                self.peer.say(b"503 5.5.1 MAIL first\r\n")
            elif self.answer("rcpt", b"250 2.1.5 ok\r\n"):
                self.recipient = line[line.index(b"<") + 1 : line.index(b">")].decode()
        elif word == b"DATA":
            if not self.recipient:
                self.peer.say(b"503 5.5.1 RCPT first\r\n")
            elif self.answer("data", b"354 go on\r\n"):
                self._receive()
        elif word == b"BDAT":
            self._receive_chunk(int(line.split()[1]))

    def answer(self, stage: str, good: bytes) -> bool:
        """Say what is good, or misbehave. Return whether the client may go on."""
        how = self._misdeed(stage)
        if not how:
            self.peer.say(good)
            return True
        self.did = f"{stage}_{how}"
        MISDEEDS[how](self.peer, good)
        return how in SAY_WHAT_IS_GOOD

    def _misdeed(self, stage: str) -> str:
        what = self.name.partition("-")[0].split("_")
        if what[0] == "every" and stage in {"mail", "rcpt", "data", "dot"}:
            return what[1]
        if what[0] != stage:
            return ""
        if what[-1] != "always" and self.transactions:
            with self.server.lock:
                if self.name in self.server.struck:
                    return ""
                if not (
                    self.transactions > 1
                    and stage in {"mail", "rcpt", "data"}
                    and what[1] not in ARE_ANSWERS
                ):
                    self.server.struck.add(self.name)
        return what[1]

    def _receive(self) -> None:
        email_id = ""
        for number in range(10_000_000):
            line = self.peer.line()
            if line == b".\r\n":
                break
            if not email_id and (found := MESSAGE_ID.match(line)):
                email_id = found[1].decode()
            if number == 20 and (how := self._misdeed("body")):
                self._misbehave_in_the_middle(how)
        self._judge(email_id)

    def _receive_chunk(self, size: int) -> None:
        """Take a message that is one chunk (RFC 3030), also one for nobody."""
        head = self.peer.take(min(size, HEAD_BYTES))
        if self.recipient and size > HEAD_BYTES and (how := self._misdeed("body")):
            self._misbehave_in_the_middle(how)
        self.peer.take(size - len(head))
        found = MESSAGE_ID.search(head)
        if not self.recipient or found is None:
            self.peer.say(b"503 5.5.1 RCPT first\r\n")
            return
        self.server.write("chunks", self.name)
        self._judge(found[1].decode())

    def _judge(self, email_id: str) -> None:
        """Accept what was received, or misbehave."""
        if self.name.startswith("quit"):
            self.at_quit = self.name
        how = self._misdeed("dot")
        self.did = f"dot_{how}" if how else self.did
        if how == "lost":
            raise Left
        time.sleep(self.server.delay)
        # Refused, it is not accepted; whatever else goes wrong then, it is.
        if how not in {"4xx", "5xx", "421", "stays"}:
            note(self.server.folder, email_id, self.recipient)
        if how:
            MISDEEDS[how](self.peer, b"250 2.0.0 accepted\r\n")
        else:
            self.peer.say(b"250 2.0.0 accepted\r\n")
        self._end()

    def _misbehave_in_the_middle(self, how: str) -> None:
        self.did = f"body_{how}"
        if how == "hang":
            self.peer.ignore(IGNORES_SECONDS)
        else:
            MISDEEDS[how](self.peer, b"")
        raise Left

    def _features(self) -> bytes:
        offered = [b"oracle.example", b"8BITMIME"]
        if not (self.server.folder / "lockstep").exists():
            offered.append(b"PIPELINING")
        if (self.server.folder / "chunking").exists():
            offered.append(b"CHUNKING")
        if self.server.secure:
            encrypted = isinstance(self.peer.sock, ssl.SSLSocket)
            if encrypted:
                offered.append(b"AUTH PLAIN")
            elif self._misdeed("starttls") == "missing":
                self.did = "starttls_missing"
            else:
                offered.append(b"STARTTLS")
        lines = [b"250-%s\r\n" % word for word in offered]
        return b"".join(lines[:-1]) + b"250 %s\r\n" % offered[-1]

    def _encrypt(self) -> None:
        how = self._misdeed("tls")
        if how and how != "certificate":
            self.did = f"tls_{how}"
            # The beginning of a handshake: the header of a record that never ends.
            MISDEEDS[how](self.peer, b"\x16\x03\x03\x10\x00" + bytes(HANG_SECONDS * 10))
            self.peer.wait(HANG_SECONDS)
        certificate = self.server.folder / ("other-host" if how else "good")
        self.did = f"tls_{how}" if how else self.did
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{certificate}.pem", f"{certificate}.key")
        self.peer = Peer(context.wrap_socket(self.peer.sock, server_side=True))

    def _begin(self, name: str) -> None:
        self.name = name
        self.did = "-"
        self.began = time.time()
        self.over = False

    def _end(self) -> None:
        """Note a transaction once, when its last reply is out or the client has left."""
        if not self.over and self.name:
            self.server.write("talks", f"{self.began:.6f} {time.time():.6f} {self.name} {self.did}")
        self.over = True


if __name__ == "__main__":
    _Server(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])).serve()
