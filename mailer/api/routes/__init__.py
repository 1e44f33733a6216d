"""The operations of the HTTP API; a file for each kind of thing. To import them mounts them."""

from __future__ import annotations

from . import (
    attachments,
    emails,
    suppressions,
    templates,
    webhooks,
)

__all__ = [
    "attachments",
    "emails",
    "suppressions",
    "templates",
    "webhooks",
]
