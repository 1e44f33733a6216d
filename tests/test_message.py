"""What is written reads back as it was meant, by two parsers that are not ours, or is refused."""

from __future__ import annotations

import email
import email.policy
import re
from datetime import UTC, datetime, timedelta, timezone
from email.header import decode_header, make_header
from email.message import EmailMessage, Message
from email.utils import getaddresses, unquote
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailer import message
from mailer.addresses import parse
from mailer.content import Address, Attachment, Content
from mailer.errors import MessageError

SENDER = Address("Acme", "no-reply@acme.example")
ANNA = Address("Anna Smith", "anna@example.com")
DATE = datetime(2026, 11, 24, 9, 30, 15, tzinfo=UTC)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))

# What has broken mail libraries, joined with whatever Hypothesis thinks of.
NASTY = [
    *"\r\n\t\v\f\x1c\x1d\x1e\x85\u2028\u2029\0\x7f \u00a0\u202e\ud800.,:;<>@()[]\"\\'=?_/é漢😀",
    *(
        "\r\n",
        "\n.\n",
        "\r\nBcc: eve@evil.example",
        "\r\n\r\n<b>",
        "=?utf-8?q?x?=",
        "=?utf-8?b?eA==?=",
    ),
    *("  ", "a" * 70, "é" * 60, "x" * 1000, "word " * 30, "eve@evil.example", "<eve@evil.example>"),
    *("--=_a", "From ", "%0d%0a", "utf-8''", '"; filename="x', "=\n", "=3D"),
]
nasty = st.lists(st.sampled_from(NASTY) | st.text(max_size=12), max_size=8).map("".join)
names = st.from_regex(r"\AX-[A-Za-z0-9-]{1,20}\Z")


def write(**changes: Any) -> bytes:
    arguments: dict[str, Any] = {
        "sender": SENDER,
        "to": [ANNA],
        "content": Content("Hello", "Hi Anna\n", None),
        "date": DATE,
        "message_id": "1.abc@acme.example",
    }
    return message.write(**arguments | changes)


def modern(data: bytes) -> EmailMessage:
    return email.message_from_bytes(data, policy=email.policy.default)


def old(data: bytes) -> Message:
    return email.message_from_bytes(data, policy=email.policy.compat32)


