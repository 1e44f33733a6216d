"""What an email says, as a page shows it: its HTML within a frame, its text, headers and files."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from email import policy
from email.parser import BytesHeaderParser
from typing import NamedTuple
from urllib.parse import unquote

from ..content import Attachment
from ..rendition import Rendition

_SOURCE_MAX = 200_000
_CID = re.compile(r"cid:([^\s\"'<>)]+)", re.IGNORECASE)
_PICTURES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""What a browser shows and never runs."""


class Shown(NamedTuple):
    """One email."""

    note: str
    tabs: dict[str, str]
    """What there is to look at, and what that is called; empty: it is not shown."""
    text: str
    headers: list[tuple[str, str]]
    source: str
    """The beginning of the message."""
    attachments: Sequence[Attachment]
    size: int
    """Bytes of the message."""


def shown(rendition: Rendition) -> Shown:
    composed = rendition.composed
    if composed is None:
        return Shown(rendition.note, {}, "", [], "", (), 0)
    tabs = {"html": "HTML"} if composed.content.html is not None else {}
    tabs |= {"text": "Text", "headers": "Headers", "source": "Source"}
    if rendition.attachments:
        tabs["attachments"] = f"Attachments ({len(rendition.attachments)})"
    head = BytesHeaderParser(policy=policy.default).parsebytes(composed.message)
    return Shown(
        rendition.note,
        tabs,
        composed.content.text,
        [(name, str(value)) for name, value in head.items()],
        composed.message[:_SOURCE_MAX].decode("utf-8", "replace").replace("\r\n", "\n"),
        rendition.attachments,
        len(composed.message),
    )


def framed(html: str, attachments: Sequence[Attachment]) -> str:
    """Return the HTML of an email with the pictures that travel with it: nothing is fetched."""
    pictures = {
        file.content_id: f"data:{file.content_type};base64,{base64.b64encode(file.data).decode()}"
        for file in attachments
        if file.content_id and file.content_type in _PICTURES
    }

    def put_in(reference: re.Match[str]) -> str:
        return pictures.get(reference[1]) or pictures.get(unquote(reference[1])) or reference[0]

    return _CID.sub(put_in, html) if pictures else html
