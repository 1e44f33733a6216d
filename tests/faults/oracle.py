"""An SMTP server in a process of its own, whose word on what it accepted nothing can falsify.

Each accepted message is a line ``time message-id recipient`` of FOLDER/accepted, on disk before
its 250 leaves. A recipient whose name begins with ``body-`` or ``dot-`` makes it wait once, in the
middle of the message or after its final dot (accepted, not yet answered), until the worker that
sends it was killed: it leaves NAME.waits in FOLDER and looks for NAME.killed there. With a
FOLDER/chunking it offers CHUNKING.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_CHECKOUT = Path(__file__).parent.parent.parent
MESSAGE_ID = re.compile(rb"(?i)message-id:\s*<([^@>]+)@")


class Oracle:
    """The running server, seen from the outside."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port

    def accepted(self) -> list[tuple[float, str, str]]:
        """Return when each message was accepted, with its email's id and its recipient."""
        path = self.folder / "accepted"
        lines = path.read_text().splitlines() if path.exists() else []
        found = (line.split(" ") for line in lines)
        return [(float(at), email_id, recipient) for at, email_id, recipient in found]


@contextmanager
def oracle(
    folder: Path, *, delay: float = 0, port: int = 0, module: str = "tests.faults.oracle"
) -> Iterator[Oracle]:
    """Run the server; it takes ``delay`` seconds to think about each message."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", module, str(folder), str(delay), str(port)]
    process = subprocess.Popen(
        command, cwd=_CHECKOUT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    try:
        yield Oracle(folder, int(process.stdout.readline()))
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()


def serve(folder: Path, delay: float, port: int) -> None:
    """Listen, say on which port, and answer for ever."""
    listener = socket.socket()
    # Small, so that a large message is still half in the client while we wait in its middle.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(128)
    os.write(1, f"{listener.getsockname()[1]}\n".encode())
    while True:
        sock, _ = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_talk, args=(sock, folder, delay), daemon=True).start()


def _talk(sock: socket.socket, folder: Path, delay: float) -> None:
    with sock, sock.makefile("rb") as lines:
        try:
            _converse(sock, lines, folder, delay)
        except OSError:
            pass  # the client was killed: that is what we are here for


def _converse(sock: socket.socket, lines: BinaryIO, folder: Path, delay: float) -> None:
    recipient = ""
    chunking = b"250-CHUNKING\r\n" if (folder / "chunking").exists() else b""
    sock.sendall(b"220 oracle.example ESMTP\r\n")
    while line := lines.readline():
        word = line[:4].upper()
        if word == b"EHLO":
            offered = b"250-PIPELINING\r\n" + chunking
            sock.sendall(b"250-oracle.example\r\n" + offered + b"250 8BITMIME\r\n")
        elif word == b"RCPT":
            recipient = line[line.index(b"<") + 1 : line.index(b">")].decode()
            sock.sendall(b"250 2.1.5 ok\r\n")
        elif word in {b"DATA", b"BDAT"}:
            if word == b"DATA":
                sock.sendall(b"354 go on\r\n")
                email_id = _read_message(lines, folder, recipient)
            else:
                email_id = _read_chunk(lines, int(line.split()[1]))
            if email_id is None:
                return
            time.sleep(delay)
            note(folder, email_id, recipient)
            if recipient.startswith("dot-"):
                _wait_for_the_kill(folder, recipient)
            sock.sendall(b"250 2.0.0 accepted\r\n")
        elif word == b"QUIT":
            sock.sendall(b"221 2.0.0 bye\r\n")
            return
        else:
            sock.sendall(b"250 2.0.0 ok\r\n")


def _read_message(lines: BinaryIO, folder: Path, recipient: str) -> str | None:
    """Return the email's id, None when the client left before the final dot."""
    email_id = ""
    for number, line in enumerate(lines):
        if line == b".\r\n":
            return email_id
        if not email_id and (found := MESSAGE_ID.match(line)):
            email_id = found[1].decode()
        if number == 20 and recipient.startswith("body-"):
            _wait_for_the_kill(folder, recipient)
    return None


def _read_chunk(lines: BinaryIO, size: int) -> str | None:
    """Return the email's id, None when the client left before the end."""
    message = lines.read(size)
    found = MESSAGE_ID.search(message)
    return found[1].decode() if found is not None and len(message) == size else None


def note(folder: Path, email_id: str, recipient: str) -> None:
    """Put it on disk that a message is accepted: its 250 may leave afterwards."""
    file = os.open(folder / "accepted", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(file, f"{time.time():.6f} {email_id} {recipient}\n".encode())
        os.fsync(file)
    finally:
        os.close(file)


def _wait_for_the_kill(folder: Path, recipient: str) -> None:
    (folder / f"{recipient}.waits").touch()
    deadline = time.monotonic() + 5
    while not (folder / f"{recipient}.killed").exists() and time.monotonic() < deadline:
        time.sleep(0.005)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
