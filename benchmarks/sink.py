"""The sink: an SMTP server that accepts and counts, and answers as from afar.

One thread, so that it costs the systems under test as little as it can of the machine. The first
line of its output is its port; then each line of input is a question: ``count``, ``reset``,
``summary``, ``rtt SECONDS``. Recipients that begin with ``warm`` are counted apart.

A reply leaves one round trip after what it answers has arrived, which is how far the server is for
its client; those to a pipelined group leave together. A new connection costs two: the handshake,
and the greeting.
"""

from __future__ import annotations

import json
import os
import select
import socket
import time
from collections import deque

END = b"\r\n.\r\n"
FEATURES = b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-CHUNKING\r\n250 SMTPUTF8\r\n"
REPLIES = {
    b"EHLO": FEATURES,
    b"HELO": b"250 sink\r\n",
    b"MAIL": b"250 2.1.0 ok\r\n",
    b"RCPT": b"250 2.1.5 ok\r\n",
    b"DATA": b"354 go on\r\n",
    b"RSET": b"250 2.0.0 ok\r\n",
    b"NOOP": b"250 2.0.0 ok\r\n",
    b"QUIT": b"221 2.0.0 bye\r\n",
}
ACCEPTED = b"250 2.0.0 accepted\r\n"


class Counts:
    """What was accepted."""

    def __init__(self) -> None:
        self.rtt = 0.0
        self.open = 0
        self.reset()

    def reset(self) -> None:
        self.warm = 0
        self.stamps: list[float] = []
        """When each message was accepted, by the monotonic clock, which all processes share."""
        self.recipients: set[bytes] = set()
        self.smallest: int | None = None
        """Bytes of the smallest message."""
        self.peak = self.open
        """Connections that were open at once."""

    def connected(self, more: int) -> None:
        self.open += more
        self.peak = max(self.peak, self.open)

    def accept(self, recipient: bytes, size: int) -> None:
        if recipient.startswith(b"warm"):
            self.warm += 1
            return
        self.stamps.append(time.monotonic())
        self.recipients.add(recipient)
        self.smallest = size if self.smallest is None else min(self.smallest, size)

    def answer(self, question: str) -> object:
        match question.split():
            case ["count"]:
                return {"warm": self.warm, "count": len(self.stamps)}
            case ["rtt", seconds]:
                self.rtt = float(seconds)
            case ["reset"]:
                self.reset()
            case ["summary"]:
                return {
                    "stamps": self.stamps,
                    "distinct": len(self.recipients),
                    "smallest": self.smallest or 0,
                    "peak": self.peak,
                }
        return None


class Conversation:
    """One client."""

    def __init__(self, sock: socket.socket, counts: Counts) -> None:
        self.sock = sock
        self.counts = counts
        self.buffer = b""
        self.in_message = False
        self.chunk: int | None = None
        """Bytes of the announced BDAT that are still to come."""
        self.is_last = False
        self.size = 0
        self.recipient = b""

    def hear(self, data: bytes) -> bytes:
        """Return the replies to what arrived."""
        self.buffer += data
        replies: list[bytes] = []
        while (reply := self._next()) is not None:
            replies.append(reply)
        return b"".join(replies)

    def _next(self) -> bytes | None:
        if self.in_message:
            end = self.buffer.find(END)
            if end < 0:
                return None
            self.counts.accept(self.recipient, end)
            self.buffer = self.buffer[end + len(END) :]
            self.in_message = False
            return ACCEPTED
        if self.chunk is not None:
            return self._chunk(self.chunk)
        end = self.buffer.find(b"\r\n")
        if end < 0:
            return None
        line, self.buffer = self.buffer[:end], self.buffer[end + 2 :]
        return self._command(line)

    def _command(self, line: bytes) -> bytes:
        word = line[:4].upper()
        if word == b"RCPT":
            self.recipient = line[line.find(b"<") + 1 : line.find(b">")]
        elif word == b"DATA":
            self.in_message = True
        elif word == b"BDAT":
            announced = line.split()
            self.chunk, self.is_last = int(announced[1]), len(announced) > 2
            return b""
        return REPLIES.get(word, b"502 5.5.2 what?\r\n")

    def _chunk(self, left: int) -> bytes | None:
        got = min(left, len(self.buffer))
        self.buffer = self.buffer[got:]
        self.size += got
        if got < left:
            self.chunk = left - got
            return None
        self.chunk = None
        if not self.is_last:
            return b"250 2.0.0 ok\r\n"
        self.counts.accept(self.recipient, self.size)
        self.size = 0
        return ACCEPTED


def serve() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(listener.getsockname()[1], flush=True)
    counts = Counts()
    talks: dict[int, Conversation] = {}
    # One of each kind of delay, so that in each what is due first stands first.
    replies: deque[tuple[float, Conversation, bytes]] = deque()
    greetings: deque[tuple[float, Conversation, bytes]] = deque()
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    poll.register(0, select.EPOLLIN)
    while True:
        due = min((waiting[0][0] for waiting in (replies, greetings) if waiting), default=None)
        timeout = None if due is None else max(0.0, due - time.monotonic())
        for fd, _ in poll.poll(timeout):
            if fd == listener.fileno():
                sock, _ = listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                talk = talks[sock.fileno()] = Conversation(sock, counts)
                poll.register(sock, select.EPOLLIN)
                counts.connected(1)
                greetings.append((time.monotonic() + 2 * counts.rtt, talk, b"220 sink ESMTP\r\n"))
            elif fd == 0:
                question = os.read(0, 1000).decode()
                if not question:
                    return  # who started us has ended
                print(json.dumps(counts.answer(question)), flush=True)
            elif data := _received(talks[fd].sock):
                talk = talks[fd]
                if counts.rtt:
                    replies.append((time.monotonic() + counts.rtt, talk, talk.hear(data)))
                else:
                    _say(talk, talk.hear(data))
            else:
                poll.unregister(fd)
                talks.pop(fd).sock.close()
                counts.connected(-1)
        now = time.monotonic()
        for waiting in (replies, greetings):
            while waiting and waiting[0][0] <= now:
                _, talk, words = waiting.popleft()
                _say(talk, words)


def _received(sock: socket.socket) -> bytes:
    try:
        return sock.recv(262_144)
    except OSError:
        return b""


def _say(talk: Conversation, words: bytes) -> None:
    try:
        if words:
            talk.sock.sendall(words)
    except OSError:
        pass  # it has left


if __name__ == "__main__":
    serve()
