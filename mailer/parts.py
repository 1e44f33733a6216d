"""Write the MIME parts of a message: bodies, attachments, and the multiparts around them.

A part is its header fields, an empty line and its encoded body, as CRLF bytes of seven bits.
"""

from __future__ import annotations

import re
from binascii import b2a_base64, b2a_qp
from collections.abc import Iterable
from urllib.parse import quote

from .content import Attachment
from .headers import check_text, shown

FILENAME_MAX = 255
"""Bytes: the longest name that common file systems keep."""

_PRINTABLE = bytes(range(0x20, 0x7F)) + b"\t\r\n"
_LINE_MAX = 990
_NAME = r"[A-Za-z0-9!#$&^_.+-]{1,80}"  # restricted-name, RFC 6838, 4.2
_CONTENT_TYPE = re.compile(rf"{_NAME}/{_NAME}")
_CONTENT_ID = re.compile(r"[A-Za-z0-9._+-]{1,120}(?:@[A-Za-z0-9.-]{1,120})?")
# In a quoted parameter, readers agree about these; anything else goes percent-encoded.
_PLAIN_FILENAME = re.compile(r"[A-Za-z0-9._()+#@,-]+(?: [A-Za-z0-9._()+#@,-]+)*")
# Separators on any system, and the controls that make cod.exe look like exe.doc.
_UNSAFE_FILENAME = re.compile("[/\\\\\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def check_body(text: str) -> None:
    """Raise ValueError if ``text`` cannot be a text or HTML body."""
    if "\0" in text:
        raise ValueError(f"expected text without NUL, got one at position {text.index(chr(0))}")
    _utf8(text)


def check_attachment(attachment: Attachment) -> None:
    """Raise ValueError if a part of ``attachment`` other than its size is not as expected."""
    filename = attachment.filename
    check_text("a filename", filename)
    if (
        _UNSAFE_FILENAME.search(filename)
        or filename in {"", ".", ".."}
        or filename != filename.strip()
    ):
        raise ValueError(
            "expected a filename without path separators, bidirectional controls or a space at "
            f"either end, got {shown(filename)}"
        )
    if len(filename.encode()) > FILENAME_MAX:
        raise ValueError(
            f"expected a filename of at most {FILENAME_MAX} bytes, got {shown(filename)}"
        )
    content_type = attachment.content_type
    if not _CONTENT_TYPE.fullmatch(content_type):
        raise ValueError(
            f"expected a content type such as image/png, without parameters, got "
            f"{shown(content_type)}"
        )
    # Neither may be base64 encoded (RFC 2045, 6.4), so their bytes would have to go out as given.
    if content_type.lower().startswith(("multipart/", "message/")):
        raise ValueError(
            f"expected the content type of a file, such as application/octet-stream, got "
            f"{shown(content_type)}"
        )
    content_id = attachment.content_id
    if content_id is not None and not _CONTENT_ID.fullmatch(content_id):
        raise ValueError(
            "expected a content id such as logo or logo@example.com, without <>, got "
            f"{shown(content_id)}"
        )


def text_part(subtype: str, text: str) -> bytes:
    """Return ``text`` as a part of type ``text/subtype``, in the shortest safe encoding.

    Line ends become CRLF, and there is one at the end.
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.endswith("\n"):
        text += "\n"
    # Bytes are quicker to replace than text: 0.9 us for 6 KB, not 4.3.
    data = _utf8(text).replace(b"\n", b"\r\n")
    unprintable = len(data.translate(None, _PRINTABLE))
    if not unprintable and max(map(len, data.splitlines())) <= _LINE_MAX:
        encoding = b"7bit"
    elif unprintable * 6 > len(data):  # two more bytes for each of them, or a third of the whole
        encoding = b"base64"
        data = _base64(data) + b"\r\n"
    else:
        encoding = b"quoted-printable"
        # It breaks lines as the first line end of the data does, and there always is one.
        data = b2a_qp(data, istext=True)
    return (b"Content-Type: text/%b; charset=utf-8\r\nContent-Transfer-Encoding: %b\r\n\r\n%b") % (
        subtype.encode(),
        encoding,
        data,
    )


def attachment_part(attachment: Attachment) -> bytes:
    """Return ``attachment`` as a base64 part; inline if it has a content id."""
    check_attachment(attachment)
    filename = attachment.filename
    disposition = "attachment" if attachment.content_id is None else "inline"
    if _PLAIN_FILENAME.fullmatch(filename):
        name, parameter = "", f'filename="{filename}"'
    else:
        # RFC 2231. The plain form for old readers goes with the type: where a disposition has
        # both, many readers take the wrong one.
        plain = re.sub(r"[^A-Za-z0-9._()+-]", "_", filename)
        name, parameter = f';\r\n name="{plain}"', f"filename*=utf-8''{quote(filename, safe='')}"
    head = (
        f"Content-Type: {attachment.content_type}{name}\r\n"
        "Content-Transfer-Encoding: base64\r\n"
        f"Content-Disposition: {disposition};\r\n {parameter}\r\n"
    )
    if attachment.content_id is not None:
        head += f"Content-ID: <{attachment.content_id}>\r\n"
    return head.encode("ascii") + b"\r\n" + _base64(attachment.data)


def multipart(kind: str, boundary: bytes, parts: Iterable[bytes]) -> bytes:
    """Return ``parts`` as one part of type ``multipart/kind``."""
    opening = b"--" + boundary + b"\r\n"
    return b"".join(
        [
            b'Content-Type: multipart/%b;\r\n boundary="%b"\r\n\r\n' % (kind.encode(), boundary),
            *[piece for part in parts for piece in (opening, part, b"\r\n")],
            b"--" + boundary + b"--\r\n",
        ]
    )


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"expected text without lone surrogates, got one at position {error.start}"
        ) from error


def _base64(data: bytes) -> bytes:
    encoded = b2a_base64(data, newline=False)
    return b"\r\n".join([encoded[at : at + 76] for at in range(0, len(encoded), 76)])
