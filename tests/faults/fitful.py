"""The oracle as a server that has fits: every twentieth recipient meets one.

A recipient is named ``NAME-POSITION@...``, and the position says which fit, if any. Each fit
happens once, at the first attempt, but the refusals, which are final. What was accepted although
its 250 did not arrive is also a line ``time recipient`` of FOLDER/ambiguous.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import BinaryIO

from .oracle import MESSAGE_ID, note

EVERY = 20
FITS = (
    "450 to RCPT",
    "hangs up before the message",
    "451 to the message",
    "hangs up after the dot",
    "slow reply",
    "421 to RCPT",
    "no reply in time",
    "550 to RCPT",
    "hangs up after the dot, not accepted",
    "554 to the message",
)
REFUSALS = ("550 to RCPT", "554 to the message")
AMBIGUOUS = ("hangs up after the dot", "no reply in time")
UNHEARD = (*AMBIGUOUS, "hangs up after the dot, not accepted")
"""After these nobody knows whether the message was accepted."""
SLOW_SECONDS = 0.5

_RCPT = {
    "421 to RCPT": b"421 4.3.2 come back later\r\n",
    "450 to RCPT": b"450 4.2.1 not now\r\n",
    "550 to RCPT": b"550 5.1.1 never heard of\r\n",
}
_OTHER = {
    b"EHLO": b"250-fitful.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n",
    b"DATA": b"554 5.5.1 no valid recipients\r\n",
    b"QUIT": b"221 2.0.0 bye\r\n",
}
_MESSAGE = {
    "451 to the message": b"451 4.3.0 not now\r\n",
    "554 to the message": b"554 5.7.1 never\r\n",
    "hangs up after the dot, not accepted": b"",
}

_happened: set[str] = set()


def fit(recipient: str) -> str | None:
    """Return what this recipient's first attempt meets, None: nothing."""
    position = int(recipient.partition("@")[0].rpartition("-")[2])
    turn, rest = divmod(position, EVERY)
    return FITS[turn % len(FITS)] if rest == EVERY - 1 else None


def _next_fit(recipient: str) -> str | None:
    found = fit(recipient)
    if found in REFUSALS:
        return found
    if found is None or recipient in _happened:
        return None
    _happened.add(recipient)
    return found


def serve(folder: Path, late_seconds: float) -> None:
    """Listen on a free port, say which, and answer for ever; a late reply takes so long."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    os.write(1, f"{listener.getsockname()[1]}\n".encode())
    while True:
        sock, _ = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_talk, args=(sock, folder, late_seconds), daemon=True).start()


def _talk(sock: socket.socket, folder: Path, late_seconds: float) -> None:
    with sock, sock.makefile("rb") as lines:
        try:
            _converse(sock, lines, folder, late_seconds)
        except OSError:
            pass  # the client has left


def _converse(sock: socket.socket, lines: BinaryIO, folder: Path, late_seconds: float) -> None:
    recipient: str | None = None
    now: str | None = None
    sock.sendall(b"220 fitful.example ESMTP\r\n")
    while line := lines.readline():
        word = line[:4].upper()
        if word == b"RCPT":
            recipient = line[line.index(b"<") + 1 : line.index(b">")].decode()
            now = _next_fit(recipient)
            reply = _RCPT.get(now or "", b"250 2.1.5 ok\r\n")
            recipient = recipient if reply.startswith(b"2") else None
        elif word == b"DATA" and recipient is not None:
            if now == "hangs up before the message":
                return
            sock.sendall(b"354 go on\r\n")
            email_id = _read_message(lines)
            if email_id is None:
                return
            reply = _judge(folder, email_id, recipient, now, late_seconds)
            recipient = None
        else:
            reply = _OTHER.get(word, b"250 2.0.0 ok\r\n")
        sock.sendall(reply)
        if not reply or reply.startswith((b"421", b"221")):
            return


def _read_message(lines: BinaryIO) -> str | None:
    """Return the email's id, None when the client left before the final dot."""
    email_id = ""
    for line in lines:
        if line == b".\r\n":
            return email_id
        if not email_id and (found := MESSAGE_ID.match(line)):
            email_id = found[1].decode()
    return None


def _judge(
    folder: Path, email_id: str, recipient: str, now: str | None, late_seconds: float
) -> bytes:
    """Return the reply to a whole message, on disk if it is accepted; empty: hang up instead."""
    if now in _MESSAGE:
        return _MESSAGE[now]
    note(folder, email_id, recipient)
    if now in AMBIGUOUS:
        with (folder / "ambiguous").open("a") as file:
            file.write(f"{time.time():.6f} {recipient}\n")
        time.sleep(late_seconds if now == "no reply in time" else 0)
        return b""
    time.sleep(SLOW_SECONDS if now == "slow reply" else 0)
    return b"250 2.0.0 accepted\r\n"


if __name__ == "__main__":
    serve(Path(sys.argv[1]), float(sys.argv[2]))
