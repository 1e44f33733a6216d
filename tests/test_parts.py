from __future__ import annotations

import email
import email.policy
from typing import Any

import pytest

from mailer import parts
from mailer.content import Attachment


def attachment(**changes: Any) -> Attachment:
    return Attachment(**{"filename": "a.png", "data": b"x", "content_type": "image/png"} | changes)


@pytest.mark.parametrize("text", ["", "Grüße\f\x0b\u2028", "a\r\nb\rc\n", "😀" * 1000])
def test_any_text_can_be_a_body(text: str) -> None:
    parts.check_body(text)


@pytest.mark.parametrize(("text", "words"), [("a\0", "NUL"), ("ab\udc80", "position 2")])
def test_a_body_without_meaning_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parts.check_body(text)


@pytest.mark.parametrize(
    "changes",
    [
        {"filename": ""},
        {"filename": ".."},
        {"filename": "../etc/passwd"},
        {"filename": "C:\\a.txt"},
        {"filename": "a\0.txt"},
        {"filename": "a\r\nX-A: b"},
        {"filename": "a\u2028b"},
        {"filename": "a\ud800b"},
        {"filename": "invoice\u202efdp.exe"},
        {"filename": " a.txt"},
        {"filename": "é" * 128},
        {"content_type": ""},
        {"content_type": "png"},
        {"content_type": "image/"},
        {"content_type": "image/png; name=x"},
        {"content_type": "image/png\r\nX-A: b"},
        {"content_type": "image/png\n"},
        {"content_type": "image/p ng"},
        {"content_type": "multipart/mixed"},
        {"content_type": "Message/RFC822"},
        {"content_id": ""},
        {"content_id": "<logo>"},
        {"content_id": "a b"},
        {"content_id": "logo\n"},
        {"content_id": "a@b@c"},
    ],
)
def test_an_attachment_that_cannot_be_named_safely_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        parts.check_attachment(attachment(**changes))
    with pytest.raises(ValueError, match="expected"):
        parts.attachment_part(attachment(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"filename": "Rechnung März.pdf"},
        {"filename": "é" * 127},
        {"filename": ".profile"},
        {"content_type": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"},
        {"content_type": "image/svg+xml"},
        {"content_id": "logo-1.x@acme.example"},
    ],
)
def test_the_usual_attachment_passes(changes: dict[str, Any]) -> None:
    parts.check_attachment(attachment(**changes))


def test_a_name_beyond_ascii_has_a_plain_form_for_old_readers() -> None:
    part = parts.attachment_part(attachment(filename="Rechnung März.pdf"))
    assert b'name="Rechnung_M_rz.pdf"' in part
    assert b"filename*=utf-8''Rechnung%20M%C3%A4rz.pdf" in part


def test_a_plain_name_is_written_plainly() -> None:
    part = parts.attachment_part(attachment(filename="bill 7 (copy).pdf"))
    assert b'attachment;\r\n filename="bill 7 (copy).pdf"\r\n' in part


@pytest.mark.parametrize("size", [0, 1, 56, 57, 58, 114, 100_000])
def test_data_of_any_size_reads_back_from_lines_of_76(size: int) -> None:
    data = bytes(i % 251 for i in range(size))
    part = parts.attachment_part(attachment(data=data))
    assert email.message_from_bytes(part).get_payload(decode=True) == data
    assert max(map(len, part.split(b"\r\n\r\n")[1].split(b"\r\n"))) <= 76


@pytest.mark.parametrize(
    "text", ["x" * 5000, "é" + "word " * 400, "a\0b", "tab\t\nspace \n", "=3D =\n", "\u2028" * 500]
)
def test_an_encoded_body_reads_back_from_lines_of_76(text: str) -> None:
    part = parts.text_part("plain", text)
    payload = email.message_from_bytes(part, policy=email.policy.default).get_payload(decode=True)
    assert isinstance(payload, bytes)
    assert payload.decode().replace("\r\n", "\n").rstrip("\n") == text.rstrip("\n")
    body = part.split(b"\r\n\r\n", 1)[1]
    assert b"7bit" in part or max(map(len, body.split(b"\r\n"))) <= 76
