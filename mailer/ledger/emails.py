"""Read whole emails, one page after the other."""

from __future__ import annotations

from typing import Any, NamedTuple

import sqlalchemy as sa

from .. import paging
from ..models import IS_TEST, Delivery, Email
from .filters import OUTCOME_OF


class Page(NamedTuple):
    """Some emails, the newest first."""

    emails: list[sa.Row[Any]]
    states: dict[str, list[str]]
    """By email id: the states of its deliveries, in their order, or what was reported of them."""
    has_more: bool


def page(
    connection: sa.Connection,
    limit: int,
    after: str | None,
    before: str | None,
    is_test: bool | None,
) -> Page:
    """Return up to ``limit`` emails: those older than ``after``, or newer than ``before``.
    ``is_test``: only those that are test mail, or are none.

    Ids sort by time of acceptance, so that each page costs the same however many emails there are.
    """
    statement = sa.select(Email.__table__)
    if is_test is not None:
        statement = statement.where(IS_TEST if is_test else ~Email.is_test)
    emails, has_more = paging.part(
        connection, statement, Email.id, limit=limit, after=after, before=before
    )
    return Page(emails, states(connection, [email.id for email in emails]), has_more)


def states(connection: sa.Connection, email_ids: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {email_id: [] for email_id in email_ids}
    statement = (
        sa.select(Delivery.email_id, OUTCOME_OF)
        .where(Delivery.email_id.in_(email_ids))
        .order_by(Delivery.id)
    )
    for email_id, state in connection.execute(statement):
        found[email_id].append(state)
    return found
