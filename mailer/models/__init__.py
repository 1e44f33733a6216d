"""Tables. Rows are written by `mailer.ledger` (and `mailer.users`) only; everybody may read them.

The table names share a prefix, so that they can live in an application's own database.
"""

from __future__ import annotations

from .accounts import ApiKey, Member, User, Visit
from .base import WHERE, Base, Instant, Json, RowId, Written
from .bulk import IS_LEFT_OUT, LEFT_OUT, BulkPart, BulkRow
from .emails import (
    HAS_CONTENT,
    IS_QUEUED,
    IS_SENDING,
    IS_TEST,
    IS_TROUBLE,
    IS_WAITING_AGAIN,
    LANES,
    ON_UNKNOWN,
    OPEN,
    REPORTED,
    RETRYABLE,
    Attached,
    Attempt,
    AuditEntry,
    Delivery,
    Email,
    Status,
)
from .jobs import IS_OPEN, Job
from .operation import Act, Sweeps, Switch
from .recipients import Report, Suppression
from .tallies import Latency, Tallied, Tally
from .webhooks import IS_FAILED, IS_PENDING, Event, EventAttempt, Webhook

__all__ = [
    "HAS_CONTENT",
    "IS_FAILED",
    "IS_LEFT_OUT",
    "IS_OPEN",
    "IS_PENDING",
    "IS_QUEUED",
    "IS_SENDING",
    "IS_TEST",
    "IS_TROUBLE",
    "IS_WAITING_AGAIN",
    "LANES",
    "LEFT_OUT",
    "ON_UNKNOWN",
    "OPEN",
    "REPORTED",
    "RETRYABLE",
    "REVISION",
    "WHERE",
    "Act",
    "ApiKey",
    "Attached",
    "Attempt",
    "AuditEntry",
    "Base",
    "BulkPart",
    "BulkRow",
    "Delivery",
    "Email",
    "Event",
    "EventAttempt",
    "Instant",
    "Job",
    "Json",
    "Latency",
    "Member",
    "Report",
    "RowId",
    "Status",
    "Suppression",
    "Sweeps",
    "Switch",
    "Tallied",
    "Tally",
    "User",
    "Visit",
    "Webhook",
    "Written",
]

REVISION = "0018"
"""The newest migration: the one that makes these tables."""
