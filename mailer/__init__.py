"""Email notification dispatcher for Flask: nothing accepted is lost.

The names below are the public interface. Each is imported when first used: the SMTP catcher and
the supervisor of development live in this package too, and need none of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .app import create_app
    from .celery_app import celery_init_app
    from .content import Attachment
    from .dispatcher import cancel, dispatch, dispatch_many, resolve, retry
    from .errors import IdempotencyConflict, InvalidEmail, LedgerUnavailable, MailerError
    from .extension import Mailer
    from .ledger import Filters

__all__ = [
    "Attachment",
    "Filters",
    "IdempotencyConflict",
    "InvalidEmail",
    "LedgerUnavailable",
    "Mailer",
    "MailerError",
    "cancel",
    "celery_init_app",
    "create_app",
    "dispatch",
    "dispatch_many",
    "resolve",
    "retry",
]

_HOMES = {
    "Attachment": "content",
    "Filters": "ledger",
    "IdempotencyConflict": "errors",
    "InvalidEmail": "errors",
    "LedgerUnavailable": "errors",
    "Mailer": "extension",
    "MailerError": "errors",
    "cancel": "dispatcher",
    "celery_init_app": "celery_app",
    "create_app": "app",
    "dispatch": "dispatcher",
    "dispatch_many": "dispatcher",
    "resolve": "dispatcher",
    "retry": "dispatcher",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value
