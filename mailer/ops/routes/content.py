"""What an email says, for its page: the HTML within a frame, the message and its files to save."""

from __future__ import annotations

from io import BytesIO

from flask import Response, abort, make_response, send_file

from ...rendition import Rendition, rendition
from ...state import current
from ..blueprint import FRAME, Answer, view
from ..given import whole
from ..message import framed
from .email import known

# As `FRAME`, for what is saved.
_SAVED = "sandbox; default-src 'none'; frame-ancestors 'none'"


@view("GET", "/emails/<email_id>/html", role="viewer")
def email_html(email_id: str) -> Answer:
    """Show the HTML, for the frame of the page."""
    found = _rendition(email_id)
    if found.composed is None or found.composed.content.html is None:
        abort(404, found.note or "This email has no HTML.")
    response = make_response(framed(found.composed.content.html, found.attachments))
    response.headers["Content-Security-Policy"] = FRAME
    return response


@view("GET", "/emails/<email_id>/message.eml", role="viewer")
def email_source(email_id: str) -> Answer:
    """Save the message."""
    found = _rendition(email_id)
    if found.composed is None:
        abort(404, found.note)
    return _saved(found.composed.message, f"{email_id}.eml")


@view("GET", "/emails/<email_id>/attachments/<number>", role="viewer")
def email_attachment(email_id: str, number: str) -> Answer:
    """Save a file; they are numbered from 1."""
    files = dict(enumerate(_rendition(email_id).attachments, 1))
    file = files.get(whole("file", number))
    if file is None:
        abort(404, "This email has no such file, or no more.")
    return _saved(file.data, file.filename)


def _rendition(email_id: str) -> Rendition:
    return rendition(current(), known(email_id).email)


def _saved(data: bytes, name: str) -> Response:
    response = send_file(
        BytesIO(data),
        mimetype="application/octet-stream",
        as_attachment=True,
        download_name=name,
    )
    response.headers["Content-Security-Policy"] = _SAVED
    return response
