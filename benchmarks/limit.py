"""The limit of one process: ``limit PORT FIRST NUMBER`` renders, writes and sends, and no more.

No queue and no ledger, no check of anything; the envelope of each message travels with the body of
the one before it. What the dispatcher adds to this is the price of what it promises.
"""

from __future__ import annotations

import socket
import sys
from email.utils import formatdate

import jinja2

from . import work

HEAD = (
    "Subject: {subject}\r\nFrom: {sender}\r\nTo: {to}\r\nDate: {date}\r\n"
    "Message-ID: <{number}@shop.example.com>\r\nMIME-Version: 1.0\r\n"
    'Content-Type: multipart/alternative; boundary="=limit"\r\n'
)
PART = (
    "\r\n--=limit\r\nContent-Type: text/{kind}; charset=utf-8\r\n"
    "Content-Transfer-Encoding: 8bit\r\n\r\n{body}"
)


class Sender:
    """One connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._replies = self._socket.makefile("rb")
        self._expect(b"220")
        self._socket.sendall(b"EHLO limit\r\n")
        self._expect(b"250")
        self._body = b""

    def send(self, to: str, message: bytes) -> None:
        """Send the message before this one, and the envelope of this one."""
        envelope = f"MAIL FROM:<{work.SENDER}> BODY=8BITMIME\r\nRCPT TO:<{to}>\r\nDATA\r\n"
        self._socket.sendall(self._body + envelope.encode())
        if self._body:
            self._expect(b"250")
        for code in (b"250", b"250", b"354"):
            self._expect(code)
        self._body = message.replace(b"\r\n.", b"\r\n..") + b"\r\n.\r\n"

    def end(self) -> None:
        self._socket.sendall(self._body)
        self._expect(b"250")

    def _expect(self, code: bytes) -> None:
        line = self._replies.readline()
        while line[3:4] == b"-":
            line = self._replies.readline()
        if line[:3] != code:
            raise SystemExit(f"expected {code!r}, got {line!r}")


def main(port: str, first: str, number: str) -> None:
    loader = jinja2.FileSystemLoader(work.TEMPLATES)
    html = jinja2.Environment(loader=loader, autoescape=True, auto_reload=False)
    text = jinja2.Environment(loader=loader, auto_reload=False)
    sender = Sender(int(port))
    for each in range(int(first), int(first) + int(number)):
        context = work.context(each)
        to = work.recipient(each)
        bodies = (
            ("plain", text.get_template("order/body.txt").render(context)),
            ("html", html.get_template("order/body.html").render(context)),
        )
        head = HEAD.format(
            subject=work.subject(context), sender=work.SENDER, to=to, date=formatdate(), number=each
        )
        parts = [PART.format(kind=kind, body=body.replace("\n", "\r\n")) for kind, body in bodies]
        sender.send(to, "".join((head, *parts, "\r\n--=limit--")).encode())
    sender.end()


if __name__ == "__main__":
    main(*sys.argv[1:])
