"""Do something once a SQLAlchemy session has committed for good, and not otherwise."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy.orm import Session, SessionTransaction

_WAITING = "mailer_after_commit"
_COMMITTED = "mailer_committed"


def run_after(session: Session, callback: Callable[[], None]) -> None:
    """Run ``callback`` after the outermost transaction of ``session`` has been committed; never, if
    that or the savepoint that is open now is rolled back."""
    waiting = session.info.get(_WAITING)
    if waiting is None:
        waiting = session.info[_WAITING] = []
        sa.event.listen(session, "after_soft_rollback", _rolled_back)
        sa.event.listen(session, "after_commit", _committed)
        sa.event.listen(session, "after_transaction_end", _ended)
    waiting.append((session.get_nested_transaction() or session.get_transaction(), callback))


def _rolled_back(session: Session, transaction: SessionTransaction) -> None:
    session.info[_WAITING] = [
        (begun_in, callback)
        for begun_in, callback in session.info[_WAITING]
        if not _is_within(begun_in, transaction)
    ]


def _is_within(inner: SessionTransaction | None, outer: SessionTransaction) -> bool:
    while inner is not None and inner is not outer:
        inner = inner.parent
    return inner is outer


def _committed(session: Session) -> None:
    # Also fires for savepoints, whose rows the outer transaction may still roll back.
    if not session.in_nested_transaction():
        session.info[_COMMITTED] = True


def _ended(session: Session, transaction: SessionTransaction) -> None:
    # Not in `after_commit`: there the session cannot be used yet, and a callback may want to.
    if transaction.parent is not None:
        return
    waiting, session.info[_WAITING] = session.info[_WAITING], []
    if session.info.pop(_COMMITTED, False):
        for _, callback in waiting:
            callback()