def lines(text: str) -> str:
    """``text`` as it is after transport: one kind of line end, and one at the end."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text if text.endswith("\n") else text + "\n"


def body(part: Message | None) -> str:
    assert part is not None
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return lines(payload.decode())


def utf8(text: str) -> str:
    """Undo how the parsers keep raw UTF-8 in a header."""
    return text.encode("utf-8", "surrogateescape").decode()


def decoded(value: str) -> str:
    return str(make_header(decode_header(value)))


def bare(text: str) -> str:
    return "".join(text.split())


def modern_addresses(value: Any) -> list[Address]:
    assert not value.groups or all(group.display_name is None for group in value.groups)
    return [Address(utf8(a.display_name), utf8(a.addr_spec)) for a in value.addresses]


def old_addresses(parsed: Message, header: str) -> list[Address]:
    value = {name.lower(): raw for name, raw in parsed.raw_items()}[header]
    unfolded = re.sub(r"\r\n(?=[ \t])", "", utf8(value))
    return [Address(decoded(name), mail) for name, mail in getaddresses([unfolded])]


def assert_on_the_wire(data: bytes) -> None:
    """Hold the bytes against the rules once more, byte by byte and apart from the gate."""
    assert data.endswith(b"\r\n")
    for line in data[:-2].split(b"\r\n"):
        assert len(line) <= 998
        assert not set(line) & {*range(9), *range(10, 32), 127}


@settings(max_examples=150, deadline=None)
@given(subject=nasty)
@example("=?utf-8?q?x?= =?utf-8?q?y?=")
@example(" leading, trailing and  double spaces ")
@example("word " * 60)
@example("")
@example("a" * 998)
@example("é" * 998)
def test_a_subject_reads_back_exactly_or_is_refused(subject: str) -> None:
    try:
        data = write(content=Content(subject, "", None))
    except MessageError:
        return
    assert_on_the_wire(data)
    assert modern(data)["subject"] == subject
    # compat32 shows the folds; what is between them is ours.
    assert decoded(re.sub(r"\r\n(?=[ \t])", "", old(data)["subject"])) == subject
    assert data.isascii()


@settings(max_examples=150, deadline=None)
@given(name=nasty, cc=st.lists(nasty, max_size=3), reply=nasty)
@example("eve@evil.example, Anna", [], "")
@example('a" <eve@evil.example>, "b', [], "\\")
@example("=?utf-8?q?x?=", ["Ünïcödé " * 20], "a" * 51)
@example("é" * 50, ["é" * 21 + "a" * 30], "漢 字" * 20)
def test_names_read_back_exactly_or_are_refused(name: str, cc: list[str], reply: str) -> None:
    to = [Address(name, "anna@example.com")]
    copies = [Address(n, f"c{i}@example.com") for i, n in enumerate(cc)]
    reply_to = [Address(reply, "help@acme.example")]
    try:
        data = write(to=to, cc=copies, reply_to=reply_to)
    except MessageError:
        return
    assert_on_the_wire(data)
    for header, intended in (("to", to), ("cc", copies), ("reply-to", reply_to)):
        if not intended:
            assert header not in modern(data)
            continue
        assert old_addresses(old(data), header) == intended
        read = modern_addresses(modern(data)[header])
        assert [a.email for a in read] == [a.email for a in intended]
        for got, want in zip(read, intended, strict=True):
            assert bare(got.name) == bare(want.name)
            # It puts a space between the encoded-words of a long name, where RFC 2047 has none,
            # and tidies spaces, as mailer.addresses does beforehand.
            tidy = "  " not in want.name and want.name == want.name.strip()
            if tidy and len(want.name.encode()) <= 42:
                assert got.name == want.name


@settings(max_examples=150, deadline=None)
@given(text=nasty, html=nasty | st.none())
@example("a\fb\0", None)
@example("From me\n.\n..\n", "é" * 5000)
@example("x" * 991, "x" * 990)
@example("line\r\n" * 3 + "\r", "trailing \t\n")
def test_bodies_read_back_exactly_or_are_refused(text: str, html: str | None) -> None:
    try:
        data = write(content=Content("Hello", text, html))
    except MessageError:
        return
    assert_on_the_wire(data)
    assert data.isascii()
    for parsed in (modern(data), old(data)):
        parts = [part for part in parsed.walk() if not part.is_multipart()]
        bodies = [(part.get_content_type(), body(part)) for part in parts]
        expected = [("text/plain", lines(text))]
        if html is not None:
            expected.append(("text/html", lines(html)))
        assert bodies == expected
        assert not any(part.defects for part in parsed.walk())


@settings(max_examples=150, deadline=None)
@given(filename=nasty, data=st.binary(max_size=200), inline=st.booleans())
@example("a\r\nContent-Type: text/html\r\n\r\nx", b"", False)
@example("=?utf-8?q?x?=.txt", b"\r\n.\r\n", True)
@example('Über uns\'s "100%".pdf', b"\n", False)
@example("漢" * 85, b"x" * 57, False)
def test_an_attachment_reads_back_exactly_or_is_refused(
    filename: str, data: bytes, inline: bool
) -> None:
    file = Attachment(
        filename=filename,
        data=data,
        content_type="image/png",
        content_id="logo@acme.example" if inline else None,
    )
    try:
        written = write(content=Content("Hello", "Hi\n", "<p>Hi"), attachments=[file])
    except MessageError:
        return
    assert_on_the_wire(written)
    for parsed in (modern(written), old(written)):
        leaves = [part for part in parsed.walk() if not part.is_multipart()]
        assert [part.get_content_type() for part in leaves] == [
            "text/plain",
            "text/html",
            "image/png",
        ]
        part = leaves[-1]
        # The readers take quotes or angle brackets around a whole name for syntax.
        assert part.get_filename() in {filename, unquote(filename)}
        assert part.get_payload(decode=True) == data
        assert part.get_content_disposition() == ("inline" if inline else "attachment")
        assert part["content-id"] == ("<logo@acme.example>" if inline else None)


@settings(max_examples=150, deadline=None)
@given(headers=st.dictionaries(names | nasty, nasty, max_size=3))
@example({"X-A": "a\r\nBcc: eve@evil.example"})
@example({"X-A\r\nBcc": "eve@evil.example"})
@example({"X-A": "b " * 999})
def test_custom_headers_read_back_exactly_or_are_refused(headers: dict[str, str]) -> None:
    try:
        data = write(headers=headers)
    except MessageError:
        return
    assert_on_the_wire(data)
    written = ["From", "To", "Subject", "Date", "Message-ID", *headers]
    written += ["MIME-Version", "Content-Type", "Content-Transfer-Encoding"]
    assert modern(data).keys() == written
    assert old(data).keys() == written
    for name, value in headers.items():
        assert modern(data)[name] == value
        assert decoded(re.sub(r"\r\n(?=[ \t])", "", old(data)[name])) == value


@settings(max_examples=150, deadline=None)
@given(local=nasty, domain=nasty)
@example("jürgen", "example.com")
@example("=?utf-8?q?x?=", "example.com")
@example("anna@example.com, eve", "evil.example")
def test_an_address_goes_out_as_it_is_or_not_at_all(local: str, domain: str) -> None:
    address = Address("", f"{local}@{domain}")
    try:
        data = write(to=[address])
    except MessageError:
        return
    assert_on_the_wire(data)
    assert modern_addresses(modern(data)["to"]) == [address]
    assert old_addresses(old(data), "to") == [address]


@given(st.text(max_size=30), st.text(max_size=30))
@settings(max_examples=30, deadline=None)
def test_equal_arguments_give_equal_bytes(subject: str, text: str) -> None:
    def attempt() -> bytes | str:
        try:
            return write(content=Content(subject, text, text))
        except MessageError as error:
            return str(error)

    assert attempt() == attempt()


def test_a_plain_message_is_exactly_this() -> None:
    data = write(
        content=Content("Grüße", "Hi Anna\n", None),
        cc=[Address("", "bob@example.com"), Address("Müller, Jörg", "j@example.com")],
        headers={"Auto-Submitted": "auto-generated"},
    )
    assert data.decode("ascii").split("\r\n") == [
        'From: "Acme" <no-reply@acme.example>',
        'To: "Anna Smith" <anna@example.com>',
        "Cc: bob@example.com,",
        " =?utf-8?b?TcO8bGxlciwgSsO2cmc=?= <j@example.com>",
        "Subject: =?utf-8?b?R3LDvMOfZQ==?=",
        "Date: Tue, 24 Nov 2026 09:30:15 +0000",
        "Message-ID: <1.abc@acme.example>",
        "Auto-Submitted: auto-generated",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: 7bit",
        "",
        "Hi Anna",
        "",
    ]


def test_images_stand_beside_the_html_and_files_beside_both() -> None:
    image = Attachment(filename="logo.png", data=PNG, content_type="image/png", content_id="logo")
    file = Attachment(filename="bill.pdf", data=b"%PDF", content_type="application/pdf")
    data = write(content=Content("Hello", "Hi", '<img src="cid:logo">'), attachments=[file, image])

    def shape(part: Message) -> Any:
        if part.is_multipart():
            return part.get_content_type(), [shape(p) for p in part.get_payload()]  # type: ignore[arg-type]
        return part.get_content_type()

    assert shape(modern(data)) == (
        "multipart/mixed",
        [
            (
                "multipart/alternative",
                ["text/plain", ("multipart/related", ["text/html", "image/png"])],
            ),
            "application/pdf",
        ],
    )
    assert [part.get_payload(decode=True) for part in modern(data).walk()][-2:] == [PNG, b"%PDF"]


def test_without_html_an_image_is_a_file_like_others() -> None:
    image = Attachment(filename="logo.png", data=PNG, content_type="image/png", content_id="logo")
    parsed = modern(write(attachments=[image]))
    assert parsed.get_content_type() == "multipart/mixed"
    assert [part.get_filename() for part in parsed.iter_attachments()] == ["logo.png"]


def test_a_body_that_holds_the_boundary_does_not_end_the_part() -> None:
    first = write(content=Content("Hello", "Hi", "<p>Hi"))
    boundary = modern(first).get_boundary()
    assert boundary is not None
    text = f"--{boundary}\n\nforged\n--{boundary}--\n"
    second = write(content=Content("Hello", text, "<p>Hi"))
    plain, html = modern(second).iter_parts()
    assert body(plain) == text
    assert body(html) == "<p>Hi\n"


def test_the_boundary_depends_on_the_message_id_alone() -> None:
    def boundary(text: str, message_id: str) -> str | None:
        content = Content("Hello", text, text)
        return modern(write(content=content, message_id=message_id)).get_boundary()

    assert boundary("a", "1@acme.example") == boundary("b" * 9999, "1@acme.example")
    assert boundary("a", "1@acme.example") != boundary("a", "2@acme.example")


def test_the_boundaries_of_one_message_are_no_prefixes_of_each_other() -> None:
    image = Attachment(filename="a.png", data=PNG, content_type="image/png", content_id="a")
    file = Attachment(filename="b.bin", data=PNG)
    data = write(content=Content("Hello", "Hi", "<p>Hi"), attachments=[image, file])
    found = re.findall(rb'boundary="([^"]+)"', data)
    assert len(found) == 3
    assert len(set(found)) == 3
    assert len({len(boundary) for boundary in found}) == 1


def test_blind_recipients_only_leave_no_address_behind() -> None:
    data = write(to=[])
    assert b"\r\nTo: undisclosed-recipients:;\r\n" in data
    assert modern(data)["to"].addresses == ()
    assert b"bcc" not in data.lower()


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_any_line_end_becomes_crlf(newline: str) -> None:
    data = write(content=Content("Hello", newline.join(["a", "", "b"]), None))
    assert data.endswith(b"\r\n\r\na\r\n\r\nb\r\n")


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("plain\n" * 50, "7bit"),
        ("x" * 990, "7bit"),
        ("x" * 991, "quoted-printable"),
        ("Viele Grüße aus Köln, Anna. See you there.\n", "quoted-printable"),
        ("page one\fpage two", "quoted-printable"),
        ("Добрый день\n", "base64"),
        ("日本語のメール", "base64"),
    ],
)
def test_a_body_gets_the_plainest_encoding_that_is_short(text: str, encoding: str) -> None:
    parsed = modern(write(content=Content("Hello", text, None)))
    assert parsed["content-transfer-encoding"] == encoding
    assert body(parsed) == lines(text)


def test_a_local_part_in_unicode_is_the_only_thing_that_is_not_ascii() -> None:
    address = parse("Jürgen Groß <jürgen@faß.example>")
    data = write(to=[address, ANNA], content=Content("Grüße", "Grüße", "<p>Grüße"))
    expected = "To: =?utf-8?b?SsO8cmdlbiBHcm/Dnw==?= <jürgen@xn--fa-hia.example>,".encode()
    assert [line for line in data.split(b"\r\n") if not line.isascii()] == [expected]
    assert modern_addresses(modern(data)["to"]) == [address, ANNA]


def test_no_line_is_over_78_bytes_where_it_can_be_folded() -> None:
    data = write(
        to=[Address(f"Recipient number {i} of the list", f"r{i}@example.com") for i in range(40)],
        cc=[Address("Jürgen " * 20, "j@example.com"), Address("N" * 50, "n" * 40 + "@example.com")],
        content=Content("A long subject with many words " * 9, "Hi", None),
        headers={"References": " ".join(f"<{i}.abcdef@acme.example>" for i in range(30))},
    )
    assert max(len(line) for line in data.split(b"\r\n")) <= 78


def test_a_date_in_any_zone_is_the_same_instant() -> None:
    local = DATE.astimezone(timezone(timedelta(hours=5, minutes=45)))
    assert write(date=local) == write()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"date": DATE.replace(tzinfo=None)}, "time zone"),
        ({"message_id": "<1@acme.example>"}, "message id"),
        ({"message_id": "1@acme.example\r\nBcc: eve@evil.example"}, "message id"),
        ({"message_id": "1 2@acme.example"}, "message id"),
        ({"headers": {"Bcc": "eve@evil.example"}}, "does not write itself"),
        ({"headers": {"X-A": "1", "x-a": "2"}}, "each name once"),
        ({"sender": Address("", "")}, "From"),
        ({"sender": Address("Acme", "Acme, <a@b.example>")}, "From"),
        ({"content": Content("a\nb", "", None)}, "U\\+000A"),
        ({"content": Content("a" * 999, "", None)}, "subject of at most 998"),
        ({"content": Content("Hello", "\ud800", None)}, "surrogates"),
        (
            {
                "attachments": [
                    Attachment(filename="a", data=b"", content_id="x"),
                    Attachment(filename="b", data=b"", content_id="x"),
                ]
            },
            "content id once",
        ),
    ],
)
def test_what_cannot_be_written_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(MessageError, match=words):
        write(**changes)


# Faults of Flask-Mail 0.10's writer, each tried on ours.

CRLF = "a\r\nBcc: eve@evil.example"


@pytest.mark.parametrize(
    "changes",
    [
        {"headers": {"X-A": CRLF}},
        {"headers": {CRLF: "x"}},
        {"attachments": [Attachment(filename=CRLF, data=b"")]},
        {"attachments": [Attachment(filename="a", data=b"", content_type=f"text/plain{CRLF}")]},
        {"attachments": [Attachment(filename="a", data=b"", content_id=CRLF)]},
        {"cc": [Address("", f"{CRLF}@x.example")]},
        {"cc": [Address(CRLF, "anna@example.com")]},
        {"reply_to": [Address("", f"{CRLF}@x.example")]},
        {"content": Content(CRLF, "", None)},
    ],
)
def test_a_line_end_injects_no_header_anywhere(changes: dict[str, Any]) -> None:
    with pytest.raises(MessageError):
        write(**changes)


@pytest.mark.parametrize("separator", "\v\f\x1c\x1d\x1e\x85\u2028\u2029")
def test_what_python_takes_for_a_line_end_injects_no_header(separator: str) -> None:
    with pytest.raises(MessageError, match="control characters"):
        write(content=Content(f"Hello{separator}Bcc: eve@evil.example", "", None))


def test_a_comma_in_the_name_of_the_sender_makes_no_second_mailbox() -> None:
    data = write(sender=Address("Acme, Inc.", "no-reply@acme.example"))
    assert modern_addresses(modern(data)["from"]) == [
        Address("Acme, Inc.", "no-reply@acme.example")
    ]


def test_a_list_in_one_recipient_is_refused_not_cut_short() -> None:
    with pytest.raises(MessageError, match="To: expected 1 addresses"):
        write(to=[Address("", "a@x.example, b@x.example")])


def test_recipients_keep_their_order() -> None:
    to = [Address("", f"r{i}@example.com") for i in (5, 3, 9, 1, 7, 2)]
    assert modern_addresses(modern(write(to=to))["to"]) == to
