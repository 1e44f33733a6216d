"""The operations of the HTTP API; a file for each kind of thing. To import them mounts them."""

from __future__ import annotations

from . import (
    api_keys,
    attachments,
    bulk,
    emails,
    inbound,
    results,
    suppressions,
    templates,
    webhooks,
)

__all__ = [
    "api_keys",
    "attachments",
    "bulk",
    "emails",
    "inbound",
    "results",
    "suppressions",
    "templates",
    "webhooks",
]
