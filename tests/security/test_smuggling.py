"""One email is one message, also for servers that are lenient about where a message ends."""

from __future__ import annotations

import re
import smtplib
from collections.abc import Callable
from contextlib import closing
from email import message_from_bytes
from email.message import Message
from email.policy import SMTP
from pathlib import Path
from typing import Any

import pytest

from mailer import Attachment, InvalidEmail, dispatch

from ..conftest import AppFactory
from ..worker import wait_until
from .lenient_server import ENDS, lenient_server

EVIL = b"MAIL FROM:<admin@acme.example>%bRCPT TO:<eve@evil.example>%bDATA%bforged%b"
IDS = [repr(end)[2:-1] for end in ENDS]


def smuggled(end: bytes) -> str:
    """Return a text that ends a message with ``end`` and begins another."""
    eol = b"\r\n" if b"\r\n" in end else end[-1:]
    return (b"hello" + end + EVIL % (eol, eol, eol, end) + b"bye").decode()


def body(text: str) -> dict[str, Any]:
    return {"text": text}


def beginning_of_body(text: str) -> dict[str, Any]:
    return {"text": text.removeprefix("hello")}


def html(text: str) -> dict[str, Any]:
    return {"html": f"<pre>{text}</pre>", "text": text}


def text_from_html(text: str) -> dict[str, Any]:
    return {"html": f"<pre>{text}</pre>"}


def encoded_body(text: str) -> dict[str, Any]:
    # Quoted-printable breaks the lines itself: dots of every column come to stand first in one.
    return {"text": "é" + text + "".join("x" * n + ".\n" for n in range(60, 90))}


def attachment(text: str) -> dict[str, Any]:
    return {"text": "x", "attachments": [Attachment(filename="a.txt", data=text.encode())]}


def context(text: str) -> dict[str, Any]:
    return {"template": "hostile", "context": {"value": text}, "subject": None}


Place = Callable[[str], dict[str, Any]]


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """A template that shows a value of its context everywhere."""
    home = tmp_path / "templates" / "hostile"
    home.mkdir(parents=True)
    for name in ("subject.txt", "body.txt", "body.html"):
        (home / name).write_text("{{ value }}")
    return str(home.parent)


PLACES: list[Place] = [
    body, beginning_of_body, html, text_from_html, encoded_body, attachment, context
]  # fmt: skip


@pytest.mark.parametrize("end", ENDS, ids=IDS)
def test_a_message_that_holds_the_end_of_another_server_arrives_as_one(
    make_app: AppFactory, folder: str, end: bytes
) -> None:
    # Two recipients, because the commands for the second travel with the message of the first.
    email = {"to": ["ann@example.com", "bob@example.com"], "subject": "Hello"}
    with lenient_server(end) as (port, heard):
        app = make_app(MAIL_PORT=port, MAILER_TEMPLATES=folder)
        with app.app_context():
            for place in PLACES:
                dispatch(**{**email, **place(smuggled(end))})
    assert [line for line in heard.commands if line[:4] == b"RCPT"] == [
        b"RCPT TO:<ann@example.com>",
        b"RCPT TO:<bob@example.com>",
    ] * len(PLACES)
    assert len(heard.messages) == 2 * len(PLACES)
    for place, one, other in zip(PLACES, heard.messages[::2], heard.messages[1::2], strict=True):
        assert one == other
        assert_only_crlf(one)
        # It got through, rather than being left out.
        assert "forged" in all_text(one), place


def assert_only_crlf(message: bytes) -> None:
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)", message)
    assert not re.search(rb"(?:^|\r\n)\.(?!\.)", message), "a dot that was not doubled"


def all_text(data: bytes) -> str:
    parts = message_from_bytes(data.replace(b"\r\n..", b"\r\n."), policy=SMTP).walk()
    return "".join(decoded(part) for part in parts if not part.is_multipart())


def decoded(part: Message) -> str:
    data: Any = part.get_payload(decode=True)
    return str(data.decode())


REFUSED: list[Place] = [
    lambda text: {"subject": text},
    lambda text: {"headers": {"X-Note": text}},
    lambda text: {"headers": {text: "note"}},
    lambda text: {"to": text},
    lambda text: {"to": (text, "ann@example.com")},
    lambda text: {"to": f"ann@example.com{text}"},
    lambda text: {"to": f'"ann{text}"@example.com'},
    lambda text: {"sender": f"<hello@acme.example>{text}"},
    lambda text: {"reply_to": (text, "ann@example.com")},
    lambda text: {"attachments": [Attachment(filename=text, data=b"")]},
    lambda text: {"attachments": [Attachment(filename="a", data=b"", content_type=text)]},
    lambda text: {"attachments": [Attachment(filename="a", data=b"", content_id=text)]},
]


@pytest.mark.parametrize("end", ENDS, ids=IDS)
def test_an_end_where_only_a_line_may_stand_is_refused_and_nothing_is_said(
    make_app: AppFactory, end: bytes
) -> None:
    email = {"to": "ann@example.com", "subject": "Hello", "text": "x"}
    with lenient_server(end) as (port, heard):
        app = make_app(MAIL_PORT=port)
        with app.app_context():
            for arguments in REFUSED:
                with pytest.raises(InvalidEmail):
                    dispatch(**{**email, **arguments(smuggled(end))})
    assert heard.commands == []


def talk(port: int) -> smtplib.SMTP:
    return smtplib.SMTP("127.0.0.1", port, timeout=5)


@pytest.mark.parametrize("end", ENDS, ids=IDS)
def test_those_servers_do_take_what_a_careless_client_says_for_two_messages(end: bytes) -> None:
    with lenient_server(end) as (port, heard), closing(talk(port)) as client:
        client.ehlo()
        client.docmd("MAIL FROM:<hello@acme.example>")
        client.docmd("RCPT TO:<ann@example.com>")
        client.docmd("DATA")
        client.send(smuggled(end).encode() + b"\r\n.\r\n")
        client.getreply()
        wait_until(lambda: len(heard.messages) == 2, 5)
    assert heard.messages[1] == b"forged"
    assert b"RCPT TO:<eve@evil.example>" in heard.commands
