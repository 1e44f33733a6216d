"""Every error that this package raises on purpose. Messages never contain a secret."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class MailerError(Exception):
    """Base of the errors below: catch it to catch them all."""


class SettingError(MailerError):
    """A setting has a wrong value; the start is refused."""


class Problem(NamedTuple):
    """One thing wrong with a request: which field, and what was expected of it."""

    field: str
    message: str


class InvalidEmail(MailerError):
    """``dispatch`` was given something it cannot send. Lists every problem; nothing was stored."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{field}: {message}" for field, message in self.problems))


class IdempotencyConflict(MailerError):
    """The idempotency key was used before, for an email with other content."""


class TemplateError(MailerError):
    """A template is missing, misnamed or cannot be compiled."""


class RenderError(MailerError):
    """A template failed on this context: says which template, line and reason."""


class LoaderError(RenderError):
    """A context loader failed on what was dispatched, and would at each attempt."""


class MissingVariable(MailerError, KeyError):
    """A context loader asked for a variable that was not dispatched."""


class MessageError(MailerError):
    """The bytes of a message broke a rule of the gate; nothing was sent."""


class LedgerUnavailable(MailerError):
    """The database is locked, unreachable or not migrated; nothing was stored, or perhaps was: see
    `maybe_stored`."""

    maybe_stored: bool = False
    """The connection was lost while the database committed, so nobody knows whether it did."""


class NotMigrated(LedgerUnavailable):
    """The database lacks migrations; says what to run."""


class NotFound(MailerError):
    """No email or delivery has this id."""


class UnreadableFile(MailerError):
    """A file of recipients cannot be read at all; says where and what was expected."""


class Refused(MailerError):
    """What was asked for cannot be done as things are; says why, and what can."""


class NotAReport(MailerError):
    """What came in is no report of a mail system; says what was expected."""


class NotAuthentic(MailerError):
    """Nothing proves that a report comes from whom it says; says what was expected."""


class Unreachable(MailerError):
    """Another service's address could not be asked; it may be later."""


class UnsupportedPlatform(MailerError):
    """A server that development needs cannot be had here; says which package to install."""
