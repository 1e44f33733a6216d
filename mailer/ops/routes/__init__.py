"""The views of the console, a file for each page. Importing one mounts it."""

from . import (
    audit,
    bulk,
    content,
    email,
    emails,
    failed,
    jobs,
    keys,
    overview,
    results,
    sign_in,
    suppressions,
    templates,
    transports,
    unknown,
    webhooks,
)

__all__ = [
    "audit",
    "bulk",
    "content",
    "email",
    "emails",
    "failed",
    "jobs",
    "keys",
    "overview",
    "results",
    "sign_in",
    "suppressions",
    "templates",
    "transports",
    "unknown",
    "webhooks",
]
