"""The views of the console, a file for each page. Importing one mounts it."""

from . import (
    audit,
    content,
    email,
    emails,
    failed,
    jobs,
    keys,
    overview,
    sign_in,
    suppressions,
    templates,
    transports,
    webhooks,
)

__all__ = [
    "audit",
    "content",
    "email",
    "emails",
    "failed",
    "jobs",
    "keys",
    "overview",
    "sign_in",
    "suppressions",
    "templates",
    "transports",
    "webhooks",
]
