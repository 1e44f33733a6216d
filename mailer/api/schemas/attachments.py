"""Attachments of emails, as the HTTP API shows them."""

from __future__ import annotations

from typing import Literal

from .base import Answer, Shown


class Attachment(Answer):
    """A file of an email."""

    object: Literal["attachment"] = "attachment"
    id: str
    filename: str
    content_type: str
    content_id: str
    content_disposition: Literal["attachment", "inline"]
    size: int
    """In bytes."""
    download_url: str
    """Good for an hour, for whoever has it."""
    expires_at: Shown
    """When ``download_url`` is good for nothing."""
