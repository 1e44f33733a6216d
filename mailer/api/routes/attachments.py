"""``/emails/.../attachments``: what files an email has, and the files."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

from flask import Response, send_file
from itsdangerous import BadData, URLSafeTimedSerializer

from ... import signing
from ...state import current
from ..errors import ApiError
from ..operations import operation
from ..schemas.attachments import Attachment
from ..schemas.base import ListOf, Page

LINK_SECONDS = 3_600
"""How long a link to a file is good."""


@operation(
    "GET",
    "/emails/<id:email_id>/attachments",
    scope="read",
    query=Page,
    answers=ListOf[Attachment],
    test_keys=True,
)
def list_attachments(email_id: str, query: Page) -> ListOf[Attachment]:
    """List attachments.

    Files are erased with the content of their email.
    """
    files = _files(email_id)
    ids = [one.id for one in files]
    for name, known in (("after", query.after), ("before", query.before)):
        if known is not None and known not in ids:  # they do not sort: it is no place
            message = f"{name}: email {email_id} has no attachment {known!r}"
            raise ApiError(422, "validation_error", message)
    begin, end = 0, len(files)
    if query.after is not None:
        begin = ids.index(query.after) + 1
        end = min(end, begin + query.limit)
    elif query.before is not None:
        end = ids.index(query.before)
        begin = max(0, end - query.limit)
    else:
        end = min(end, query.limit)
    has_more = begin > 0 if query.before is not None else end < len(files)
    return ListOf[Attachment](has_more=has_more, data=files[begin:end])


@operation(
    "GET",
    "/emails/<id:email_id>/attachments/<attachment_id>",
    scope="read",
    answers=Attachment,
    test_keys=True,
)
def get(email_id: str, attachment_id: str) -> Attachment:
    """Get an attachment.

    What it is, and the link at which it can be downloaded.
    """
    for one in _files(email_id):
        if one.id == attachment_id:
            return one
    raise ApiError(404, "not_found", f"email {email_id} has no attachment {attachment_id!r}")


@operation("GET", "/attachments/<token>", scope=None, answers=None)
def download(token: str) -> Response:
    """Download an attachment.

    Whoever has the link needs no key.
    """
    try:
        email_id, attached_id = _links().loads(token, max_age=LINK_SECONDS)
    except BadData:
        raise ApiError(404, "not_found", "The link is wrong, or older than an hour.") from None
    file = current().ledger.attachment(email_id, attached_id)
    # Saved, never shown: it is a stranger's file at our address.
    return send_file(
        BytesIO(file.data),
        mimetype=file.content_type,
        as_attachment=True,
        download_name=file.filename,
    )


def _files(email_id: str) -> list[Attachment]:
    expires_at = datetime.now(UTC) + timedelta(seconds=LINK_SECONDS)
    return [
        _shown(email_id, one, expires_at) for one in current().ledger.show(email_id).attachments
    ]


def _shown(email_id: str, row: Any, expires_at: datetime) -> Attachment:
    token = _links().dumps([email_id, row.id])
    return Attachment(
        # SDKs expect a UUID; the ledger numbers files.
        id=str(uuid.uuid5(uuid.UUID(email_id), str(row.id))),
        filename=row.filename,
        content_type=row.content_type,
        content_id=row.content_id or "",
        content_disposition="inline" if row.content_id else "attachment",
        size=row.size,
        download_url=current().url_for("api.attachments_download", token=token),
        expires_at=expires_at,
    )


def _links() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(signing.keys(current().config), salt="mailer.api.attachments")
